"""How much time a viewer has, and whether a segment will come too late."""

import pytest

from ecdn_proxy.core.download.slack import Cadence, finishes_at
from ecdn_proxy.core.limits import Limits
from tests.core.world import STREAM

LIMITS = Limits()
UNHURRIED = Limits(slack_floor_segments=0.0)
"""So that what a player has in hand shows."""


def slacks(cadence: Cadence, *asked: tuple[int, float], rendition: str = "v1", duration_s: float = 2.0) -> list[float]:
    """The slack of each request (number, time)."""
    return [round(cadence.slack_s(STREAM, rendition, number, duration_s, now), 3) for number, now in asked]


def test_a_player_has_in_hand_what_it_asked_for_less_what_it_played() -> None:
    """Three segments behind the live edge: it fills its buffer, then asks for each segment as it is published."""
    filling = slacks(Cadence(UNHURRIED), (7, 0.0), (8, 0.3), (9, 0.6), (10, 2.0), (11, 4.0), (12, 6.0))
    assert filling == [1.0, 1.7, 3.4, 4.0, 4.0, 4.0]


def test_one_that_was_late_has_less_in_hand() -> None:
    assert slacks(Cadence(UNHURRIED), (7, 0.0), (8, 0.5), (9, 1.0), (10, 4.0), (11, 7.0)) == [1.0, 1.5, 3.0, 2.0, 1.0]


def test_after_a_pause_the_count_begins_anew() -> None:
    assert slacks(Cadence(UNHURRIED), (7, 0.0), (8, 0.3), (9, 60.0), (10, 60.2)) == [1.0, 1.7, 1.0, 1.8]


@pytest.mark.parametrize("number", [5, 8, 30])
def test_a_jump_begins_anew(number: int) -> None:
    cadence = Cadence(UNHURRIED)
    slacks(cadence, (7, 0.0), (8, 0.1), (9, 0.2), (10, 0.3))
    assert slacks(cadence, (number, 0.5), (number + 1, 0.6)) == [1.0, 1.9]


def test_who_asks_again_has_no_more_in_hand() -> None:
    assert slacks(Cadence(UNHURRIED), (7, 0.0), (8, 0.2), (8, 0.6), (8, 0.7)) == [1.0, 1.8, 1.4, 1.3]


def test_what_is_in_hand_survives_a_switch_of_rendition() -> None:
    cadence = Cadence(UNHURRIED)
    slacks(cadence, (7, 0.0), (8, 0.2), (9, 0.4))
    assert slacks(cadence, (10, 2.0), rendition="v2") == [4.0]
    assert slacks(cadence, (30, 2.0), rendition="v3") == [1.0]


@pytest.mark.parametrize(("duration_s", "slack_s"), [(0.2, 1.0), (1.0, 2.0), (2.0, 4.0), (6.0, 6.0), (0.0, 1.0)])
def test_nobody_is_hurried_by_a_segment_that_comes_as_fast_as_it_plays(duration_s: float, slack_s: float) -> None:
    assert slacks(Cadence(LIMITS), (1, 0.0), (2, 60.0), duration_s=duration_s) == [slack_s, slack_s]


def test_slack_has_a_ceiling() -> None:
    filling = slacks(Cadence(UNHURRIED), *((number, number / 10) for number in range(30)))
    assert max(filling) == LIMITS.slack_ceiling_s


def test_only_so_many_renditions_are_remembered() -> None:
    cadence = Cadence(UNHURRIED)
    for number in range(257):
        slacks(cadence, (1_000 * number, 0.0), rendition=f"v{number}", duration_s=4.0)
    assert slacks(cadence, (1, 0.5), rendition="v0", duration_s=4.0) == [LIMITS.slack_floor_s]
    assert slacks(cadence, (256_001, 0.5), rendition="v256", duration_s=4.0) == [3.5]


def test_the_rest_comes_at_the_rate_so_far() -> None:
    assert finishes_at(250, 1_000, 10.0, 11.0) == pytest.approx(14.0)
    assert finishes_at(1_000, 1_000, 10.0, 11.0) == pytest.approx(11.0)


@pytest.mark.parametrize(
    ("received", "total", "began_at"), [(0, 1_000, 10.0), (250, None, 10.0), (250, 1_000, None), (250, 1_000, 11.0)]
)
def test_before_anything_came_nothing_can_be_said(received: int, total: int | None, began_at: float | None) -> None:
    assert finishes_at(received, total, began_at, 11.0) is None
