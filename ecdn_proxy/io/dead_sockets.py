"""Connections from addresses that this machine no longer has (Linux).

    end_connections(gone)       ends every TCP connection of this process that comes from one of these addresses

When an address is taken away (a dock, another Wi-Fi), Linux keeps the connections that came from that address, and what
is sent there is lost, for up to a quarter of an hour. That hits connections to origins, to the coordinator and of the
proxy: whoever waits for one of them waits in vain, and a player gives up. When such connections are shut down here,
each library notices at once and connects anew. Windows ends such connections by itself.
"""

import contextlib
import os
import socket
from collections.abc import Collection
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")


def end_connections(gone: Collection[str]) -> int:
    """Shut down every connection that comes from an address in `gone`; return how many there were.

    On systems that do not list a process's open files as Linux does, nothing is done.
    """
    if not gone or not _DESCRIPTORS.is_dir():
        return 0
    ended = 0
    for each in list(_DESCRIPTORS.iterdir()):
        with contextlib.suppress(OSError):  # no socket, or closed meanwhile
            ended += _end(int(each.name), gone)
    return ended


def _end(descriptor: int, gone: Collection[str]) -> bool:
    with socket.socket(fileno=os.dup(descriptor)) as each:  # shutting down the copy shuts down the connection
        if each.type != socket.SOCK_STREAM or each.family not in {socket.AF_INET, socket.AF_INET6}:
            return False
        local = str(each.getsockname()[0]).removeprefix("::ffff:")
        if local not in gone:
            return False
        each.getpeername()  # raises for one that listens: it does not end, the address may come back
        each.shutdown(socket.SHUT_RDWR)
        return True
