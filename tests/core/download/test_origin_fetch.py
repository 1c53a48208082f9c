"""The own way to the origin: what is asked of it, what the home hears, and that nothing of it stays behind."""

from collections.abc import Callable

import pytest

from ecdn_proxy.core import events, values
from ecdn_proxy.core.download.assembly import Assembly
from ecdn_proxy.core.download.origin_fetch import FetchLease, OriginFetch
from ecdn_proxy.core.download.timeouts import Timeouts
from ecdn_proxy.core.http.cacheability import Private, Shareable
from ecdn_proxy.core.http.freshness import CopyAge
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.values import ByteRange
from ecdn_proxy.wire import peer
from ecdn_proxy.wire.integrity import PIECE_BYTES
from tests.core.makers import KEY, contact, fetched, seal, whole
from tests.core.test_node_alone import BODY as SHORT
from tests.core.test_node_alone import HEADERS as SHORT_HEADERS
from tests.core.test_node_alone import One
from tests.core.world import STREAM, UTC

NOW = 100.0
BODY = bytes(range(256)) * 128 * 4
HERE = FetchLease(None, 3, hedge=False)
THERE = FetchLease("home", 5, hedge=False)
REQUEST = values.OriginRequest("https://origin.test/1", ())
HEADERS = (("content-type", "video/mp2t"), ("content-length", str(len(BODY))), ("etag", '"v1"'))


def one() -> tuple[NodeContext, OriginFetch, Assembly]:
    context = NodeContext(contact("me"), seal("me"), Limits())
    context.membership.linked(contact("home"), (STREAM,), serves=True)
    context.link_opened(contact("home"), "lan", 1.0)
    fetching = OriginFetch(context, KEY, STREAM)
    fetching.borrow_request(1, REQUEST, 1)
    return context, fetching, Assembly(KEY, context.seal)


def did(context: NodeContext) -> list[object]:
    done: list[object] = [it.message if isinstance(it, events.Send) else it for it in context.out]
    context.out.clear()
    return done


@pytest.mark.parametrize("part", [None, ByteRange(1_000, 1_000 + len(BODY) - 1)])
def test_only_what_is_missing_is_asked_for(part: ByteRange | None) -> None:
    context, fetching, _ = one()
    source = fetched(seal("ann"), BODY, key=KEY, etag='"v1"')
    source.pieces = source.pieces[:2]
    fetching.begin(THERE, part, source, NOW)
    (asked,) = did(context)
    assert isinstance(asked, events.FetchOrigin)
    base = 0 if part is None else part.first
    assert (asked.first_byte, asked.ranged, asked.if_range) == (base + 2 * PIECE_BYTES, True, '"v1"')
    assert asked.last_byte == (None if part is None else part.last)


def test_the_home_hears_of_the_beginning_at_once_and_then_now_and_then() -> None:
    context, fetching, assembly = one()
    fetching.report_progress(1, NOW)  # nothing is under way
    fetching.begin(THERE, None, assembly, NOW)
    did(context)
    for at, received in ((0.03, 10), (0.05, 20), (0.12, 30), (0.131, 40)):
        fetching.report_progress(received, NOW + at)
    assert did(context) == [peer.Progress(KEY, 5, 10), peer.Progress(KEY, 5, 40)]


@pytest.mark.parametrize(
    ("came", "kbps"),
    [
        ([(0.5, 100_000), (1.5, 1_100_000)], 8_000),  # the wait for the first byte is no speed
        ([(0.5, 100_000)], 0),
        ([(0.5, 100_000), (0.504, 200_000)], 0),
        ([(0.5, 0), (0.506, 250_000_000)], peer.KBPS_MAX),
    ],
)
def test_the_speed_is_what_came_after_the_first_bytes(came: list[tuple[float, int]], kbps: int) -> None:
    _, fetching, assembly = one()
    fetching.begin(THERE, None, assembly, NOW - 10.0)
    fetching.report_progress(1, NOW - 9.0)
    fetching.begin(THERE, None, assembly, NOW)
    for at, received in came:
        fetching.report_progress(received, NOW + at)
    at, received = came[-1]
    assert fetching.kbps(received, NOW + at) == kbps


def test_the_end_gives_the_lease_back_and_breaks_the_fetch_off() -> None:
    context, fetching, assembly = one()
    fetching.begin(THERE, None, assembly, NOW)
    number = fetching.number
    assert number is not None
    did(context)
    fetching.end(assembly, "cancelled", 0, "so", NOW)
    assert did(context) == [events.AbortOrigin(number), peer.Finished(KEY, 5, "cancelled", 0, "so")]
    fetching.end(assembly, "cancelled", 0, "so", NOW)
    assert did(context) == []


def test_a_fetch_that_was_let_go_is_not_broken_off() -> None:
    context, fetching, assembly = one()
    fetching.begin(THERE, None, assembly, NOW)
    did(context)
    assert fetching.let_go() is not None
    fetching.end(assembly, "complete", 200, "", NOW)
    assert [type(it) for it in did(context)] == [peer.Finished]


def test_a_home_that_is_lost_leaves_its_lease_to_the_ledger_here() -> None:
    context, fetching, assembly = one()
    fetching.begin(THERE, None, assembly, NOW)
    fetching.home_lost("somebody", NOW)
    assert fetching.lease == THERE
    fetching.home_lost("home", NOW)
    assert fetching.lease is not None
    assert fetching.lease.home is None
    assert context.ledger.fetchers(KEY) == ("me",)
    fetching.report_progress(1, NOW + 0.1)
    fetching.end(assembly, "complete", 200, "", NOW + 0.2)
    assert context.ledger.fetchers(KEY) == ()


@pytest.mark.parametrize("lease", [HERE, THERE])
def test_how_long_the_origin_took_is_learnt_once(lease: FetchLease) -> None:
    """By the ledger from the progress, where it is kept here."""
    context, fetching, assembly = one()
    fetching.begin(lease, None, assembly, NOW)
    verdict = fetching.judge_answer(events.OriginAnswered(1, 200, HEADERS, UTC), NOW + 0.25)
    assert isinstance(verdict, Shareable)
    usual = context.ledger.usual_first_byte_s(STREAM)
    assert usual == pytest.approx(0.25 if lease is THERE else Limits().first_byte_unknown_s)


def test_what_has_no_end_of_its_own_or_is_authorized_is_not_for_others() -> None:
    context, fetching, assembly = one()
    fetching.begin(THERE, None, assembly, NOW)
    assert isinstance(fetching.judge_answer(events.OriginAnswered(1, 200, HEADERS, UTC, framed=False), NOW), Private)
    mine = values.OriginRequest(REQUEST.url, (("authorization", "Bearer me"),))
    fetching.borrow_request(2, mine, 1)
    fetching.begin(THERE, None, assembly, NOW)
    assert isinstance(fetching.judge_answer(events.OriginAnswered(2, 200, HEADERS, UTC), NOW), Private)
    assert context.out


# ---- as a node has it


def test_a_body_that_has_no_end_of_its_own_is_shared_with_nobody() -> None:
    one = One()
    fetch = one.fetch()
    one.feed(events.OriginAnswered(fetch, 200, SHORT_HEADERS[:1], UTC, framed=False))
    assert [it.viewer for it in one.of(events.HandOver)] == [1]


def test_an_origin_that_breaks_twice_is_left_to_the_viewer() -> None:
    one = One()
    fetch = one.fetch()
    one.feed(events.OriginFailed(fetch, "refused"))
    (again,) = one.of(events.FetchOrigin)
    one.feed(events.OriginFailed(again.fetch, "refused"))
    assert one.of(events.PassOn) == [events.PassOn(1, "refused")]
    assert one.node.downloading() == {}


def test_an_origin_that_sends_more_than_it_announced_is_left_and_its_viewer_sees_it_break() -> None:
    one = One()
    fetch = one.fetch()
    one.feed(
        events.OriginAnswered(fetch, 200, SHORT_HEADERS, UTC),
        events.OriginSent(fetch, SHORT),
        events.OriginSent(fetch, b"x"),
    )
    assert [it.viewer for it in one.of(events.Abort)] == [1]
    assert [it.fetch for it in one.of(events.AbortOrigin)] == [fetch]


def test_a_ledger_grants_a_fetch_that_nobody_has_granted_yet() -> None:
    _, fetching, assembly = one()
    leases = []
    for begins, granted in ((False, THERE), (True, THERE), (False, HERE)):
        if begins:
            fetching.begin(FetchLease(None, 0, hedge=True), None, assembly, NOW)
        fetching.take_lease(granted)
        leases.append(fetching.lease)
    assert leases == [None, THERE, THERE]


def silent(_: Timeouts) -> None:
    """The origin was not reached, or said nothing in the middle of the body."""


def thought(timeouts: Timeouts) -> None:
    """It had the request all the time."""
    timeouts.origin_reached()


@pytest.mark.parametrize(("how", "may_try_again"), [(thought, [False]), (silent, [True, True, True, True, False])])
def test_an_origin_that_is_merely_slow_is_tried_again_each_time_for_longer(
    how: Callable[[Timeouts], None], may_try_again: list[bool]
) -> None:
    _, fetching, assembly = one()
    timeouts = Timeouts(Limits(), 0.0, NOW)
    found: list[bool] = []
    while not found or found[-1]:
        fetching.begin(THERE, None, assembly, NOW)
        timeouts.fetch_begun(NOW)
        how(timeouts)
        fetching.fell_silent(timeouts)
        found.append(fetching.may_try_again())
    assert found == may_try_again


def test_a_fetch_that_was_given_up_for_neighbours_is_no_try() -> None:
    _, fetching, assembly = one()
    for _ in range(9):
        fetching.begin(THERE, None, assembly, NOW)
        fetching.take_back_try()
    assert fetching.may_try_again()


PERMISSION = ("access-control-allow-origin", "https://portal.test")


@pytest.mark.parametrize(
    ("conditional", "status", "more", "speaks_for"),
    [
        (False, 200, (), 1),
        (False, 200, (PERMISSION,), 1),
        (True, 304, (PERMISSION,), 1),
        (True, 304, (), 0),
    ],
)
def test_a_304_speaks_for_a_page_only_where_it_names_one(
    conditional: bool, status: int, more: values.Headers, speaks_for: int
) -> None:
    """Many servers send a page's permission with a body only."""
    _, fetching, assembly = one()
    if conditional:
        assembly.hold(whole(seal("me"), BODY), CopyAge(NOW - 60.0, NOW - 60.0))
    fetching.begin(THERE, None, assembly, NOW, is_conditional=conditional)
    assert fetching.number is not None
    answered = events.OriginAnswered(fetching.number, status, (*HEADERS, *more), UTC)
    assert not conditional or fetching.confirm(answered, assembly, NOW)
    assert conditional or fetching.take_answer(answered, assembly, NOW) is None
    assert fetching.speaks_for == speaks_for
