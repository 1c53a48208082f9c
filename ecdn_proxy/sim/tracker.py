"""Who is told of whom: the coordinator's tracker, as the simulator has it.

    Tracker            what the simulator needs of a tracker
    SeniorityTracker   the coordinator's rules for one site

The rules: a committee of at most 7 in order of seniority, those with a cable first; members keep their seats. At most
30 neighbours, the committee first, then the next on a ring. A newcomer's list goes out as soon as the swarm has
settled; everybody's lists go out at most ten times a second, in big swarms less often.

The simulator may not import the coordinator. Tests put the coordinator's own tracker in place of this one and compare.
"""

import heapq
from bisect import bisect_right
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from typing import Protocol

from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.peer import Contact
from ecdn_proxy.wire.tracker import COMMITTEE_MAX, NEIGHBOURS_MAX

# The values of `coordinator.core.limits`, whose reasons stand there.
SETTLE_S = 0.05
"""Lists go out this long after a swarm has changed."""
SPACING_S = 0.1
"""Everybody's lists go out no more often."""
MEMBERS_PER_S = 2_000
"""Lists worked out per second in one swarm: those of a big swarm go out less often than `SPACING_S` allows."""
NEIGHBOURS_ENOUGH = 22
"""A list of which so many are still there stays as it is."""
SWARM_MEMBERS_MAX = 1_500
"""Whoever comes to a full swarm begins a second one beside it."""


@dataclass(frozen=True, slots=True)
class NeighbourList:
    """What one device is told of one stream: who keeps the ledgers, and whom to reach, each with a reason."""

    device: str
    stream: str
    committee: tuple[str, ...]
    contacts: tuple[tuple[Contact, str], ...]


class Tracker(Protocol):
    """Membership of one site."""

    def watch(self, contact: Contact, streams: tuple[str, ...], now: Instant, *, serves: bool) -> None:
        """A device watches these streams now, and no others."""
        ...

    def leave(self, device: str, now: Instant) -> None:
        """A device's socket ended."""
        ...

    def wake_at(self) -> Instant | None:
        """When lists go out next."""
        ...

    def wake(self, now: Instant) -> list[NeighbourList]:
        """The lists that are due."""
        ...


@dataclass(slots=True)
class _Member:
    contact: Contact
    order: int
    ring: bytes
    serves: bool

    @property
    def grade(self) -> int:
        return 2 * (not self.serves) + (self.contact.link != "wired")


@dataclass(slots=True)
class _Sent:
    committee: tuple[str, ...]
    near: tuple[str, ...]
    standing: int
    """How many of `near` are still there and as the list describes them."""

    def is_good_enough(self, committee: tuple[str, ...], gone: set[str]) -> bool:
        """Whether the list may stay as it is, when these have gone since it was sent."""
        if gone:
            self.standing -= sum(device in gone for device in self.near)
        return self.standing >= NEIGHBOURS_ENOUGH and self.committee == committee and gone.isdisjoint(committee)


class _Swarm:
    def __init__(self) -> None:
        self.members: dict[str, _Member] = {}
        self.committee: tuple[str, ...] = ()
        self.sent: dict[str, _Sent] = {}
        self.gone: set[str] = set()
        """Who has left, or is to be described anew, since everybody's lists were looked at."""
        self.flushed_at: Instant | None = None
        self.full_at: Instant | None = None
        """When everybody's list is due."""
        self.newcomers_at: Instant | None = None
        """When the lists of those are due who have none yet."""

    @property
    def due_at(self) -> Instant | None:
        """When lists are to be sent next."""
        if self.newcomers_at is None or (self.full_at is not None and self.full_at < self.newcomers_at):
            return self.full_at
        return self.newcomers_at


class SeniorityTracker:
    """The tracker of an office: the coordinator's rules for one site.

    Args:
        spacing_s: at least this long between everybody's lists.
    """

    def __init__(self, *, spacing_s: float = SPACING_S) -> None:
        self._spacing_s = spacing_s
        self._swarms: dict[tuple[str, int], _Swarm] = {}
        """By stream, and which of its swarms."""
        self._of: dict[str, dict[str, _Swarm]] = {}
        """By device and stream: no device changes its swarm while it watches."""
        self._order = 0

    def watch(self, contact: Contact, streams: tuple[str, ...], now: Instant, *, serves: bool) -> None:
        """A device watches these streams now: it joins their swarms and leaves all others."""
        device = contact.device
        mine = self._of.setdefault(device, {})
        for stream in streams:
            swarm = mine.get(stream) or self._with_room(stream)
            known = swarm.members.get(device)
            if known is not None and known.serves == serves:
                continue
            self._order += 1
            if known is not None:
                swarm.gone.add(device)
            order = self._order if known is None else known.order
            ring = blake2b(device.encode(), digest_size=8).digest()
            swarm.members[device] = _Member(contact, order, ring, serves)
            mine[stream] = swarm
            self._touch(swarm, now)
        for stream in mine.keys() - set(streams):
            self._part(device, mine.pop(stream), now)

    def leave(self, device: str, now: Instant) -> None:
        """A device's socket ended: it leaves all its swarms."""
        for swarm in self._of.pop(device, {}).values():
            self._part(device, swarm, now)

    def _part(self, device: str, swarm: _Swarm, now: Instant) -> None:
        del swarm.members[device]
        swarm.sent.pop(device, None)
        swarm.gone.add(device)
        self._touch(swarm, now)

    def _with_room(self, stream: str) -> _Swarm:
        """The first swarm of a stream that is not full."""
        swarms = (self._swarms.setdefault((stream, cell), _Swarm()) for cell in count())
        return next(swarm for swarm in swarms if len(swarm.members) < SWARM_MEMBERS_MAX)

    def _touch(self, swarm: _Swarm, now: Instant) -> None:
        settled = now + SETTLE_S
        if swarm.full_at is None:
            swarm.full_at = settled
            if swarm.flushed_at is not None:
                spacing = max(self._spacing_s, len(swarm.members) / MEMBERS_PER_S)
                swarm.full_at = max(settled, swarm.flushed_at + spacing)
        if swarm.full_at > settled and swarm.newcomers_at is None and len(swarm.members) > len(swarm.sent):
            swarm.newcomers_at = settled

    def wake_at(self) -> Instant | None:
        """When lists go out next."""
        return min((it.due_at for it in self._swarms.values() if it.due_at is not None), default=None)

    def wake(self, now: Instant) -> list[NeighbourList]:
        """The lists that are due: everybody's, or those of newcomers."""
        told: list[NeighbourList] = []
        for (stream, _), swarm in self._swarms.items():
            if swarm.due_at is None or swarm.due_at > now:
                continue
            swarm.newcomers_at = None
            full = swarm.full_at is not None and swarm.full_at <= now
            if full:
                swarm.full_at, swarm.flushed_at = None, now
            told += self._lists(stream, swarm, full=full)
        return told

    def _lists(self, stream: str, swarm: _Swarm, *, full: bool) -> list[NeighbourList]:
        members = swarm.members
        seated = frozenset(swarm.committee)
        elected = heapq.nsmallest(
            COMMITTEE_MAX,
            members.items(),
            key=lambda it: (not (it[1].serves and it[0] in seated), it[1].grade, it[1].order),
        )
        elected.sort(key=lambda it: it[1].order)
        swarm.committee = committee = tuple(device for device, _ in elected)
        keepers = sorted(committee, key=lambda device: members[device].ring)
        rings: list[tuple[list[bytes], list[str]]] = []
        for grade in range(4):
            ring = sorted((it.ring, device) for device, it in members.items() if it.grade == grade)
            rings.append(([at for at, _ in ring], [device for _, device in ring]))
        gone = swarm.gone
        if full:
            swarm.gone = set()
        told: list[NeighbourList] = []
        for device, member in members.items():
            sent = swarm.sent.get(device)
            if sent is not None and (not full or sent.is_good_enough(committee, gone)):
                continue
            near = self._near(device, member, keepers, rings)
            if sent is not None and (sent.committee, sent.near) == (committee, near):
                continue
            swarm.sent[device] = _Sent(committee, near, len(near))
            contacts = tuple((members[it].contact, "same subnet") for it in near)
            told.append(NeighbourList(device, stream, committee, contacts))
        return told

    @staticmethod
    def _near(
        device: str, member: _Member, keepers: list[str], rings: list[tuple[list[bytes], list[str]]]
    ) -> tuple[str, ...]:
        chosen = dict.fromkeys(it for it in keepers if it != device)
        for keys, ring in rings:
            start = bisect_right(keys, member.ring)
            for step in range(len(ring)):
                if len(chosen) >= NEIGHBOURS_MAX:
                    return tuple(chosen)
                other = ring[(start + step) % len(ring)]
                if other != device:
                    chosen.setdefault(other)
        return tuple(chosen)
