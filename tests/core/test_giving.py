"""What neighbours get from here, and when they had better ask somebody else."""

import pytest

from ecdn_proxy.core import happenings as h
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.uplink import HOLD_FIRST_S
from ecdn_proxy.wire import peer
from tests.core.makers import KEY
from tests.core.test_node_alone import BODY, HEADERS, One
from tests.core.world import STREAM, UTC, key_of


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
    assert [it.code for it in one.of(h.RaiseCondition)] == ["uplink-slow"]
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
