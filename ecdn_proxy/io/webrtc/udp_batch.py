"""Several datagrams to one address with one system call, where the system can (Linux 4.18: UDP_SEGMENT).

    send(transport, body, size, address)    `body` cut into datagrams of `size` bytes, the last one perhaps shorter

A WebRTC sender spends a third of its time in the system call for each packet; one call for eight costs as much as two.
The kernel, or the network card, cuts the body; the packets on the wire are the same. Where that is not possible
(another system, an event loop that hides the socket, a card or driver that refuses), datagrams are sent one by one: the
first refusal decides for the rest of the process.
"""

import asyncio
import socket
import sys
from struct import Struct

_UDP_SEGMENT = 103
"""linux/udp.h; Python has no name for it."""
_SIZE = Struct("=H")
SEGMENTS_MAX = 32
"""Datagrams in one call; the kernel takes 64, and 65,507 bytes."""

_able = sys.platform == "linux"


def send(transport: asyncio.DatagramTransport, body: memoryview, size: int, address: tuple[str, int]) -> None:
    """Send `body`; at most `SEGMENTS_MAX` datagrams."""
    if len(body) > size and _able and _at_once(transport, body, size, address):
        return
    for start in range(0, len(body), size):
        transport.sendto(bytes(body[start : start + size]), address)


def _at_once(transport: asyncio.DatagramTransport, body: memoryview, size: int, address: tuple[str, int]) -> bool:
    """Whether the kernel has taken all of it."""
    global _able  # noqa: PLW0603 - what this system can is the same for the whole process
    below = transport.get_extra_info("socket")
    waiting = transport.get_write_buffer_size()  # type: ignore[attr-defined]  # typeshed forgot it
    if below is None or transport.is_closing() or waiting:
        return False  # what waits goes first
    # The event loop's own socket object has no sendmsg; this one lives for one call and never closes the descriptor.
    door = socket.socket(below.family, below.type, below.proto, fileno=below.fileno())
    try:
        return door.sendmsg([body], [(socket.IPPROTO_UDP, _UDP_SEGMENT, _SIZE.pack(size))], 0, address) == len(body)
    except BlockingIOError:
        return False
    except OSError:
        _able = False
        return False
    finally:
        door.detach()
