"""Numbers that must agree with each other."""

from ecdn_proxy.core.limits import Limits


def test_the_numbers_of_the_swarm_fit_together() -> None:
    limits = Limits()
    assert limits.home_answer_s < limits.home_answer_max_s
    assert limits.soft_share < limits.hard_share < 1
    assert limits.progress_s < limits.silence_s, "a lease would end between two reports"
    assert limits.home_ranks * limits.home_answer_s < limits.soft_share * limits.slack_floor_s
    assert limits.slack_floor_s <= limits.slack_ceiling_s
    assert limits.gone_s < limits.slack_floor_s
    assert limits.fan_out_wifi <= limits.fan_out_wired
