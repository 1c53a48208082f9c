"""Which parent an asker is sent to, and why: the one of the least predicted finish.

    choose()         ranks the candidates, and says why the first is the first
    predicted_s()    when one more child of a candidate would have a segment
    is_full()        whether a candidate serves as many children as it should

A parent's finish is predicted from what it was asked to upload lately, the children it serves of this segment, its
uplink, how many relays stand between it and the origin, and how often children found it slow. Fairness alone is not
enough: choosing by it built chains 40 to 140 relays deep.
"""

from dataclasses import dataclass
from typing import Literal

from ecdn_proxy.core.limits import Limits

SEGMENT_BITS_GUESS = 6_000_000
"""2 s at 3 Mbit/s; only the ratio of terms matters, and it is the same for every candidate."""


@dataclass(slots=True)  # a home makes up to 32 for each question: a frozen one takes 0.9 µs, this one 0.2
class ParentCandidate:
    """A device that has the segment or is receiving it."""

    device: str
    depth: int
    """How many relays stand between it and the origin, itself included; 0: it fetches the segment or has all of it."""
    children: int
    """Devices told to follow it for this segment."""
    given: float
    """How many segments this home asked it to upload lately; halves every 10 s."""
    link: Literal["wired", "wifi", "metered"]
    holds: bool
    """It has all of the segment."""
    slow: float = 0.0
    """How often children found it, or the source of its chain, slow lately; halves every 30 s."""
    far: bool = False
    """Only WebRTC, at twenty times the CPU, is likely between it and the asker."""
    isolated: bool = False
    """An access point keeps it from the machines beside it. What it sends to others crosses its own weak link, and the
    asker could have it from a better one."""
    newly: bool = False
    """It does not read the segment yet, and would begin to do so for the asker."""


@dataclass(frozen=True, slots=True)
class ParentChoice:
    """Parents, best first, and the reason for the first."""

    parents: tuple[str, ...]
    why: str


def fan_out(link: str, limits: Limits) -> int:
    """How many children a device may have for one segment, by its kind of link; none on a metered one."""
    return {"wired": limits.fan_out_wired, "wifi": limits.fan_out_wifi}.get(link, 0)


def is_full(candidate: ParentCandidate, limits: Limits) -> bool:
    """Whether it serves as many as it should of this segment."""
    return candidate.children >= (1 if candidate.isolated else fan_out(candidate.link, limits))


def _detours(candidate: ParentCandidate) -> bool:
    """Whether a segment on its way would leave the better machines for a Wi-Fi link, only to come back by that link."""
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
    """The best candidates; None when none may serve.

    Candidates on metered links are left out. Those at their fan-out come last, before them isolated relays and those
    that are likely to be reached by WebRTC only; what decides otherwise is the predicted finish.

    Args:
        candidates: who could be the parent.
        limits: fan-outs, and what is assumed of uplinks and relays.
        most: how many parents are named.
    """
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
