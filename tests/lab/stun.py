"""What a NAT makes of one socket: the smallest part of STUN (RFC 5389, section 7) that shows it.

Map:
    Mirror    answers binding requests on 203.0.113.30 and .31, in the caller's loop of receive
    mapped    sends from a host to both mirrors -> the two (address, port) that they saw
"""

import secrets
import socket
import struct

from tests.lab.inside import Inside
from tests.lab.net import STUN, Host, Net

PORT = 3478
PATIENCE_S = 30.0
"""A guard only: the kernel answers at once."""
_COOKIE = 0x2112A442
_REQUEST, _SUCCESS, _XOR_MAPPED = 0x0001, 0x0101, 0x0020


class Mirror:
    """Both addresses; answers when told to look."""

    def __init__(self, net: Net) -> None:
        self._sockets: list[socket.socket] = []
        with Inside(net.internet).entered():
            for address in STUN:
                made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                made.bind((address, PORT))
                made.settimeout(PATIENCE_S)
                self._sockets.append(made)

    def close(self) -> None:
        for each in self._sockets:
            each.close()

    def answer(self, index: int) -> None:
        """One request that has been sent to mirror `index`."""
        data, (address, port) = self._sockets[index].recvfrom(2048)
        number = struct.unpack(">I", socket.inet_aton(address))[0] ^ _COOKIE
        value = struct.pack(">BBHI", 0, 1, port ^ (_COOKIE >> 16), number)
        head = struct.pack(">HHI", _SUCCESS, 4 + len(value), _COOKIE) + data[8:20]
        self._sockets[index].sendto(head + struct.pack(">HH", _XOR_MAPPED, len(value)) + value, (address, port))


def mapped(net: Net, host: Host) -> list[tuple[str, int]]:
    """One socket of `host`, seen by two strangers."""
    mirror = Mirror(net)
    with Inside(host.namespace).entered():
        asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    seen = []
    try:
        asker.bind(("0.0.0.0", 40_000))
        asker.settimeout(PATIENCE_S)
        for index, address in enumerate(STUN):
            asker.sendto(struct.pack(">HHI", _REQUEST, 0, _COOKIE) + secrets.token_bytes(12), (address, PORT))
            mirror.answer(index)
            port, number = struct.unpack(">HI", asker.recv(2048)[26:32])
            seen.append((socket.inet_ntoa(struct.pack(">I", number ^ _COOKIE)), port ^ (_COOKIE >> 16)))
    finally:
        asker.close()
        mirror.close()
    return seen
