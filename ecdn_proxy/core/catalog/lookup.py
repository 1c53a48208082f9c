"""`Listed`: what the catalog says of a request that asks for a segment."""

from dataclasses import dataclass

from ecdn_proxy.core.manifest.model import SegmentKind
from ecdn_proxy.core.values import ByteRange


@dataclass(frozen=True, slots=True)
class Listed:
    """The segment that a request asks for.

    Attributes:
        stream: the stream's id, 32 hexadecimal digits.
        rendition: the manifest's name for the quality or track.
        key: the segment's key, 64 hexadecimal digits; equal on every agent of the tenant for the same bytes.
        kind: media, init, index or part.
        live: whether the stream goes on.
        duration_s: seconds of media in it, 0.0 if unknown.
        number: the segment's number in the manifest.
        byte_range: which part of the resource the key names; None for all of it.
        tokens: those parts of the URL that may be a credential; they must never be logged.
        why: the reason for all this, in words.
        proof: the name of what the origin must have proven for a viewer (`Entitlements`), which is the stream at this
            origin. At the origin of the stream's first manifest it is the stream's id, and at any other origin another
            name. So nobody reaches another origin's segments by naming them, or their playlist, in a manifest of their
            own.
        best_kbps: kilobits a second of the stream's best picture, if players choose among several pictures; else 0.
    """

    stream: str
    rendition: str
    key: str
    kind: SegmentKind
    live: bool
    duration_s: float
    number: int
    byte_range: ByteRange | None
    tokens: tuple[str, ...]
    why: str
    proof: str
    best_kbps: int = 0
