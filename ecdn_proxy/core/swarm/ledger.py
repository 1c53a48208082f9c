"""The ledger: what a home knows of its keys, and how it decides who fetches and who reads from whom.

    RULES                the order of preference: the first rule that answers wins
    decide_lease()       a device wants a segment: one origin fetch per key and site, a second only as a hedge
    known_parents()      what an older ledger tells a new home

What the devices report:
    lease_progressed(), lease_ended()           the holder of a lease
    segment_held(), segment_dropped()           whoever has a whole segment, or has it no longer
    lease_shadowed(), elder_named_source()      other ledgers
    device_left()                               its link ended

The *home* of a key is the agent whose ledger decides for that key (`membership.homes`). A lease lives on progress: it
ends when its holder says so, when its holder's link ends, or when it has been silent too long (`leases`), which is
noticed at the next question. Bounded: the oldest keys go.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.candidates import Candidates
from ecdn_proxy.core.swarm.decisions import FollowParents, LeaseDecision, StaleCopy
from ecdn_proxy.core.swarm.key_record import KeyRecord, LeaseState
from ecdn_proxy.core.swarm.lease_case import LeaseCase
from ecdn_proxy.core.swarm.leases import Leases
from ecdn_proxy.core.swarm.membership import Membership
from ecdn_proxy.sansio.machine import Instant, impossible


class LeaseRule(NamedTuple):
    """One rule, and the reason for what it answers."""

    answer: Callable[[LeaseCase, str], LeaseDecision | None]
    why: str


RULES = (
    LeaseRule(LeaseCase.let_viewers_go_alone, "what the origin showed, or how the fetches failed"),
    LeaseRule(LeaseCase.send_fetcher_to_neighbour, "its own fetch is silent, and this neighbour has or receives it"),
    LeaseRule(LeaseCase.let_silent_fetch_go_on, "its own fetch is silent, but no neighbour can give it the segment"),
    LeaseRule(LeaseCase.repeat_grant, "it holds the lease already, and asks again because it has lost its way"),
    LeaseRule(LeaseCase.grant_confirmation, "it knows the newest copy of the office, which the origin must confirm"),
    LeaseRule(LeaseCase.stay_until_origin_begins, "the origin has not begun to answer, so nobody is to blame"),
    LeaseRule(LeaseCase.stay_while_first_bytes_travel, "the origin has only just begun, and what came is on its way"),
    LeaseRule(LeaseCase.stay_below_mended_gap, "{relay} above it has just been given another parent"),
    LeaseRule(LeaseCase.grant_past_slow_sources, "all who have it or fetch it are slow, by the word of their children"),
    LeaseRule(LeaseCase.follow_best_parent, "of this neighbour the least time is predicted"),
    LeaseRule(LeaseCase.follow_avoided_parent, "it keeps up with the origin: a second copy would make everybody late"),
    LeaseRule(LeaseCase.grant_free_lease, "no neighbour can give it, and fewer than two are at the origin for it"),
    LeaseRule(LeaseCase.wait_for_silent_fetch, "two are fetching it already, and one of them may begin after all"),
    LeaseRule(LeaseCase.let_viewers_go_alone_at_last, "two are fetching it already and no neighbour may serve it"),
)
"""The rules by which a home answers, in their order. docs/lease.md says of each when it answers."""

FAILURES_MAX = 4
"""After so many fetches of one key failed it is not one machine's fault: an error of the origin is told to everybody
else who waits, as asking for himself would get him the same; where nothing was answered everybody asks for himself."""
SERVER_ERROR = 500
"""From here on a status is the origin's own trouble (RFC 9110 section 15.6), whoever asks."""


class Ledger:
    """The keys that this device is the home of, and those of which another home told it in case that home dies."""

    def __init__(
        self, membership: Membership, limits: Limits, apart: Callable[[str, str], bool] = lambda one, other: False
    ) -> None:
        """`apart` tells whether only WebRTC is likely between two devices."""
        self._membership = membership
        self._limits = limits
        self._records: OrderedDict[str, KeyRecord] = OrderedDict()
        self._candidates = Candidates(membership, limits, apart)
        self._leases = Leases(limits)

    # ---- what is decided

    def decide_lease(
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
        stale_copy: StaleCopy | None = None,
    ) -> LeaseDecision:
        """Decide for a device that wants a segment.

        Args:
            key: the segment.
            stream: the stream that the segment is of.
            device: who asks.
            reason: why it asks, as in the wire's `Ask`.
            avoid: devices that it does not want to read from.
            have: how many pieces it has already, from the first on.
            now: the time.
            isolated: an access point seems to keep the asker from the machines beside it.
            stale_copy: a copy that the asker knows and may not use before the origin confirms it; None: it knows none.
        """
        self._candidates.note_isolated(device, isolated=isolated)
        record = self._record(key, stream)
        if record.alone_until <= now:
            # a segment that nobody may share rests as it is until that is over
            self._leases.end_silent_leases(record, now)
            record.holders.discard(device)
        case = self._case(record, device, reason, avoid, have, now, stale_copy)
        for rule in RULES:
            if (decision := rule.answer(case, rule.why)) is not None:
                return decision
        return impossible("the last rule of the ledger answers every question")

    def known_parents(self, key: str, device: str, now: Instant) -> FollowParents | None:
        """What this older ledger knows for a new home: whom to read from, or None. Nothing is granted."""
        record = self._records.get(key)
        return None if record is None else self._case(record, device, "elder", (), 0, now).known_parents()

    def _case(
        self,
        record: KeyRecord,
        device: str,
        reason: str,
        avoid: tuple[str, ...],
        have: int,
        now: Instant,
        stale_copy: StaleCopy | None = None,
    ) -> LeaseCase:
        return LeaseCase(
            self._membership,
            self._limits,
            self._leases,
            self._candidates,
            record,
            device,
            record.lease_of(device),
            reason,
            avoid,
            have,
            now,
            stale_copy,
        )

    # ---- what the ledger knows

    def knows_key(self, key: str) -> bool:
        """Whether anything is recorded of the key."""
        record = self._records.get(key)
        return record is not None and bool(record.leases or record.late or record.holders or record.alone_until)

    def fetchers(self, key: str) -> tuple[str, ...]:
        """Devices that are at the origin for the key, as far as this ledger knows."""
        record = self._records.get(key)
        return () if record is None else tuple(lease.device for lease in record.at_origin())

    def said_isolated(self, device: str) -> bool:
        """Whether a device said, when it last asked here, that an access point keeps it from the machines beside it."""
        return self._candidates.is_isolated(device)

    def usual_first_byte_s(self, stream: str) -> float:
        """How many seconds a stream's origin usually takes to begin, from the lease on."""
        return self._leases.usual_first_byte_s(stream)

    def _record(self, key: str, stream: str) -> KeyRecord:
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = KeyRecord(stream)
            if len(self._records) > self._limits.keys_remembered:
                self._records.popitem(last=False)
        return record

    # ---- what devices report

    def lease_progressed(self, key: str, number: int, device: str, received_bytes: int, now: Instant) -> None:
        """The holder of a lease has received so many bytes from the origin; if no more than before, it waits for it."""
        record = self._records.get(key)
        for lease in record.at_origin() if record is not None else ():
            if record is not None and lease.number == number and lease.device == device:
                if not lease.received_bytes and received_bytes:
                    record.note_first_bytes(now)
                    self.learn_first_byte(record.stream, now - lease.granted_at)
                lease.waits = received_bytes <= lease.received_bytes
                lease.heard_at = now
                record.revive(lease)
                lease.received_bytes = received_bytes

    def lease_ended(
        self,
        key: str,
        number: int,
        device: str,
        outcome: str,
        status: int,
        why: str,
        now: Instant,
        generation: str | None = None,
    ) -> None:
        """The holder of a lease has got the whole segment, failed, gave it up, or found that it is not for sharing.

        Args:
            key: the segment.
            number: the lease.
            device: its holder; a report of a lease that this device does not hold ends nothing.
            outcome: "complete", "failed", "cancelled" or "private", as in the wire's `Finished`.
            status: the origin's, or 0.
            why: the sentence that the others are told when they shall ask for themselves.
            now: the time.
            generation: which version of the segment is complete.
        """
        record = self._records.get(key)
        if record is None:
            return
        held = record.end_leases(number, device)
        match outcome:
            case "complete":
                record.note_first_bytes(now)
                record.holders.add(device)
                record.heard_at, record.generation = now, generation
                record.failures = 0
            case "private" if held:
                gone = status in (404, 410)
                record.alone_until = now + (self._limits.gone_s if gone else self._limits.private_s)
                record.alone_why, record.alone_status = why, status if gone else 0
            case "failed" if held:
                record.failures += 1
                if record.failures >= FAILURES_MAX:
                    record.failures = 0
                    record.alone_until = now + self._limits.gone_s
                    record.alone_why, record.alone_status = why, status if status >= SERVER_ERROR else 0

    def segment_held(self, key: str, stream: str, device: str) -> None:
        """A device has all of the segment."""
        self._record(key, stream).holders.add(device)

    def segment_dropped(self, key: str, device: str) -> None:
        """A device has the segment no longer."""
        if (record := self._records.get(key)) is not None:
            record.holders.discard(device)

    def device_left(self, device: str) -> None:
        """A device is gone, its leases and the segments that it had with it."""
        for record in self._records.values():
            record.device_left(device)

    def learn_first_byte(self, stream: str, seconds: float) -> None:
        """A stream's origin began after so many seconds."""
        self._leases.learn_first_byte(stream, seconds)

    # ---- what other ledgers know

    def lease_shadowed(self, key: str, stream: str, device: str, number: int, now: Instant) -> None:
        """A device fetches by leave of another ledger, or by its own word: this ledger keeps the shadow of its lease.

        Whoever asks here, as the home that granted the lease is silent, is sent to that device and not to the origin.
        The number is 0 where no ledger granted the lease.
        """
        record = self._record(key, stream)
        fetching = [lease.device for lease in record.at_origin()]
        if device not in fetching and device not in record.holders:
            record.leases.append(LeaseState(number, device, now, now, shadow=True))

    def elder_named_source(self, key: str, stream: str, device: str, source: str, now: Instant) -> None:
        """An older ledger sent a device to a source: whoever asks here meanwhile is sent there too."""
        self.lease_shadowed(key, stream, source, 0, now)
        self._record(key, stream).follow(device, source, now)
