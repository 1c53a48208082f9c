"""Which parent, and why: least predicted finish.

A parent's finish is predicted from what it has been given already, the children it serves of this segment, its uplink,
how many relays stand between it and the origin, and how often children found it slow. Not fairness alone: that built
chains 40 to 140 relays deep.
"""

from dataclasses import dataclass
from typing import Literal

from ecdn_proxy.core.limits import Limits

SEGMENT_BITS_GUESS = 6_000_000
"""2 s at 3 Mbit/s; only the ratio of terms matters, and it is the same for every candidate."""


@dataclass(frozen=True, slots=True)
class ParentCandidate:
    """A device that has the segment or is receiving it."""

    device: str
    depth: int
    """Relays between it and the origin; the fetcher has 0."""
    children: int
    """Devices told to follow it for this segment."""
    given: float
    """Segments that this home asked it to upload lately (decaying)."""
    link: Literal["wired", "wifi", "metered"]
    holds: bool
    """It has all of the segment."""
    slow: float = 0.0
    """How often children found it, or the source of its chain, slow lately (decaying)."""
    far: bool = False
    """Only WebRTC, at twenty times the CPU, is likely between it and the asker."""
    isolated: bool = False
    """An access point keeps it from its like: what it sends crosses its own weak link for one that could have it from
    a better one."""
    newly: bool = False
    """It does not read the segment yet, and would do so for the asker."""


@dataclass(frozen=True, slots=True)
class ParentChoice:
    """Parents, best first, and the reason for the first."""

    parents: tuple[str, ...]
    why: str


def fan_out(link: str, limits: Limits) -> int:
    """How many children a device may have for one segment."""
    return {"wired": limits.fan_out_wired, "wifi": limits.fan_out_wifi}.get(link, 0)


def is_full(candidate: ParentCandidate, limits: Limits) -> bool:
    """Whether it serves as many as it should of this segment."""
    return candidate.children >= (1 if candidate.isolated else fan_out(candidate.link, limits))


def _detours(candidate: ParentCandidate) -> bool:
    """Whether a segment that is being relayed would leave the better machines for a Wi-Fi link, to come back by it."""
    return candidate.isolated and not candidate.holds and candidate.depth > 0


def predicted_s(candidate: ParentCandidate, limits: Limits) -> float:
    """Seconds until one more child of this candidate would have a segment."""
    uplink = limits.uplink_wired_mbps if candidate.link == "wired" else limits.uplink_wifi_mbps
    unit = SEGMENT_BITS_GUESS / (uplink * 1e6)
    work_s = (candidate.given + 0.5 * (candidate.children + 1)) * unit
    return work_s + candidate.depth * limits.hop_s + candidate.slow * limits.slow_parent_s


def _has(candidate: ParentCandidate) -> str:
    if candidate.newly:
        return "will read it and pass it on"
    if candidate.holds:
        return "has it"
    return "fetches it from the origin" if candidate.depth == 0 else "is receiving it"


def choose(candidates: list[ParentCandidate], limits: Limits, *, most: int = 4) -> ParentChoice | None:
    """Rank the candidates: by TLS before by WebRTC; those at their fan-out last, those on metered links never."""
    usable = [candidate for candidate in candidates if candidate.link != "metered"]
    if not usable:
        return None
    ranked = sorted(
        usable,
        key=lambda it: (is_full(it, limits), _detours(it), it.far, predicted_s(it, limits), it.device),
    )
    best = ranked[0]
    has = _has(best)
    serving = "nobody else" if not best.children else f"{best.children} of at most {fan_out(best.link, limits)} others"
    relays = "" if best.holds or not best.depth else f", {best.depth} relays from the origin"
    others = "the only one" if len(usable) == 1 else f"best of {len(usable)}"
    why = (
        f"{best.device[:8]} {has}{relays}, and gives it to {serving} so far: {others}, "
        f"{predicted_s(best, limits) * 1000:.0f} ms predicted{', by WebRTC' if best.far else ''}"
    )
    return ParentChoice(tuple(candidate.device for candidate in ranked[:most]), why)
