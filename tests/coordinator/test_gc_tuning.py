import gc
import weakref
from collections.abc import Iterator

import pytest

from coordinator.service.gc_tuning import LEFT_MIN, GcTuning, collect_young_objects_only


@pytest.fixture
def tuning() -> Iterator[GcTuning]:
    before = gc.get_threshold()
    collect_young_objects_only()
    yield GcTuning()
    gc.set_threshold(*before)


class Knot:
    """Holds itself."""

    def __init__(self) -> None:
        self.itself = self


def old_knot() -> "weakref.ref[Knot]":
    """One that has become old, and then garbage."""
    knot = Knot()
    gc.collect()
    return weakref.ref(knot)


def test_what_agents_leave_behind_is_collected_when_many_have_left(tuning: GcTuning) -> None:
    knot = old_knot()
    assert not tuning.collect_if_due(10, LEFT_MIN - 1)
    assert knot() is not None
    assert tuning.collect_if_due(10, LEFT_MIN)
    assert knot() is None


def test_then_as_many_again_and_in_a_full_house_half_of_it(tuning: GcTuning) -> None:
    assert tuning.collect_if_due(0, LEFT_MIN)
    assert not tuning.collect_if_due(0, 2 * LEFT_MIN - 1)
    assert not tuning.collect_if_due(20_000, LEFT_MIN + 9_999)
    assert tuning.collect_if_due(20_000, LEFT_MIN + 10_000)
