"""What an origin fetcher vouches for: hashes of pieces, signed in batches by its device.

A piece is 32 KiB of a segment (the last may be shorter). The fetcher signs batches of at most 8 piece hashes as the
bytes arrive, so that they can be relayed on before the segment is whole; the first batch carries the head, the last the
total length. Whoever holds a batch can check it against the signer's certificate, and show it to a third party.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ecdn_proxy.wire import ids

PIECE_BYTES = 32_768
"""Measured p99 at 200 viewers: 16 KiB 0.45 s, 32 0.52, 64 0.65; below 32 the frames' cost outweighs the gain."""
BATCH_PIECES_MAX = 8
HASH_BYTES = 32
SEGMENT_BYTES_MAX = 256 * 1024 * 1024
"""A 2 s segment at 100 Mbit/s is 25 MB; ten times that is no segment of a stream."""

Header = Annotated[str, Meta(max_length=2_000)]


class SegmentHead(msgspec.Struct, frozen=True, array_like=True):
    """What an origin said of a segment, without anything that belongs to one viewer (RFC 9111 section 3)."""

    total_bytes: Annotated[int, Meta(ge=0, le=SEGMENT_BYTES_MAX)] | None
    content_type: Header
    etag: Header | None
    last_modified: Header | None
    date_utc: float
    """When the origin's answer was generated, seconds since the epoch."""
    fresh_s: float
    """Freshness lifetime, RFC 9111 section 4.2.1."""
    cors: Literal["none", "any", "echo"]
    """What the origin proved of Access-Control-Allow-Origin: nothing, `*`, or an echo of the asker."""
    headers: Annotated[tuple[tuple[Header, Header], ...], Meta(max_length=16)] = ()
    """Further response headers that are the same for everyone (cache-control, expose-headers, timing-allow-origin)."""


class Voucher(msgspec.Struct, frozen=True, array_like=True):
    """A signed batch of piece hashes.

    `signature` is Ed25519 over `signed_bytes`; `generation` tells two fetches apart that may have seen other bytes.
    """

    signer: ids.Device
    key: ids.Key
    generation: Annotated[str, Meta(min_length=1, max_length=64)]
    first: Annotated[int, Meta(ge=0, le=SEGMENT_BYTES_MAX // PIECE_BYTES)]
    hashes: Annotated[bytes, Meta(max_length=BATCH_PIECES_MAX * HASH_BYTES)]
    total_bytes: Annotated[int, Meta(ge=0, le=SEGMENT_BYTES_MAX)] | None
    head: SegmentHead | None
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]
    certificate: Annotated[bytes, Meta(max_length=4_096)]
    """The signer's certificate, DER: whoever holds a batch can check it and pass it on, on any link at any time."""

    def signed_bytes(self, tenant: str) -> bytes:
        """The bytes under the signature; the tenant keeps vouchers from crossing."""
        claim = (
            "ecdn piece hashes 1",
            tenant,
            self.signer,
            self.key,
            self.generation,
            self.first,
            self.hashes,
            self.total_bytes,
            self.head,
        )
        return msgspec.msgpack.encode(claim)

    @property
    def count(self) -> int:
        """Number of pieces this batch speaks for."""
        return len(self.hashes) // HASH_BYTES

    def hash_of(self, index: int) -> bytes:
        """SHA-256 of piece `index`, which must lie in `first … first + count - 1`."""
        at = (index - self.first) * HASH_BYTES
        return self.hashes[at : at + HASH_BYTES]
