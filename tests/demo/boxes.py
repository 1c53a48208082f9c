"""Reads and re-times fragmented MP4, so that a loop of segments becomes an endless stream (ISO/IEC 14496-12).

Map:
    Box, walk, find          a view of the boxes in a file
    initialisation, media    a one-fragment file, split into what is fetched once and what is fetched per segment
    timescale, codec         what a manifest needs to know of a track
    retimed                  the same segment at another place in time (tfdt, section 8.8.12; mfhd, 8.8.5)
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple


class Box(NamedTuple):
    """One box: its four letters, where its header starts, where its body starts and where it ends."""

    kind: bytes
    start: int
    body: int
    end: int


def walk(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes side by side in `data[start:end]`."""
    stop = len(data) if end is None else end
    while start + 8 <= stop:
        size, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1:
            size, body = struct.unpack_from(">Q", data, body)[0], start + 16
        elif size == 0:
            size = stop - start
        if size < body - start or start + size > stop:
            raise ValueError(f"box {kind!r} at {start} does not fit")
        yield Box(kind, start, body, start + size)
        start += size


def find(data: bytes, *path: bytes) -> Box:
    """The first box at `path`, such as moof, traf, tfdt."""
    found = Box(b"", 0, 0, len(data))
    for kind in path:
        inside = next((box for box in walk(data, found.body, found.end) if box.kind == kind), None)
        if inside is None:
            raise ValueError(f"no box {kind!r}")
        found = inside
    return found


def _only(data: bytes, *kinds: bytes) -> bytes:
    return b"".join(data[box.start : box.end] for box in walk(data) if box.kind in kinds)


def initialisation(file: bytes) -> bytes:
    return _only(file, b"ftyp", b"moov")


def media(file: bytes) -> bytes:
    return _only(file, b"moof", b"mdat")


def timescale(init: bytes) -> int:
    """Ticks a second of the only track (mdhd, section 8.4.2)."""
    body = find(init, b"moov", b"trak", b"mdia", b"mdhd").body
    value: int = struct.unpack_from(">I", init, body + (20 if init[body] else 12))[0]
    return value


def codec(init: bytes) -> str:
    """The codec's name as RFC 6381 writes it; H.264 from its own header, anything else here is AAC-LC."""
    at = init.find(b"avcC")
    return f"avc1.{init[at + 5 : at + 8].hex()}" if at > 0 else "mp4a.40.2"


def decode_time(segment: bytes) -> int:
    """Where the segment starts, in the track's ticks."""
    body = find(segment, b"moof", b"traf", b"tfdt").body
    value: int = struct.unpack_from(">Q" if segment[body] else ">I", segment, body + 4)[0]
    return value


def retimed(segment: bytes, start: int, sequence: int) -> bytes:
    """The segment moved to `start` ticks, as fragment number `sequence`."""
    moved = bytearray(segment)
    body = find(segment, b"moof", b"traf", b"tfdt").body
    struct.pack_into(">Q" if segment[body] else ">I", moved, body + 4, start)
    struct.pack_into(">I", moved, find(segment, b"moof", b"mfhd").body + 4, sequence & 0xFFFFFFFF)
    return bytes(moved)
