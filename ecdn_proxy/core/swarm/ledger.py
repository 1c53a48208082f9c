"""The ledger a key's home keeps: who may fetch it from the origin, who has it, who reads from whom.

    ask(...)      -> LeaseDecision        one origin fetch per key and site, a second only as a hedge
    progress(), finished(), held(), dropped(), left()   what the devices report

A lease lives on progress. It begins with the ask, before any response header; it ends when its holder says so, when its
holder's link ends, or when it has been silent too long, which is noticed at the next ask. Bounded: the oldest keys go.
"""

import math
from collections import OrderedDict
from collections.abc import Callable

from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.candidates import Candidates
from ecdn_proxy.core.swarm.decisions import FollowParents, LeaseDecision, LeaseGranted, ViewersGoAlone
from ecdn_proxy.core.swarm.key_record import KeyRecord, LeaseState
from ecdn_proxy.core.swarm.membership import Membership
from ecdn_proxy.core.swarm.parent_choice import ParentChoice
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.integrity import PIECE_BYTES

LEASES_MAX = 2
"""The lease and one hedge: at most two origin fetches per key and site at once."""
LATE_COUNTS_S = 4.0
"""So long a silent fetch counts as one of the two: it is at the origin until its holder gives it up, after 4 s."""
FAILURES_MAX = 4
"""After so many fetches of one key failed it is not one machine's fault: an error of the origin is told to everybody
else who waits, as asking for himself would get him the same; where nothing was answered everybody asks for himself."""
SERVER_ERROR = 500
"""From here on a status is the origin's own trouble (RFC 9110 section 15.6), whoever asks."""
FIRST_BYTE_MAX_S = 5.0
MENDING_S = 0.5
"""So long after one was given another parent, those below it are told to stay."""
TOLD_LIVES_S = 2.0
"""A lease that another home granted lives this much longer here: its progress is not reported to this ledger."""
KEEPS_UP_BYTES = 12 * PIECE_BYTES
"""A follower this close behind the fetcher (a batch and a half) is not held back by its parent."""
AGAIN = "it holds the lease already, and asks again because it has lost its way"
GOES_ON = "its own fetch is silent, but nobody else can give it the segment"
FREE = "nobody can give it the segment, and fewer than two are at the origin for it"


class Ledger:
    """The keys this device is home of (and those it has been told of as a shadow)."""

    def __init__(
        self, membership: Membership, limits: Limits, apart: Callable[[str, str], bool] = lambda one, other: False
    ) -> None:
        self._limits = limits
        self._membership = membership
        self._entries: OrderedDict[str, KeyRecord] = OrderedDict()
        self._candidates = Candidates(membership, limits, apart)
        self._first_byte: dict[str, float] = {}
        self._last_lease = 0

    def knows(self, key: str) -> bool:
        """Whether anything is recorded of the key."""
        entry = self._entries.get(key)
        return entry is not None and bool(entry.leases or entry.late or entry.holders or entry.alone_until)

    def elder(self, key: str, device: str, now: Instant) -> FollowParents | None:
        """What an older ledger knows for a new home: whom to follow, or nothing. Nothing is granted."""
        entry = self._entries.get(key)
        choice = None if entry is None else self._choose(entry, device, (), now)
        return None if choice is None else self._named(choice.parents, choice.why)

    def ask(
        self,
        key: str,
        stream: str,
        device: str,
        reason: str,
        avoid: tuple[str, ...],
        have: int,
        now: Instant,
        *,
        isolated: bool = False,
    ) -> LeaseDecision:
        """Decide for `device`, which wants the key and has its first `have` pieces; `isolated` as in `Ask`."""
        self._candidates.noted(device, isolated=isolated)
        entry = self._entry(key, stream)
        if entry.alone_until > now:
            return ViewersGoAlone(entry.alone_why, entry.alone_until - now, entry.alone_status)
        self._expire(entry, now)
        entry.holders.discard(device)
        own = next((lease for lease in entry.at_origin() if lease.device == device), None)
        slow = reason in ("parent slow", "hedge")
        if own is not None and slow:
            return self._relieve(entry, own, avoid, now)
        if own is not None:
            # it holds the lease and asks again: it has lost its way (restart, crossed messages)
            own.granted_at = own.heard_at = now
            entry.revive(own)
            return LeaseGranted(None, own.number, hedge=len(entry.at_origin()) > 1, why=AGAIN)
        if slow and (stays := self._stays(entry, device, now)) is not None:
            return stays
        forgivable = slow and self._forgivable(entry, have, now)
        if slow and not forgivable:
            self._blame(entry, device, avoid, now)
            if self._candidates.starves(entry, now) and len(entry.at_origin()) < LEASES_MAX:
                return self._grant(entry, device, now)
        choice = self._choose(entry, device, avoid, now)
        if choice is None and forgivable:
            choice = self._choose(entry, device, (), now)
        elif reason == "hedge" and not entry.holders and not any(self._live(entry, it, now) for it in entry.leases):
            choice = None
        if choice is None and len(entry.at_origin()) < LEASES_MAX:
            return self._grant(entry, device, now)
        if choice is None and (choice := self._choose(entry, device, (), now, silent=True)) is None:
            return ViewersGoAlone("two are fetching it already and no neighbour may serve it", 0.0, 0)
        self._follow(entry, device, choice, now)
        return self._named(choice.parents, choice.why)

    def _relieve(
        self, entry: KeyRecord, own: LeaseState, avoid: tuple[str, ...], now: Instant
    ) -> LeaseGranted | FollowParents:
        """Its holder says that a fetch is silent: whoever has the segment or gets it will do; else it goes on.

        The lease lives no longer for it, but counts as one of the two fetches that there may be.
        """
        choice = self._choose(entry, own.device, avoid, now)
        if own in entry.late:
            own.heard_at = now
        if choice is None:
            return LeaseGranted(None, own.number, hedge=len(entry.at_origin()) > 1, why=GOES_ON)
        if own in entry.leases:
            entry.leases.remove(own)
            entry.late.append(own)
            own.heard_at = now
        self._follow(entry, own.device, choice, now)
        return self._named(choice.parents, choice.why)

    def _named(self, parents: tuple[str, ...], why: str) -> FollowParents:
        return FollowParents(self._membership.contacts(parents), why, self._membership.me.device)

    def _follow(self, entry: KeyRecord, device: str, choice: ParentChoice, now: Instant) -> None:
        entry.follow(device, choice.parents[0], now)
        self._candidates.gave(choice.parents[0], now)

    def _stays(self, entry: KeyRecord, device: str, now: Instant) -> FollowParents | None:
        """Whether an asker that finds its parent slow had better stay: when the fault is further up, and known.

        Everybody below a gap notices it at the same moment. Were all of them moved, nobody would read from anybody who
        has anything.
        """
        parent = entry.parents.get(device)
        if parent is None or not self._candidates.may_serve(parent, now):
            return None
        chain = entry.chain(parent, entry.sources(), {device: None})
        if chain is None:
            return None
        if self._not_begun(entry, now):
            return self._named((parent,), "the origin has not begun to answer, so nobody is to blame")
        if entry.began_at is not None and now - entry.began_at <= self._limits.silence_s:
            return self._named((parent,), "the origin has only just begun, and what came is on its way")
        above: str | None = parent
        while above is not None:
            if now - entry.moved_at.get(above, -math.inf) <= MENDING_S:
                return self._named((parent,), f"{above[:8]} above it has just been given another parent")
            above = entry.parents.get(above) if above != chain[1] else None
        return None

    def _not_begun(self, entry: KeyRecord, now: Instant) -> bool:
        """Whether those who fetch may still wait for their first byte, and nobody has it."""
        waits = [not it.received_bytes and not it.told and self._live(entry, it, now) for it in entry.leases]
        return bool(waits) and all(waits) and not entry.holders

    def _blame(self, entry: KeyRecord, device: str, avoid: tuple[str, ...], now: Instant) -> None:
        """A child found its parent slow. A parent that only relays may wait as much as the child does."""
        parent = entry.parents.get(device)
        if parent in avoid and parent in entry.sources():
            self._candidates.was_slow(parent, now)

    def _forgivable(self, entry: KeyRecord, have: int, now: Instant) -> bool:
        """Whether an avoided parent may be named again.

        A fetcher that is receiving and not far ahead of the asker relays what it gets: the origin is what is slow, and
        a second copy through a tight link would make everybody late. One that has only just been granted the lease was
        slow for a reason that is over.
        """
        return any(
            state.received_bytes - have * PIECE_BYTES <= KEEPS_UP_BYTES and self._live(entry, state, now, heard=True)
            for state in entry.leases
        )

    def _live(self, entry: KeyRecord, state: LeaseState, now: Instant, *, heard: bool = False) -> bool:
        """Whether a fetch receives, or may still wait for its first byte.

        With `heard`, one whose progress is told to another ledger gets no more time than any other.
        """
        if state in entry.late:
            return False
        if state.received_bytes:
            return now - state.heard_at <= self._limits.silence_s
        return now <= self._lives_until(entry, state) - (TOLD_LIVES_S if heard and state.told else 0.0)

    def progress(self, key: str, lease: int, device: str, received_bytes: int, now: Instant) -> None:
        """A lease holder is still at it."""
        entry = self._entries.get(key)
        for state in entry.at_origin() if entry is not None else ():
            if entry is not None and state.number == lease and state.device == device:
                if not state.received_bytes and received_bytes:
                    entry.began(now)
                    self.learn_first_byte(entry.stream, now - state.granted_at)
                if received_bytes > state.received_bytes:
                    state.heard_at = now
                    entry.revive(state)
                state.received_bytes = received_bytes

    def finished(self, key: str, lease: int, device: str, outcome: str, status: int, why: str, now: Instant) -> None:
        """A lease ended."""
        entry = self._entries.get(key)
        if entry is None:
            return
        mine = [it for it in entry.at_origin() if it.number == lease and it.device == device]
        entry.leases = [state for state in entry.leases if state not in mine]
        entry.late = [state for state in entry.late if state not in mine]
        match outcome:
            case "complete":
                entry.began(now)
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
                    entry.alone_why, entry.alone_status = why, status if status >= SERVER_ERROR else 0

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
        known = [state.device for state in entry.at_origin()]
        if device not in known and device not in entry.holders:
            entry.leases.append(LeaseState(lease, device, now, now, told=True))

    def heard_of(self, key: str, stream: str, device: str, source: str, now: Instant) -> None:
        """An older ledger sent a device to a source: whoever asks here meanwhile is sent there too."""
        self.shadow(key, stream, source, 0, now)
        self._entry(key, stream).follow(device, source, now)

    def left(self, device: str) -> None:
        """A device is gone: its leases and holdings with it."""
        for entry in self._entries.values():
            entry.left(device)

    def is_isolated(self, device: str) -> bool:
        """Whether an access point seems to keep a device from its like, by what it said when it last asked here."""
        return self._candidates.is_isolated(device)

    def fetchers(self, key: str) -> tuple[str, ...]:
        """Devices that are at the origin for the key, as far as this ledger knows."""
        entry = self._entries.get(key)
        return () if entry is None else tuple(state.device for state in entry.at_origin())

    # ---- how it decides

    def _entry(self, key: str, stream: str) -> KeyRecord:
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = KeyRecord(stream)
            if len(self._entries) > self._limits.keys_remembered:
                self._entries.popitem(last=False)
        return entry

    def _grant(self, entry: KeyRecord, device: str, now: Instant) -> LeaseGranted:
        hedge = bool(entry.at_origin())
        self._last_lease += 1
        entry.leases.append(LeaseState(self._last_lease, device, now, now))
        entry.unfollow(device)
        return LeaseGranted(None, self._last_lease, hedge, FREE)

    def _expire(self, entry: KeyRecord, now: Instant) -> None:
        entry.late = [state for state in entry.late if now <= state.heard_at + LATE_COUNTS_S]
        silent = [state for state in entry.leases if now > self._lives_until(entry, state)]
        if not silent:
            return
        entry.leases = [state for state in entry.leases if state not in silent]
        entry.late += [state for state in silent if not state.told]  # of a told one's end nothing would be heard
        if any(not state.received_bytes and not state.told for state in silent):
            # whoever is granted it now waits longer: an origin that is slow must not be asked over and over
            usual = self.usual_first_byte_s(entry.stream)
            self._first_byte[entry.stream] = min(2 * usual, FIRST_BYTE_MAX_S)

    def _lives_until(self, entry: KeyRecord, state: LeaseState) -> Instant:
        if state.received_bytes:
            return state.heard_at + self._limits.silence_s + self._limits.progress_s
        usual = self._first_byte.get(entry.stream, self._limits.first_byte_unknown_s)
        unheard = TOLD_LIVES_S if state.told else 0.0
        return state.granted_at + usual + self._limits.first_byte_grace_s + unheard

    def learn_first_byte(self, stream: str, seconds: float) -> None:
        """An origin began after so long. Slowness is learnt fast, as each wait that ends too early costs a copy."""
        usual = self._first_byte.get(stream, seconds)
        weight = 0.5 if seconds > usual else 0.2
        self._first_byte[stream] = usual + weight * (seconds - usual)
        if len(self._first_byte) > 256:
            self._first_byte.pop(next(iter(self._first_byte)))

    def usual_first_byte_s(self, stream: str) -> float:
        """How long the origin usually takes to begin, from the lease on."""
        return self._first_byte.get(stream, self._limits.first_byte_unknown_s)

    def _choose(
        self, entry: KeyRecord, device: str, avoid: tuple[str, ...], now: Instant, *, silent: bool = False
    ) -> ParentChoice | None:
        """The best parents for a device; with `silent`, fetches that say nothing may be waited for as well."""
        fetching = {state.device for state in entry.at_origin() if silent or self._live(entry, state, now)}
        return self._candidates.choose(entry, device, avoid, fetching, now, last=silent)
