"""Vouchers: hashes of a segment's pieces, signed by the device that fetched the segment from the origin.

A piece is 32 KiB of a segment (the last one may be shorter). The fetcher signs batches of at most 8 piece hashes while
the bytes arrive, so that pieces can be given on before the segment is whole. The first batch carries the segment's
head, the last batch its total length. Whoever holds a voucher can check it against the signer's certificate, which it
contains, and can show it to a third machine.

Where an encoder makes a segment while it is sent, a piece may take seconds to be whole. The fetcher then signs what it
has of that piece (`PartVoucher`), again and again while it grows, and what is there can be given on as well.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ecdn_proxy.wire import ids

PIECE_BYTES = 32_768
"""Bytes of a piece. At 200 viewers the slowest 1 % of segments took 0.45 s with pieces of 16 KiB, 0.52 s with 32 KiB
and 0.65 s with 64 KiB (p99). Below 32 KiB the frames cost more than is gained."""
BATCH_PIECES_MAX = 8
"""The most pieces for which one voucher speaks."""
HASH_BYTES = 32
"""Bytes of one SHA-256."""
SEGMENT_BYTES_MAX = 256 * 1024 * 1024
"""The most bytes of a segment. At 100 Mbit/s a segment of 2 s has 25 MB; what has ten times as many is no segment."""

Header = Annotated[str, Meta(max_length=2_000)]


class SegmentHead(msgspec.Struct, frozen=True, array_like=True):
    """What the origin said of a segment, without anything that belongs to one viewer (RFC 9111 section 3)."""

    total_bytes: Annotated[int, Meta(ge=0, le=SEGMENT_BYTES_MAX)] | None
    content_type: Header
    etag: Header | None
    last_modified: Header | None
    date_utc: float
    """When the origin made its answer, seconds since 1970."""
    fresh_s: float
    """Freshness lifetime in seconds, RFC 9111 section 4.2.1."""
    cors: Literal["none", "any", "echo"]
    """Which Access-Control-Allow-Origin the origin has shown: none, `*`, or an echo of the page that asked."""
    headers: Annotated[tuple[tuple[Header, Header], ...], Meta(max_length=16)] = ()
    """Further response headers that are the same for everyone (cache-control, expose-headers, timing-allow-origin)."""


class Voucher(msgspec.Struct, frozen=True, array_like=True):
    """A signed batch of piece hashes.

    `signature` is Ed25519 (RFC 8032) over `signed_bytes`. `generation` names the fetch: two fetches of one segment may
    have been sent different bytes.
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
    """The signer's certificate, DER. By it whoever holds the voucher can check it, on any link and at any time."""

    def signed_bytes(self, tenant: str) -> bytes:
        """The bytes that are signed. The tenant is among them, so that no voucher counts in another tenant."""
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
        """How many pieces this voucher speaks for."""
        return len(self.hashes) // HASH_BYTES

    def hash_of(self, index: int) -> bytes:
        """SHA-256 of piece number `index`, which must lie in `first … first + count - 1`."""
        at = (index - self.first) * HASH_BYTES
        return self.hashes[at : at + HASH_BYTES]


class PartVoucher(msgspec.Struct, frozen=True, array_like=True):
    """A signed hash of the beginning of a piece that is not whole yet.

    `signature` is Ed25519 (RFC 8032) over `signed_bytes`. When the piece is whole, a `Voucher` speaks for it.
    """

    signer: ids.Device
    key: ids.Key
    generation: Annotated[str, Meta(min_length=1, max_length=64)]
    """As in the vouchers of the same fetch."""
    index: Annotated[int, Meta(ge=0, le=SEGMENT_BYTES_MAX // PIECE_BYTES)]
    """The piece; everything before it is vouched for."""
    size_bytes: Annotated[int, Meta(ge=1, lt=PIECE_BYTES)]
    """How many of the piece's bytes there are."""
    hash: Annotated[bytes, Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
    """SHA-256 of them."""
    head: SegmentHead | None
    """The segment's, while no piece of it is whole."""
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]
    certificate: Annotated[bytes, Meta(max_length=4_096)]
    """The signer's certificate, DER."""

    def signed_bytes(self, tenant: str) -> bytes:
        """The bytes that are signed, the tenant among them."""
        claim = (
            "ecdn piece part 1",
            tenant,
            self.signer,
            self.key,
            self.generation,
            self.index,
            self.size_bytes,
            self.hash,
            self.head,
        )
        return msgspec.msgpack.encode(claim)
