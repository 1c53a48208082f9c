"""Segments wanted here: from disk, within bounds, and what was found to be private is not asked for again."""

from dataclasses import replace

import pytest

from ecdn_proxy.core import events
from ecdn_proxy.core.http.freshness import Demand
from ecdn_proxy.core.limits import Limits
from tests.core.makers import KEY, wanted
from tests.core.test_node_alone import BODY, HEADERS, One
from tests.core.world import STREAM, UTC, key_of


def test_what_is_on_disk_is_loaded_and_not_fetched() -> None:
    one = One(disk_bytes=1_000_000)
    kept = One().has()
    one.node.cache.found_on_disk(KEY, 100_000)
    one.feed(events.StreamOpened(STREAM), wanted(1))
    assert one.of(events.Load) == [events.Load(KEY)]
    one.feed(wanted(2))
    one.feed(events.Loaded(KEY, kept))
    assert [it.viewer for it in one.of(events.Finish)] == [1, 2]
    assert {it.source for it in one.of(events.Served)} == {"cache"}
    assert one.feed(wanted(3))[0] == events.BeginAnswer(3, kept.head, "cache", "in this machine's memory")


@pytest.mark.parametrize("found", ["nothing", "stale"])
def test_what_the_disk_has_lost_or_kept_too_long_is_fetched(found: str) -> None:
    one = One(disk_bytes=1_000_000)
    one.node.cache.found_on_disk(KEY, 100_000)
    one.feed(events.StreamOpened(STREAM), wanted(1))
    one.feed(events.Loaded(KEY, None if found == "nothing" else One().has(fresh_s=-1.0)))
    one.after(1.0)
    assert one.of(events.FetchOrigin)
    (asked,) = one.of(events.FetchOrigin)
    assert asked.conditions == (() if found == "nothing" else (("if-none-match", '"v1"'),))


def test_a_viewer_that_left_needs_nothing_of_the_disk() -> None:
    one = One(disk_bytes=1_000_000)
    one.node.cache.found_on_disk(KEY, 100_000)
    one.feed(events.StreamOpened(STREAM), wanted(1))
    one.feed(events.ViewerLeft(1))
    assert one.node.downloading() == {}
    one.feed(events.Loaded(KEY, One().has()))
    assert one.of(events.Deliver) == []
    assert one.node.in_memory(KEY, Demand(one.now), one.now) is not None


def test_what_is_private_passes_at_once_and_for_ten_minutes_only() -> None:
    one = One()
    fetch = one.fetch()
    one.feed(events.OriginAnswered(fetch, 200, (*HEADERS, ("cache-control", "no-store")), UTC))
    assert [it.viewer for it in one.of(events.HandOver)] == [1]
    one.feed(wanted(2, key=key_of(2)))
    assert one.of(events.PassOn) == [events.PassOn(2, "the origin said Cache-Control: no-store")]
    one.now += Limits().private_s
    assert not [it for it in one.feed(wanted(3, key=key_of(3))) if isinstance(it, events.PassOn)]


@pytest.mark.parametrize("limits", [Limits(acquisitions_max=1), Limits(in_flight_bytes_max=1_000)])
def test_beyond_the_bounds_viewers_go_to_the_origin(limits: Limits) -> None:
    one = One(limits=limits)
    fetch = one.fetch()
    one.feed(events.OriginAnswered(fetch, 200, HEADERS, UTC), events.OriginSent(fetch, BODY[:5_000]))
    one.feed(wanted(2, key=key_of(2)))
    assert one.of(events.PassOn) == [events.PassOn(2, "too many segments are being fetched at once")]
    one.feed(wanted(3))
    assert one.of(events.PassOn) == []


def test_events_of_a_fetch_that_is_over_change_nothing() -> None:
    one = One()
    fetch = one.fetch()
    one.feed(events.ViewerLeft(1))
    for event in (
        events.OriginAnswered(fetch, 200, HEADERS, UTC),
        events.OriginSent(fetch, b"x"),
        events.OriginEnded(fetch),
        events.OriginFailed(fetch, "so"),
    ):
        assert one.feed(event) == []


def test_a_disk_that_answers_after_the_origin_was_asked_changes_nothing() -> None:
    one = One(disk_bytes=1_000_000)
    one.node.cache.found_on_disk(KEY, 100_000)
    one.feed(events.StreamOpened(STREAM), wanted(1))
    one.after(9.0)
    assert one.of(events.FetchOrigin)
    one.feed(events.Loaded(KEY, One().has()))
    assert one.did == []


def test_only_so_many_private_renditions_are_remembered() -> None:
    one = One()
    for number in range(257):
        one.feed(events.StreamOpened(STREAM), replace(wanted(number, key=key_of(number)), rendition=f"v{number}"))
        if not one.of(events.FetchOrigin):
            one.after(1.0)
        (asked,) = one.of(events.FetchOrigin)
        one.feed(events.OriginAnswered(asked.fetch, 200, (*HEADERS, ("cache-control", "no-store")), UTC))
    one.feed(replace(wanted(999, key=key_of(999)), rendition="v256"))
    assert [it.viewer for it in one.of(events.PassOn)] == [999]
    one.feed(replace(wanted(1_000, key=key_of(1_000)), rendition="v0"))
    assert one.of(events.PassOn) == [], "it was noted first and is forgotten"
