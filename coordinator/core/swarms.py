"""Members of one site that watch one stream, and when each is sent its list of neighbours.

    Swarms    join · leave · changed         a member comes, goes, or is to be described anew
              wake_at · settled              when lists are due; each due list and the member that gets it

Every member of a swarm may ask the seven of its committee, and a machine holds some two thousand links. So a site has
one swarm of a stream until that is full, then a second one beside it, each with a committee and a copy of its own.

The lists of a swarm are worked out when it has settled: `SETTLE_S` after the first change, and `spacing_s` after the
last time, longer where the swarm is large. A member is sent a list when it has none yet, when the committee has
changed, and when the list that it has is short and a new one would say something else. A list on which enough members
are still there (`NEIGHBOURS_ENOUGH`) is left alone: whoever comes later is told of these members, and that is enough to
meet. So 20,000 agents that join hundreds of sites within a minute cost a few messages each.
"""

import heapq
from collections.abc import Iterator
from itertools import count

import msgspec

from coordinator.core import limits
from coordinator.core.neighbours import ConnectedAgent, Rings, elect
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.tracker import Near, Neighbours

_Key = tuple[str, str, int]
"""Site, stream, and which of the site's swarms of that stream, from 0."""


class _SentList(msgspec.Struct):
    """The list that a member was sent last."""

    committee: tuple[str, ...]
    near: tuple[Near, ...]
    valid: int
    """How many of its neighbours are still there, and are still what the list says of them."""

    @property
    def short(self) -> bool:
        """Has it lost so many that the member should have another one?"""
        return self.valid < limits.NEIGHBOURS_ENOUGH

    def still_good(self, committee: tuple[str, ...], gone: set[str]) -> bool:
        """May the member keep it? Each device must be in `gone` once only, as it is subtracted here."""
        if gone:
            self.valid -= sum(it.contact.device in gone for it in self.near)
        return not self.short and self.committee == committee and gone.isdisjoint(committee)


class _Swarm:
    """One site, one stream, and no more members than a machine can hold links (`SWARM_MEMBERS_MAX`)."""

    __slots__ = (
        "all_due_at", "all_looked_at", "committee", "committee_then", "gone", "members", "newcomers_due_at", "rings",
        "sent", "wanting",
    )  # fmt: skip

    def __init__(self) -> None:
        self.members: dict[str, ConnectedAgent] = {}
        self.rings = Rings()
        self.committee: tuple[str, ...] = ()
        self.committee_then: tuple[str, ...] = ()
        """The committee when the lists of all members were last looked at."""
        self.sent: dict[str, _SentList] = {}
        self.wanting: dict[str, ConnectedAgent] = {}
        """Members that have no list, or a short one. While nobody leaves, no other member needs a new one."""
        self.gone: set[str] = set()
        """Devices that have left, or are to be described anew, since the lists of all members were last looked at."""
        self.all_looked_at: Instant | None = None
        """When the lists of all members were last looked at."""
        self.all_due_at: Instant | None = None
        """When they are to be looked at next; None when nothing has changed."""
        self.newcomers_due_at: Instant | None = None
        """When the members without any list are due theirs, if that is sooner."""


class Swarms:
    """All swarms of a tenant. Agents that may not share (`p2p` is "off") are in none of them."""

    def __init__(self, spacing_s: float) -> None:
        self._spacing_s = spacing_s
        self._swarms: dict[_Key, _Swarm] = {}
        self._of: dict[tuple[str, str], _Key] = {}
        """By device and stream: an agent stays in its swarm for as long as it watches."""
        self._due: list[tuple[Instant, _Key]] = []
        """A heap of the times at which swarms have lists to send."""

    def __len__(self) -> int:
        return len(self._swarms)

    def join(self, agent: ConnectedAgent, stream: str, now: Instant) -> None:
        """`agent` begins to watch `stream`, at the site where it is placed now."""
        if agent.placement.p2p == "off":
            return
        key = self._with_room(agent.placement.site, stream)
        swarm = self._swarms.setdefault(key, _Swarm())
        swarm.members[agent.device] = swarm.wanting[agent.device] = agent
        swarm.rings.put(agent)
        self._of[agent.device, stream] = key
        self._touch(key, swarm, now)

    def leave(self, agent: ConnectedAgent, stream: str, now: Instant, *, moved: bool = False) -> None:
        """`agent` watches `stream` no more, or no more at this site (`moved`).

        With an agent that has moved nobody may share any more, so the lists of all members are worked out anew.
        """
        key = self._of.pop((agent.device, stream), None)
        if key is None:
            return
        swarm = self._swarms[key]
        del swarm.members[agent.device]
        swarm.rings.remove(agent.device)
        swarm.sent.pop(agent.device, None)
        swarm.wanting.pop(agent.device, None)
        swarm.gone.add(agent.device)
        if moved:
            swarm.sent.clear()
            swarm.wanting = dict(swarm.members)
        self._touch(key, swarm, now)

    def changed(self, agent: ConnectedAgent, now: Instant) -> None:
        """What others are told of `agent` has changed."""
        for stream in agent.streams:
            if (key := self._of.get((agent.device, stream))) is not None:
                swarm = self._swarms[key]
                swarm.gone.add(agent.device)
                swarm.rings.put(agent)
                self._touch(key, swarm, now)

    def wake_at(self) -> Instant | None:
        """When the next swarm will have settled; None when no list is due."""
        return self._due[0][0] if self._due else None

    def settled(self, now: Instant) -> Iterator[tuple[ConnectedAgent, Neighbours]]:
        """The lists that are due, each with the member that it is for."""
        while self._due and self._due[0][0] <= now:
            _, key = heapq.heappop(self._due)
            yield from self._make_lists(key, now)

    def _with_room(self, site: str, stream: str) -> _Key:
        """The first swarm that is not full: one that has lost members fills again before another one is begun."""
        keys = ((site, stream, cell) for cell in count())
        return next(key for key in keys if not self._is_full(key))

    def _is_full(self, key: _Key) -> bool:
        swarm = self._swarms.get(key)
        return swarm is not None and len(swarm.members) >= limits.SWARM_MEMBERS_MAX

    def _touch(self, key: _Key, swarm: _Swarm, now: Instant) -> None:
        """Something has changed in `swarm`: set the times at which its lists are due."""
        settled = now + limits.SETTLE_S
        if swarm.all_due_at is None:
            due = settled
            if swarm.all_looked_at is not None:
                spacing = max(self._spacing_s, len(swarm.members) / limits.MEMBERS_PER_S)
                due = max(due, swarm.all_looked_at + spacing)
            swarm.all_due_at = due
            heapq.heappush(self._due, (due, key))
        if swarm.all_due_at > settled and swarm.newcomers_due_at is None and len(swarm.members) > len(swarm.sent):
            swarm.newcomers_due_at = settled
            heapq.heappush(self._due, (settled, key))

    def _make_lists(self, key: _Key, now: Instant) -> Iterator[tuple[ConnectedAgent, Neighbours]]:
        """Elect the committee and make the lists that are due: of all members, or only of those that have none yet."""
        swarm = self._swarms.get(key)
        if swarm is None:
            return
        look_at_all = swarm.all_due_at is not None and swarm.all_due_at <= now
        swarm.newcomers_due_at = None
        if look_at_all:
            swarm.all_due_at, swarm.all_looked_at = None, now
        if not swarm.members:
            del self._swarms[key]
            return
        swarm.committee = elect(swarm.committee, swarm.members)
        all_concerned = look_at_all and (swarm.committee != swarm.committee_then or bool(swarm.gone))
        gone = swarm.gone
        if look_at_all:
            swarm.gone, swarm.committee_then = set(), swarm.committee
        for device, agent in list((swarm.members if all_concerned else swarm.wanting).items()):
            sent = swarm.sent.get(device)
            if sent is not None and (not look_at_all or sent.still_good(swarm.committee, gone)):
                continue
            near = swarm.rings.neighbours(agent, swarm.committee)
            differs = sent is None or (sent.committee, sent.near) != (swarm.committee, near)
            if sent is None or differs:
                sent = swarm.sent[device] = _SentList(swarm.committee, near, len(near))
            if sent.short:
                swarm.wanting[device] = agent
            else:
                swarm.wanting.pop(device, None)
            if differs:
                yield agent, Neighbours(key[1], swarm.committee, near)
