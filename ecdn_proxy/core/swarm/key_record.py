"""What a home knows of one key: who fetches it, who has it, who reads from whom.

Entry           the facts, as far as they were told
KeyRecord.chain()   how far a device is from a source of the segment, and from which
"""

from collections import Counter
from dataclasses import dataclass, field

from ecdn_proxy.sansio.machine import Instant

Chain = tuple[int, str]
"""How many relays stand between a device and its source, and that source: who fetches the segment or has all of it."""


@dataclass(slots=True)
class LeaseState:
    """Somebody fetches the key from the origin."""

    number: int
    device: str
    granted_at: Instant
    heard_at: Instant
    received_bytes: int = 0
    told: bool = False
    """Granted by another home: its holder reports there, and nothing is heard of it here."""


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
    began_at: Instant | None = None
    """When somebody first had any of it, as far as is known here."""
    failures: int = 0
    alone_until: Instant = 0.0
    alone_why: str = ""
    alone_status: int = 0

    def at_origin(self) -> list[LeaseState]:
        """Everybody who is fetching it, as far as is known."""
        return self.leases + self.late

    def sources(self) -> set[str]:
        """Who has it, or gets it from elsewhere than from the office."""
        return self.holders | {state.device for state in self.leases}

    def began(self, now: Instant) -> None:
        """Somebody has some of it."""
        if self.began_at is None:
            self.began_at = now

    def revive(self, state: LeaseState) -> None:
        """A silent fetch goes on after all."""
        if state in self.late:
            self.late.remove(state)
            self.leases.append(state)

    def left(self, device: str) -> None:
        """A device is gone, and what it fetched or had with it."""
        self.leases = [state for state in self.leases if state.device != device]
        self.late = [state for state in self.late if state.device != device]
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
