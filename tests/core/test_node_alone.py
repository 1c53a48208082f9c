"""One node and its surroundings, event by event: policy, strangers, news for the ledger kept here."""

from dataclasses import replace

import pytest

from ecdn_proxy.core import events, values
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.node import Node
from ecdn_proxy.sansio.machine import Impossible
from ecdn_proxy.wire import peer
from tests.core.makers import KEY, contact, fetched, head, seal, wanted
from tests.core.world import STREAM, UTC

BODY = bytes(range(256)) * 300
HEADERS = (("content-type", "video/mp2t"), ("content-length", str(len(BODY))), ("etag", '"v1"'))


class One:
    """A node whose time the test tells; `did` is what the last event led to."""

    def __init__(self, *, disk_bytes: int = 0, limits: Limits | None = None, memory_bytes: int = 64_000_000) -> None:
        self.now = 100.0
        self.did: list[events.Effect] = []
        self.node = Node(
            contact("me"),
            seal("me"),
            limits=limits or Limits(),
            memory_bytes=memory_bytes,
            disk_bytes=disk_bytes,
            upload_mbps=1_000.0,
            share_after_watching_s=60.0,
        )

    def feed(self, *happened: events.Event) -> list[events.Effect]:
        self.did = []
        for event in happened:
            self.did += self.node.handle(event, self.now)
            self.node.check()
        return self.did

    def after(self, seconds: float) -> list[events.Effect]:
        self.now += seconds
        self.did = list(self.node.wake(self.now))
        self.node.check()
        return self.did

    def of[T](self, kind: type[T]) -> list[T]:
        return [it for it in self.did if isinstance(it, kind)]

    def sent[T](self, kind: type[T]) -> list[T]:
        return [it.message for it in self.of(events.Send) if isinstance(it.message, kind)]

    def link(self, *devices: str) -> None:
        for device in devices:
            self.feed(events.LinkOpened(contact(device), "lan", (STREAM,), serves=True, rtt_ms=1.0))

    def has(self, key: str = KEY, *, fresh_s: float = 3600.0) -> values.StoredSegment:
        """This machine has a segment."""
        source = fetched(seal("me"), BODY, key=key)
        kept = values.StoredSegment(key, STREAM, head(len(BODY), fresh_s=fresh_s), BODY, tuple(source.vouchers), UTC)
        kept = replace(kept, made_at=self.now, heard_at=self.now)
        self.node.cache.put(kept)
        return kept

    def fetch(self, viewer: int = 1, *, key: str = KEY) -> int:
        """A viewer wants it and nobody else is there: the origin is asked."""
        self.feed(events.StreamOpened(STREAM), wanted(viewer, key=key))
        if not self.of(events.FetchOrigin):
            self.after(1.0)
        (asked,) = self.of(events.FetchOrigin)
        return asked.fetch


# ---- what neighbours ask for


def test_a_link_that_is_full_waits_for_its_turn() -> None:
    one = One()
    one.feed(events.StreamOpened(STREAM))
    one.link("ann")
    one.has()
    one.feed(events.LinkFull("ann"), events.LinkFull("nobody"), events.Received("ann", peer.Get(1, KEY, STREAM, 0)))
    assert one.sent(peer.Piece) == []
    one.feed(events.LinkReady("ann"))
    assert len(one.sent(peer.Piece)) == 3


# ---- news for the ledger kept here


def test_news_of_neighbours_reach_the_ledger() -> None:
    one = One()
    one.link("ann", "bob")
    ledger = one.node.context.ledger
    for message in (
        peer.Shadow(KEY, STREAM, contact("ann"), 7),
        peer.Shadow(KEY, STREAM, contact("me"), 8),
        peer.Progress(KEY, 7, 10),
    ):
        one.feed(events.Received("bob", message))
    assert ledger.fetchers(KEY) == ("ann",)
    one.feed(events.Received("ann", peer.Finished(KEY, 7, "cancelled", 0, "so")))
    assert ledger.fetchers(KEY) == ()
    one.feed(events.Received("ann", peer.Held(KEY, STREAM)))
    assert ledger.knows_key(KEY)
    one.feed(events.Received("ann", peer.Dropped(KEY)))
    assert not ledger.knows_key(KEY)
    one.feed(events.Received("ann", peer.Watching((), serves=False)))
    assert one.node.context.membership.members(STREAM, one.now) == ["bob", "me"]


def test_one_that_links_while_the_coordinator_is_away_hears_who_keeps_the_ledgers() -> None:
    one = One()
    one.feed(events.StreamOpened(STREAM), events.TrackerSaid(STREAM, ("me",), ()))
    one.link("ann")
    assert one.sent(peer.Keepers) == [peer.Keepers(STREAM, (contact("me"),))]
    one.feed(events.Received("ann", peer.Watching((STREAM,), serves=True)))
    assert one.sent(peer.Keepers) == [peer.Keepers(STREAM, (contact("me"),))]
    other = One()
    other.feed(events.StreamOpened(STREAM))
    other.link("bob")
    other.feed(events.Received("bob", peer.Keepers(STREAM, (contact("bob"),))))
    assert other.node.context.membership.committee(STREAM, other.now) == ["bob"]


def test_a_grant_that_came_too_late_is_handed_back() -> None:
    one = One()
    one.link("ann")
    one.feed(events.Received("ann", peer.Granted(99, KEY, 5, hedge=False)))
    assert one.sent(peer.Finished) == [peer.Finished(KEY, 5, "cancelled", 0, "answered too late")]
    one.has()
    one.feed(events.Received("ann", peer.Granted(99, KEY, 5, hedge=False)))
    assert one.sent(peer.Finished) == [peer.Finished(KEY, 5, "complete", 0, "answered too late")]
    assert one.feed(events.Received("ann", peer.GoAlone(99, KEY, "so", 0))) == []
    assert one.feed(events.Received("ann", peer.Piece(99, 0, b""))) == []


def test_a_grant_that_comes_while_it_fetches_already_moves_the_lease() -> None:
    """The better-ranked home only seemed silent: it is asked by everybody else, and must know who fetches."""
    one = One()
    fetch = one.fetch()
    one.link("ann")
    one.feed(events.Received("ann", peer.Granted(99, KEY, 5, hedge=False)))
    assert one.did == []
    assert one.node.context.ledger.fetchers(KEY) == ()
    one.feed(events.OriginAnswered(fetch, 200, HEADERS, UTC), events.OriginSent(fetch, BODY[:100]))
    assert one.sent(peer.Progress) == [peer.Progress(KEY, 5, 100)]
    one.feed(events.OriginSent(fetch, BODY[100:]), events.OriginEnded(fetch))
    assert [it.outcome for it in one.sent(peer.Finished)] == ["complete"]


@pytest.mark.parametrize("message", [peer.Ping(1), peer.Pong(1), peer.Bye("so")])
def test_what_belongs_to_the_link_is_our_fault_here(message: peer.PeerMessage) -> None:
    one = One()
    one.link("ann")
    with pytest.raises(Impossible):
        one.feed(events.Received("ann", message))


# ---- who may be here


def test_who_is_denied_or_banned_gets_no_link_by_dialling_in() -> None:
    one = One()
    one.feed(events.StreamOpened(STREAM))
    one.link("ann", "eve")
    one.has()
    one.feed(events.DevicesDenied(frozenset({"ann", "gone"})))
    assert [it.device for it in one.of(events.HangUp)] == ["ann"]
    one.feed(events.LinkClosed("eve", "wrong bytes", misbehaved=True))
    assert [it.code for it in one.of(events.RaiseCondition)] == ["peer-misbehaved"]
    for device in ("ann", "eve"):
        one.link(device)
        assert [it.device for it in one.of(events.HangUp)] == [device]
        assert one.feed(events.Received(device, peer.Get(1, KEY, STREAM, 0))) == []
    one.now += Limits().ban_s
    one.link("eve")
    assert one.of(events.HangUp) == []


def test_neighbours_come_and_go_by_mdns() -> None:
    one = One()
    one.feed(events.StreamOpened(STREAM), events.LanSeen(contact("ann"), (STREAM[:8],)))
    assert one.node.context.membership.members(STREAM, one.now) == ["ann", "me"]
    one.feed(events.LanLost("ann"))
    assert one.node.context.membership.members(STREAM, one.now) == ["me"]


def test_what_a_node_knows_it_says_and_the_next_node_may_be_told() -> None:
    one = One()
    one.feed(events.StreamOpened(STREAM))
    one.link("eve")
    one.feed(events.LinkClosed("eve", "wrong bytes", misbehaved=True))
    assert (one.node.device, one.node.home_of(STREAM, KEY, one.now)) == ("me", "me")
    assert one.node.why_known("eve") == "it connected to this machine"
    assert one.node.why_known("nobody") == ""
    assert one.node.bans() == {"eve": one.now + Limits().ban_s}
    other = One(disk_bytes=1_000_000)
    other.node.remember_bans(one.node.bans())
    other.node.remember_on_disk(KEY, 100_000)
    other.link("eve")
    assert [it.device for it in other.of(events.HangUp)] == ["eve"]
    other.feed(events.StreamOpened(STREAM), wanted(1))
    assert other.of(events.Load) == [events.Load(KEY)]
    other.has()
    other.link("ann")
    other.feed(events.Received("ann", peer.Get(1, KEY, STREAM, 0)))
    assert other.node.uploaded_bytes() == (len(BODY), 0)


# ---- policy and bounds


def test_sharing_that_is_switched_off_ends_what_is_given_and_every_link() -> None:
    one = One()
    one.feed(events.StreamOpened(STREAM))
    one.link("ann")
    one.has()
    one.feed(events.LinkFull("ann"), events.Received("ann", peer.Get(1, KEY, STREAM, 0)))
    one.feed(events.PolicyChanged(sharing=False, uploads=True, why="the site map says off"))
    assert one.sent(peer.Refused) == [peer.Refused(1, "policy")]
    assert one.of(events.HangUp) == [events.HangUp("ann", "the site map says off")]
    assert one.of(events.AnnounceStreams) == [events.AnnounceStreams((STREAM,), serves=False)]
