"""What neighbours get from here, and when they had better ask somebody else."""

import pytest

from ecdn_proxy.core import events
from ecdn_proxy.core.download.downloads import ERRANDS_MAX
from ecdn_proxy.core.download.timeouts import GIVE_UP_S
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.membership import rendezvous
from ecdn_proxy.core.upload.uplink import HOLD_FIRST_S
from ecdn_proxy.wire import peer
from tests.core.makers import KEY, contact, fetched, seal, wanted
from tests.core.test_node_alone import BODY, HEADERS, One
from tests.core.world import STREAM, UTC, key_of


def test_a_neighbour_gets_what_lies_on_disk() -> None:
    one = One(disk_bytes=1_000_000)
    one.node.cache.found_on_disk(KEY, 100_000)
    one.feed(events.StreamOpened(STREAM))
    one.link("ann")
    one.feed(events.Received("ann", peer.Get(1, KEY, STREAM, 0)))
    assert one.of(events.Load) == [events.Load(KEY)]
    one.feed(events.Loaded(KEY, One().has()))
    assert b"".join(it.data for it in one.sent(peer.Piece)) == BODY
    one.node.cache.found_on_disk(key_of(2), 100)
    one.feed(events.Received("ann", peer.Get(2, key_of(2), STREAM, 0)))
    one.feed(events.Loaded(key_of(2), None))
    assert one.sent(peer.Refused) == [peer.Refused(2, "lost")]


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_watched_here_under_another_name_is_given(*, whole: bool) -> None:
    """An agent that joins in the middle knows the stream by a media playlist, which others know by its master."""
    one = One()
    fetch = one.fetch()
    one.link("ann")
    one.feed(events.OriginAnswered(fetch, 200, HEADERS, UTC), events.OriginSent(fetch, BODY))
    asked, ended = events.Received("ann", peer.Get(1, KEY, "cd" * 16, 0)), events.OriginEnded(fetch)
    one.feed(*((ended, asked) if whole else (asked, ended)))
    assert b"".join(it.data for it in one.sent(peer.Piece)) == BODY
    assert one.sent(peer.Refused) == []


def test_who_asks_for_what_is_not_here_or_not_theirs_is_refused() -> None:
    one = One()
    one.link("ann")
    get = peer.Get(1, KEY, STREAM, 0)
    one.has()
    assert one.feed(events.Received("ann", get)) == [events.Send("ann", peer.Refused(1, "policy"))], (
        "nobody watches it here"
    )
    one.feed(events.StreamOpened(STREAM))
    one.feed(events.Received("ann", peer.Get(2, key_of(2), STREAM, 0)))
    assert one.sent(peer.Refused) == [peer.Refused(2, "unknown")]
    one.feed(events.Received("ann", get))
    assert b"".join(it.data for it in one.sent(peer.Piece)) == BODY


def among_others() -> tuple[One, list[str]]:
    """A machine linked with ann and bob, and keys whose home is bob."""
    one = One()
    one.feed(events.StreamOpened(STREAM))
    one.link("ann", "bob")
    one.now += 9.0  # the committee has settled
    return one, [
        it for it in map(key_of, range(200)) if max("ann", "bob", "me", key=lambda of: rendezvous(of, it)) == "bob"
    ]


def test_for_one_that_reaches_nobody_else_it_is_read_from_whom_the_home_names() -> None:
    one, (key, *_) = among_others()
    one.feed(events.Received("ann", peer.Get(1, key, STREAM, 0, errand="bob")))
    (ask,) = one.sent(peer.Ask)
    one.feed(events.Received("bob", peer.Follow(ask.request, key, (contact("bob"),), "so")))
    (get,) = one.sent(peer.Get)
    source = fetched(seal("me"), BODY, key=key)
    vouched = [events.Received("bob", peer.Vouched(get.request, it)) for it in source.vouchers]
    pieces = [events.Received("bob", peer.Piece(get.request, at, bytes(it))) for at, it in enumerate(source.pieces)]
    one.feed(*vouched, *pieces, events.Received("bob", peer.End(get.request)))
    assert b"".join(it.data for it in one.sent(peer.Piece)) == BODY
    assert one.sent(peer.End) == [peer.End(1)]
    one.feed(wanted(1, key=key))
    assert [it.source for it in one.of(events.BeginAnswer)] == ["cache"]


def test_who_must_wait_hears_at_once_that_it_is_waited_for() -> None:
    one = One()
    fetch = one.fetch()
    one.link("ann", "bob")
    one.feed(events.Received("ann", peer.Get(1, KEY, STREAM, 0)))
    assert one.sent(peer.Noted) == [peer.Noted(1)]
    one.feed(events.OriginAnswered(fetch, 200, HEADERS, UTC), events.OriginSent(fetch, BODY), events.OriginEnded(fetch))
    assert b"".join(it.data for it in one.sent(peer.Piece)) == BODY
    one.feed(events.Received("bob", peer.Get(1, KEY, STREAM, 0)))
    assert one.sent(peer.Noted) == [], "it gets it at once"


def test_a_viewer_may_come_to_what_is_read_for_others() -> None:
    one, (key, *_) = among_others()
    one.feed(events.Received("ann", peer.Get(1, key, STREAM, 0, errand="bob")))
    (ask,) = one.sent(peer.Ask)
    one.feed(wanted(7, key=key), events.Received("bob", peer.Granted(ask.request, key, 3, hedge=False)))
    (fetch,) = one.of(events.FetchOrigin)
    assert fetch.request == wanted(7, key=key).origin
    one.feed(events.OriginAnswered(fetch.fetch, 200, HEADERS, UTC), events.OriginSent(fetch.fetch, BODY))
    one.feed(events.OriginEnded(fetch.fetch))
    assert [it.viewer for it in one.of(events.Finish)] == [7]
    assert one.sent(peer.End) == [peer.End(1)]


def test_what_nobody_watches_here_is_not_fetched_from_the_origin() -> None:
    one, (key, *_) = among_others()
    one.feed(events.Received("ann", peer.Get(1, key, STREAM, 0, errand="bob")))
    (ask,) = one.sent(peer.Ask)
    one.feed(events.Received("bob", peer.Granted(ask.request, key, 3, hedge=False)))
    assert one.of(events.FetchOrigin) == []
    assert [(it.lease, it.outcome) for it in one.sent(peer.Finished)] == [(3, "cancelled")]
    assert one.sent(peer.Refused) == [peer.Refused(1, "lost")]
    assert one.node.downloading() == {}


@pytest.mark.parametrize(("for_ms", "told"), [(60_000, "private"), (0, "lost")])
def test_what_the_home_says_of_a_segment_read_for_a_child_the_child_hears(for_ms: int, told: str) -> None:
    one, (key, *_) = among_others()
    one.feed(events.Received("ann", peer.Get(1, key, STREAM, 0, errand="bob")))
    (ask,) = one.sent(peer.Ask)
    one.feed(events.Received("bob", peer.GoAlone(ask.request, key, "so", for_ms)))
    assert [it.reason for it in one.sent(peer.Refused)] == [told]


def test_what_nobody_watches_here_is_given_up_when_nothing_comes() -> None:
    one, (key, *_) = among_others()
    one.feed(events.Received("ann", peer.Get(1, key, STREAM, 0, errand="bob")))
    one.after(2 * GIVE_UP_S + 1.0)
    assert one.of(events.FetchOrigin) == []
    assert one.sent(peer.Refused) == [peer.Refused(1, "lost")]
    assert one.node.downloading() == {}


def test_a_child_that_leaves_ends_what_was_read_for_it_alone() -> None:
    one, (key, *_) = among_others()
    one.feed(events.Received("ann", peer.Get(1, key, STREAM, 0, errand="bob")))
    assert one.node.downloading() != {}
    one.feed(events.Received("ann", peer.Cancel(1)))
    assert one.node.downloading() == {}


def test_no_more_is_read_for_others_than_there_is_room_for() -> None:
    one, keys = among_others()
    for request, key in enumerate(keys[: ERRANDS_MAX + 1]):
        one.feed(events.Received("ann", peer.Get(request, key, STREAM, 0, errand="bob")))
    assert one.sent(peer.Refused) == [peer.Refused(ERRANDS_MAX, "unknown")]
    assert len(one.node.downloading()) == ERRANDS_MAX


def test_more_children_than_there_is_room_for_are_told_so() -> None:
    one = One(limits=Limits(upload_burst_s=0.0))
    one.feed(events.StreamOpened(STREAM))
    one.has()
    one.link(*[f"dev{number}" for number in range(6)])
    one.feed(*[events.LinkFull(f"dev{number}") for number in range(6)])
    one.feed(*[events.Received(f"dev{number}", peer.Get(1, KEY, STREAM, 0)) for number in range(6)])
    assert one.of(events.Send) == [events.Send("dev5", peer.Refused(1, "busy"))]


def test_a_child_alone_keeps_the_fetch_going_and_its_leaving_ends_it() -> None:
    one = One()
    fetch = one.fetch()
    one.link("ann")
    one.feed(events.OriginAnswered(fetch, 200, HEADERS, UTC), events.Received("ann", peer.Get(7, KEY, STREAM, 0)))
    one.feed(events.ViewerLeft(1))
    assert one.node.downloading() != {}
    one.feed(events.Received("ann", peer.Cancel(8)), events.Received("ann", peer.Cancel(7)))
    assert one.of(events.AbortOrigin) == [events.AbortOrigin(fetch)]
    assert one.node.downloading() == {}


def test_an_uplink_that_carries_no_video_gives_nothing_for_a_while() -> None:
    one = One()
    fetch = one.fetch()
    one.feed(events.OriginAnswered(fetch, 200, HEADERS, UTC), events.OriginSent(fetch, BODY), events.OriginEnded(fetch))
    one.link("ann", "bob", "cat")
    for device in ("ann", "bob"):
        one.feed(events.Received(device, peer.Get(1, KEY, STREAM, 0)))
    one.feed(events.LinkFull("cat"), events.Received("cat", peer.Get(1, KEY, STREAM, 0)))
    one.now += 9.0
    one.feed(events.Received("cat", peer.Cancel(7, 0, 8_000)))
    assert one.did == []
    one.now -= 2.0
    one.feed(events.Received("ann", peer.Cancel(1, 0, 6_500)))
    assert one.did == []
    one.feed(events.Received("bob", peer.Cancel(1, 0, 6_500)))
    assert one.of(events.AnnounceStreams) == [events.AnnounceStreams((STREAM,), serves=False)]
    assert [it.code for it in one.of(events.RaiseCondition)] == ["uplink-slow"]
    assert one.of(events.Send) == [events.Send("cat", peer.Refused(1, "busy"))]
    one.feed(events.Received("ann", peer.Get(2, KEY, STREAM, 0)))
    assert one.sent(peer.Refused) == [peer.Refused(2, "policy")]
    assert one.node.wake_at() == pytest.approx(one.now + HOLD_FIRST_S)
    one.after(HOLD_FIRST_S)
    assert one.of(events.AnnounceStreams) == [events.AnnounceStreams((STREAM,), serves=True)]


def test_policy_decides_when_the_uplink_is_well_again() -> None:
    one = One()
    one.feed(events.StreamOpened(STREAM))
    one.node.uploads.uplink.slow_until = one.now + 5.0
    one.feed(events.PolicyChanged(sharing=True, uploads=False, why="on battery"))
    assert one.of(events.AnnounceStreams) == [events.AnnounceStreams((STREAM,), serves=False)]
    one.after(6.0)
    assert one.of(events.AnnounceStreams) == []
    one.feed(events.PolicyChanged(sharing=True, uploads=True, why="on mains"))
    assert one.of(events.AnnounceStreams) == [events.AnnounceStreams((STREAM,), serves=True)]
