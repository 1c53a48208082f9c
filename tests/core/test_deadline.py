"""How much time a viewer has, and whether a segment will come too late."""

import pytest

from ecdn_proxy.core.deadline import Cadence, finishes_at
from ecdn_proxy.core.limits import Limits
from tests.core.world import STREAM

LIMITS = Limits()


def test_a_player_that_fills_its_buffer_is_in_a_hurry_one_that_waits_is_not() -> None:
    cadence = Cadence(LIMITS)
    slack = [cadence.slack_s(STREAM, "v1", 4.0, now) for now in (0.0, 0.5, 1.0, 2.9, 4.9, 8.9)]
    assert slack == [1.0, 1.0, 1.0, 1.0, 4.0, 4.0]


def test_each_rendition_has_its_own_rhythm() -> None:
    cadence = Cadence(LIMITS)
    cadence.slack_s(STREAM, "video", 4.0, 0.0)
    assert cadence.slack_s(STREAM, "audio", 4.0, 4.0) == LIMITS.slack_floor_s
    assert cadence.slack_s(STREAM, "video", 4.0, 4.0) == 4.0


@pytest.mark.parametrize(("duration_s", "slack_s"), [(0.5, 1.0), (2.0, 2.0), (6.0, 6.0), (30.0, 6.0), (0.0, 1.0)])
def test_slack_has_a_floor_and_a_ceiling(duration_s: float, slack_s: float) -> None:
    cadence = Cadence(LIMITS)
    cadence.slack_s(STREAM, "v1", duration_s, 0.0)
    assert cadence.slack_s(STREAM, "v1", duration_s, 60.0) == slack_s


def test_only_so_many_renditions_are_remembered() -> None:
    cadence = Cadence(LIMITS)
    for number in range(257):
        cadence.slack_s(STREAM, f"v{number}", 4.0, 0.0)
    assert cadence.slack_s(STREAM, "v0", 4.0, 4.0) == LIMITS.slack_floor_s
    assert cadence.slack_s(STREAM, "v256", 4.0, 4.0) == 4.0


def test_the_rest_comes_at_the_rate_so_far() -> None:
    assert finishes_at(250, 1_000, 10.0, 11.0) == pytest.approx(14.0)
    assert finishes_at(1_000, 1_000, 10.0, 11.0) == pytest.approx(11.0)


@pytest.mark.parametrize(
    ("received", "total", "began_at"), [(0, 1_000, 10.0), (250, None, 10.0), (250, 1_000, None), (250, 1_000, 11.0)]
)
def test_before_anything_came_nothing_can_be_said(received: int, total: int | None, began_at: float | None) -> None:
    assert finishes_at(received, total, began_at, 11.0) is None
