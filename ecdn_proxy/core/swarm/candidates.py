"""Who may be somebody's parent for one key: the candidates of whom `chooser` takes the best.

    choose(entry, device, ...)       by what the ledger knows of the key, and of the machines
    gave(), was_slow(), noted()      what it remembers of machines, whatever the key

Two that access points keep apart are not sent to each other. When all the others who have the segment are busy, an
isolated machine is sent to one that everybody reaches, which begins to read what it has not asked for itself yet.
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
SLOW_HALF_LIFE_S = 30.0
"""How long a parent that a child found slow is thought less of."""
STARVED_LEVEL = 1.5
"""So many children (fading) that found a source slow are believed: one alone may have a bad way to it."""


class Candidates:
    """See the head of this file."""

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

    def noted(self, device: str, *, isolated: bool) -> None:
        """A device asked, and said whether it is isolated."""
        self._isolated.pop(device, None)
        if isolated:
            self._isolated[device] = None
            if len(self._isolated) > self._limits.neighbours_max:
                self._isolated.popitem(last=False)

    def is_isolated(self, device: str) -> bool:
        """Whether it said so when it asked last."""
        return device in self._isolated

    def gave(self, parent: str, now: Instant) -> None:
        """Somebody was sent to a parent."""
        self._given.add(parent, now)

    def was_slow(self, parent: str, now: Instant) -> None:
        """A child found its parent slow."""
        self._slow.add(parent, now)

    def starves(self, entry: KeyRecord, now: Instant) -> bool:
        """Whether all who have the segment, or fetch it, are believed to be slow: then nobody will have it in time."""
        return all(self._slow.level(source, now) >= STARVED_LEVEL for source in entry.sources())

    def may_serve(self, device: str, now: Instant) -> bool:
        """Whether a device gives anything to others."""
        known = self._membership.known(device)
        if device == self._membership.me.device:
            return self._membership.serves
        return known is not None and known.serves and not self._membership.is_barred(device, now)

    # ---- what follows

    def choose(
        self,
        entry: KeyRecord,
        device: str,
        avoid: tuple[str, ...],
        fetching: set[str],
        now: Instant,
        *,
        last: bool = False,
    ) -> ParentChoice | None:
        """The best parents for a device; None when there is nobody.

        Args:
            entry: what is known of the key.
            device: who asks.
            avoid: whom it does not want.
            fetching: who is at the origin for it and counts.
            now: the time.
            last: nobody better was found; those that are likely out of reach may be tried.
        """
        sources = fetching | entry.holders
        pool = sources | entry.parents.keys()
        if device in self._isolated:
            pool = {it for it in pool if not self._kept_apart(device, it, surely=not last)}
        chains: dict[str, Chain | None] = {device: None}
        candidates: list[ParentCandidate] = []
        for other in self._likely(entry, pool):
            if other == device or other in avoid or not self.may_serve(other, now):
                continue
            chain = entry.chain(other, sources, chains)
            contact = self._membership.contact(other)
            if chain is None or contact is None:
                continue
            depth, source = chain
            candidates.append(
                ParentCandidate(
                    other,
                    depth,
                    entry.children[other],
                    self._given.level(other, now),
                    contact.link,
                    holds=other in entry.holders,
                    slow=max(self._slow.level(other, now), self._slow.level(source, now)),
                    far=self._apart(device, other),
                    isolated=other in self._isolated,
                )
            )
        lonely = device in self._isolated and bool(sources) and not last
        if lonely and all(is_full(it, self._limits) for it in candidates):
            candidates += self._recruits(entry, pool | {device, *avoid}, now)
        return choose(candidates, self._limits)

    def _recruits(self, entry: KeyRecord, besides: set[str], now: Instant) -> list[ParentCandidate]:
        """Machines that everybody reaches and that can read it for one that reaches few: by wire, this one included."""
        found: list[ParentCandidate] = []
        for other in self._membership.members(entry.stream, now):
            contact = self._membership.contact(other)
            wired = contact is not None and contact.link == "wired"
            if wired and other not in besides and other not in self._isolated and self.may_serve(other, now):
                given = self._given.level(other, now)
                found.append(ParentCandidate(other, 2, entry.children[other], given, "wired", holds=False, newly=True))
        return found

    @staticmethod
    def _likely(entry: KeyRecord, pool: set[str]) -> list[str]:
        """At most so many are looked at closely: those that were told to serve fewest."""
        if len(pool) <= CANDIDATES_MAX:
            return sorted(pool)
        by_children: defaultdict[int, list[str]] = defaultdict(list)
        children = entry.children.get
        for device in pool:
            by_children[children(device, 0)].append(device)
        found: list[str] = []
        for _, equal in sorted(by_children.items()):
            found += heapq.nsmallest(CANDIDATES_MAX - len(found), equal)
        return found

    def _kept_apart(self, one: str, other: str, *, surely: bool) -> bool:
        """Whether access points keep two devices apart; without `surely` only those of one network count."""
        if one not in self._isolated or other not in self._isolated:
            return False
        here, there = self._membership.contact(one), self._membership.contact(other)
        return surely or here is None or there is None or is_beside(here, there)
