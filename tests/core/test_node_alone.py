"""One node and its surroundings, event by event: disk, policy, strangers, what neighbours ask for."""

import pytest

from ecdn_proxy.core import happenings as h
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.node import Node
from ecdn_proxy.core.uplink import HOLD_FIRST_S
from ecdn_proxy.sansio.machine import Impossible
from ecdn_proxy.wire import peer
from tests.core.makers import KEY, contact, fetched, head, seal, wanted
from tests.core.world import STREAM, UTC, key_of

BODY = bytes(range(256)) * 300
HEADERS = (("content-type", "video/mp2t"), ("content-length", str(len(BODY))), ("etag", '"v1"'))


class One:
    """A node whose time the test tells; `did` is what the last event led to."""

    def __init__(self, *, disk_bytes: int = 0, limits: Limits | None = None, memory_bytes: int = 64_000_000) -> None:
        self.now = 100.0
        self.did: list[h.Effect] = []
        self.node = Node(
            contact("me"),
            seal("me"),
            limits=limits or Limits(),
            memory_bytes=memory_bytes,
            disk_bytes=disk_bytes,
            upload_mbps=1_000.0,
            share_after_watching_s=60.0,
        )

    def feed(self, *events: h.Event) -> list[h.Effect]:
        self.did = []
        for event in events:
            self.did += self.node.handle(event, self.now)
            self.node.check()
        return self.did

    def after(self, seconds: float) -> list[h.Effect]:
        self.now += seconds
        self.did = list(self.node.wake(self.now))
        self.node.check()
        return self.did

    def of[T](self, kind: type[T]) -> list[T]:
        return [it for it in self.did if isinstance(it, kind)]

    def sent[T](self, kind: type[T]) -> list[T]:
        return [it.message for it in self.of(h.Send) if isinstance(it.message, kind)]

    def link(self, *devices: str) -> None:
        for device in devices:
            self.feed(h.LinkOpened(contact(device), "lan", (STREAM,), serves=True, rtt_ms=1.0))

    def has(self, key: str = KEY, *, fresh_s: float = 3600.0) -> h.StoredSegment:
        """This machine has a segment."""
        source = fetched(seal("me"), BODY, key=key)
        kept = h.StoredSegment(key, STREAM, head(len(BODY), fresh_s=fresh_s), BODY, tuple(source.vouchers), UTC)
        self.node.cache.put(kept)
        return kept

    def fetch(self, viewer: int = 1, *, key: str = KEY) -> int:
        """A viewer wants it and nobody else is there: the origin is asked."""
        self.feed(h.StreamOpened(STREAM), wanted(viewer, key=key))
        if not self.of(h.FetchOrigin):
            self.after(1.0)
        (asked,) = self.of(h.FetchOrigin)
        return asked.fetch


# ---- the disk


def test_what_is_on_disk_is_loaded_and_not_fetched() -> None:
    one = One(disk_bytes=1_000_000)
    kept = One().has()
    one.node.cache.found_on_disk(KEY, 100_000)
    one.feed(h.StreamOpened(STREAM), wanted(1))
    assert one.of(h.Load) == [h.Load(KEY)]
    one.feed(wanted(2))
    one.feed(h.Loaded(KEY, kept))
    assert [it.viewer for it in one.of(h.Finish)] == [1, 2]
    assert {it.source for it in one.of(h.Served)} == {"cache"}
    assert one.feed(wanted(3))[0] == h.Answer(3, kept.head, "cache", "in this machine's memory")


@pytest.mark.parametrize("found", ["nothing", "stale"])
def test_what_the_disk_has_lost_or_kept_too_long_is_fetched(found: str) -> None:
    one = One(disk_bytes=1_000_000)
    one.node.cache.found_on_disk(KEY, 100_000)
    one.feed(h.StreamOpened(STREAM), wanted(1))
    one.feed(h.Loaded(KEY, None if found == "nothing" else One().has(fresh_s=-1.0)))
    one.after(1.0)
    assert one.of(h.FetchOrigin)
    assert not one.node.cache.on_disk(KEY)


def test_a_viewer_that_left_needs_nothing_of_the_disk() -> None:
    one = One(disk_bytes=1_000_000)
    one.node.cache.found_on_disk(KEY, 100_000)
    one.feed(h.StreamOpened(STREAM), wanted(1))
    one.feed(h.ViewerLeft(1))
    assert one.node.acquiring() == {}
    one.feed(h.Loaded(KEY, One().has()))
    assert one.of(h.Deliver) == []
    assert one.node.in_memory(KEY, UTC) is not None


def test_a_neighbour_gets_what_lies_on_disk() -> None:
    one = One(disk_bytes=1_000_000)
    one.node.cache.found_on_disk(KEY, 100_000)
    one.feed(h.StreamOpened(STREAM))
    one.link("ann")
    one.feed(h.Received("ann", peer.Get(1, KEY, STREAM, 0)))
    assert one.of(h.Load) == [h.Load(KEY)]
    one.feed(h.Loaded(KEY, One().has()))
    assert b"".join(it.data for it in one.sent(peer.Piece)) == BODY
    one.node.cache.found_on_disk(key_of(2), 100)
    one.feed(h.Received("ann", peer.Get(2, key_of(2), STREAM, 0)))
    one.feed(h.Loaded(key_of(2), None))
    assert one.sent(peer.Refused) == [peer.Refused(2, "lost")]


# ---- what neighbours ask for


def test_who_asks_for_what_is_not_here_or_not_theirs_is_refused() -> None:
    one = One()
    one.link("ann")
    get = peer.Get(1, KEY, STREAM, 0)
    one.has()
    assert one.feed(h.Received("ann", get)) == [h.Send("ann", peer.Refused(1, "policy"))], "nobody watches it here"
    one.feed(h.StreamOpened(STREAM))
    one.feed(h.Received("ann", peer.Get(2, key_of(2), STREAM, 0)))
    assert one.sent(peer.Refused) == [peer.Refused(2, "unknown")]
    one.feed(h.Received("ann", get))
    assert b"".join(it.data for it in one.sent(peer.Piece)) == BODY


def test_a_link_that_is_full_waits_for_its_turn() -> None:
    one = One()
    one.feed(h.StreamOpened(STREAM))
    one.link("ann")
    one.has()
    one.feed(h.LinkFull("ann"), h.LinkFull("nobody"), h.Received("ann", peer.Get(1, KEY, STREAM, 0)))
    assert one.sent(peer.Piece) == []
    one.feed(h.LinkReady("ann"))
    assert len(one.sent(peer.Piece)) == 3


def test_more_children_than_there_is_room_for_are_told_so() -> None:
    one = One(limits=Limits(upload_burst_s=0.0))
    one.feed(h.StreamOpened(STREAM))
    one.has()
    one.link(*[f"dev{number}" for number in range(6)])
    one.feed(*[h.LinkFull(f"dev{number}") for number in range(6)])
    one.feed(*[h.Received(f"dev{number}", peer.Get(1, KEY, STREAM, 0)) for number in range(6)])
    assert one.of(h.Send) == [h.Send("dev5", peer.Refused(1, "busy"))]


def test_a_child_alone_keeps_the_fetch_going_and_its_leaving_ends_it() -> None:
    one = One()
    fetch = one.fetch()
    one.link("ann")
    one.feed(h.OriginAnswered(fetch, 200, HEADERS, UTC), h.Received("ann", peer.Get(7, KEY, STREAM, 0)))
    one.feed(h.ViewerLeft(1))
    assert one.node.acquiring() != {}
    one.feed(h.Received("ann", peer.Cancel(8)), h.Received("ann", peer.Cancel(7)))
    assert one.of(h.AbortOrigin) == [h.AbortOrigin(fetch)]
    assert one.node.acquiring() == {}


def test_an_uplink_that_carries_no_video_gives_nothing_for_a_while() -> None:
    one = One()
    fetch = one.fetch()
    one.feed(h.OriginAnswered(fetch, 200, HEADERS, UTC), h.OriginSent(fetch, BODY), h.OriginEnded(fetch))
    one.link("ann", "bob", "cat")
    for device in ("ann", "bob"):
        one.feed(h.Received(device, peer.Get(1, KEY, STREAM, 0)))
    one.feed(h.LinkFull("cat"), h.Received("cat", peer.Get(1, KEY, STREAM, 0)))
    one.now += 9.0
    one.feed(h.Received("cat", peer.Cancel(7, 0, 8_000)))
    assert one.did == []
    one.now -= 2.0
    one.feed(h.Received("ann", peer.Cancel(1, 0, 6_500)))
    assert one.did == []
    one.feed(h.Received("bob", peer.Cancel(1, 0, 6_500)))
    assert one.of(h.AnnounceStreams) == [h.AnnounceStreams((STREAM,), serves=False)]
    assert one.of(h.Send) == [h.Send("cat", peer.Refused(1, "busy"))]
    one.feed(h.Received("ann", peer.Get(2, KEY, STREAM, 0)))
    assert one.sent(peer.Refused) == [peer.Refused(2, "policy")]
    assert one.node.wake_at() == pytest.approx(one.now + HOLD_FIRST_S)
    one.after(HOLD_FIRST_S)
    assert one.of(h.AnnounceStreams) == [h.AnnounceStreams((STREAM,), serves=True)]


def test_policy_decides_when_the_uplink_is_well_again() -> None:
    one = One()
    one.feed(h.StreamOpened(STREAM))
    one.node.uploads.uplink.slow_until = one.now + 5.0
    one.feed(h.PolicyChanged(sharing=True, uploads=False, why="on battery"))
    assert one.of(h.AnnounceStreams) == [h.AnnounceStreams((STREAM,), serves=False)]
    one.after(6.0)
    assert one.of(h.AnnounceStreams) == []
    one.feed(h.PolicyChanged(sharing=True, uploads=True, why="on mains"))
    assert one.of(h.AnnounceStreams) == [h.AnnounceStreams((STREAM,), serves=True)]


# ---- news for the ledger kept here


def test_news_of_neighbours_reach_the_ledger() -> None:
    one = One()
    one.link("ann", "bob")
    ledger = one.node.site.ledger
    for message in (
        peer.Shadow(KEY, STREAM, contact("ann"), 7),
        peer.Shadow(KEY, STREAM, contact("me"), 8),
        peer.Progress(KEY, 7, 10),
    ):
        one.feed(h.Received("bob", message))
    assert ledger.fetchers(KEY) == ("ann",)
    one.feed(h.Received("ann", peer.Finished(KEY, 7, "cancelled", 0, "so")))
    assert ledger.fetchers(KEY) == ()
    one.feed(h.Received("ann", peer.Held(KEY, STREAM)))
    assert ledger.knows(KEY)
    one.feed(h.Received("ann", peer.Dropped(KEY)))
    assert not ledger.knows(KEY)
    one.feed(h.Received("ann", peer.Watching((), serves=False)))
    assert one.node.site.view.members(STREAM, one.now) == ["bob", "me"]


def test_a_grant_that_came_too_late_is_handed_back() -> None:
    one = One()
    one.link("ann")
    one.feed(h.Received("ann", peer.Granted(99, KEY, 5, hedge=False)))
    assert one.sent(peer.Finished) == [peer.Finished(KEY, 5, "cancelled", 0, "answered too late")]
    one.has()
    one.feed(h.Received("ann", peer.Granted(99, KEY, 5, hedge=False)))
    assert one.sent(peer.Finished) == [peer.Finished(KEY, 5, "complete", 0, "answered too late")]
    assert one.feed(h.Received("ann", peer.GoAlone(99, KEY, "so", 0))) == []
    assert one.feed(h.Received("ann", peer.Piece(99, 0, b""))) == []


@pytest.mark.parametrize("message", [peer.Ping(1), peer.Pong(1), peer.Bye("so")])
def test_what_belongs_to_the_link_is_our_fault_here(message: peer.PeerMessage) -> None:
    one = One()
    one.link("ann")
    with pytest.raises(Impossible):
        one.feed(h.Received("ann", message))


# ---- who may be here


def test_who_is_denied_or_banned_gets_no_link_by_dialling_in() -> None:
    one = One()
    one.feed(h.StreamOpened(STREAM))
    one.link("ann", "eve")
    one.has()
    one.feed(h.DevicesDenied(frozenset({"ann", "gone"})))
    assert [it.device for it in one.of(h.HangUp)] == ["ann"]
    one.feed(h.LinkClosed("eve", "wrong bytes", misbehaved=True))
    assert [it.code for it in one.of(h.RaiseCondition)] == ["peer-misbehaved"]
    for device in ("ann", "eve"):
        one.link(device)
        assert [it.device for it in one.of(h.HangUp)] == [device]
        assert one.feed(h.Received(device, peer.Get(1, KEY, STREAM, 0))) == []
    one.now += Limits().ban_s
    one.link("eve")
    assert one.of(h.HangUp) == []


def test_neighbours_come_and_go_by_mdns() -> None:
    one = One()
    one.feed(h.StreamOpened(STREAM), h.LanSeen(contact("ann"), (STREAM[:8],)))
    assert one.node.site.view.members(STREAM, one.now) == ["ann", "me"]
    one.feed(h.LanLost("ann"))
    assert one.node.site.view.members(STREAM, one.now) == ["me"]


# ---- policy and bounds


def test_sharing_that_is_switched_off_ends_what_is_given_and_every_link() -> None:
    one = One()
    one.feed(h.StreamOpened(STREAM))
    one.link("ann")
    one.has()
    one.feed(h.LinkFull("ann"), h.Received("ann", peer.Get(1, KEY, STREAM, 0)))
    one.feed(h.PolicyChanged(sharing=False, uploads=True, why="the site map says off"))
    assert one.sent(peer.Refused) == [peer.Refused(1, "policy")]
    assert one.of(h.HangUp) == [h.HangUp("ann", "the site map says off")]
    assert one.of(h.AnnounceStreams) == [h.AnnounceStreams((STREAM,), serves=False)]


def test_what_is_private_passes_at_once_and_for_ten_minutes_only() -> None:
    one = One()
    fetch = one.fetch()
    one.feed(h.OriginAnswered(fetch, 200, (*HEADERS, ("cache-control", "no-store")), UTC))
    assert [it.viewer for it in one.of(h.HandOver)] == [1]
    one.feed(wanted(2, key=key_of(2)))
    assert one.of(h.PassOn) == [h.PassOn(2, "the origin said Cache-Control: no-store")]
    one.now += Limits().private_s
    assert not [it for it in one.feed(wanted(3, key=key_of(3))) if isinstance(it, h.PassOn)]


@pytest.mark.parametrize("limits", [Limits(acquisitions_max=1), Limits(in_flight_bytes_max=1_000)])
def test_beyond_the_bounds_viewers_go_to_the_origin(limits: Limits) -> None:
    one = One(limits=limits)
    fetch = one.fetch()
    one.feed(h.OriginAnswered(fetch, 200, HEADERS, UTC), h.OriginSent(fetch, BODY[:5_000]))
    one.feed(wanted(2, key=key_of(2)))
    assert one.of(h.PassOn) == [h.PassOn(2, "too many segments are being fetched at once")]
    one.feed(wanted(3))
    assert one.of(h.PassOn) == []


def test_events_of_a_fetch_that_is_over_change_nothing() -> None:
    one = One()
    fetch = one.fetch()
    one.feed(h.ViewerLeft(1))
    for event in (
        h.OriginAnswered(fetch, 200, HEADERS, UTC),
        h.OriginSent(fetch, b"x"),
        h.OriginEnded(fetch),
        h.OriginFailed(fetch, "so"),
    ):
        assert one.feed(event) == []


def test_a_body_that_has_no_end_of_its_own_is_shared_with_nobody() -> None:
    one = One()
    fetch = one.fetch()
    one.feed(h.OriginAnswered(fetch, 200, HEADERS[:1], UTC, framed=False))
    assert [it.viewer for it in one.of(h.HandOver)] == [1]


def test_an_origin_that_breaks_twice_is_left_to_the_viewer() -> None:
    one = One()
    fetch = one.fetch()
    one.feed(h.OriginFailed(fetch, "refused"))
    (again,) = one.of(h.FetchOrigin)
    one.feed(h.OriginFailed(again.fetch, "refused"))
    assert one.of(h.PassOn) == [h.PassOn(1, "refused")]
    assert one.node.acquiring() == {}


def test_an_origin_whose_version_changed_is_asked_anew_while_nobody_has_had_anything() -> None:
    one = One()
    fetch = one.fetch()
    one.feed(h.OriginAnswered(fetch, 200, HEADERS, UTC), h.OriginSent(fetch, BODY), h.OriginSent(fetch, b"x"))
    assert [it.viewer for it in one.of(h.Abort)] == [1]
    assert [it.fetch for it in one.of(h.AbortOrigin)] == [fetch]
