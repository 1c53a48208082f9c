"""What stands on a WebSocket once it is open, seen by its server (RFC 6455 section 5); extensions are never agreed.

    frame(opcode, payload) -> bytes                to the client
    Frames().feed(data) -> (opcode, payload), …    from the client: whole messages, and control frames between them

Ours because agents beat all day, and wsproto takes a third of all that a message costs the coordinator (ADR 0047).
"""

from collections.abc import Iterator
from enum import IntEnum

from ecdn_proxy.wire.codec import FRAME_BYTES_MAX
from ecdn_proxy.wire.faults import PeerMisbehaved

CONTROL_BYTES_MAX = 125
NORMAL_CLOSURE = (1000).to_bytes(2)


class Opcode(IntEnum):
    """Section 5.2."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


_KNOWN = frozenset(Opcode)
_FINAL, _RESERVED, _OPCODE, _MASKED, _LENGTH = 0x80, 0x70, 0x0F, 0x80, 0x7F
_TWO_BYTES, _EIGHT_BYTES = 126, 127
_MASK_BYTES = 4


def frame(opcode: Opcode, payload: bytes) -> bytes:
    """One whole message or control frame; a server's frames are not masked."""
    length = len(payload)
    if length < _TWO_BYTES:
        return bytes((_FINAL | opcode, length)) + payload
    if length < 1 << 16:
        return bytes((_FINAL | opcode, _TWO_BYTES)) + length.to_bytes(2) + payload
    return bytes((_FINAL | opcode, _EIGHT_BYTES)) + length.to_bytes(8) + payload


class Frames:
    """Holds at most one unfinished frame and one unfinished message."""

    __slots__ = ("_held", "_kind", "_message")

    def __init__(self) -> None:
        self._held = b""
        self._kind: int | None = None
        """TEXT or BINARY, while a message in several frames is under way."""
        self._message = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """What `data` completes.

        Raises:
            PeerMisbehaved: no frame that a client may send, or more than `FRAME_BYTES_MAX` in one message.
        """
        self._held += data
        while (found := self._next()) is not None:
            final, opcode, payload = found
            if opcode >= Opcode.CLOSE:
                yield opcode, payload
                continue
            if (opcode == Opcode.CONTINUATION) == (self._kind is None):
                raise PeerMisbehaved("the socket's framing broke: a message within another, or the end of none")
            kind = opcode if self._kind is None else self._kind
            if len(self._message) + len(payload) > FRAME_BYTES_MAX:
                raise PeerMisbehaved(f"a message of more than {FRAME_BYTES_MAX} bytes")
            if final:
                whole, self._message, self._kind = self._message + payload, b"", None
                yield kind, whole
            else:
                self._message, self._kind = self._message + payload, kind

    def _next(self) -> tuple[bool, int, bytes] | None:
        """The next frame, taken off what is held; None until it is whole."""
        held = self._held
        if len(held) < 2:
            return None
        first, second = held[0], held[1]
        opcode, length, at = first & _OPCODE, second & _LENGTH, 2
        if first & _RESERVED or not second & _MASKED or opcode not in _KNOWN:
            raise PeerMisbehaved("the socket's framing broke: reserved bits, an unknown opcode, or no mask")
        if opcode >= Opcode.CLOSE and (length > CONTROL_BYTES_MAX or not first & _FINAL):
            raise PeerMisbehaved("the socket's framing broke: a control frame that is long or in parts")
        if length >= _TWO_BYTES:
            at += 2 if length == _TWO_BYTES else 8
            if len(held) < at:
                return None
            least = _TWO_BYTES if length == _TWO_BYTES else 1 << 16
            length = int.from_bytes(held[2:at])
            if length < least:
                raise PeerMisbehaved("the socket's framing broke: a length in more bytes than it needs")
            if length > FRAME_BYTES_MAX:
                raise PeerMisbehaved(f"a frame of {length} bytes announced; the limit is {FRAME_BYTES_MAX}")
        start = at + _MASK_BYTES
        end = start + length
        if len(held) < end:
            return None
        self._held = held[end:]
        return bool(first & _FINAL), opcode, _unmasked(held[start:end], held[at:start])


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    """Section 5.3, for all bytes at once."""
    length = len(payload)
    repeated = (mask * (length // _MASK_BYTES + 1))[:length]
    return (int.from_bytes(payload) ^ int.from_bytes(repeated)).to_bytes(length)
