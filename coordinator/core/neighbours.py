"""Whom a member of a swarm is told of, and why.

    elect(sitting, members)     the committee: who keeps the ledgers
    Rings                       put · take · neighbours -> a member's list

The committee is chosen by seniority, first agents that serve, that all can reach, and that are wired; who serves and is
reached keeps its seat whoever joins.
Neighbours are the next ones on a ring of all members, first those of the same subnet, wired before Wi-Fi: each agent is
known by about as many as it knows, and one that joins changes some thirty lists, not all.
"""

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain, islice

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
    """Number of the last beat that was counted, perhaps on an earlier socket of this device; -1 before the first."""
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
    seats = [agent for device in sitting if (agent := members.get(device)) is not None and agent.known and agent.fit]
    if len(seats) < COMMITTEE_MAX:
        seated = frozenset(sitting)

        def rank(agent: Present) -> tuple[bool, int, int]:
            return (not (agent.fit and agent.device in seated), agent.grade(), agent.order)

        seats = heapq.nsmallest(COMMITTEE_MAX, (agent for agent in members.values() if agent.known), key=rank)
    return tuple(agent.device for agent in sorted(seats, key=lambda agent: agent.order))


class _Ring:
    """Members in the order of their hashes."""

    __slots__ = ("_keys", "_members")

    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self._members: list[Present] = []

    def add(self, member: Present) -> None:
        at = bisect_right(self._keys, member.ring)
        self._keys.insert(at, member.ring)
        self._members.insert(at, member)

    def remove(self, member: Present) -> None:
        at = self._members.index(member, bisect_left(self._keys, member.ring))
        del self._keys[at], self._members[at]

    def after(self, asker: Present) -> Iterator[Present]:
        """All of them once, beginning behind `asker`."""
        start = bisect_right(self._keys, asker.ring)
        return chain(islice(self._members, start, None), islice(self._members, start))


class Rings:
    """The members of one swarm that others may be told of, kept in order as they come and go."""

    __slots__ = ("_places", "_rings")

    def __init__(self) -> None:
        self._rings: dict[tuple[str, int], _Ring] = {}
        """By subnet ("" for the whole site) and grade."""
        self._places: dict[str, tuple[Present, str, int]] = {}

    def put(self, member: Present) -> None:
        """It has come, or is to be told of as it is now."""
        self.take(member.device)
        if member.known:
            self._places[member.device] = place = (member, member.placement.subnet, member.grade())
            for key in _keys(place):
                self._rings.setdefault(key, _Ring()).add(member)

    def take(self, device: str) -> None:
        """It has left."""
        if (place := self._places.pop(device, None)) is not None:
            for key in _keys(place):
                self._rings[key].remove(place[0])

    def neighbours(self, asker: Present, committee: Sequence[str]) -> tuple[Near, ...]:
        """The list that `asker` is sent."""
        keepers = sorted((self._places[device][0] for device in committee), key=lambda member: member.ring)
        chosen = {member.device: _near(member, asker, keeper=True) for member in keepers if member is not asker}
        here = asker.placement.subnet
        for key in ((here, 0), (here, 1), ("", 0), ("", 1), (here, 2), (here, 3), ("", 2), ("", 3)):
            for member in self._rings[key].after(asker) if key in self._rings else ():
                if len(chosen) >= NEIGHBOURS_MAX:
                    return tuple(chosen.values())
                if member is not asker and member.device not in chosen:
                    chosen[member.device] = _near(member, asker, keeper=False)
        return tuple(chosen.values())


def _keys(place: tuple[Present, str, int]) -> tuple[tuple[str, int], tuple[str, int]]:
    _, subnet, grade = place
    return (subnet, grade), ("", grade)


def _near(member: Present, asker: Present, *, keeper: bool) -> Near:
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
