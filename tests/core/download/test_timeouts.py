"""How long sources are waited for, as timetables."""

import pytest

from ecdn_proxy.core.download.timeouts import (
    GIVE_UP_S,
    LOOK_AGAIN_S,
    ORIGIN_REACH_S,
    ORIGIN_SILENCE_S,
    ORIGIN_THINKS_S,
    PARENT_TRIAL_S,
    PARENT_WAIT_MAX_S,
    PARENT_WAIT_TIMES_MAX,
    SAY_SO_FIRST_S,
    SAY_SO_IN_BODY_S,
    SAY_SO_S,
    Timeouts,
)
from ecdn_proxy.core.limits import Limits

LIMITS = Limits()


def timeouts(spread: float = 0.0) -> Timeouts:
    made = Timeouts(LIMITS, spread, 0.0)
    made.parent_chosen(0, 0.0)
    return made


def told(waiting: Timeouts) -> bool:
    """Whether there is a word for those who read from here; it is told."""
    word = waiting.has_word
    waiting.take_word()
    return word


def two_seconds(share: float) -> float:
    """The deadline of a viewer with two seconds of slack that asked at 0."""
    return 2.0 * share


def four_seconds(share: float) -> float:
    """The same with four."""
    return 4.0 * share


def test_a_parent_that_never_began_is_waited_for_as_the_origin_is() -> None:
    assert timeouts().parent_silent_at(0.1) == pytest.approx(0.1 + LIMITS.first_byte_grace_s)


def test_however_slow_the_origin_is_the_ledger_is_asked_again_after_a_second() -> None:
    assert timeouts().parent_silent_at(3.0) == PARENT_WAIT_MAX_S


def test_a_parent_that_began_may_pause_a_quarter_second_and_the_next_twice_as_long() -> None:
    waiting = timeouts()
    waiting.body_began(1.0)
    assert waiting.parent_silent_at(9.0) == 1.0 + LIMITS.silence_s
    waiting.parent_was_silent()
    assert waiting.parent_silent_at(9.0) == 1.0 + 2 * LIMITS.silence_s
    for _ in range(9):
        waiting.parent_was_silent()
    assert waiting.parent_silent_at(9.0) == 1.0 + PARENT_WAIT_TIMES_MAX * LIMITS.silence_s
    waiting.parent_was_good()
    assert waiting.parent_silent_at(9.0) == 1.0 + LIMITS.silence_s


def test_each_deadline_is_told_once_and_in_its_order() -> None:
    waiting = timeouts()
    deadline = four_seconds
    soft, hard = 4.0 * LIMITS.soft_share, 4.0 * LIMITS.hard_share
    assert waiting.deadline_at(deadline) == soft
    assert waiting.deadline_passed(deadline, soft - 0.01) is None
    assert waiting.deadline_passed(deadline, soft + 0.01) == "soft"
    assert waiting.deadline_passed(deadline, soft + 0.02) is None
    assert waiting.deadline_at(deadline) == hard
    assert waiting.deadline_passed(deadline, hard + 0.01) == "hard"
    assert waiting.deadline_at(deadline) is None
    assert waiting.deadline_passed(deadline, 9.0) is None


def test_a_parent_that_was_only_just_chosen_has_its_time() -> None:
    waiting = timeouts()
    waiting.parent_chosen(0, 5.0)
    deadline = two_seconds
    assert waiting.deadline_passed(deadline, 5.0 + PARENT_TRIAL_S - 0.01) is None
    assert waiting.deadline_passed(deadline, 5.0 + PARENT_TRIAL_S) == "hard"


def test_without_viewers_nothing_is_late() -> None:
    waiting = timeouts()
    assert waiting.deadline_at(lambda _share: None) is None
    assert not waiting.is_late(lambda _share: None, 0, None, 9.0)


def test_late_is_what_the_rate_so_far_says() -> None:
    waiting = timeouts()
    deadline = two_seconds
    assert waiting.is_late(deadline, 0, None, 0.5), "nothing has come"
    waiting.body_began(0.5)
    assert not waiting.is_late(deadline, 500, 1_000, 1.0), "the other half comes until 1.5"
    assert waiting.is_late(deadline, 100, 1_000, 1.0), "at this rate it comes at 5.5"


def test_an_origin_that_has_the_request_may_think_for_minutes_and_that_is_said_again_and_again() -> None:
    waiting = timeouts()
    waiting.fetch_begun(1.0)
    assert waiting.say_so_at() is None
    waiting.origin_reached()
    assert waiting.origin_silent_at() == 1.0 + ORIGIN_THINKS_S
    assert waiting.say_so_at() == 1.0 + SAY_SO_FIRST_S
    waiting.say_so(1.25)
    assert waiting.say_so_at() == pytest.approx(1.25 + SAY_SO_S)
    assert [told(waiting), told(waiting)] == [True, False]
    waiting.looked_around(1.6)
    assert waiting.look_around_at(1.6) == pytest.approx(1.6 + LOOK_AGAIN_S)
    waiting.body_began(2.0)
    assert waiting.say_so_at() is None
    assert waiting.origin_silent_at() == 2.0 + ORIGIN_SILENCE_S
    waiting.fetch_begun(4.0)
    assert not waiting.awaits_origin(), "of a new connection nothing is known"


def test_a_parent_that_waits_for_the_origin_is_not_silent_and_not_given_up() -> None:
    waiting = timeouts()
    waiting.source_awaits(3.0)
    assert told(waiting)
    waiting.source_awaits(3.05)
    assert not told(waiting), "it was passed on just now"
    assert waiting.parent_silent_at(0.1) == pytest.approx(3.05 + 0.1 + LIMITS.first_byte_grace_s)
    assert waiting.give_up_at() == 3.05 + GIVE_UP_S


def test_an_origin_has_longer_to_be_reached_and_each_time_more() -> None:
    waiting = timeouts()
    waiting.fetch_begun(1.0)
    assert waiting.origin_silent_at() == 1.0 + ORIGIN_REACH_S
    waiting.body_began(2.0)
    assert waiting.origin_silent_at() == 2.0 + ORIGIN_SILENCE_S
    assert [waiting.origin_was_silent() for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
def test_all_waiting_ends_and_every_new_byte_begins_it_anew(spread: float) -> None:
    waiting = timeouts(spread)
    assert waiting.give_up_at() == GIVE_UP_S * (1 + spread)
    waiting.bytes_arrived(1, 3.0)
    waiting.bytes_arrived(1, 3.5)
    assert waiting.give_up_at() == 3.0 + GIVE_UP_S * (1 + spread)
    waiting.gave_up(10.0)
    assert waiting.give_up_at() == 10.0 + GIVE_UP_S * (1 + spread)


def test_a_parent_that_is_named_again_is_not_waited_for_as_long_as_a_new_one() -> None:
    waiting = timeouts()
    waiting.parent_chosen(0, 1.0)
    waiting.parent_kept(0, 0.1, 1.3)
    assert waiting.parent_silent_at(0.1) == pytest.approx(1.3 + 0.4 / 2)
    waiting.parent_kept(0, 0.1, 1.31)
    assert waiting.parent_silent_at(0.1) == pytest.approx(1.31 + 0.4 / 2)
    waiting.source_spoke(1.4)
    waiting.parent_kept(0, 0.1, 1.41)
    assert waiting.parent_silent_at(0.1) == pytest.approx(1.4 + 0.4)


def test_a_fetch_is_quiet_when_its_lease_has_run_out_or_its_viewers_become_impatient() -> None:
    waiting = timeouts()
    waiting.fetch_begun(1.0)
    assert waiting.fetch_quiet_from(0.1, None) == pytest.approx(1.0 + 0.1 + LIMITS.first_byte_grace_s)
    assert waiting.fetch_quiet_from(9.0, 1.6) == 1.6
    assert waiting.fetch_quiet_from(9.0, 0.5) == 1.0 + LIMITS.first_byte_grace_s
    waiting.looked_around(1.6)
    assert waiting.look_around_at(1.6) == pytest.approx(1.6 + LIMITS.first_byte_grace_s)
    waiting.body_began(2.0)
    assert waiting.fetch_quiet_from(9.0, 1.6) == pytest.approx(2.0 + LIMITS.silence_s + LIMITS.progress_s)


def test_a_body_that_grows_may_pause_as_long_as_its_cadence_and_that_is_said() -> None:
    waiting = timeouts()
    waiting.fetch_begun(1.0)
    waiting.origin_reached()
    waiting.gap_s, waiting.grows = 1.25, True
    waiting.body_began(2.0)
    assert waiting.say_so_at() == pytest.approx(2.0 + SAY_SO_IN_BODY_S)
    waiting.say_so(2.1)
    assert waiting.say_so_at() == pytest.approx(2.1 + SAY_SO_S)
    assert waiting.fetch_quiet_from(0.1, None) == 2.0 + 1.25
    assert waiting.origin_silent_at() == 2.0 + 1.25 + ORIGIN_SILENCE_S, "neighbours have their chance before"
    for tenths in range(23, 33, 2):
        waiting.say_so(tenths / 10)
    assert waiting.say_so_at() is None, "longer than its cadence: that is not said any more"
    waiting.body_began(3.3)
    assert waiting.longest_gap_s == pytest.approx(1.3)
    assert not waiting.is_late(two_seconds, 10, None, 9.0), "nobody knows how much is to come"


def test_a_pause_is_counted_from_byte_to_byte_whatever_was_said_meanwhile() -> None:
    waiting = timeouts()
    waiting.grows = True
    waiting.body_began(1.0)
    assert waiting.parent_silent_at(9.0) == 1.0 + 2 * LIMITS.silence_s
    for tenths in (11, 13, 15):
        waiting.source_awaits(tenths / 10)
    waiting.body_began(1.6)
    assert waiting.longest_gap_s == pytest.approx(0.6)
