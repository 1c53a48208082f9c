"""What all rooms pass on: ranges, header fields, sources of bytes, a viewer's request, a stored segment.

ByteRange, ANY_RANGE   which bytes of a resource
Headers, Source        header fields in order; where a segment's bytes came from
OriginRequest          a viewer's own request, its cookies and tokens
StoredSegment          a whole segment with the vouchers of its pieces
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from ecdn_proxy.wire.integrity import SegmentHead, Voucher

Headers = tuple[tuple[str, str], ...]
"""Header fields in the order they came, names in lower case."""

Source = Literal["cache", "lan", "webrtc", "origin", "passed"]
"""Where a segment's bytes came from, as the status page counts them."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `first` to `last` of a resource, both inclusive; `last` None means "to the end"."""

    first: int
    last: int | None


ANY_RANGE: Final = ByteRange(0, None)
"""Any sub-range of this resource: with SegmentBase only the sidx inside the resource knows the sub-segments."""


@dataclass(frozen=True, slots=True)
class OriginRequest:
    """A viewer's own request, for the case that this machine fetches: its own cookies and tokens, nobody else's."""

    url: str
    headers: Headers = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A whole segment as it lies in memory or on disk; every piece has its hash in a voucher."""

    key: str
    stream: str
    head: SegmentHead
    body: bytes = field(repr=False)
    vouchers: tuple[Voucher, ...] = field(repr=False)
    stored_utc: float
    origin_kbps: int = 0
