"""What the kernel says of bytes that the other end has not confirmed."""

import asyncio
import socket
import sys

import pytest

from ecdn_proxy.io.sent_bytes import unacknowledged
from tests.io.waiting import Record

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]


async def test_what_is_confirmed_waits_no_more_and_what_is_not_does() -> None:
    """A listener that does not accept: its kernel confirms what its buffer holds, and nothing beyond."""
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_024)
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        _, writer = await asyncio.open_connection(*deaf.getsockname())
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await Record().until(lambda: unacknowledged(writer.transport) == 0)
        writer.write(bytes(16_000_000))
        assert unacknowledged(writer.transport) > 0
        writer.transport.abort()
        await Record().until(lambda: unacknowledged(writer.transport) == 0)


@pytest.mark.skipif(sys.platform not in {"linux", "darwin"}, reason="this system does not tell")
async def test_bytes_that_have_left_the_process_count_too() -> None:
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_024)
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        _, writer = await asyncio.open_connection(*deaf.getsockname())
        writer.write(bytes(200_000))
        await Record().until(lambda: writer.transport.get_write_buffer_size() == 0)
        assert unacknowledged(writer.transport) > 0
        writer.transport.abort()


async def test_a_transport_without_a_socket_has_sent_all() -> None:
    assert unacknowledged(asyncio.BaseTransport()) == 0
