"""Values that all rooms pass on: ranges, header fields, sources of bytes, a viewer's request, a stored segment.

ByteRange, ANY_RANGE   which bytes of a resource
Headers, Source        header fields in order; where a segment's bytes came from
OriginRequest          a viewer's own request, with its cookies and tokens
StoredSegment          a whole segment with the vouchers of its pieces
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from ecdn_proxy.wire.integrity import SegmentHead, Voucher
from ecdn_proxy.wire.sharing_rules import SharingRule

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
"""Any part of a resource may be asked for: with DASH's SegmentBase only the sidx box in the resource lists the
parts."""


@dataclass(frozen=True, slots=True)
class OriginRequest:
    """A viewer's own request, which is sent to the origin if this machine fetches the segment.

    It carries that viewer's cookies and tokens and nobody else's.
    """

    url: str
    headers: Headers = field(repr=False)
    rule: SharingRule | None = None
    """What an administrator permits for this URL although the origin does not say so."""


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A whole segment as it lies in memory or on disk; the hash of every piece stands in one of the vouchers.

    Attributes:
        key: the segment's key, 64 hexadecimal digits.
        stream: its stream's id, 32 hexadecimal digits.
        head: what the origin said of it.
        body: all of its bytes.
        vouchers: of all its pieces.
        stored_utc: when it was stored, seconds since 1970.
        origin_kbps: how fast the origin sent it, in kilobits a second; 0 if that is not known.
        number: the place in its rendition at which it was listed when it was fetched; -1 if that is not known.
        made_at: when the origin made or confirmed it, on the clock of the node that holds it; None on disk.
        heard_at: when the origin last sent bytes of it or confirmed it, on the same clock; None on disk.
    """

    key: str
    stream: str
    head: SegmentHead
    body: bytes = field(repr=False)
    vouchers: tuple[Voucher, ...] = field(repr=False)
    stored_utc: float
    origin_kbps: int = 0
    number: int = -1
    made_at: float | None = None
    heard_at: float | None = None
