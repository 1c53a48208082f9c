"""Spreads and sums: what they keep and what they lose."""

import random

import pytest

from ecdn_proxy.sim.figures import Distribution, SiteFigures, jain


def spread(values: list[float]) -> Distribution:
    made = Distribution()
    for value in values:
        made.add(value)
    return made


def test_percentiles_are_right_to_two_percent() -> None:
    dice = random.Random(1)
    values = sorted(dice.lognormvariate(-1, 0.7) for _ in range(5_000))
    made = spread(values)
    for percent in (1, 50, 95, 99, 99.9):
        assert made.percentile(percent) == pytest.approx(values[int(percent / 100 * len(values)) - 1], rel=0.025)
    assert made.percentile(100) == pytest.approx(values[-1], rel=0.02)
    assert made.mean == pytest.approx(sum(values) / len(values))


def test_spreads_add_up() -> None:
    one, two = spread([0.1, 0.2]), spread([0.3, 0.0])
    both = spread([0.1, 0.2, 0.3, 0.0])
    one.merge(two)
    assert one == both


def test_nothing_is_nothing() -> None:
    assert Distribution().percentile(99) == 0
    assert Distribution().mean == 0
    empty = SiteFigures("nobody", 0, 20.0, 0.3)
    assert (empty.offload, empty.bound, empty.copies, empty.steady_copies, empty.late_rate) == (0, 0, 0, 0, 0)
    assert empty.control_per_viewer_s == 0


def test_sites_add_up_and_the_worst_stays() -> None:
    one = SiteFigures("one", 10, 20.0, 0.3, viewer_bytes=100, unique_bytes=10, origin_bytes=20, copies_worst=3)
    two = SiteFigures("two", 5, 20.0, 0.4, viewer_bytes=100, unique_bytes=10, origin_bytes=10, copies_worst=1)
    one.merge(two)
    assert one.viewers == 15
    assert one.copies == pytest.approx(1.5)
    assert one.offload == pytest.approx(0.85)
    assert one.bound == pytest.approx(0.9)
    assert (one.copies_worst, one.lone_s) == (3, 0.4)


def test_fairness() -> None:
    assert jain([2.0, 2.0, 2.0]) == pytest.approx(1.0)
    assert jain([6.0, 0.0, 0.0]) == pytest.approx(1 / 3)
    assert jain([]) == 1.0
