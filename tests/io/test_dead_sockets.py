"""Connections from an address that has gone end at once, whoever made them; all others stay."""

import asyncio
import socket
import sys
from collections.abc import Callable

import pytest
import uvloop

from ecdn_proxy.io.dead_sockets import end_connections

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone keeps such connections")
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_readers_and_writers_of_gone_addresses_are_told(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def work() -> None:
        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(hold, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        gone, _gone = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.7", 0))
        stays, stays_writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.8", 0))
        waiting = asyncio.get_running_loop().create_task(gone.read())
        await asyncio.sleep(0)
        assert end_connections({"127.0.0.7"}) == 1
        async with asyncio.timeout(20):
            assert await waiting == b""
        stays_writer.write(b"x")
        await stays_writer.drain()
        assert not stays.at_eof()
        for writer in (_gone, stays_writer):
            writer.close()
        server.close()
        await server.wait_closed()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(work())


def test_what_listens_or_is_no_connection_is_left_alone() -> None:
    listener = socket.create_server(("127.0.0.7", 0))
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.7", 0))
    one, other = socket.socketpair()
    try:
        end_connections({"127.0.0.7"})
        assert end_connections(()) == 0
        near = socket.create_connection(listener.getsockname(), timeout=20)
        far, _ = listener.accept()
        far.sendall(b"x")
        assert near.recv(1) == b"x", "it listens as before"
        near.close()
        far.close()
    finally:
        for each in (listener, datagrams, one, other):
            each.close()
