"""One segment on its way here, as a timetable: what a parent, a home or an origin does wrong, and what follows."""

from dataclasses import replace

import pytest

from ecdn_proxy.core import events, values
from ecdn_proxy.core.download.assembly import Assembly
from ecdn_proxy.core.download.questions import REASKS_MAX
from ecdn_proxy.core.download.timeouts import (
    ORIGIN_REACH_S,
    ORIGIN_SILENCE_WHOLE_S,
    PARENT_WAIT_MAX_S,
    SAY_SO_FIRST_S,
    SAY_SO_S,
)
from ecdn_proxy.core.http.freshness import Demand
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.membership import LINK_WAIT_S
from ecdn_proxy.wire import peer
from ecdn_proxy.wire.integrity import PIECE_BYTES
from tests.core.makers import KEY, contact, fetched, head, seal, wanted
from tests.core.test_node_alone import One
from tests.core.world import STREAM, UTC, Seals, key_of

BODY = bytes(range(256)) * 128 * 12
LIMITS = Limits()
LAN = events.LinkOpened(contact("home"), "lan", (STREAM,), serves=True, rtt_ms=1.0)


class Desk(One):
    """A node whose key's ledger is kept by `home`; `ann` and `bob` have the segment."""

    def __init__(self) -> None:
        super().__init__()
        self.seals = Seals()
        self.node.context.seal = seal("me", self.seals)
        self.feed(events.StreamOpened(STREAM))
        self.link("home", "ann", "bob")
        self.feed(events.TrackerSaid(STREAM, ("home",), ((contact("home"), "so"),)))
        for device in ("ann", "bob"):
            self.node.context.membership.watching(device, (), serves=True)
        self.now += 10.0
        membership = self.node.context.membership
        self.key = next(it for it in map(key_of, range(99)) if membership.homes(STREAM, it, self.now)[0] == "home")

    def want(self, viewer: int = 1) -> peer.Ask:
        self.feed(wanted(viewer, key=self.key))
        (ask,) = self.sent(peer.Ask)
        return ask

    def follow(self, ask: peer.Ask, *parents: str) -> peer.Get:
        contacts = tuple(contact(it) for it in parents)
        self.feed(events.Received("home", peer.Follow(ask.request, self.key, contacts, "so")))
        (get,) = self.sent(peer.Get)
        return get

    def fetch(self, viewer: int = 1, *, key: str = "") -> int:
        assert not key
        ask = self.want(viewer)
        self.feed(events.Received("home", peer.Granted(ask.request, self.key, 5, hedge=False)))
        (asked,) = self.of(events.FetchOrigin)
        return asked.fetch

    def source(self, device: str, body: bytes = BODY, *, etag: str | None = '"v1"') -> Assembly:
        return fetched(seal(device, self.seals), body, key=self.key, etag=etag)

    def give(self, device: str, get: peer.Get, source: Assembly, upto: int) -> None:
        for voucher in source.vouchers:
            self.feed(events.Received(device, peer.Vouched(get.request, voucher)))
        for index in range(get.first, upto):
            self.feed(events.Received(device, peer.Piece(get.request, index, source.pieces[index])))

    def headers(self, *more: tuple[str, str], etag: str = '"v1"') -> values.Headers:
        return (("content-type", "video/mp2t"), ("content-length", str(len(BODY))), ("etag", etag), *more)

    def asks(self) -> list[str]:
        return [it.reason for it in self.sent(peer.Ask)]


def test_a_parents_pieces_reach_the_viewer_and_its_end_is_the_end() -> None:
    desk = Desk()
    get = desk.follow(desk.want(), "ann")
    assert (get.first, get.key) == (0, desk.key)
    desk.give("ann", get, desk.source("ann"), 12)
    assert [it.viewer for it in desk.of(events.Finish)] == [1]
    assert desk.sent(peer.Cancel) == []  # its End is on the way
    (row,) = desk.of(events.Served)
    assert (row.source, dict(row.bytes_by_source)) == ("lan", {"lan": len(BODY)})
    desk.feed(events.Received("ann", peer.End(get.request)))
    assert desk.did == []


@pytest.mark.parametrize("way", ["refuses", "ends early", "goes away", "lies"])
def test_the_alternate_goes_on_where_the_parent_stopped(way: str) -> None:
    desk = Desk()
    get, source = desk.follow(desk.want(), "ann", "bob"), desk.source("ann")
    desk.give("ann", get, source, 3)
    match way:
        case "refuses":
            desk.feed(events.Received("ann", peer.Refused(get.request, "private")))
        case "ends early":
            desk.feed(events.Received("ann", peer.End(get.request)))
        case "goes away":
            desk.feed(events.LinkClosed("ann", "connection lost"))
        case _:
            desk.feed(events.Received("ann", peer.Piece(get.request, 3, b"lie")))
            assert [it.code for it in desk.of(events.RaiseCondition)] == ["peer-misbehaved"]
    (again,) = desk.sent(peer.Get)
    assert again.first == 3
    desk.give("bob", again, source, 12)
    assert [it.viewer for it in desk.of(events.Finish)] == [1]


def test_without_an_alternate_the_home_is_asked_again() -> None:
    desk = Desk()
    get = desk.follow(desk.want(), "ann")
    desk.feed(events.Received("ann", peer.Refused(get.request, "busy")))
    assert desk.asks() == ["parent lost"]
    assert desk.sent(peer.Ask)[0].avoid == ("ann",)


def test_a_segment_that_nobody_can_serve_is_fetched_here_at_last() -> None:
    desk = Desk()
    ask, asked = desk.want(), 0
    while not desk.of(events.FetchOrigin):
        desk.feed(events.Received("home", peer.Follow(ask.request, desk.key, (contact("me"),), "so")))
        if further := desk.sent(peer.Ask):
            ask, asked = further[-1], asked + len(further)
        assert asked < REASKS_MAX
    assert [it.first_byte for it in desk.of(events.FetchOrigin)] == [0]


def test_a_silent_parent_is_replaced_and_the_origin_asked_only_for_the_rest() -> None:
    desk = Desk()
    get = desk.follow(desk.want(), "ann")
    desk.give("ann", get, desk.source("ann"), 3)
    desk.after(LIMITS.silence_s - 0.01)
    assert desk.asks() == []
    desk.after(0.02)
    assert desk.asks() == ["parent slow"]
    assert desk.sent(peer.Cancel) == [peer.Cancel(get.request, 3, 260)]
    (ask,) = desk.sent(peer.Ask)
    desk.feed(events.Received("home", peer.Granted(ask.request, desk.key, 5, hedge=True)))
    (asked,) = desk.of(events.FetchOrigin)
    assert (asked.first_byte, asked.ranged, asked.if_range) == (3 * PIECE_BYTES, True, '"v1"')
    span = ("content-range", f"bytes {3 * PIECE_BYTES}-{len(BODY) - 1}/{len(BODY)}")
    desk.feed(
        events.OriginAnswered(asked.fetch, 206, (*desk.headers()[:1], desk.headers()[2], span), UTC),
        events.OriginSent(asked.fetch, BODY[3 * PIECE_BYTES :]),
        events.OriginEnded(asked.fetch),
    )
    assert [it.viewer for it in desk.of(events.Finish)] == [1]
    generation = desk.source("ann").generation
    assert desk.sent(peer.Finished) == [peer.Finished(desk.key, 5, "complete", 200, "", generation)]


@pytest.mark.parametrize("etag", ['"v1"', '"v2"'])
def test_two_versions_are_never_mixed_the_viewer_sees_it_break(etag: str) -> None:
    desk = Desk()
    get = desk.follow(desk.want(), "ann", "bob")
    desk.give("ann", get, desk.source("ann"), 3)
    desk.feed(events.Received("ann", peer.Refused(get.request, "lost")))
    (again,) = desk.sent(peer.Get)
    other = desk.source("bob", bytes(len(BODY)), etag=etag)
    desk.feed(events.Received("bob", peer.Vouched(again.request, other.vouchers[0])))
    assert desk.of(events.RaiseCondition) == []
    assert desk.of(events.Abort) == [], "the own fetch may bring what the viewer had"
    (asked,) = desk.of(events.FetchOrigin)
    assert asked.first_byte == 0, "from its beginning: what was shared is not believed"
    mine = bytes(range(255)) + bytes(len(BODY) - 255)
    desk.feed(events.OriginAnswered(asked.fetch, 200, desk.headers(), UTC), events.OriginSent(asked.fetch, mine))
    assert [it.viewer for it in desk.of(events.Abort)] == [1]
    assert desk.node.downloading() == {}


def test_a_viewer_whose_bytes_the_own_fetch_brings_is_not_cut_when_neighbours_differ() -> None:
    """The rendition is not shared for a while all the same: two honest fetchers were sent different bytes."""
    desk = Desk()
    get = desk.follow(desk.want(), "ann", "bob")
    desk.give("ann", get, desk.source("ann"), 3)
    desk.feed(events.Received("ann", peer.Refused(get.request, "lost")))
    (again,) = desk.sent(peer.Get)
    other = desk.source("bob", bytes(len(BODY)))
    desk.feed(events.Received("bob", peer.Vouched(again.request, other.vouchers[0])))
    (asked,) = desk.of(events.FetchOrigin)
    desk.feed(
        events.OriginAnswered(asked.fetch, 200, desk.headers(), UTC),
        events.OriginSent(asked.fetch, BODY),
        events.Received("bob", peer.Get(7, desk.key, STREAM, 0)),
        events.OriginEnded(asked.fetch),
    )
    assert [it.viewer for it in desk.of(events.Finish)] == [1]
    assert peer.Refused(7, "private") in desk.sent(peer.Refused)
    assert desk.node.in_memory(desk.key, Demand(desk.now), desk.now) is None
    desk.feed(wanted(2, key=desk.key))
    assert [it.viewer for it in desk.of(events.PassOn)] == [2]


def test_a_neighbours_pieces_that_nobody_had_do_not_cut_the_own_fetch() -> None:
    desk = Desk()
    get = desk.follow(desk.want(), "ann")
    other = desk.source("ann", BODY[:PIECE_BYTES] + bytes(len(BODY) - PIECE_BYTES), etag=None)
    desk.give("ann", get, other, 1)
    desk.feed(events.LinkClosed("ann", "connection lost"))
    (ask,) = desk.sent(peer.Ask)
    desk.feed(events.Received("home", peer.Granted(ask.request, desk.key, 5, hedge=False)))
    (asked,) = desk.of(events.FetchOrigin)
    desk.feed(
        events.OriginAnswered(asked.fetch, 200, desk.headers(), UTC),
        events.OriginSent(asked.fetch, BODY),
        events.OriginEnded(asked.fetch),
    )
    assert [it.viewer for it in desk.of(events.Finish)] == [1]
    assert [it.outcome for it in desk.sent(peer.Finished)] == ["private"]


def test_a_home_that_dies_leaves_the_lease_to_the_ledger_here() -> None:
    desk = Desk()
    fetch = desk.fetch()
    desk.feed(events.LinkClosed("home", "connection lost"))
    assert desk.node.context.ledger.fetchers(desk.key) == ("me",)
    desk.feed(
        events.OriginAnswered(fetch, 200, desk.headers(), UTC),
        events.OriginSent(fetch, BODY),
        events.OriginEnded(fetch),
    )
    assert desk.node.context.ledger.fetchers(desk.key) == ()
    assert [it.viewer for it in desk.of(events.Finish)] == [1]


def test_a_home_that_hears_of_progress_hears_of_the_end_too() -> None:
    desk = Desk()
    fetch = desk.fetch()
    desk.feed(events.OriginAnswered(fetch, 200, desk.headers(), UTC), events.OriginSent(fetch, BODY[:1_000]))
    assert desk.sent(peer.Progress) == [peer.Progress(desk.key, 5, 1_000)]  # that it has begun is told at once
    desk.now += LIMITS.progress_s - 0.01
    desk.feed(events.OriginSent(fetch, BODY[1_000:2_000]))
    assert desk.sent(peer.Progress) == []
    desk.now += 0.02
    desk.feed(events.OriginSent(fetch, BODY[2_000:9_000]))
    assert desk.sent(peer.Progress) == [peer.Progress(desk.key, 5, 9_000)]
    desk.feed(events.ViewerLeft(1))
    assert [it.outcome for it in desk.sent(peer.Finished)] == ["cancelled"]


@pytest.mark.parametrize("status", [404, 410])
def test_the_home_tells_of_a_404_and_nothing_is_remembered(status: int) -> None:
    desk = Desk()
    ask = desk.want()
    desk.feed(events.Received("home", peer.GoAlone(ask.request, desk.key, "gone", 200, status)))
    assert desk.of(events.AnswerStatus) == [events.AnswerStatus(1, status, "gone")]
    assert desk.want(2).reason == "first"


def test_what_the_home_knows_to_be_private_passes_at_once() -> None:
    desk = Desk()
    ask = desk.want()
    desk.feed(events.Received("home", peer.GoAlone(ask.request, desk.key, "no-store", 60_000, 0)))
    assert desk.of(events.PassOn) == [events.PassOn(1, "no-store")]
    desk.feed(wanted(2, key=key_of(500)))
    assert desk.of(events.PassOn) == [events.PassOn(2, "no-store")]


def test_another_version_at_the_origin_is_fetched_anew_while_nobody_has_had_anything() -> None:
    desk = Desk()
    get = desk.follow(desk.want(), "ann")
    desk.feed(events.ViewerLeft(99))
    desk.give("ann", get, desk.source("ann"), 0)
    desk.feed(events.Received("ann", peer.Refused(get.request, "lost")))
    (ask,) = desk.sent(peer.Ask)
    desk.feed(events.Received("home", peer.Granted(ask.request, desk.key, 5, hedge=False)))
    (asked,) = desk.of(events.FetchOrigin)
    desk.feed(events.OriginAnswered(asked.fetch, 200, desk.headers(etag='"v2"'), UTC))
    desk.feed(events.OriginSent(asked.fetch, BODY), events.OriginEnded(asked.fetch))
    assert [it.viewer for it in desk.of(events.Finish)] == [1]


def test_an_origin_that_falls_silent_is_left_and_the_rest_asked_for() -> None:
    desk = Desk()
    fetch = desk.fetch()
    desk.feed(events.OriginAnswered(fetch, 200, desk.headers(), UTC), events.OriginSent(fetch, BODY[: 2 * PIECE_BYTES]))
    desk.after(0.9)
    assert desk.of(events.AbortOrigin) == []
    desk.after(0.2)
    assert desk.of(events.AbortOrigin) == [events.AbortOrigin(fetch)]
    assert [it.outcome for it in desk.sent(peer.Finished)] == ["failed"]
    (ask,) = desk.sent(peer.Ask)
    assert ask.have == 2


def test_an_origin_that_pauses_where_nothing_can_be_resumed_is_given_longer() -> None:
    """A new fetch would bring all of it once more."""
    desk = Desk()
    fetch = desk.fetch()
    desk.feed(events.OriginAnswered(fetch, 200, desk.headers()[:2], UTC), events.OriginSent(fetch, BODY[:50_000]))
    desk.after(ORIGIN_SILENCE_WHOLE_S - 0.1)
    assert desk.of(events.AbortOrigin) == []
    desk.feed(events.OriginSent(fetch, BODY[50_000:60_000]))
    desk.after(ORIGIN_SILENCE_WHOLE_S - 0.1)
    assert desk.of(events.AbortOrigin) == []
    desk.after(0.2)
    assert desk.of(events.AbortOrigin) == [events.AbortOrigin(fetch)]


def test_an_origin_that_is_silent_again_and_again_is_left_to_the_viewer() -> None:
    """The wait doubles three times; the fourth silence and the fifth count as tries that failed."""
    desk = Desk()
    fetch = desk.fetch()
    for times in (1, 2, 4, 8):
        desk.after(times * ORIGIN_REACH_S)
        assert desk.of(events.AbortOrigin) == [events.AbortOrigin(fetch)]
        (ask,) = desk.sent(peer.Ask)
        desk.feed(events.Received("home", peer.Granted(ask.request, desk.key, 5, hedge=False)))
        (asked,) = desk.of(events.FetchOrigin)
        fetch = asked.fetch
    desk.after(16 * ORIGIN_REACH_S)
    assert desk.of(events.PassOn) == [events.PassOn(1, "the origin fell silent")]


def test_another_version_for_a_viewer_that_has_had_nothing_is_fetched_from_its_beginning() -> None:
    """The first viewer had a part of the old version, and left."""
    desk = Desk()
    fetch = desk.fetch()
    desk.feed(
        events.OriginAnswered(fetch, 200, desk.headers(), UTC),
        events.OriginSent(fetch, BODY[:1_000]),
        events.OriginFailed(fetch, "connection lost"),
    )
    (ask,) = desk.sent(peer.Ask)
    desk.feed(wanted(2, key=desk.key), events.ViewerLeft(1))
    desk.feed(events.Received("home", peer.Granted(ask.request, desk.key, 6, hedge=False)))
    (asked,) = desk.of(events.FetchOrigin)
    desk.feed(events.OriginAnswered(asked.fetch, 200, desk.headers(etag='"v2"'), UTC))
    assert desk.of(events.AbortOrigin) == [events.AbortOrigin(asked.fetch)]
    assert [(it.lease, it.outcome) for it in desk.sent(peer.Finished)] == [(6, "failed")]
    (ask,) = desk.sent(peer.Ask)
    assert ask.have == 0
    desk.feed(events.Received("home", peer.Granted(ask.request, desk.key, 7, hedge=False)))
    (asked,) = desk.of(events.FetchOrigin)
    desk.feed(events.OriginAnswered(asked.fetch, 200, desk.headers(etag='"v2"'), UTC))
    desk.feed(events.OriginSent(asked.fetch, BODY[::-1]), events.OriginEnded(asked.fetch))
    assert [it.viewer for it in desk.of(events.Finish)] == [2]


def test_an_origin_whose_body_is_too_short_is_shared_with_nobody() -> None:
    desk = Desk()
    fetch = desk.fetch()
    desk.feed(events.OriginAnswered(fetch, 200, desk.headers(), UTC), events.OriginSent(fetch, BODY[:-1]))
    desk.feed(events.OriginEnded(fetch))
    assert [it.viewer for it in desk.of(events.Abort)] == [1]
    assert [it.outcome for it in desk.sent(peer.Finished)] == ["private"]


def test_an_answer_that_is_not_for_others_and_whose_viewer_left_is_broken_off() -> None:
    desk = Desk()
    fetch = desk.fetch()
    desk.feed(wanted(2, key=desk.key), events.ViewerLeft(1))
    desk.feed(events.OriginAnswered(fetch, 200, desk.headers(("cache-control", "no-store")), UTC))
    assert desk.of(events.AbortOrigin) == [events.AbortOrigin(fetch)]
    assert [it.viewer for it in desk.of(events.PassOn)] == [2]


def test_an_origin_that_fails_twice_answers_its_viewer_itself() -> None:
    desk = Desk()
    fetch = desk.fetch()
    desk.feed(events.OriginAnswered(fetch, 503, (), UTC))
    assert [(it.outcome, it.status) for it in desk.sent(peer.Finished)] == [("failed", 503)]
    (ask,) = desk.sent(peer.Ask)
    desk.feed(events.Received("home", peer.Granted(ask.request, desk.key, 6, hedge=False)))
    (asked,) = desk.of(events.FetchOrigin)
    desk.feed(events.OriginAnswered(asked.fetch, 503, (), UTC))
    assert [(it.viewer, it.fetch) for it in desk.of(events.HandOver)] == [(1, asked.fetch)]


def test_a_child_alone_is_fetched_for_with_the_request_of_the_viewer_that_left() -> None:
    desk = Desk()
    get = desk.follow(desk.want(), "ann")
    desk.feed(events.Received("bob", peer.Get(9, desk.key, STREAM, 0)), events.ViewerLeft(1))
    desk.feed(events.Received("ann", peer.Refused(get.request, "lost")))
    (ask,) = desk.sent(peer.Ask)
    desk.feed(events.Received("home", peer.Granted(ask.request, desk.key, 5, hedge=False)))
    (asked,) = desk.of(events.FetchOrigin)
    assert asked.request == wanted(1, key=desk.key).origin


def test_a_parent_without_a_link_is_waited_for_as_long_as_a_link_takes() -> None:
    desk = Desk()
    desk.want()
    (ask,) = desk.sent(peer.Ask)
    desk.feed(events.Received("home", peer.Follow(ask.request, desk.key, (contact("cyd"),), "so")))
    assert desk.of(events.Dial) == [events.Dial(contact("cyd"))]
    desk.after(LINK_WAIT_S - 0.01)
    assert desk.asks() == []
    desk.after(0.01)
    assert desk.asks() == ["parent lost"]
    assert desk.sent(peer.Ask)[0].avoid == ("cyd",)


def test_a_parent_that_never_says_a_word_may_be_kept_apart_from_this_machine() -> None:
    desk = Desk()
    desk.follow(desk.want(), "ann")
    desk.after(0.61)  # the soft deadline says only that it is slow
    isolation = desk.node.context.membership.isolation
    assert (desk.asks(), isolation.evidence) == (["parent slow"], 0)
    desk.follow(desk.sent(peer.Ask)[0], "ann")
    desk.after(PARENT_WAIT_MAX_S)
    assert (desk.asks(), isolation.evidence) == (["parent slow"], 1)


# ---- an own fetch that says nothing


def silent(desk: Desk) -> tuple[int, peer.Ask]:
    """A fetch without a first byte; the question that follows at the soft deadline."""
    fetch = desk.fetch()
    desk.after(0.5)
    assert desk.did == []
    desk.after(0.11)  # a new viewer has four seconds, of which the soft share is 0.6
    (ask,) = desk.sent(peer.Ask)
    assert (ask.reason, ask.have) == ("parent slow", 0)
    assert desk.of(events.AbortOrigin) == []
    return fetch, ask


def reserve(desk: Desk, *parents: str) -> tuple[int, peer.Get]:
    fetch, ask = silent(desk)
    return fetch, desk.follow(ask, *parents)


def test_a_silent_fetch_is_left_when_a_neighbour_begins() -> None:
    desk = Desk()
    fetch, get = reserve(desk, "ann")
    assert desk.of(events.AbortOrigin) == []  # the origin may yet be faster
    source = desk.source("ann")
    desk.feed(events.Received("ann", peer.Vouched(get.request, source.vouchers[0])))
    assert desk.of(events.AbortOrigin) == [events.AbortOrigin(fetch)]
    assert [it.outcome for it in desk.sent(peer.Finished)] == ["cancelled"]
    desk.give("ann", get, source, 12)
    assert [it.viewer for it in desk.of(events.Finish)] == [1]
    (row,) = desk.of(events.Served)
    assert (row.source, row.replaced) == ("lan", True)


def test_a_fetch_that_pauses_is_not_left_for_a_neighbour_that_has_no_more_than_this_machine_gave_it() -> None:
    """The hashes of what was here already made it leave the origin for one that waited for it."""
    desk = Desk()
    fetch = desk.fetch()
    desk.feed(events.OriginAnswered(fetch, 200, desk.headers(), UTC), events.OriginSent(fetch, BODY[: 9 * PIECE_BYTES]))
    desk.after(0.1)
    desk.after(0.6)
    (ask,) = desk.sent(peer.Ask)
    get = desk.follow(ask, "ann")
    assert get.first == 9
    source = desk.source("ann")
    desk.feed(events.Received("ann", peer.Vouched(get.request, source.vouchers[0])))
    assert desk.of(events.AbortOrigin) == []
    desk.feed(events.OriginSent(fetch, BODY[9 * PIECE_BYTES :]), events.OriginEnded(fetch))
    assert [it.viewer for it in desk.of(events.Finish)] == [1]
    assert [it.source for it in desk.of(events.Served)] == ["origin"]


@pytest.mark.parametrize("sign", ["headers", "bytes"])
def test_a_fetch_that_begins_after_all_lets_the_reserve_go(sign: str) -> None:
    desk = Desk()
    fetch = desk.fetch()
    if sign == "bytes":
        desk.feed(events.OriginAnswered(fetch, 200, desk.headers(), UTC))
    desk.after(0.61)
    get = desk.follow(desk.sent(peer.Ask)[0], "ann")
    if sign == "headers":
        desk.feed(events.OriginAnswered(fetch, 200, desk.headers(), UTC))
    else:
        desk.feed(events.OriginSent(fetch, BODY[:1_000]))
    assert peer.Cancel(get.request) in desk.sent(peer.Cancel)
    desk.feed(
        events.OriginAnswered(fetch, 200, desk.headers(), UTC),
        events.OriginSent(fetch, BODY),
        events.OriginEnded(fetch),
    )


@pytest.mark.parametrize("way", ["refuses", "goes away"])
def test_a_reserve_that_is_lost_leaves_the_fetch_as_it_is(way: str) -> None:
    desk = Desk()
    _, get = reserve(desk, "ann", "bob")
    match way:
        case "refuses":
            desk.feed(events.Received("ann", peer.Refused(get.request, "unknown")))
        case _:
            desk.feed(events.LinkClosed("ann", "connection lost"))
    (again,) = desk.sent(peer.Get)
    desk.feed(events.Received("bob", peer.Refused(again.request, "unknown")))
    assert desk.did == []
    desk.after(LIMITS.first_byte_grace_s)
    (ask,) = desk.sent(peer.Ask)
    assert set(ask.avoid) == {"ann", "bob"}


def test_a_reserve_that_refuses_does_not_lengthen_the_wait_for_the_origin() -> None:
    desk = Desk()
    fetch, get = reserve(desk, "ann")
    desk.feed(events.Received("ann", peer.Refused(get.request, "busy")))
    desk.after(ORIGIN_REACH_S - 0.6)
    assert desk.of(events.AbortOrigin) == [events.AbortOrigin(fetch)]


@pytest.mark.parametrize("here", [0, 3_000, 5_000])
def test_a_reserve_takes_over_with_a_part_only_if_it_has_more(here: int) -> None:
    """What it had from this machine it can give as well."""
    desk = Desk()
    fetch = desk.fetch()
    growing = (("content-type", "video/mp2t"), ("transfer-encoding", "chunked"))
    if here:
        desk.feed(events.OriginAnswered(fetch, 200, growing, UTC), events.OriginSent(fetch, BODY[:here]))
        assert desk.of(events.AbortOrigin) == []
        desk.after(2.01)  # as long as the segment plays
    else:
        desk.after(0.61)
    get = desk.follow(desk.sent(peer.Ask)[-1], "ann")
    source = Assembly(desk.key, seal("ann", desk.seals))
    source.begin_origin(head(None, etag=None), 0, UTC)
    source.take_origin(BODY[:4_000], 0.0)
    source.sign_due(1.0)
    assert source.open_piece.voucher is not None
    desk.feed(events.Received("ann", peer.Part(get.request, 0, BODY[:4_000], source.open_piece.voucher)))
    takes_over = here < 4_000
    assert desk.of(events.AbortOrigin) == ([events.AbortOrigin(fetch)] if takes_over else [])
    assert sum(len(it.data) for it in desk.of(events.Deliver)) == (4_000 - here if takes_over else 0)


def test_neighbours_that_become_known_take_the_place_of_a_lone_fetch_and_its_reserve() -> None:
    one = One()
    one.feed(events.StreamOpened(STREAM))
    one.now += 10.0
    one.feed(wanted(1))
    (asked,) = one.of(events.FetchOrigin)
    one.feed(events.LinkOpened(contact("ann"), "lan", (), serves=True, rtt_ms=1.0))
    one.feed(events.Received("ann", peer.Held(KEY, STREAM)))
    one.after(2.0)
    (get,) = one.sent(peer.Get)
    one.feed(events.TrackerSaid(STREAM, ("ann", "me"), ((contact("ann"), "so"),)))
    assert one.of(events.AbortOrigin) == [events.AbortOrigin(asked.fetch)]
    assert peer.Cancel(get.request) in one.sent(peer.Cancel)


def test_a_reserve_that_awaits_the_origin_too_changes_nothing() -> None:
    desk = Desk()
    fetch, get = reserve(desk, "ann")
    desk.feed(events.Received("ann", peer.Awaiting(get.request)))
    assert desk.did == []
    desk.after(ORIGIN_REACH_S - 0.6)
    assert desk.of(events.AbortOrigin) == [events.AbortOrigin(fetch)]


def test_a_fetch_that_has_reached_its_origin_says_that_it_waits_and_goes_on_for_minutes() -> None:
    desk = Desk()
    fetch = desk.fetch()
    desk.feed(events.OriginReached(fetch))
    desk.after(SAY_SO_FIRST_S)
    assert [it.received_bytes for it in desk.sent(peer.Progress)] == [0]
    for _ in range(20):
        desk.after(SAY_SO_S)
        assert [it.received_bytes for it in desk.sent(peer.Progress)] == [0]
        assert desk.of(events.AbortOrigin) == []
    desk.feed(events.OriginAnswered(fetch, 200, desk.headers(), UTC))
    desk.after(2.0)
    assert desk.of(events.AbortOrigin) == [], "its body may take as long as its head"
    desk.feed(events.OriginSent(fetch, BODY), events.OriginEnded(fetch))
    assert [it.viewer for it in desk.of(events.Finish)] == [1]


def test_the_question_is_put_again_while_nobody_has_it() -> None:
    desk = Desk()
    _, ask = silent(desk)
    desk.feed(events.Received("home", peer.Granted(ask.request, desk.key, 5, hedge=False)))
    assert desk.did == []
    desk.after(LIMITS.first_byte_grace_s)
    (again,) = desk.sent(peer.Ask)
    desk.feed(events.Received("home", peer.Granted(again.request, desk.key, 5, hedge=False)))
    desk.after(LIMITS.first_byte_grace_s)
    assert desk.asks() == ["parent slow"]


def test_an_answer_to_a_fetch_that_goes_on_by_itself_changes_nothing() -> None:
    desk = Desk()
    fetch, ask = silent(desk)
    desk.feed(events.OriginAnswered(fetch, 200, desk.headers(), UTC), events.OriginSent(fetch, BODY[:1_000]))
    desk.feed(events.Received("home", peer.Follow(ask.request, desk.key, (contact("ann"),), "so")))
    assert desk.did == []


def test_a_silent_fetch_whose_connection_ends_goes_on_from_the_reserve() -> None:
    desk = Desk()
    fetch, get = reserve(desk, "ann")
    desk.feed(events.OriginFailed(fetch, "connection lost"))
    assert [it.outcome for it in desk.sent(peer.Finished)] == ["failed"]
    assert desk.sent(peer.Ask) == []
    desk.give("ann", get, desk.source("ann"), 12)
    assert [it.viewer for it in desk.of(events.Finish)] == [1]


def test_a_silent_fetch_hears_what_the_origin_told_somebody_else() -> None:
    desk = Desk()
    fetch, ask = silent(desk)
    desk.feed(events.Received("home", peer.GoAlone(ask.request, desk.key, "the origin answered 404", 200, 404)))
    assert desk.of(events.AbortOrigin) == [events.AbortOrigin(fetch)]
    assert [it.status for it in desk.of(events.AnswerStatus)] == [404]


def test_a_silent_fetch_that_nobody_can_relieve_goes_on() -> None:
    desk = Desk()
    _, ask = silent(desk)
    desk.feed(events.Received("home", peer.GoAlone(ask.request, desk.key, "two are fetching it already", 0)))
    assert desk.did == []


def test_a_silent_fetch_whose_home_is_silent_too_asks_the_next() -> None:
    desk = Desk()
    _, ask = silent(desk)
    desk.after(LIMITS.home_answer_max_s)
    assert [it for it in desk.asks() if it != "parent slow"] == []
    assert ask.request not in [it.request for it in desk.sent(peer.Ask)]
    assert desk.of(events.AbortOrigin) == []


def test_a_fetch_without_a_lease_takes_the_one_it_is_given() -> None:
    desk = Desk()
    ask = desk.want()
    for number in range(REASKS_MAX):
        desk.feed(events.Received("home", peer.Follow(ask.request, desk.key, (contact(f"gone{number}"),), "so")))
        desk.feed(events.LinkClosed(f"gone{number}", "could not be reached"))
        if desk.of(events.FetchOrigin):
            break
        (ask,) = desk.sent(peer.Ask)
    desk.after(0.61)
    (ask,) = desk.sent(peer.Ask)
    desk.feed(events.Received("home", peer.Granted(ask.request, desk.key, 8, hedge=False)))
    desk.feed(events.ViewerLeft(1))
    assert [(it.lease, it.outcome) for it in desk.sent(peer.Finished)] == [(8, "cancelled")]


def test_a_fetch_that_is_given_up_gives_up_its_question_too() -> None:
    desk = Desk()
    _, ask = silent(desk)
    desk.after(ORIGIN_REACH_S)
    assert desk.asks() == ["first"]
    desk.feed(events.Received("home", peer.Follow(ask.request, desk.key, (contact("ann"),), "so")))
    assert desk.sent(peer.Get) == []


# ---- a machine that gives nothing to others


def granted(desk: Desk, *, hedge: bool = False, live: bool = True) -> None:
    """This machine may not serve, asks first, and is to fetch."""
    desk.feed(events.PolicyChanged(sharing=True, uploads=False, why="on battery"))
    desk.feed(replace(wanted(1, key=desk.key), live=live))
    (ask,) = desk.sent(peer.Ask)
    desk.feed(events.Received("home", peer.Granted(ask.request, desk.key, 5, hedge)))


def test_it_lets_somebody_else_fetch() -> None:
    desk = Desk()
    granted(desk)
    assert desk.of(events.FetchOrigin) == []
    assert [(it.lease, it.outcome) for it in desk.sent(peer.Finished)] == [(5, "cancelled")]
    desk.after(LIMITS.give_way_s - 0.01)
    assert desk.did == []
    desk.after(0.01)
    (ask,) = desk.sent(peer.Ask)
    assert ask.reason == "first"
    get = desk.follow(ask, "ann")
    desk.give("ann", get, desk.source("ann"), 12)
    assert [it.viewer for it in desk.of(events.Finish)] == [1]


def test_it_fetches_when_nobody_else_does() -> None:
    desk = Desk()
    granted(desk)
    desk.after(LIMITS.give_way_s)
    (ask,) = desk.sent(peer.Ask)
    desk.feed(events.Received("home", peer.Granted(ask.request, desk.key, 6, hedge=False)))
    assert len(desk.of(events.FetchOrigin)) == 1


@pytest.mark.parametrize(("hedge", "live"), [(True, True), (False, False)])
def test_it_does_not_wait_when_the_others_had_their_chance_or_need_it_no_more(hedge: bool, live: bool) -> None:
    """A hedge is a matter of time; a recording is watched by everybody at another place."""
    desk = Desk()
    granted(desk, hedge=hedge, live=live)
    assert len(desk.of(events.FetchOrigin)) == 1


def test_a_viewer_that_leaves_meanwhile_needs_nothing() -> None:
    desk = Desk()
    granted(desk)
    desk.feed(events.ViewerLeft(1))
    assert desk.node.downloading() == {}
