"""Whom a member of a swarm is told of, and why.

    elect(sitting, members)         the committee: who keeps the ledgers
    neighbours(members, committee)  a function from a member to its list

The committee is chosen by seniority, first agents that serve, that all can reach, and that are wired; who serves and is
reached keeps its seat whoever joins.
Neighbours are the next ones on a ring of all members, first those of the same subnet, wired before Wi-Fi: each agent is
known by about as many as it knows, and one that joins changes some thirty lists, not all.
"""

import heapq
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence

import msgspec

from coordinator.core.sites import Address, Interface, Placement
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.ids import sentence
from ecdn_proxy.wire.peer import Contact
from ecdn_proxy.wire.tracker import COMMITTEE_MAX, NEIGHBOURS_MAX, Near


class Present(msgspec.Struct, eq=False):
    """One connected agent."""

    session: int
    device: str
    remote: Address
    interfaces: tuple[Interface, ...]
    version: str
    peer_port: int
    since: Instant
    order: int
    """Place in the order of arrival; kept when a socket replaces another of the same device."""
    ring: bytes
    placement: Placement
    serves: bool
    isolated: bool = False
    """Its access point seems to keep it from its like."""
    streams: frozenset[str] = frozenset()
    conditions: tuple[str, ...] = ()
    last_beat: int = -1
    links_tls: int = 0
    links_webrtc: int = 0
    """As its last beat said."""
    contact: Contact | None = None
    near: dict[tuple[bool, bool], Near] = {}
    """This agent as others are told of it, by (same subnet, keeps the ledger)."""

    @property
    def known(self) -> bool:
        """May others be told of this agent?"""
        return self.contact is not None and self.placement.p2p == "on"

    @property
    def fit(self) -> bool:
        """Can everybody count on it?"""
        return self.serves and not self.isolated

    def grade(self) -> int:
        """0 serves by wire, 1 serves by Wi-Fi, 2 and 3 the same without serving, or out of the reach of many."""
        return 2 * (not self.fit) + (self.placement.link != "wired")


def elect(sitting: Sequence[str], members: dict[str, Present]) -> tuple[str, ...]:
    """The committee in the order of seniority: members that are fit keep their seats, then by grade and seniority.

    Agents read the order: by an older list, a key's home is one of those that a shorter committee would have had.
    """
    seated = frozenset(sitting)

    def rank(agent: Present) -> tuple[bool, int, int]:
        return (not (agent.fit and agent.device in seated), agent.grade(), agent.order)

    able = [agent for agent in members.values() if agent.known]
    elected = sorted(heapq.nsmallest(COMMITTEE_MAX, able, key=rank), key=lambda agent: agent.order)
    return tuple(agent.device for agent in elected)


def neighbours(members: Iterable[Present], committee: Sequence[str]) -> Callable[[Present], tuple[Near, ...]]:
    """A function from a member to the list that it is sent."""
    on_ring = sorted((m for m in members if m.known), key=lambda m: m.ring)
    rings: dict[tuple[str, int], tuple[list[bytes], list[Present]]] = {}
    for member in on_ring:
        for subnet in (member.placement.subnet, ""):
            keys, ring = rings.setdefault((subnet, member.grade()), ([], []))
            keys.append(member.ring)
            ring.append(member)
    keepers = frozenset(committee)
    ledger = [member for member in on_ring if member.device in keepers]

    def find(asker: Present) -> tuple[Near, ...]:
        chosen = {member.device: member for member in ledger if member is not asker}
        here = asker.placement.subnet
        for subnet, grade in ((here, 0), (here, 1), ("", 0), ("", 1), (here, 2), (here, 3), ("", 2), ("", 3)):
            keys, ring = rings.get((subnet, grade), ([], []))
            start = bisect_right(keys, asker.ring)
            for step in range(len(ring)):
                if len(chosen) >= NEIGHBOURS_MAX:
                    break
                member = ring[(start + step) % len(ring)]
                if member is not asker:
                    chosen.setdefault(member.device, member)
        return tuple(_near(member, asker, member.device in keepers) for member in chosen.values())

    return find


def _near(member: Present, asker: Present, keeper: bool) -> Near:
    same = member.placement.subnet == asker.placement.subnet
    found = member.near.get((same, keeper))
    if found is None:
        assert member.contact is not None
        at = member.placement
        where = f"same subnet {at.subnet}" if same else f"same site {at.label}, subnet {at.subnet}"
        link = "wired" if at.link == "wired" else "Wi-Fi"
        serves = "serves" if member.serves else "does not serve now"
        serves += ", kept from its like by its access point" if member.isolated else ""
        found = Near(member.contact, sentence(f"{'keeps the ledger; ' if keeper else ''}{where}, {link}, {serves}"))
        member.near[same, keeper] = found
    return found
