"""Members of one site that watch one stream, and when each is sent its list.

    Swarms    join · part · changed      wake_at · settled -> (member, its list)

Everybody of a swarm may ask the seven of its committee, and a machine holds some two thousand links. So a site has one
swarm of a stream until that is full, then a second one beside it, each with its own committee and its own one copy.

A swarm's lists are worked out when it has settled, at most once a second (`spacing_s`; more slowly where it is large).
A member is sent one when it has none yet, when the committee has changed, and when its list is short and another would
say something else. A list that still has enough members standing is left alone: whoever comes later knows them, and
that is enough to meet. So 20,000 agents that join hundreds of sites within a minute cost a few messages each.
"""

import heapq
from collections.abc import Iterator
from itertools import count

import msgspec

from coordinator.core import limits
from coordinator.core.neighbours import Present, Rings, elect
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.tracker import Near, Neighbours

_Key = tuple[str, str, int]
"""Site, stream, and which of the site's swarms of that stream, from 0."""


class _Sent(msgspec.Struct):
    """The list that a member has."""

    committee: tuple[str, ...]
    near: tuple[Near, ...]
    standing: int
    """How many of it are still there, as they were described."""

    @property
    def short(self) -> bool:
        """Is it too short to be left alone?"""
        return self.standing < limits.NEIGHBOURS_ENOUGH

    def serves(self, committee: tuple[str, ...], gone: set[str]) -> bool:
        """May it stay as it is? `gone` is told once."""
        if gone:
            self.standing -= sum(it.contact.device in gone for it in self.near)
        return not self.short and self.committee == committee and gone.isdisjoint(committee)


class _Swarm:
    """One site, one stream, and no more members than a machine holds links."""

    __slots__ = (
        "committee", "flushed_at", "full_at", "gone", "members", "newcomers_at", "rings", "sent", "told", "wanting"
    )  # fmt: skip

    def __init__(self) -> None:
        self.members: dict[str, Present] = {}
        self.rings = Rings()
        self.committee: tuple[str, ...] = ()
        self.told: tuple[str, ...] = ()
        """The committee when everybody's list was looked at."""
        self.sent: dict[str, _Sent] = {}
        self.wanting: dict[str, Present] = {}
        """Who has no list, or a short one: while nobody leaves, nobody else needs another."""
        self.gone: set[str] = set()
        """Who has left or is to be described anew since everybody's lists were looked at."""
        self.flushed_at: Instant | None = None
        self.full_at: Instant | None = None
        """When everybody's list is due."""
        self.newcomers_at: Instant | None = None
        """When the lists of those who have none yet are due."""


class Swarms:
    """All of them. Agents that may not share (`p2p` is "off") are in none."""

    def __init__(self, spacing_s: float) -> None:
        self._spacing_s = spacing_s
        self._swarms: dict[_Key, _Swarm] = {}
        self._of: dict[tuple[str, str], _Key] = {}
        """By device and stream: nobody changes swarms while it watches."""
        self._due: list[tuple[Instant, _Key]] = []

    def __len__(self) -> int:
        return len(self._swarms)

    def join(self, agent: Present, stream: str, now: Instant) -> None:
        """It watches this stream, where it is placed now."""
        if agent.placement.p2p == "off":
            return
        key = self._with_room(agent.placement.site, stream)
        swarm = self._swarms.setdefault(key, _Swarm())
        swarm.members[agent.device] = swarm.wanting[agent.device] = agent
        swarm.rings.put(agent)
        self._of[agent.device, stream] = key
        self._touch(key, swarm, now)

    def part(self, agent: Present, stream: str, now: Instant, *, moved: bool = False) -> None:
        """It watches this stream no more.

        One that has moved to another site must not be shared with any more, so everybody's list is worked out anew.
        """
        key = self._of.pop((agent.device, stream), None)
        if key is None:
            return
        swarm = self._swarms[key]
        del swarm.members[agent.device]
        swarm.rings.take(agent.device)
        swarm.sent.pop(agent.device, None)
        swarm.wanting.pop(agent.device, None)
        swarm.gone.add(agent.device)
        if moved:
            swarm.sent.clear()
            swarm.wanting = dict(swarm.members)
        self._touch(key, swarm, now)

    def changed(self, agent: Present, now: Instant) -> None:
        """Others are to be told something else of it."""
        for stream in agent.streams:
            if (key := self._of.get((agent.device, stream))) is not None:
                swarm = self._swarms[key]
                swarm.gone.add(agent.device)
                swarm.rings.put(agent)
                self._touch(key, swarm, now)

    def wake_at(self) -> Instant | None:
        """When the next swarm has settled."""
        return self._due[0][0] if self._due else None

    def settled(self, now: Instant) -> Iterator[tuple[Present, Neighbours]]:
        """Whom to send which list, of every swarm that has settled."""
        while self._due and self._due[0][0] <= now:
            _, key = heapq.heappop(self._due)
            yield from self._flush(key, now)

    def _with_room(self, site: str, stream: str) -> _Key:
        """The first swarm that is not full: those that have lost members fill again before there is another one."""
        keys = ((site, stream, cell) for cell in count())
        return next(key for key in keys if not self._is_full(key))

    def _is_full(self, key: _Key) -> bool:
        swarm = self._swarms.get(key)
        return swarm is not None and len(swarm.members) >= limits.SWARM_MEMBERS_MAX

    def _touch(self, key: _Key, swarm: _Swarm, now: Instant) -> None:
        settled = now + limits.SETTLE_S
        if swarm.full_at is None:
            due = settled
            if swarm.flushed_at is not None:
                spacing = max(self._spacing_s, len(swarm.members) / limits.MEMBERS_PER_S)
                due = max(due, swarm.flushed_at + spacing)
            swarm.full_at = due
            heapq.heappush(self._due, (due, key))
        if swarm.full_at > settled and swarm.newcomers_at is None and len(swarm.members) > len(swarm.sent):
            swarm.newcomers_at = settled
            heapq.heappush(self._due, (settled, key))

    def _flush(self, key: _Key, now: Instant) -> Iterator[tuple[Present, Neighbours]]:
        swarm = self._swarms.get(key)
        if swarm is None:
            return
        full = swarm.full_at is not None and swarm.full_at <= now
        swarm.newcomers_at = None
        if full:
            swarm.full_at, swarm.flushed_at = None, now
        if not swarm.members:
            del self._swarms[key]
            return
        swarm.committee = elect(swarm.committee, swarm.members)
        everybody = full and (swarm.committee != swarm.told or bool(swarm.gone))
        gone = swarm.gone
        if full:
            swarm.gone, swarm.told = set(), swarm.committee
        for device, agent in list((swarm.members if everybody else swarm.wanting).items()):
            sent = swarm.sent.get(device)
            if sent is not None and (not full or sent.serves(swarm.committee, gone)):
                continue
            near = swarm.rings.neighbours(agent, swarm.committee)
            anew = sent is None or (sent.committee, sent.near) != (swarm.committee, near)
            if sent is None or anew:
                sent = swarm.sent[device] = _Sent(swarm.committee, near, len(near))
            if sent.short:
                swarm.wanting[device] = agent
            else:
                swarm.wanting.pop(device, None)
            if anew:
                yield agent, Neighbours(key[1], swarm.committee, near)
