"""What stands on a WebSocket once it is open, seen by its server (RFC 6455 section 5; library: wsproto). No extensions.

message(), ping(), pong(), close() -> bytes    to the client
Frames().feed(data) -> (opcode, payload), …    from the client: whole messages, and control frames between them
"""

from collections.abc import Iterator

from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode, ParseFailed

from ecdn_proxy.wire.codec import FRAME_BYTES_MAX
from ecdn_proxy.wire.faults import PeerMisbehaved

_TO_CLIENTS = FrameProtocol(client=False, extensions=[])
"""Whole messages and control frames leave nothing behind in it, so that one serves all."""


def message(body: bytes) -> bytes:
    """One whole binary message."""
    return bytes(_TO_CLIENTS.send_data(body))


def ping() -> bytes:
    """Asks for a pong."""
    return bytes(_TO_CLIENTS.ping())


def pong(payload: bytes) -> bytes:
    """Answers a ping."""
    return bytes(_TO_CLIENTS.pong(payload))


def close(code: int = CloseReason.NORMAL_CLOSURE) -> bytes:
    """The last frame of a socket, or the answer to the client's."""
    return bytes(_TO_CLIENTS.close(code))


class Frames:
    """Holds at most one unfinished message."""

    __slots__ = ("_message", "_protocol")

    def __init__(self) -> None:
        self._protocol = FrameProtocol(client=False, extensions=[])
        self._message = b""

    def feed(self, data: bytes) -> Iterator[tuple[Opcode, bytes]]:
        """What `data` completes; of a close frame the code, of a text nothing: agents send none.

        Raises:
            PeerMisbehaved: no frame that a client may send, or more than `FRAME_BYTES_MAX` in one message.
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
