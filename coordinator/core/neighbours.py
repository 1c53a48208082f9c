"""Which other agents a member of a swarm is told of, and why.

    ConnectedAgent              one agent with a socket, and what the coordinator knows of it
    elect(sitting, members)     the committee: the agents that keep the ledgers of a swarm
    Rings                       put · remove · neighbours -> the list for one member

The committee is chosen by seniority among the best agents: those that serve others and that others can reach, and of
these the wired ones. A member that serves and can be reached keeps its seat whoever joins.

Neighbours are the agents that come next on a ring of all members, first those of the same subnet, wired ones before
those on Wi-Fi. So each agent is known by about as many as it knows, and one that joins changes some thirty lists.
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


class ConnectedAgent(msgspec.Struct, eq=False):
    """One agent that has a socket at this coordinator."""

    session: int
    """Number of its socket."""
    device: str
    remote: Address
    """The address that its socket comes from."""
    interfaces: tuple[Interface, ...]
    """The networks that it reports."""
    version: str
    peer_port: int
    since: Instant
    """When it came; kept, like `order`, when a socket replaces another of the same device."""
    order: int
    """Its place in the order of arrival: the lower, the more senior."""
    ring: bytes
    """Hash of its device id: its place on every ring."""
    placement: Placement
    serves: bool
    """Does it give to others?"""
    isolated: bool = False
    """Does its access point seem to keep it apart from other clients?"""
    streams: frozenset[str] = frozenset()
    """What it watches now."""
    conditions: tuple[str, ...] = ()
    """Codes of the conditions that its last beat named."""
    last_beat: int = -1
    """Number of the last beat that was counted, perhaps on an earlier socket of this device; -1 before the first."""
    links_tls: int = 0
    """Links to other agents, as its last beat said."""
    links_webrtc: int = 0
    contact: Contact | None = None
    """How other agents reach it; None when no address of it may be told."""
    near: dict[tuple[bool, bool], Near] = {}
    """This agent as others are told of it, made when first needed, by (same subnet, keeps the ledger)."""

    @property
    def listable(self) -> bool:
        """May others be told of this agent?"""
        return self.contact is not None and self.placement.p2p == "on"

    @property
    def dependable(self) -> bool:
        """Does it serve others, and can others reach it?"""
        return self.serves and not self.isolated

    def grade(self) -> int:
        """How useful it is to others: 0 dependable and wired, 1 dependable and on Wi-Fi, 2 only wired, 3 neither."""
        return 2 * (not self.dependable) + (self.placement.link != "wired")


def elect(sitting: Sequence[str], members: dict[str, ConnectedAgent]) -> tuple[str, ...]:
    """The committee of a swarm, the most senior first.

    Members of the committee that sits (`sitting`) keep their seats while they are dependable; free seats go to the best
    grade, and within it to the most senior. The order matters to agents: whoever still has an older list of a shorter
    committee then finds a segment's home among the same devices.
    """
    stay = [members[device] for device in sitting if device in members]
    seats = [agent for agent in stay if agent.listable and agent.dependable]
    if len(seats) < COMMITTEE_MAX:
        seated = frozenset(sitting)

        def rank(agent: ConnectedAgent) -> tuple[bool, int, int]:
            return (not (agent.dependable and agent.device in seated), agent.grade(), agent.order)

        seats = heapq.nsmallest(COMMITTEE_MAX, (agent for agent in members.values() if agent.listable), key=rank)
    return tuple(agent.device for agent in sorted(seats, key=lambda agent: agent.order))


class _Ring:
    """Agents in the order of their hashes, the last followed by the first."""

    __slots__ = ("_keys", "_members")

    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self._members: list[ConnectedAgent] = []

    def add(self, member: ConnectedAgent) -> None:
        at = bisect_right(self._keys, member.ring)
        self._keys.insert(at, member.ring)
        self._members.insert(at, member)

    def remove(self, member: ConnectedAgent) -> None:
        at = self._members.index(member, bisect_left(self._keys, member.ring))
        del self._keys[at], self._members[at]

    def after(self, asker: ConnectedAgent) -> Iterator[ConnectedAgent]:
        """Each agent of the ring once, beginning with the one behind `asker`."""
        start = bisect_right(self._keys, asker.ring)
        return chain(islice(self._members, start, None), islice(self._members, start))


class Rings:
    """The members of one swarm that others may be told of, on rings that are kept in order as they come and go."""

    __slots__ = ("_places", "_rings")

    def __init__(self) -> None:
        self._rings: dict[tuple[str, int], _Ring] = {}
        """By subnet ("" for the whole site) and grade."""
        self._places: dict[str, tuple[ConnectedAgent, str, int]] = {}
        """By device: the agent, and the subnet and grade under which it was put on its rings."""

    def put(self, member: ConnectedAgent) -> None:
        """`member` has joined the swarm, or has changed and is to be listed as it is now."""
        self.remove(member.device)
        if member.listable:
            self._places[member.device] = place = (member, member.placement.subnet, member.grade())
            for key in _keys(place):
                self._rings.setdefault(key, _Ring()).add(member)

    def remove(self, device: str) -> None:
        """A member has left the swarm, or may no longer be listed."""
        if (place := self._places.pop(device, None)) is not None:
            for key in _keys(place):
                self._rings[key].remove(place[0])

    def neighbours(self, asker: ConnectedAgent, committee: Sequence[str]) -> tuple[Near, ...]:
        """The list that `asker` is sent: the committee, then the next ones on the rings, best grades first."""
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


def _keys(place: tuple[ConnectedAgent, str, int]) -> tuple[tuple[str, int], tuple[str, int]]:
    _, subnet, grade = place
    return (subnet, grade), ("", grade)


def _near(member: ConnectedAgent, asker: ConnectedAgent, *, keeper: bool) -> Near:
    """`member` as `asker` is told of it, with the reason in words."""
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
