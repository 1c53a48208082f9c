"""The ledger a key's home keeps: who may fetch it from the origin, who has it, who reads from whom.

    ask(...)      -> Granted | Following | Alone        one origin fetch per key and site, a second only as a hedge
    progress(), finished(), held(), dropped(), left()   what the devices report

A lease lives on progress. It begins with the ask, before any response header; it ends when its holder says so, when its
holder's link ends, or when it has been silent too long, which is noticed at the next ask. Bounded: the oldest keys go.
"""

import heapq
import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from ecdn_proxy.core.chooser import Candidate, Choice, choose
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.view import View
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.integrity import PIECE_BYTES

LEASES_MAX = 2
"""The lease and one hedge: at most two origin fetches per key and site at once."""
FAILURES_MAX = 4
"""After so many fetches of one key failed everybody asks for himself: it is not one machine's fault."""
FIRST_BYTE_MAX_S = 5.0
CANDIDATES_MAX = 32
"""Parents looked at closely for one asker; at 200 viewers the best of all is no better, and costs a third more CPU."""
GIVEN_HALF_LIFE_S = 10.0
SLOW_HALF_LIFE_S = 30.0
"""How long a parent that a child found slow is thought less of."""
TOLD_LIVES_S = 2.0
"""A lease that another home granted lives this much longer here: its progress is not reported to this ledger."""
KEEPS_UP_BYTES = 12 * PIECE_BYTES
"""A follower this close behind the fetcher (a batch and a half) is not held back by its parent."""


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
class Entry:
    """What is known of one key."""

    stream: str
    leases: list[LeaseState] = field(default_factory=list)
    late: list[LeaseState] = field(default_factory=list)
    """Leases that ended for silence; if they begin after all, the origin is slower than was thought."""
    parents: dict[str, str] = field(default_factory=dict)
    """Child → the parent it was told to follow first."""
    children: Counter[str] = field(default_factory=Counter)
    """Parent → how many were told to follow it."""
    holders: set[str] = field(default_factory=set)
    failures: int = 0
    alone_until: Instant = 0.0
    alone_why: str = ""
    alone_status: int = 0

    def follow(self, child: str, parent: str | None) -> None:
        """Note whom a child reads from; None for nobody."""
        before = self.parents.pop(child, None)
        if before is not None:
            self.children[before] -= 1
        if parent is not None:
            self.parents[child] = parent
            self.children[parent] += 1


@dataclass(frozen=True, slots=True)
class Grant:
    """Fetch it from the origin."""

    lease: int
    hedge: bool


@dataclass(frozen=True, slots=True)
class Following:
    """Read it from these."""

    choice: Choice


@dataclass(frozen=True, slots=True)
class Alone:
    """Everybody for himself."""

    why: str
    for_s: float
    status: int


class Ledger:
    """The keys this device is home of (and those it has been told of as a shadow)."""

    def __init__(
        self, view: View, limits: Limits, apart: Callable[[str, str], bool] = lambda one, other: False
    ) -> None:
        self._view = view
        self._limits = limits
        self._apart = apart
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._given = Fading(GIVEN_HALF_LIFE_S, limits.neighbours_max)
        self._slow = Fading(SLOW_HALF_LIFE_S, limits.neighbours_max)
        self._first_byte: dict[str, float] = {}
        self._last_lease = 0

    def knows(self, key: str) -> bool:
        """Whether anything is recorded of the key."""
        entry = self._entries.get(key)
        return entry is not None and bool(entry.leases or entry.holders or entry.alone_until)

    def elder(self, key: str, device: str, now: Instant) -> Following | None:
        """What an older ledger knows for a new home: whom to follow, or nothing. Nothing is granted."""
        entry = self._entries.get(key)
        choice = None if entry is None else self._choose(entry, device, (), now)
        return None if choice is None else Following(choice)

    def ask(
        self, key: str, stream: str, device: str, reason: str, avoid: tuple[str, ...], have: int, now: Instant
    ) -> Grant | Following | Alone:
        """Decide for `device`, which wants the key and has its first `have` pieces."""
        entry = self._entry(key, stream)
        if entry.alone_until > now:
            return Alone(entry.alone_why, entry.alone_until - now, entry.alone_status)
        self._expire(entry, now)
        entry.holders.discard(device)
        own = next((lease for lease in entry.leases if lease.device == device), None)
        if own is not None:
            # it holds the lease and asks again: it has lost its way (restart, crossed messages)
            own.granted_at = own.heard_at = now
            return Grant(own.number, hedge=False)
        slow = reason in ("parent slow", "hedge")
        forgivable = slow and self._forgivable(entry, have, now)
        if slow and not forgivable and (parent := entry.parents.get(device)) in avoid and parent is not None:
            self._slow.add(parent, now)
        choice = self._choose(entry, device, avoid, now)
        if choice is None and forgivable:
            choice = self._choose(entry, device, (), now)
        elif reason == "hedge" and not entry.holders and not any(self._live(entry, it, now) for it in entry.leases):
            choice = None
        if choice is None and len(entry.leases) < LEASES_MAX:
            return self._grant(entry, device, now, hedge=bool(entry.leases))
        if choice is None and (choice := self._choose(entry, device, (), now)) is None:
            return Alone("two are fetching it already and no neighbour may serve it", 0.0, 0)
        parent = choice.parents[0]
        entry.follow(device, parent)
        self._given.add(parent, now)
        return Following(choice)

    def _forgivable(self, entry: Entry, have: int, now: Instant) -> bool:
        """Whether an avoided parent may be named again.

        A fetcher that is receiving and not far ahead of the asker relays what it gets: the origin is what is slow, and
        a second copy through a tight link would make everybody late. One that has only just been granted the lease was
        slow for a reason that is over.
        """
        return any(
            state.received_bytes - have * PIECE_BYTES <= KEEPS_UP_BYTES and self._live(entry, state, now)
            for state in entry.leases
        )

    def _live(self, entry: Entry, state: LeaseState, now: Instant) -> bool:
        """Whether a fetch receives, or may still wait for its first byte."""
        if state.received_bytes:
            return now - state.heard_at <= self._limits.silence_s
        return now <= self._lives_until(entry, state)

    def progress(self, key: str, lease: int, device: str, received_bytes: int, now: Instant) -> None:
        """A lease holder is still at it."""
        entry = self._entries.get(key)
        for state in [*entry.leases, *entry.late] if entry is not None else ():
            if state.number == lease and state.device == device:
                if not state.received_bytes and received_bytes:
                    self._learn_first_byte(entry.stream if entry else "", now - state.granted_at)
                if received_bytes > state.received_bytes:
                    state.heard_at = now
                state.received_bytes = received_bytes

    def finished(self, key: str, lease: int, device: str, outcome: str, status: int, why: str, now: Instant) -> None:
        """A lease ended."""
        entry = self._entries.get(key)
        if entry is None:
            return
        mine = [state for state in entry.leases if state.number == lease and state.device == device]
        entry.leases = [state for state in entry.leases if state not in mine]
        match outcome:
            case "complete":
                entry.holders.add(device)
                entry.failures = 0
            case "private" if mine:
                gone = status in (404, 410)
                entry.alone_until = now + (self._limits.gone_s if gone else self._limits.private_s)
                entry.alone_why, entry.alone_status = why, status if gone else 0
            case "failed" if mine:
                entry.failures += 1
                if entry.failures >= FAILURES_MAX:
                    entry.failures = 0
                    entry.alone_until = now + self._limits.gone_s
                    entry.alone_why, entry.alone_status = why, 0

    def held(self, key: str, stream: str, device: str) -> None:
        """A device has all of the segment."""
        self._entry(key, stream).holders.add(device)

    def dropped(self, key: str, device: str) -> None:
        """A device no longer has it."""
        if (entry := self._entries.get(key)) is not None:
            entry.holders.discard(device)

    def shadow(self, key: str, stream: str, device: str, lease: int, now: Instant) -> None:
        """Another home granted a lease, or a fetcher tells a new home of its own."""
        entry = self._entry(key, stream)
        if not any(state.device == device for state in entry.leases) and device not in entry.holders:
            entry.leases.append(LeaseState(lease, device, now, now, told=True))

    def left(self, device: str) -> None:
        """A device is gone: its leases and holdings with it."""
        for entry in self._entries.values():
            entry.leases = [state for state in entry.leases if state.device != device]
            entry.holders.discard(device)
            entry.follow(device, None)

    def fetchers(self, key: str) -> tuple[str, ...]:
        """Devices that hold a lease of the key now."""
        entry = self._entries.get(key)
        return () if entry is None else tuple(state.device for state in entry.leases)

    # ---- how it decides

    def _entry(self, key: str, stream: str) -> Entry:
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = Entry(stream)
            if len(self._entries) > self._limits.keys_remembered:
                self._entries.popitem(last=False)
        return entry

    def _grant(self, entry: Entry, device: str, now: Instant, *, hedge: bool) -> Grant:
        self._last_lease += 1
        entry.leases.append(LeaseState(self._last_lease, device, now, now))
        entry.follow(device, None)
        return Grant(self._last_lease, hedge)

    def _expire(self, entry: Entry, now: Instant) -> None:
        silent = [state for state in entry.leases if now > self._lives_until(entry, state)]
        if not silent:
            return
        entry.leases = [state for state in entry.leases if state not in silent]
        entry.late = (entry.late + silent)[-LEASES_MAX:]
        if any(not state.received_bytes and not state.told for state in silent):
            # whoever is granted it now waits longer: an origin that is slow must not be asked over and over
            usual = self.usual_first_byte_s(entry.stream)
            self._first_byte[entry.stream] = min(2 * usual, FIRST_BYTE_MAX_S)

    def _lives_until(self, entry: Entry, state: LeaseState) -> Instant:
        if state.received_bytes:
            return state.heard_at + self._limits.silence_s + self._limits.progress_s
        usual = self._first_byte.get(entry.stream, self._limits.first_byte_unknown_s)
        unheard = TOLD_LIVES_S if state.told else 0.0
        return state.granted_at + usual + self._limits.first_byte_grace_s + unheard

    def _learn_first_byte(self, stream: str, seconds: float) -> None:
        usual = self._first_byte.get(stream, seconds)
        self._first_byte[stream] = 0.8 * usual + 0.2 * seconds
        if len(self._first_byte) > 256:
            self._first_byte.pop(next(iter(self._first_byte)))

    def usual_first_byte_s(self, stream: str) -> float:
        """How long the origin usually takes to begin, from the lease on."""
        return self._first_byte.get(stream, self._limits.first_byte_unknown_s)

    def _choose(self, entry: Entry, device: str, avoid: tuple[str, ...], now: Instant) -> Choice | None:
        fetching = {state.device for state in entry.leases if self._live(entry, state, now)}
        roots = fetching | entry.holders
        depths: dict[str, int | None] = {device: None}
        candidates: list[Candidate] = []
        for other in self._likely(entry, roots | entry.parents.keys()):
            if other == device or other in avoid or not self._may_serve(other, now):
                continue
            depth = self._depth(entry, other, roots, depths)
            contact = self._view.contact(other)
            if depth is None or contact is None:
                continue
            candidates.append(
                Candidate(
                    other,
                    depth,
                    entry.children[other],
                    self._given.level(other, now),
                    contact.link,
                    holds=other in entry.holders,
                    slow=self._slow.level(other, now),
                    far=self._apart(device, other),
                )
            )
        return choose(candidates, self._limits)

    @staticmethod
    def _likely(entry: Entry, pool: set[str]) -> list[str]:
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

    def _may_serve(self, device: str, now: Instant) -> bool:
        known = self._view.known(device)
        if device == self._view.me.device:
            return self._view.serves
        return known is not None and known.serves and not self._view.is_barred(device, now)

    @staticmethod
    def _depth(entry: Entry, device: str, roots: set[str], depths: dict[str, int | None]) -> int | None:
        """Relays above `device`; None when its chain leads through the asker, in a circle, or to nobody.

        `roots` fetch it or have it. `depths` holds what is known, None for the asker; what is found is added.
        """
        chain: list[str] = []
        while device not in depths:
            if device in roots:
                depths[device] = 0
                break
            depths[device] = None  # met again on the way up, it is a circle
            chain.append(device)
            above = entry.parents.get(device)
            if above is None:
                return None
            device = above
        depth = depths[device]
        for below in reversed(chain):
            depth = None if depth is None else depth + 1
            depths[below] = depth
        return depth


class Fading:
    """Amounts by device that halve with time; bounded."""

    def __init__(self, half_life_s: float, most: int) -> None:
        self._half_life_s = half_life_s
        self._most = most
        self._amounts: dict[str, tuple[float, Instant]] = {}

    def level(self, device: str, now: Instant) -> float:
        """What is left of a device's amount."""
        if (found := self._amounts.get(device)) is None:
            return 0.0
        amount, since = found
        return amount * math.pow(0.5, (now - since) / self._half_life_s)

    def add(self, device: str, now: Instant) -> None:
        """One more."""
        level = self.level(device, now) + 1.0
        self._amounts.pop(device, None)
        self._amounts[device] = (level, now)
        if len(self._amounts) > self._most:
            self._amounts.pop(next(iter(self._amounts)))
