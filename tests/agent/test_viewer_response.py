"""One viewer's response from the node to the front: what was put in comes out, once, in order, with an honest end."""

import asyncio

import pytest

from ecdn_proxy.agent.api import OwnHead, RefusedHead, SharedHead, ViewerRequest
from ecdn_proxy.agent.viewer_response import HELD_BYTES_HIGH, HELD_BYTES_LOW, StreamedResponse
from ecdn_proxy.sansio.tasks import Tasks
from ecdn_proxy.wire.faults import Unavailable
from tests.core.makers import head

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]

HEAD = SharedHead(head(8), "lan", "so")
REQUEST = ViewerRequest("GET", "https://origin.test/1", ())


class Front:
    """A response with its reader, its server and its fetch."""

    def __init__(self) -> None:
        self.left: list[int] = []
        self.held: list[str] = []
        self.response = StreamedResponse(7, REQUEST, self)

    def response_released(self, response: StreamedResponse) -> None:
        self.left.append(response.viewer)

    def pause(self) -> None:
        self.held.append("paused")

    def resume(self) -> None:
        self.held.append("resumed")

    async def all(self) -> bytes:
        return b"".join([bytes(part) async for part in self.response.body()])


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_is_put_in_comes_out_in_order() -> None:
    front = Front()
    front.response.set_head(HEAD)
    front.response.add_body(b"some")
    front.response.add_body(memoryview(b"more"))
    front.response.finish()
    assert await front.response.head() == HEAD
    assert await front.all() == b"somemore"
    assert front.response.has_head


async def test_a_player_sees_the_speed_of_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 Mbit/s from the request on: what comes sooner waits, what comes later does not."""
    loop, now = asyncio.get_running_loop(), [100.0]

    async def wait(seconds: float) -> None:
        now[0] += seconds

    with monkeypatch.context() as patched:
        patched.setattr(loop, "time", lambda: now[0])
        front = Front()
        patched.setattr(asyncio, "sleep", wait)
        front.response.set_pace(8_000)
        front.response.set_head(HEAD)
        now[0] = 100.7
        for _ in range(3):
            front.response.add_body(bytes(500_000))
        front.response.finish()
        given = [(round(now[0], 6), len(part)) async for part in front.response.body()]
    assert given == [(100.7, 500_000), (101.0, 500_000), (101.5, 500_000)]


async def test_a_reader_that_is_early_waits() -> None:
    front = Front()
    tasks = Tasks(lambda name, error: None)
    begun, read = tasks.start(front.response.head(), "begin"), tasks.start(front.all(), "read")
    await turn()
    assert not begun.done()
    front.response.set_head(HEAD)
    front.response.set_head(RefusedHead(404, "too late"))
    for part in (b"a", b"b", b"c"):
        front.response.add_body(part)
        await turn()
    assert not read.done()
    front.response.finish()
    assert await begun == HEAD
    assert await read == b"abc"


async def test_bytes_that_came_before_a_fault_are_given_first() -> None:
    front = Front()
    front.response.set_head(HEAD)
    front.response.add_body(b"some")
    front.response.fail("the rest is lost")
    body = front.response.body()
    assert await anext(body) == b"some"
    with pytest.raises(Unavailable, match="the rest is lost"):
        await anext(body)


async def test_a_fault_before_the_head_is_the_heads() -> None:
    front = Front()
    front.response.fail("no source")
    with pytest.raises(Unavailable, match="no source"):
        await front.response.head()


async def test_closing_early_says_that_the_viewer_left_once() -> None:
    front = Front()
    tasks = Tasks(lambda name, error: None)
    begun = tasks.start(front.response.head(), "begin")
    await turn()
    await front.response.release()
    await front.response.release()
    await turn()
    assert begun.cancelled()
    assert front.left == [7]


async def test_after_closing_nothing_is_kept() -> None:
    front = Front()
    front.response.set_head(HEAD)
    front.response.add_body(b"some")
    await front.response.release()
    front.response.add_body(b"more")
    front.response.finish()
    assert await front.all() == b""


async def test_an_own_answer_that_is_not_read_holds_its_origin_back() -> None:
    front = Front()
    held = front.held
    front.response.set_own_head(OwnHead(200, "OK", (), "its own"), front)
    part = bytes(HELD_BYTES_LOW)
    for _ in range(HELD_BYTES_HIGH // HELD_BYTES_LOW + 2):
        front.response.add_body(part)
    assert held == ["paused"]
    front.response.finish()
    lengths = [(len(chunk), len(held)) async for chunk in front.response.body()]
    assert held == ["paused", "resumed"]
    assert sum(length for length, _ in lengths) == len(part) * 6
    assert lengths[4][1] == 2


async def test_a_shared_answer_holds_nobody_back() -> None:
    front = Front()
    front.response.add_body(bytes(2 * HELD_BYTES_HIGH))
    front.response.finish()
    assert len(await front.all()) == 2 * HELD_BYTES_HIGH
