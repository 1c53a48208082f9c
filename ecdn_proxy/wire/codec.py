"""Frames on a link, and the only way in and out of them.

A frame is a 4-byte big-endian length and that many bytes of MessagePack. A WebRTC data channel or a WebSocket
message carries one frame's body without the length. `FRAME_BYTES_MAX` bounds both directions, so a peer can make us
hold at most one frame of it. What
does not decode into a known message is `PeerMisbehaved`; past this file all is typed.

    encode(message) -> bytes            with length, for TLS
    pack(message) -> bytes              without, for a datagram-like carrier
    Splitter(decoder).feed(data)        bytes as they come -> whole messages
    decoder(union)                      body -> message
"""

from collections.abc import Callable

import msgspec

from ecdn_proxy.wire.faults import PeerMisbehaved

FRAME_BYTES_MAX = 65_536
"""A 32 KiB piece with its head fits with room; also the largest message that aiortc sends unfragmented with ease."""

_LENGTH = 4
_encoder = msgspec.msgpack.Encoder()


def pack(message: msgspec.Struct) -> bytes:
    """One frame's body.

    Raises:
        ValueError: the message is ours and too large; never send it.
    """
    body = _encoder.encode(message)
    if len(body) > FRAME_BYTES_MAX:
        raise ValueError(f"{type(message).__name__} of {len(body)} bytes exceeds the frame limit of {FRAME_BYTES_MAX}")
    return body


def encode(message: msgspec.Struct) -> bytes:
    """One frame with its length in front, ready for a byte stream."""
    body = pack(message)
    return len(body).to_bytes(_LENGTH, "big") + body


def decoder[M](union: type[M]) -> Callable[[bytes | memoryview], M]:
    """A function from a frame's body to a message of `union`.

    The function raises PeerMisbehaved for anything else, and nothing else.
    """
    decode: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(union)

    def read(body: bytes | memoryview) -> M:
        if len(body) > FRAME_BYTES_MAX:
            raise PeerMisbehaved(f"a frame of {len(body)} bytes; the limit is {FRAME_BYTES_MAX}")
        try:
            return decode.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
            raise PeerMisbehaved(f"a frame that is no message of this protocol: {error}") from error

    return read


class Splitter[T]:
    """Cuts a byte stream into messages; holds at most one unfinished frame."""

    def __init__(self, read: Callable[[bytes | memoryview], T]) -> None:
        self._read = read
        self._held = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> list[T]:
        """Messages completed by `data`.

        Raises:
            PeerMisbehaved: a length beyond the limit or a body that does not decode.
        """
        held = self._held
        held += data
        messages: list[T] = []
        start = 0
        with memoryview(held) as view:
            while len(view) - start >= _LENGTH:
                length = int.from_bytes(view[start : start + _LENGTH], "big")
                if length > FRAME_BYTES_MAX:
                    raise PeerMisbehaved(f"a frame of {length} bytes announced; the limit is {FRAME_BYTES_MAX}")
                end = start + _LENGTH + length
                if len(view) < end:
                    break
                with view[start + _LENGTH : end] as body:
                    messages.append(self._read(body))
                start = end
        del held[:start]
        return messages
