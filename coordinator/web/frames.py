"""Frames of a WebSocket, written and read by its server (RFC 6455 section 5; library: wsproto). No extensions.

message(), ping(), pong(), close()   -> bytes for the client
FrameReader().feed(data)             -> (opcode, payload) of each whole message and control frame of the client
"""

from collections.abc import Iterator

from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode, ParseFailed

from ecdn_proxy.wire.codec import FRAME_BYTES_MAX
from ecdn_proxy.wire.faults import PeerMisbehaved

_TO_CLIENTS = FrameProtocol(client=False, extensions=[])
"""Shared by all sockets: writing whole messages and control frames changes nothing in it."""


def message(body: bytes) -> bytes:
    """One whole binary message."""
    return bytes(_TO_CLIENTS.send_data(body))


def ping() -> bytes:
    """A ping: the client must answer with a pong."""
    return bytes(_TO_CLIENTS.ping())


def pong(payload: bytes) -> bytes:
    """The answer to a ping of the client; it repeats the ping's payload."""
    return bytes(_TO_CLIENTS.pong(payload))


def close(code: int = CloseReason.NORMAL_CLOSURE) -> bytes:
    """A close frame: the first, or the answer to the client's (RFC 6455 section 5.5.1)."""
    return bytes(_TO_CLIENTS.close(code))


class FrameReader:
    """Puts together what one client sends; it keeps at most one unfinished message."""

    __slots__ = ("_message", "_protocol")

    def __init__(self) -> None:
        self._protocol = FrameProtocol(client=False, extensions=[])
        self._message = b""

    def feed(self, data: bytes) -> Iterator[tuple[Opcode, bytes]]:
        """The messages and control frames that `data` completes.

        The payload of a close frame is its code, two bytes. That of a text message is left out, as agents send none.

        Raises:
            PeerMisbehaved: a client may not send this, or a message has more than `FRAME_BYTES_MAX` bytes.
        """
        self._protocol.receive_bytes(data)
        try:
            for frame in self._protocol.received_frames():
                yield from self._take(frame.opcode, frame.payload, whole=frame.message_finished)
        except ParseFailed as error:
            raise PeerMisbehaved(f"the socket's framing broke: {error}") from error

    def _take(self, opcode: Opcode, payload: object, *, whole: bool) -> Iterator[tuple[Opcode, bytes]]:
        match payload:
            case (int(code), str()):
                yield opcode, code.to_bytes(2)
            case str():
                yield opcode, b""
            case bytes() | bytearray() if opcode is not Opcode.BINARY:
                yield opcode, bytes(payload)
            case bytes() | bytearray():
                self._message += payload
                if len(self._message) > FRAME_BYTES_MAX:
                    raise PeerMisbehaved(f"a message of more than {FRAME_BYTES_MAX} bytes")
                if whole:
                    finished, self._message = self._message, b""
                    yield opcode, finished
