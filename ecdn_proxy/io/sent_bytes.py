"""What of the bytes that were sent on a connection the other end has not confirmed yet.

    unacknowledged(transport)       bytes that wait here, or are on their way, or are lost

The kernel sends lost bytes again, for up to a quarter of an hour, and says nothing meanwhile. Whether a silent origin
is slow or out of reach shows only in this: a slow one's machine confirms the request within a round trip.
"""

import array
import asyncio
import contextlib
import sys
from typing import Final

if sys.platform != "win32":
    import fcntl
    import termios

_SO_NWRITE: Final = 0x1024
"""macOS <sys/socket.h>: bytes in the send buffer, those on their way included."""


def unacknowledged(transport: asyncio.BaseTransport) -> int:
    """Bytes that the other end has not confirmed; on a closed connection and on Windows only those that wait here.

    Windows gives up a connection by itself when its bytes are not confirmed for some twenty seconds.
    """
    waiting: int = getattr(transport, "get_write_buffer_size", int)()  # uvloop's are no asyncio.WriteTransport
    connection = transport.get_extra_info("socket")
    if connection is None or connection.fileno() < 0:
        return waiting
    with contextlib.suppress(OSError):
        if sys.platform == "linux":
            count = array.array("i", [0])
            fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, count)  # tcp(7): SIOCOUTQ, by its older name
            waiting += count[0]
        elif sys.platform == "darwin":
            waiting += connection.getsockopt(0xFFFF, _SO_NWRITE)
    return waiting
