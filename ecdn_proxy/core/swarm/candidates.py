"""Who may be a device's parent for one key: the candidates, of whom `parent_choice` takes the best.

    choose()                                           the best parents, by what the ledger knows of key and machines
    note_given(), note_slow(), note_isolated()         what is remembered of a machine, whatever the key
    are_sources_slow(), may_serve(), is_isolated()     what follows from that

Two machines that access points keep apart are not sent to each other. When everybody else who has the segment is busy,
an isolated machine is sent to a *recruit*: a machine by cable that everybody reaches, and that begins to read the
segment although its own viewers have not asked for it.
"""

import heapq
from collections import OrderedDict, defaultdict
from collections.abc import Callable

from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.decay import Decay
from ecdn_proxy.core.swarm.isolation import is_beside
from ecdn_proxy.core.swarm.key_record import Chain, KeyRecord
from ecdn_proxy.core.swarm.membership import Membership
from ecdn_proxy.core.swarm.parent_choice import ParentCandidate, ParentChoice, choose, is_full
from ecdn_proxy.sansio.machine import Instant

CANDIDATES_MAX = 32
"""Parents looked at closely for one asker; at 200 viewers the best of all is no better, and costs a third more CPU."""
GIVEN_HALF_LIFE_S = 10.0
"""How long it counts against a parent that somebody was sent to it."""
SLOW_HALF_LIFE_S = 30.0
"""How long it counts against a parent that a child found it slow."""
STARVED_LEVEL = 1.5
"""A source that so many children found slow lately is believed to be slow: one alone may have a bad way to it."""


class Candidates:
    """Finds parents for askers, and remembers of each machine how much it was asked for and how it did."""

    def __init__(self, membership: Membership, limits: Limits, apart: Callable[[str, str], bool]) -> None:
        """`apart` tells whether only WebRTC is likely between two devices."""
        self._membership = membership
        self._limits = limits
        self._apart = apart
        self._given = Decay(GIVEN_HALF_LIFE_S, limits.neighbours_max)
        self._slow = Decay(SLOW_HALF_LIFE_S, limits.neighbours_max)
        self._isolated: OrderedDict[str, None] = OrderedDict()
        """Devices that access points seem to keep from each other, by their own last word."""

    # ---- what is remembered

    def note_isolated(self, device: str, *, isolated: bool) -> None:
        """A device asked, and said whether an access point keeps it from the machines beside it."""
        self._isolated.pop(device, None)
        if isolated:
            self._isolated[device] = None
            if len(self._isolated) > self._limits.neighbours_max:
                self._isolated.popitem(last=False)

    def is_isolated(self, device: str) -> bool:
        """Whether a device said, when it last asked, that it is isolated."""
        return device in self._isolated

    def note_given(self, parent: str, now: Instant) -> None:
        """Somebody was sent to a parent, which gives one segment more."""
        self._given.add(parent, now)

    def note_slow(self, parent: str, now: Instant) -> None:
        """A child found its parent slow."""
        self._slow.add(parent, now)

    def are_sources_slow(self, record: KeyRecord, now: Instant) -> bool:
        """Whether all who have the segment, or fetch it, are believed to be slow; also if there are none.

        Then nobody will have the segment in time.
        """
        return all(self._slow.level(source, now) >= STARVED_LEVEL for source in record.sources())

    def may_serve(self, device: str, now: Instant) -> bool:
        """Whether a device gives segments to others, and may be spoken to."""
        known = self._membership.known(device)
        if device == self._membership.me.device:
            return self._membership.serves
        return known is not None and known.serves and not self._membership.is_barred(device, now)

    # ---- who is chosen

    def choose(
        self,
        record: KeyRecord,
        device: str,
        avoid: tuple[str, ...],
        fetching: set[str],
        now: Instant,
        *,
        last: bool = False,
    ) -> ParentChoice | None:
        """The best parents for a device; None when there is nobody.

        Args:
            record: what the ledger knows of the key.
            device: who asks.
            avoid: devices that the asker does not want to read from.
            fetching: devices at the origin for it that the asker may follow, or whose followers it may follow.
            now: the time.
            last: nobody better was found, so machines that are likely to be out of the asker's reach may be tried.
        """
        sources = fetching | record.holders
        pool = sources | record.parents.keys()
        if device in self._isolated:
            pool = {it for it in pool if not self._kept_apart(device, it, surely=not last)}
        chains: dict[str, Chain | None] = {device: None}
        candidates: list[ParentCandidate] = []
        for other in self._least_busy(record, pool):
            if other == device or other in avoid or not self.may_serve(other, now):
                continue
            chain = record.chain(other, sources, chains)
            contact = self._membership.contact(other)
            if chain is None or contact is None:
                continue
            depth, source = chain
            candidates.append(
                ParentCandidate(
                    other,
                    depth,
                    record.children[other],
                    self._given.level(other, now),
                    contact.link,
                    holds=other in record.holders,
                    slow=max(self._slow.level(other, now), self._slow.level(source, now)),
                    far=self._apart(device, other),
                    isolated=other in self._isolated,
                )
            )
        in_need = device in self._isolated and bool(sources) and not last
        if in_need and all(is_full(it, self._limits) for it in candidates):
            candidates += self._recruits(record, pool | {device, *avoid}, now)
        return choose(candidates, self._limits)

    def _recruits(self, record: KeyRecord, besides: set[str], now: Instant) -> list[ParentCandidate]:
        """Machines that everybody reaches and that can read the segment for an isolated asker: by cable, even this one.

        Args:
            record: what the ledger knows of the key.
            besides: machines that are candidates already, or must not be.
            now: the time.
        """
        found: list[ParentCandidate] = []
        for other in self._membership.members(record.stream, now):
            contact = self._membership.contact(other)
            wired = contact is not None and contact.link == "wired"
            if wired and other not in besides and other not in self._isolated and self.may_serve(other, now):
                given = self._given.level(other, now)
                found.append(ParentCandidate(other, 2, record.children[other], given, "wired", holds=False, newly=True))
        return found

    @staticmethod
    def _least_busy(record: KeyRecord, pool: set[str]) -> list[str]:
        """The `CANDIDATES_MAX` of a pool that serve the fewest children of the key; they are looked at closely."""
        if len(pool) <= CANDIDATES_MAX:
            return sorted(pool)
        by_children: defaultdict[int, list[str]] = defaultdict(list)
        children = record.children.get
        for device in pool:
            by_children[children(device, 0)].append(device)
        found: list[str] = []
        for _, equal in sorted(by_children.items()):
            found += heapq.nsmallest(CANDIDATES_MAX - len(found), equal)
        return found

    def _kept_apart(self, one: str, other: str, *, surely: bool) -> bool:
        """Whether access points keep two devices apart; without `surely`, only if the two are beside each other."""
        if one not in self._isolated or other not in self._isolated:
            return False
        here, there = self._membership.contact(one), self._membership.contact(other)
        return surely or here is None or there is None or is_beside(here, there)
