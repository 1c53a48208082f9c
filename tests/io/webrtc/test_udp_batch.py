"""Datagrams leave as they were cut, in order, whether the kernel cuts them or the process."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop

from ecdn_proxy.io.webrtc import udp_batch

pytestmark = pytest.mark.usefixtures("nothing_left")

BODY = bytes(range(256)) * 40
SIZE = 1_229
CUT = [BODY[at : at + SIZE] for at in range(0, len(BODY), SIZE)]
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class _Reader(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.got: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.got.put_nowait(data)


@asynccontextmanager
async def _pair() -> AsyncIterator[tuple[asyncio.DatagramTransport, asyncio.Queue[bytes], tuple[str, int]]]:
    loop = asyncio.get_running_loop()
    far, reader = await loop.create_datagram_endpoint(_Reader, local_addr=("127.0.0.1", 0))
    near, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    try:
        yield near, reader.got, far.get_extra_info("sockname")
    finally:
        near.close()
        far.close()
        await asyncio.sleep(0.01)  # uvloop closes a turn later


async def _read(got: asyncio.Queue[bytes], count: int) -> list[bytes]:
    async with asyncio.timeout(20):
        return [await got.get() for _ in range(count)]


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("able", [True, False], ids=["together", "one by one"])
def test_each_arrives_alone_and_in_order(
    loop: Callable[[], asyncio.AbstractEventLoop], able: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(udp_batch, "_able", able and sys.platform == "linux")

    async def work() -> None:
        async with _pair() as (near, got, address):
            udp_batch.send(near, memoryview(BODY), SIZE, address)
            udp_batch.send(near, memoryview(b"alone"), SIZE, address)
            assert await _read(got, len(CUT) + 1) == [*CUT, b"alone"]
            assert udp_batch._able == (able and sys.platform == "linux")

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(work())


@pytest.mark.asyncio
async def test_a_kernel_that_refuses_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_batch, "_able", True)
    monkeypatch.setattr(udp_batch, "_UDP_SEGMENT", 9_999)
    async with _pair() as (near, got, address):
        udp_batch.send(near, memoryview(BODY), SIZE, address)
        assert await _read(got, len(CUT)) == CUT
        assert not udp_batch._able


@pytest.mark.asyncio
async def test_a_closed_transport_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_batch, "_able", True)
    async with _pair() as (near, _, address):
        near.close()
        udp_batch.send(near, memoryview(BODY), SIZE, address)
        assert udp_batch._able
