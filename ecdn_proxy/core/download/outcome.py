"""What a download leaves behind when it is over: `Arrived`, `Unshareable` or `GivenUp`."""

from dataclasses import dataclass

from ecdn_proxy.core.values import StoredSegment


@dataclass(frozen=True, slots=True)
class Arrived:
    """The whole segment is here, and its viewers have had it."""

    stored: StoredSegment
    from_disk: bool
    """It was kept from before; nothing of it came now."""
    fetched: bool
    """This machine asked the origin for it, or for a part of it."""


@dataclass(frozen=True, slots=True)
class Unshareable:
    """The segment's rendition is not to be shared for so long; its viewers ask the origin themselves."""

    why: str
    for_s: float


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Nobody waits for the segment any more, or its viewers ask the origin themselves this once."""


Outcome = Arrived | Unshareable | GivenUp
