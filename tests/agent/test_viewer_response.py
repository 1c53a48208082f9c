"""One viewer's answer from the node to the gateway: what was put in comes out, once, in order, with an honest end."""

import asyncio

import pytest

from ecdn_proxy.agent.api import Begun, Missing, ViewerRequest
from ecdn_proxy.agent.viewer_response import HELD_BYTES_HIGH, HELD_BYTES_LOW, StreamedResponse
from ecdn_proxy.sansio.tasks import Tasks
from ecdn_proxy.wire.faults import Unavailable
from tests.core.makers import head

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]

HEAD = Begun(head(8), "lan", "so")
REQUEST = ViewerRequest("GET", "https://origin.test/1", ())


class Gateway:
    """A delivery with its reader."""

    def __init__(self) -> None:
        self.left: list[int] = []
        self.delivery = StreamedResponse(7, REQUEST, lambda it: self.left.append(it.viewer))

    async def all(self) -> bytes:
        return b"".join([bytes(part) async for part in self.delivery.body()])


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_is_put_in_comes_out_in_order() -> None:
    gateway = Gateway()
    gateway.delivery.head(HEAD)
    gateway.delivery.bytes_came(b"some")
    gateway.delivery.bytes_came(memoryview(b"more"))
    gateway.delivery.finished()
    assert await gateway.delivery.begin() == HEAD
    assert await gateway.all() == b"somemore"
    assert gateway.delivery.begun
    assert gateway.delivery.over


async def test_a_player_sees_the_speed_of_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 Mbit/s from the request on: what comes sooner waits, what comes later does not."""
    loop, now = asyncio.get_running_loop(), [100.0]

    async def wait(seconds: float) -> None:
        now[0] += seconds

    with monkeypatch.context() as patched:
        patched.setattr(loop, "time", lambda: now[0])
        gateway = Gateway()
        patched.setattr(asyncio, "sleep", wait)
        gateway.delivery.pace(8_000)
        gateway.delivery.head(HEAD)
        now[0] = 100.7
        for _ in range(3):
            gateway.delivery.bytes_came(bytes(500_000))
        gateway.delivery.finished()
        given = [(round(now[0], 6), len(part)) async for part in gateway.delivery.body()]
    assert given == [(100.7, 500_000), (101.0, 500_000), (101.5, 500_000)]


async def test_a_reader_that_is_early_waits() -> None:
    gateway = Gateway()
    tasks = Tasks(lambda name, error: None)
    begun, read = tasks.start(gateway.delivery.begin(), "begin"), tasks.start(gateway.all(), "read")
    await turn()
    assert not begun.done()
    gateway.delivery.head(HEAD)
    gateway.delivery.head(Missing(404, "too late"))
    for part in (b"a", b"b", b"c"):
        gateway.delivery.bytes_came(part)
        await turn()
    assert not read.done()
    gateway.delivery.finished()
    assert await begun == HEAD
    assert await read == b"abc"


async def test_bytes_that_came_before_a_fault_are_given_first() -> None:
    gateway = Gateway()
    gateway.delivery.head(HEAD)
    gateway.delivery.bytes_came(b"some")
    gateway.delivery.failed("the rest is lost")
    body = gateway.delivery.body()
    assert await anext(body) == b"some"
    with pytest.raises(Unavailable, match="the rest is lost"):
        await anext(body)


async def test_a_fault_before_the_head_is_the_heads() -> None:
    gateway = Gateway()
    gateway.delivery.failed("no source")
    assert gateway.delivery.over
    with pytest.raises(Unavailable, match="no source"):
        await gateway.delivery.begin()


async def test_closing_early_says_that_the_viewer_left_once() -> None:
    gateway = Gateway()
    tasks = Tasks(lambda name, error: None)
    begun = tasks.start(gateway.delivery.begin(), "begin")
    await turn()
    await gateway.delivery.close()
    await gateway.delivery.close()
    await turn()
    assert begun.cancelled()
    assert gateway.left == [7]


async def test_after_closing_nothing_is_kept() -> None:
    gateway = Gateway()
    gateway.delivery.head(HEAD)
    gateway.delivery.bytes_came(b"some")
    await gateway.delivery.close()
    gateway.delivery.bytes_came(b"more")
    gateway.delivery.finished()
    assert await gateway.all() == b""


async def test_an_own_answer_that_is_not_read_holds_its_origin_back() -> None:
    gateway = Gateway()
    held: list[bool] = []
    gateway.delivery.hold = held.append
    part = bytes(HELD_BYTES_LOW)
    for _ in range(HELD_BYTES_HIGH // HELD_BYTES_LOW + 2):
        gateway.delivery.bytes_came(part)
    assert held == [True]
    gateway.delivery.finished()
    lengths = [(len(chunk), len(held)) async for chunk in gateway.delivery.body()]
    assert held == [True, False]
    assert sum(length for length, _ in lengths) == len(part) * 6
    assert lengths[4][1] == 2


async def test_a_shared_answer_holds_nobody_back() -> None:
    gateway = Gateway()
    gateway.delivery.bytes_came(bytes(2 * HELD_BYTES_HIGH))
    gateway.delivery.finished()
    assert len(await gateway.all()) == 2 * HELD_BYTES_HIGH
