"""What the catalog answers: which segment a request is, and what it knows of each stream.

Map: `Listed` · `StreamInfo`, `renditions_of`
"""

from dataclasses import dataclass

from ecdn_proxy.core.manifest.model import SegmentKind
from ecdn_proxy.core.values import ByteRange


@dataclass(frozen=True, slots=True)
class Listed:
    """A request that is a segment.

    Attributes:
        stream: 32 hexadecimal digits.
        rendition: the manifest's name for the quality.
        key: 64 hexadecimal digits; equal on every agent of the tenant for the same bytes.
        kind: media, init or index.
        live: the stream goes on.
        duration_s: seconds of media, 0.0 if unknown.
        number: in the manifest's count.
        byte_range: what of the resource the key covers; None for all of it.
        tokens: what of the URL may be a credential; never to be logged.
        why: the reason in words.
        proof: what must be proven for a viewer (`Entitlements`): the stream at this origin. The stream's own name where
            the stream's first manifest lives, another name at any other origin, so that nobody reaches another origin's
            segments by naming them, or their playlist, in a manifest of his own.
        best_kbps: kilobits a second of the stream's best picture, where players choose among several; else 0.
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
