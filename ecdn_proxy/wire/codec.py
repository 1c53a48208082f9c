"""Frames on a link, and the only way in and out of them.

A frame is a 4-byte big-endian length and that many bytes of MessagePack. A WebRTC data channel or a WebSocket
message carries one frame's body without the length. `FRAME_BYTES_MAX` bounds both directions, so a peer can make us
hold at most one frame of it. A message whose tag is not known is of a later release (`UnknownMessage`: passed over);
anything else that does not decode is `PeerMisbehaved`. Past this file all is typed.

    encode(message) -> bytes            with length, for TLS
    pack(message) -> bytes              without, for a datagram-like carrier
    decoder(union)                      body -> message
"""

from collections.abc import Callable
from typing import get_args

import msgspec

from ecdn_proxy.wire.faults import PeerMisbehaved, UnknownMessage

FRAME_BYTES_MAX = 65_536
"""A 32 KiB piece with its head fits with room; also the largest message that aiortc sends unfragmented with ease."""

_LENGTH = 4
_encoder = msgspec.msgpack.Encoder()
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError)


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

    The function raises UnknownMessage for a whole message with a tag that none of `union` has, PeerMisbehaved for
    anything else, and nothing else.
    """
    decode: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(union)
    known = {kind.__struct_config__.tag for kind in get_args(union)}

    def read(body: bytes | memoryview) -> M:
        if len(body) > FRAME_BYTES_MAX:
            raise PeerMisbehaved(f"a frame of {len(body)} bytes; the limit is {FRAME_BYTES_MAX}")
        try:
            return decode.decode(body)
        except _UNREADABLE as error:
            tag = _tag(body)
            if tag is not None and tag not in known:
                raise UnknownMessage(tag) from None
            raise PeerMisbehaved(f"a frame that is no message of this protocol: {error}") from error

    return read


class _Tagged(msgspec.Struct, array_like=True):
    """What every message begins with; whatever follows is read to its end and left."""

    tag: int


_tagged = msgspec.msgpack.Decoder(_Tagged)


def _tag(body: bytes | memoryview) -> int | None:
    """A message's tag, None for what is no message."""
    try:
        return _tagged.decode(body).tag
    except _UNREADABLE:
        return None
