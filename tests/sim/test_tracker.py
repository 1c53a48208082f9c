"""The built-in tracker follows the coordinator's rules; the coordinator's own is asked the same."""

import random

import pytest

from ecdn_proxy.sim.tracker import SWARM_MEMBERS_MAX, NeighbourList, SeniorityTracker, Tracker
from ecdn_proxy.wire.peer import Contact
from ecdn_proxy.wire.tracker import COMMITTEE_MAX, NEIGHBOURS_MAX
from tests.sim.registry import Registry

STREAM = "ab" * 16


def contact(number: int, link: str = "wired") -> Contact:
    return Contact(f"dev-{number:03d}", ("10.0.0.1",), 7688, link)  # type: ignore[arg-type]


@pytest.fixture(params=[SeniorityTracker, Registry])
def tracker(request: pytest.FixtureRequest) -> Tracker:
    made: Tracker = request.param()
    return made


def flush(tracker: Tracker) -> dict[str, NeighbourList]:
    at = tracker.wake_at()
    assert at is not None
    return {told.device: told for told in tracker.wake(at)}


def test_a_committee_by_seniority_wired_first(tracker: Tracker) -> None:
    for number in range(12):
        tracker.watch(contact(number, "wifi" if number < 2 else "wired"), (STREAM,), 100.0, serves=True)
    told = flush(tracker)
    assert len(told) == 12
    assert {it.committee for it in told.values()} == {tuple(f"dev-{number:03d}" for number in range(2, 9))}
    assert all(len(it.contacts) == 11 for it in told.values())


def test_lists_are_bounded_and_hold_the_committee(tracker: Tracker) -> None:
    for number in range(60):
        tracker.watch(contact(number), (STREAM,), 100.0, serves=True)
    for device, it in flush(tracker).items():
        named = [near.device for near, _ in it.contacts]
        assert len(named) == len(set(named)) == NEIGHBOURS_MAX
        assert device not in named
        assert len(it.committee) == COMMITTEE_MAX
        assert set(it.committee) <= {*named, device}


def test_seats_are_kept_and_lists_sent_only_when_they_changed(tracker: Tracker) -> None:
    for number in range(10):
        tracker.watch(contact(number), (STREAM,), 100.0, serves=True)
    before = flush(tracker)["dev-009"].committee
    tracker.leave("dev-000", 110.0)
    after = flush(tracker)
    assert "dev-000" not in after
    assert after["dev-009"].committee == (*before[1:], "dev-007")
    assert tracker.wake_at() is None


def test_who_watches_no_more_is_named_no_more(tracker: Tracker) -> None:
    for number in range(3):
        tracker.watch(contact(number), (STREAM,), 100.0, serves=True)
    flush(tracker)
    tracker.watch(contact(1), (), 110.0, serves=True)
    told = flush(tracker)
    assert set(told) == {"dev-000", "dev-002"}
    assert [near.device for near, _ in told["dev-000"].contacts] == ["dev-002"]


def arrivals(tracker: Tracker) -> list[tuple[float, str, tuple[str, ...], tuple[str, ...]]]:
    """Who is told what and when, as 150 machines come within nine seconds and some of them go."""
    dice = random.Random(7)
    todo = [(100.0 + dice.uniform(0, 9), number, True) for number in range(150)]
    todo += [(at + dice.uniform(0.5, 3), number, False) for at, number, _ in dice.sample(todo, 20)]
    said: list[tuple[float, str, tuple[str, ...], tuple[str, ...]]] = []

    def until(now: float) -> None:
        while (at := tracker.wake_at()) is not None and at <= now:
            told = tracker.wake(at)
            said.extend(sorted((at, it.device, it.committee, tuple(c.device for c, _ in it.contacts)) for it in told))

    for at, number, comes in sorted(todo):
        until(at)
        if comes:
            tracker.watch(contact(number, "wifi" if number % 3 else "wired"), (STREAM,), at, serves=True)
        else:
            tracker.leave(f"dev-{number:03d}", at)
    until(200.0)
    return said


def test_it_says_the_same_to_the_same_at_the_same_time_as_the_coordinators() -> None:
    mine = arrivals(SeniorityTracker())
    assert mine == arrivals(Registry())
    first = {device: at for at, device, _, _ in reversed(mine)}
    assert len(first) == 150


def test_a_second_swarm_beside_a_full_one(tracker: Tracker) -> None:
    for number in range(SWARM_MEMBERS_MAX + 1):
        tracker.watch(contact(number), (STREAM,), 100.0, serves=True)
    told: dict[str, NeighbourList] = {}
    while tracker.wake_at() is not None:
        told |= flush(tracker)
    late = f"dev-{SWARM_MEMBERS_MAX:03d}"
    assert told[late].committee == (late,)
    assert len({it.committee for it in told.values()}) == 2
