"""Amounts that halve with time."""

import pytest

from ecdn_proxy.core.swarm.decay import Decay


def test_an_amount_halves_with_time_and_what_is_added_later_counts_more() -> None:
    asked = Decay(half_life_s=10.0, most=8)
    assert asked.level("one", 0.0) == 0.0
    asked.add("one", 0.0)
    assert asked.level("one", 10.0) == pytest.approx(0.5)
    asked.add("one", 10.0)
    assert asked.level("one", 20.0) == pytest.approx(0.75)
    assert asked.level("other", 20.0) == 0.0


def test_whoever_was_not_heard_of_for_longest_is_forgotten_first() -> None:
    asked = Decay(half_life_s=10.0, most=2)
    for device in ("one", "two", "one", "three"):
        asked.add(device, 0.0)
    assert [asked.level(device, 0.0) for device in ("one", "two", "three")] == [2.0, 0.0, 1.0]
