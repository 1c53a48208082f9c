"""Content codings of manifests, undone within a bound, for a few kilobytes can become gigabytes.

Map: `decode` · `Undecodable` · one function for each coding: gzip, deflate, br, zstd (RFC 9110 section 8.4.1).
"""

import zlib
from collections.abc import Callable
from typing import Final

import brotli  # type: ignore[import-untyped]
import zstandard

MANIFEST_BYTES_MAX: Final = 8 * 1024 * 1024
"""A playlist of two days in 2 s segments with long tokens is 8 MB; nobody plays a longer one."""


class Undecodable(Exception):
    """A body has an unknown coding, is damaged, or is larger than the bound."""


def decode(body: bytes, coding: str, limit: int = MANIFEST_BYTES_MAX) -> bytes:
    """A body without its coding, as Content-Encoding names it.

    Raises:
        Undecodable: the body has more than `limit` bytes, or none of its codings can be undone.
    """
    names = [name.strip().lower() for name in coding.split(",") if name.strip() and name.strip().lower() != "identity"]
    if len(names) > 2:
        raise Undecodable(f"{len(names)} codings on top of each other")
    for name in reversed(names):
        undo = _CODINGS.get(name)
        if undo is None:
            raise Undecodable(f"unknown coding {name[:40]!r}")
        try:
            body = undo(body, limit)
        except (zlib.error, brotli.error, zstandard.ZstdError, EOFError) as error:
            raise Undecodable(f"damaged {name}: {error}") from error
        if len(body) > limit:
            raise Undecodable(f"more than {limit} bytes")
    return body


def _zlib(body: bytes, limit: int, bits: int) -> bytes:
    machine = zlib.decompressobj(bits)
    out = machine.decompress(body, limit + 1)
    if len(out) <= limit and not machine.eof:
        raise EOFError("cut off")
    return out


def _gzip(body: bytes, limit: int) -> bytes:
    return _zlib(body, limit, 16 + zlib.MAX_WBITS)


def _deflate(body: bytes, limit: int) -> bytes:
    try:
        return _zlib(body, limit, zlib.MAX_WBITS)
    except zlib.error:
        return _zlib(body, limit, -zlib.MAX_WBITS)  # raw, as some servers mean it


def _brotli(body: bytes, limit: int) -> bytes:
    machine = brotli.Decompressor()
    out = bytearray(machine.process(body, output_buffer_limit=limit + 1))
    while len(out) <= limit and not machine.is_finished():
        more = machine.process(b"", output_buffer_limit=limit + 1)
        if not more:
            raise EOFError("cut off")
        out += more
    return bytes(out[: limit + 1])


def _zstd(body: bytes, limit: int) -> bytes:
    if not body:
        raise EOFError("empty")
    with zstandard.ZstdDecompressor(max_window_size=MANIFEST_BYTES_MAX).stream_reader(body) as reader:
        out = bytearray()
        while len(out) <= limit and (more := reader.read(min(65_536, limit + 1 - len(out)))):
            out += more
    return bytes(out)


_CODINGS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
