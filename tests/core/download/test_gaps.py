"""The cadence of a rendition: how long its bodies may pause."""

import pytest

from ecdn_proxy.core.download.gaps import LEAST_S, MOST_S, RENDITIONS_MAX, TIMES, Gaps
from tests.core.world import STREAM


@pytest.mark.parametrize(("duration_s", "allowed_s"), [(2.0, 2.0), (0.2, LEAST_S), (30.0, MOST_S)])
def test_while_nothing_is_known_a_body_may_pause_as_long_as_it_plays(duration_s: float, allowed_s: float) -> None:
    assert Gaps().allowed_s(STREAM, "v1", duration_s) == allowed_s


def test_the_longest_pause_is_learnt_at_once_and_a_shorter_one_by_and_by() -> None:
    gaps = Gaps()
    gaps.learn(STREAM, "v1", 0.5)
    assert gaps.allowed_s(STREAM, "v1", 4.0) == TIMES * 0.5
    gaps.learn(STREAM, "v1", 1.0)
    assert gaps.allowed_s(STREAM, "v1", 4.0) == TIMES * 1.0
    assert gaps.allowed_s(STREAM, "v1", 2.0) == 2.0, "never longer than the segment plays"
    gaps.learn(STREAM, "v1", 0.5)
    assert gaps.allowed_s(STREAM, "v1", 4.0) == pytest.approx(TIMES * 0.85)
    for _ in range(20):
        gaps.learn(STREAM, "v1", 0.05)
    assert gaps.allowed_s(STREAM, "v1", 4.0) == LEAST_S
    assert gaps.allowed_s(STREAM, "v2", 4.0) == 4.0, "each rendition has its own"


def test_so_many_renditions_are_remembered() -> None:
    gaps = Gaps()
    for number in range(RENDITIONS_MAX + 1):
        gaps.learn(STREAM, f"v{number}", 0.2)
    assert gaps.allowed_s(STREAM, "v0", 4.0) == 4.0
    assert gaps.allowed_s(STREAM, "v1", 4.0) == TIMES * 0.2
