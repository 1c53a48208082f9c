"""Effects become calls and what comes of them events: against a real origin client and a small origin."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from ecdn_proxy.agent.api import OwnHead, RefusedHead, SharedHead, ViewerRequest
from ecdn_proxy.agent.performer import Performer, Surroundings
from ecdn_proxy.agent.viewer_response import HELD_BYTES_HIGH, StreamedResponse
from ecdn_proxy.core import events, values
from ecdn_proxy.core.report.meter import Meter
from ecdn_proxy.io.origin import OriginClient
from ecdn_proxy.wire.faults import Unavailable
from ecdn_proxy.wire.peer import Cancel, Contact
from tests.agent.origins import BODY, Origin, serving
from tests.core.makers import KEY, contact, head, stored
from tests.core.world import STREAM, UTC

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]


class Links:
    """Notes what links are asked to do; `full` devices hold much that has not been sent."""

    def __init__(self) -> None:
        self.done: list[tuple[object, ...]] = []
        self.full: set[str] = set()

    def dial(self, contact: Contact) -> None:
        self.done.append(("dial", contact.device))

    def hang_up(self, device: str, why: str) -> None:
        self.done.append(("hang up", device, why))

    def send(self, device: str, message: object) -> None:
        self.done.append(("send", device, message))

    def is_full(self, device: str) -> bool:
        return device in self.full

    def hang_up_all(self, why: str) -> None:
        self.done.append(("hang up", "all", why))


class Disk:
    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []

    def held(self) -> list[tuple[str, int]]:
        return []

    def save(self, stored: values.StoredSegment) -> None:
        self.done.append(("save", stored.key))

    def load(self, key: str) -> None:
        self.done.append(("load", key))

    def erase(self, key: str) -> None:
        self.done.append(("erase", key))


class Bench:
    """A performer, and the events that it feeds."""

    def __init__(self, origin: Origin, client: OriginClient, *, alone: bool = False) -> None:
        self.origin = origin
        self.links, self.disk, self.meter = Links(), Disk(), Meter(4)
        self.events: list[events.Event] = []
        self.told: list[tuple[object, ...]] = []
        self._news = asyncio.Event()
        surroundings = Surroundings(
            origin=client,
            links=None if alone else self.links,
            disk=None if alone else self.disk,
            announcer=None if alone else self,
            conditions=self,
            meter=self.meter,
            utc=lambda: UTC,
        )
        self.performer = Performer(surroundings)
        self.performer.feed = self._fed
        self.at_head: list[events.Effect] = []
        """What the node wants as soon as an origin has answered."""
        self._viewer = 0

    def announce(self, streams: tuple[str, ...], serves: bool, isolated: bool) -> None:
        self.told.append(("announce", streams, serves, isolated))

    def node_restarted(self) -> None:
        self.told.append(("restarted",))

    def raise_condition(self, code: str, text: str) -> None:
        self.told.append(("raise", code, text))

    def clear_condition(self, code: str) -> None:
        self.told.append(("clear", code))

    def _fed(self, event: events.Event) -> None:
        self.events.append(event)
        if isinstance(event, events.OriginAnswered):
            self.do(*self.at_head)
        self._news.set()

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                self._news.clear()
                await self._news.wait()

    def of[T](self, kind: type[T]) -> list[T]:
        return [it for it in self.events if isinstance(it, kind)]

    def viewer(self, path: str = "/1.ts", *headers: tuple[str, str]) -> StreamedResponse:
        self._viewer += 1
        request = ViewerRequest("GET", self.origin.url(path), headers)
        response = StreamedResponse(self._viewer, request, self.performer)
        self.performer.expect(response)
        return response

    def do(self, *effects: events.Effect) -> None:
        for effect in effects:
            self.performer.perform(effect)

    def fetch(self, number: int = 1, path: str = "/1.ts", *, first: int = 0, last: int | None = None) -> None:
        request = values.OriginRequest(self.origin.url(path), (("cookie", "user=me"), ("range", "bytes=5-6")))
        self.do(
            events.FetchOrigin(number, request, first, last, bool(first) or last is not None, '"v1"' if first else None)
        )


async def whole(response: StreamedResponse) -> bytes:
    return b"".join([bytes(part) async for part in response.body()])


@pytest_asyncio.fixture
async def bench(nothing_left: None) -> AsyncIterator[Bench]:
    async with serving() as origin:
        client = OriginClient("", {}, allow_local=True)
        yield Bench(origin, client)
        await client.close()


@pytest_asyncio.fixture
async def alone(nothing_left: None) -> AsyncIterator[Bench]:
    async with serving() as origin:
        client = OriginClient("", {}, allow_local=True)
        yield Bench(origin, client, alone=True)
        await client.close()


# ---- a fetch


async def test_a_fetch_is_told_as_events_with_the_viewers_own_credentials(bench: Bench) -> None:
    bench.fetch()
    await bench.until(lambda: bench.of(events.OriginEnded))
    (answered,) = bench.of(events.OriginAnswered)
    assert (answered.fetch, answered.status, answered.framed, answered.utc) == (1, 200, True, UTC)
    assert dict(answered.headers)["etag"] == '"v1"'
    assert b"".join(it.data for it in bench.of(events.OriginSent)) == BODY
    assert bench.events[-1] == events.OriginEnded(1)
    (asked,) = bench.origin.asked
    assert asked.headers["cookie"] == "user=me"
    assert "range" not in asked.headers


@pytest.mark.parametrize(
    ("first", "last", "asked", "body"),
    [
        (100, None, "bytes=100-", BODY[100:]),
        (0, 99, "bytes=0-99", BODY[:100]),
        (100, 199, "bytes=100-199", BODY[100:200]),
    ],
)
async def test_a_fetch_asks_for_its_own_range(
    bench: Bench, first: int, last: int | None, asked: str, body: bytes
) -> None:
    bench.fetch(first=first, last=last)
    await bench.until(lambda: bench.of(events.OriginEnded))
    assert bench.origin.asked[0].headers["range"] == asked
    assert bench.origin.asked[0].headers.get("if-range") == ('"v1"' if first else None)
    assert b"".join(it.data for it in bench.of(events.OriginSent)) == body


async def test_a_fetch_that_cannot_be_is_told_as_failed(bench: Bench) -> None:
    bench.do(events.FetchOrigin(1, values.OriginRequest("ftp://origin.test/1", ()), 0, None, ranged=False))
    await bench.until(lambda: bench.events)
    (failed,) = bench.events
    assert isinstance(failed, events.OriginFailed)
    assert failed.fetch == 1


async def test_after_an_abort_nothing_is_told(bench: Bench) -> None:
    bench.origin.answers["/1.ts"] = bench.origin.slowly
    bench.fetch()
    await bench.until(lambda: bench.of(events.OriginSent))
    told = len(bench.events)
    bench.do(events.AbortOrigin(1), events.AbortOrigin(1), events.AbortOrigin(99))
    async with asyncio.timeout(20):
        await bench.origin.ended.wait()
    assert len(bench.events) == told


# ---- a viewer's answer


async def test_a_viewer_is_answered_by_what_the_node_says(bench: Bench) -> None:
    one = bench.viewer()
    bench.do(
        events.BeginAnswer(1, head(8), "lan", "so"),
        events.Deliver(1, b"some"),
        events.Deliver(1, b"more"),
        events.Finish(1),
    )
    assert await one.head() == SharedHead(head(8), "lan", "so")
    assert await whole(one) == b"somemore"
    await one.release()
    assert bench.events == [], "it had everything: nobody left"


async def test_a_viewer_is_answered_at_the_pace_that_the_node_says(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bench.viewer()
    told: list[int] = []
    monkeypatch.setattr(one, "set_pace", told.append)
    bench.do(events.BeginAnswer(1, head(8), "lan", "so", 4_000))
    assert told == [4_000]


async def test_a_broken_answer_is_seen_as_broken(bench: Bench) -> None:
    one = bench.viewer()
    bench.do(events.BeginAnswer(1, head(8), "lan", "so"), events.Deliver(1, b"some"), events.Abort(1, "two versions"))
    with pytest.raises(Unavailable, match="two versions"):
        await whole(one)


async def test_a_404_is_told_with_its_reason(bench: Bench) -> None:
    one = bench.viewer()
    bench.do(events.AnswerStatus(1, 404, "gone"))
    assert await one.head() == RefusedHead(404, "gone")
    assert await whole(one) == b""


async def test_a_viewer_that_leaves_is_told_once_and_spoken_to_no_more(bench: Bench) -> None:
    one = bench.viewer()
    await one.release()
    assert bench.events == [events.ViewerLeft(1)]
    bench.do(
        events.BeginAnswer(1, head(8), "lan", "so"),
        events.Deliver(1, b"some"),
        events.Finish(1),
        events.Abort(1, "so"),
        events.PassOn(1, "so"),
        events.AnswerStatus(1, 404, "so"),
        events.HandOver(1, 9, "so"),
    )
    assert bench.origin.asked == []


# ---- everybody for himself


async def test_a_viewers_own_request_goes_to_the_origin_as_it_is(bench: Bench) -> None:
    one = bench.viewer("/1.ts", ("cookie", "user=other"), ("range", "bytes=10-19"), ("if-range", '"v1"'))
    bench.do(events.PassOn(1, "sharing is off"))
    own = await one.head()
    assert isinstance(own, OwnHead)
    assert (own.status, own.why) == (206, "sharing is off")
    assert dict(own.headers)["content-range"] == f"bytes 10-19/{len(BODY)}"
    assert await whole(one) == BODY[10:20]
    (asked,) = bench.origin.asked
    assert [asked.headers[it] for it in ("cookie", "range", "if-range")] == ["user=other", "bytes=10-19", '"v1"']
    await one.release()
    assert bench.events == []


async def test_without_an_origin_the_viewer_sees_a_fault(bench: Bench) -> None:
    one = bench.viewer()
    object.__setattr__(one.request, "url", "http://127.0.0.1:1/nobody")
    bench.do(events.PassOn(1, "so"))
    with pytest.raises(Unavailable):
        await one.head()


async def test_a_viewer_that_leaves_its_own_answer_ends_the_fetch(bench: Bench) -> None:
    bench.origin.answers["/1.ts"] = bench.origin.slowly
    one = bench.viewer()
    bench.do(events.PassOn(1, "so"))
    await one.head()
    await one.release()
    async with asyncio.timeout(20):
        await bench.origin.ended.wait()


async def test_a_viewer_that_leaves_before_the_origin_answers_hears_nothing(bench: Bench) -> None:
    one = bench.viewer()
    bench.do(events.PassOn(1, "so"))
    await one.release()
    await asyncio.sleep(0)
    assert bench.events == []


# ---- handing over


async def test_an_answer_that_is_one_viewers_own_is_handed_over_as_it_is(bench: Bench) -> None:
    bench.origin.answers["/1.ts"] = bench.origin.plain(headers={"Set-Cookie": "id=canary", "Cache-Control": "private"})
    one = bench.viewer()
    bench.at_head.append(events.HandOver(1, 1, "the origin set a cookie"))
    bench.fetch()
    await bench.until(lambda: bench.of(events.OriginAnswered))
    own = await one.head()
    assert isinstance(own, OwnHead)
    assert dict(own.headers)["set-cookie"] == "id=canary"
    assert await whole(one) == BODY
    assert len(bench.origin.asked) == 1
    assert not bench.of(events.OriginSent)
    assert not bench.of(events.OriginEnded)


async def test_a_viewer_that_leaves_what_was_handed_over_ends_the_fetch(bench: Bench) -> None:
    bench.origin.answers["/1.ts"] = bench.origin.slowly
    one = bench.viewer()
    bench.at_head.append(events.HandOver(1, 1, "so"))
    bench.fetch()
    await bench.until(lambda: bench.of(events.OriginAnswered))
    other = bench.viewer()
    await other.release()
    await one.release()
    async with asyncio.timeout(20):
        await bench.origin.ended.wait()
    assert bench.of(events.ViewerLeft) == [events.ViewerLeft(2)]


async def test_an_origin_that_breaks_off_what_was_handed_over_breaks_the_viewers(bench: Bench) -> None:
    bench.origin.answers["/1.ts"] = bench.origin.slowly
    one = bench.viewer()
    bench.at_head.append(events.HandOver(1, 1, "so"))
    bench.fetch()
    await bench.until(lambda: bench.of(events.OriginAnswered))
    body = one.body()
    await anext(body)
    transport = bench.origin.asked[0].transport
    assert transport is not None
    transport.abort()
    with pytest.raises(Unavailable, match="cut short"):
        _ = [part async for part in body]
    assert not bench.of(events.OriginFailed)


@pytest.mark.parametrize("field", [("range", "bytes=10-19"), ("if-none-match", '"v1"')])
async def test_a_viewer_that_asked_for_something_else_gets_its_own(bench: Bench, field: tuple[str, str]) -> None:
    one = bench.viewer("/1.ts", field)
    bench.at_head.append(events.HandOver(1, 1, "so"))
    bench.fetch()
    await bench.until(lambda: bench.of(events.OriginAnswered))
    assert isinstance(await one.head(), OwnHead)
    assert await whole(one) == (BODY[10:20] if field[0] == "range" else BODY)
    assert len(bench.origin.asked) == 2
    await one.release()


async def test_an_answer_that_is_gone_cannot_be_handed_over(bench: Bench) -> None:
    one = bench.viewer()
    bench.do(events.HandOver(1, 99, "so"))
    assert isinstance(await one.head(), OwnHead)
    assert await whole(one) == BODY


async def test_a_slow_viewer_holds_its_own_origin_back_and_gets_everything(bench: Bench) -> None:
    long = bytes(8 * HELD_BYTES_HIGH)
    bench.origin.answers["/1.ts"] = bench.origin.plain(body=long)
    one = bench.viewer()
    bench.do(events.PassOn(1, "so"))
    await one.head()
    got = 0
    async for part in one.body():
        got += len(part)
        await asyncio.sleep(0)
    assert got == len(long)


# ---- the node is gone


async def test_everybody_is_released_when_the_node_is_gone(bench: Bench) -> None:
    bench.origin.answers["/slow.ts"] = bench.origin.slowly
    begun, waiting = bench.viewer(), bench.viewer()
    bench.do(events.BeginAnswer(1, head(8), "lan", "so"), events.Deliver(1, b"some"))
    bench.fetch(path="/slow.ts")
    await bench.until(lambda: bench.of(events.OriginSent))
    told = len(bench.events)
    bench.performer.release_all("a fault")
    with pytest.raises(Unavailable, match="a fault"):
        await whole(begun)
    assert isinstance(await waiting.head(), OwnHead)
    assert await whole(waiting) == BODY
    async with asyncio.timeout(20):
        await bench.origin.ended.wait()
    for response in (begun, waiting):
        await response.release()
    assert len(bench.events) == told, "nothing is told of viewers that the next node does not know"


async def test_a_viewer_that_has_been_handed_a_fetch_is_not_left_waiting(bench: Bench) -> None:
    bench.origin.answers["/1.ts"] = bench.origin.slowly
    one = bench.viewer()
    bench.at_head.append(events.HandOver(1, 1, "so"))
    bench.fetch()
    await bench.until(lambda: bench.of(events.OriginAnswered))
    bench.performer.release_all("a fault")
    bench.origin.go_on.set()
    async with asyncio.timeout(20):
        with contextlib.suppress(Unavailable):
            assert await whole(one) == BODY
    await one.release()


# ---- links, disk, conditions


async def test_a_node_dials_sends_and_hangs_up(bench: Bench) -> None:
    bench.do(events.Dial(contact("ann")), events.Send("ann", Cancel(1)), events.HangUp("ann", "so"))
    assert bench.links.done == [("dial", "ann"), ("send", "ann", Cancel(1)), ("hang up", "ann", "so")]


async def test_a_full_link_is_told_once_until_it_has_room(bench: Bench) -> None:
    bench.links.full.add("ann")
    bench.do(events.Send("ann", Cancel(1)), events.Send("ann", Cancel(2)), events.Send("bob", Cancel(3)))
    assert bench.events == [events.LinkFull("ann")]
    bench.performer.link_has_room("ann")
    bench.do(events.Send("ann", Cancel(4)))
    assert bench.events == [events.LinkFull("ann"), events.LinkFull("ann")]
    assert len(bench.links.done) == 4


async def test_the_disk_saves_loads_and_erases(bench: Bench) -> None:
    bench.do(events.Save(stored(b"x")), events.Load(KEY), events.Erase(KEY))
    assert bench.disk.done == [("save", KEY), ("load", KEY), ("erase", KEY)]


async def test_a_machine_without_links_and_disk_says_so(alone: Bench) -> None:
    alone.do(events.Dial(contact("ann")), events.Send("ann", Cancel(1)), events.HangUp("ann", "so"))
    alone.do(events.Save(stored(b"x")), events.Load(KEY), events.Erase(KEY), events.AnnounceStreams((STREAM,), True))
    closed, loaded = alone.events
    assert isinstance(closed, events.LinkClosed)
    assert (closed.device, closed.misbehaved) == ("ann", False)
    assert loaded == events.Loaded(KEY, None)


async def test_conditions_announcements_and_counts_go_where_they_are_kept(bench: Bench) -> None:
    row = events.Served(KEY, STREAM, "v1", 7, "lan", "so", 1.0, ())
    bench.do(events.AnnounceStreams((STREAM,), True), events.RaiseCondition("a", "b"), events.ClearCondition("a"), row)
    assert bench.told == [("announce", (STREAM,), True, False), ("raise", "a", "b"), ("clear", "a")]
    assert list(bench.meter.recent) == [row]
