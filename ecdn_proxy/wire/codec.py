"""Frames: the bytes in which one message travels, and the only code that writes and reads them.

    encode(message) -> bytes            a frame with its length, for a byte stream (TLS)
    pack(message) -> bytes              a frame's body without the length, for carriers that keep messages apart
    decoder(union)                      a function that reads a body: bytes -> message

A frame is a length of 4 bytes, big-endian, and that many bytes of MessagePack. A message on a WebRTC data channel or a
WebSocket is one frame's body without the length. `FRAME_BYTES_MAX` bounds both directions, so a peer can make this
machine hold no more than one frame of its bytes.

A message with an unknown tag comes from a later release: the reader raises `UnknownMessage`, and the message is passed
over. Anything else that does not decode is `PeerMisbehaved`. All other code gets typed messages only.
"""

from collections.abc import Callable
from typing import get_args

import msgspec

from ecdn_proxy.wire.faults import PeerMisbehaved, UnknownMessage

FRAME_BYTES_MAX = 65_536
"""The most bytes of one frame's body. A piece of 32 KiB with what stands around it fits with room to spare, and aiortc
easily sends a message of this size without fragments."""

_LENGTH = 4
_encoder = msgspec.msgpack.Encoder()
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError)


def pack(message: msgspec.Struct) -> bytes:
    """One frame's body.

    Raises:
        ValueError: the message is larger than a frame may be; this machine made it and must not send it.
    """
    body = _encoder.encode(message)
    if len(body) > FRAME_BYTES_MAX:
        raise ValueError(f"{type(message).__name__} of {len(body)} bytes exceeds the frame limit of {FRAME_BYTES_MAX}")
    return body


def encode(message: msgspec.Struct) -> bytes:
    """One frame with its length in front, for a byte stream.

    Raises:
        ValueError: as `pack`.
    """
    body = pack(message)
    return len(body).to_bytes(_LENGTH, "big") + body


def decoder[M](union: type[M]) -> Callable[[bytes | memoryview], M]:
    """A function that turns a frame's body into a message of `union`.

    The function raises `UnknownMessage` for a whole message with a tag that no message of `union` has, and
    `PeerMisbehaved` for anything else that is no message of `union`. It raises nothing else, whatever the bytes are.
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
    """The beginning of every message, its tag. Whatever follows is read to its end and ignored."""

    tag: int


_tagged = msgspec.msgpack.Decoder(_Tagged)


def _tag(body: bytes | memoryview) -> int | None:
    """A message's tag; None if these bytes are no message."""
    try:
        return _tagged.decode(body).tag
    except _UNREADABLE:
        return None
