"""What a ledger knows of one key: who fetches the segment, who has it, who reads it from whom.

KeyRecord            the facts, as far as the devices reported them
LeaseState           one fetch from the origin
KeyRecord.chain()    how many relays stand between a device and a source of the segment, and which source it is

A *source* has the whole segment (a *holder*) or fetches it from the origin; a *relay* passes on what it still receives.
"""

from collections import Counter
from dataclasses import dataclass, field

from ecdn_proxy.sansio.machine import Instant

Chain = tuple[int, str]
"""How many relays stand between a device and its source, and that source: who fetches the segment or has all of it."""


@dataclass(slots=True)
class LeaseState:
    """A device fetches the segment from the origin."""

    number: int
    device: str
    granted_at: Instant
    heard_at: Instant
    """When its holder last reported that more bytes came or that it waits for them; or else when it was granted."""
    received_bytes: int = 0
    waits: bool = False
    """By its holder's last word its connection is good, and it is the origin that takes its time."""
    shadow: bool = False
    """Granted by another home: its holder reports there, and nothing is heard of it here."""

    @property
    def owes_first_byte(self) -> bool:
        """Whether nothing came yet, as far as its holder reports here."""
        return not self.received_bytes and not self.shadow


@dataclass(slots=True)
class KeyRecord:
    """What is known of one key."""

    stream: str
    leases: list[LeaseState] = field(default_factory=list)
    late: list[LeaseState] = field(default_factory=list)
    """Leases that were silent too long. Their holders are still at the origin, and nobody is told to follow them."""
    parents: dict[str, str] = field(default_factory=dict)
    """Child → the parent it was told to follow first."""
    moved_at: dict[str, Instant] = field(default_factory=dict)
    """Child → when it was last told to follow another than before."""
    children: Counter[str] = field(default_factory=Counter)
    """Parent → how many were told to follow it."""
    holders: set[str] = field(default_factory=set)
    """Devices that have the whole segment."""
    began_at: Instant | None = None
    """When somebody first had any bytes of the segment, as far as is known here."""
    heard_at: Instant | None = None
    """When a device last had the whole segment from the origin, or the origin's word that a copy still holds."""
    generation: str | None = None
    """Which version that was; None if it is not known."""
    failures: int = 0
    """Fetches that failed since one was complete."""
    alone_until: Instant = 0.0
    """Until then nobody may share the segment: each viewer asks the origin."""
    alone_why: str = ""
    alone_status: int = 0
    """404, 410 or 5xx, which viewers are told instead; 0: they ask the origin."""

    def at_origin(self) -> list[LeaseState]:
        """Everybody who fetches the segment, as far as is known."""
        return self.leases + self.late

    def lease_of(self, device: str) -> LeaseState | None:
        """The lease of a device, if it fetches the segment."""
        return next((lease for lease in self.at_origin() if lease.device == device), None)

    def sources(self) -> set[str]:
        """Who has the segment, or gets it from the origin."""
        return self.holders | {lease.device for lease in self.leases}

    def note_first_bytes(self, now: Instant) -> None:
        """Somebody has some bytes of the segment."""
        if self.began_at is None:
            self.began_at = now

    def revive(self, lease: LeaseState) -> None:
        """A fetch that was silent too long goes on after all."""
        if lease in self.late:
            self.late.remove(lease)
            self.leases.append(lease)

    def end_leases(self, number: int, device: str) -> bool:
        """A device fetches no longer under the lease of this number; says whether it did."""
        ended = [lease for lease in self.at_origin() if lease.number == number and lease.device == device]
        self.leases = [lease for lease in self.leases if lease not in ended]
        self.late = [lease for lease in self.late if lease not in ended]
        return bool(ended)

    def device_left(self, device: str) -> None:
        """A device is gone, with what it fetched or had."""
        self.leases = [lease for lease in self.leases if lease.device != device]
        self.late = [lease for lease in self.late if lease.device != device]
        self.holders.discard(device)
        self.unfollow(device)

    def follow(self, child: str, parent: str, now: Instant) -> None:
        """A child was told to read from a parent."""
        if self.unfollow(child):
            self.moved_at[child] = now
        self.parents[child] = parent
        self.children[parent] += 1

    def unfollow(self, child: str) -> bool:
        """A child reads from nobody; says whether it did before."""
        before = self.parents.pop(child, None)
        if before is not None:
            self.children[before] -= 1
        return before is not None

    def chain(self, device: str, sources: set[str], chains: dict[str, Chain | None]) -> Chain | None:
        """Relays above a device, and who feeds them; None when they lead through the asker, in a circle, or to nobody.

        Args:
            device: where to begin.
            sources: where a chain may end.
            chains: what is known, None for the asker; what is found is added.
        """
        below: list[str] = []
        while device not in chains:
            if device in sources:
                chains[device] = (0, device)
                break
            chains[device] = None  # met again on the way up, it is a circle
            below.append(device)
            above = self.parents.get(device)
            if above is None:
                return None
            device = above
        chain = chains[device]
        for relay in reversed(below):
            chain = None if chain is None else (chain[0] + 1, chain[1])
            chains[relay] = chain
        return chain
