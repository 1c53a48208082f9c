"""The leases of one ledger: how one begins, how long it lives without a word, and when a silent one ends.

    grant()                                     a device may fetch a segment from the origin
    is_live(), is_live_here()                   whether a fetch receives, or may still wait for its first byte
    waits_for_first_byte()                      whether the origin still owes the first byte of a segment
    end_silent_leases()                         whoever asks next may be granted another
    learn_first_byte(), usual_first_byte_s()    how long a stream's origin usually takes to begin

A *lease* is the right to fetch one segment from the origin for the whole site. It begins when a ledger grants it,
before any response header, and lives on what its holder reports: that bytes come, or that the origin takes its time.
A *hedge* is a second lease, for a device that cannot wait for the holder of the first. A *shadow* is the note of a
lease that a home other than the granting one keeps, in case that one dies.
"""

from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.key_record import KeyRecord, LeaseState
from ecdn_proxy.sansio.machine import Instant

LEASES_MAX = 2
"""The lease and one hedge: at most two origin fetches per key and site at once."""
LATE_COUNTS_S = 4.0
"""A silent fetch counts as one of the two for this long: its holder is at the origin until it gives up, after 4 s."""
FIRST_BYTE_MAX_S = 5.0
"""A lease of whose holder nothing is heard lives no longer than this, however slow the origin was before. A holder that
waits for the origin says so, and may wait for minutes."""
WAITING_LIVES_S = 0.7
"""A lease whose holder said that it waits for the origin lives this much longer. It is said every 0.2 s: three times it
may be lost or late."""
SHADOW_LIVES_S = 2.0
"""A lease that another home granted lives this much longer here: its progress is not reported to this ledger."""
STREAMS_MAX = 256
"""First bytes are remembered of so many streams."""


class Leases:
    """Grants leases, ends silent ones, and learns how long the origins take to begin."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._last_number = 0
        self._first_byte_s: dict[str, float] = {}
        """Stream → how long its origin usually takes to begin, from the lease on."""

    def grant(self, record: KeyRecord, device: str, now: Instant) -> LeaseState:
        """A device may fetch the segment; from now on it reads it from nobody."""
        self._last_number += 1
        lease = LeaseState(self._last_number, device, now, now)
        record.leases.append(lease)
        record.unfollow(device)
        return lease

    # ---- how long a lease lives

    def is_live(self, record: KeyRecord, lease: LeaseState, now: Instant) -> bool:
        """Whether a fetch receives, or may still wait for its first byte."""
        if lease in record.late:
            return False
        if lease.received_bytes and not lease.waits:
            return now - lease.heard_at <= self._limits.silence_s
        return now <= self._lives_until(record, lease)

    def is_live_here(self, record: KeyRecord, lease: LeaseState, now: Instant) -> bool:
        """The same, where a shadow gets no more time than any other lease."""
        if not lease.shadow or lease.received_bytes:
            return self.is_live(record, lease, now)
        return now <= self._lives_until(record, lease) - SHADOW_LIVES_S

    def waits_for_first_byte(self, record: KeyRecord, now: Instant) -> bool:
        """Whether all who fetch the segment may still wait for its first byte, and nobody has the segment."""
        waits = [it.owes_first_byte and self.is_live(record, it, now) for it in record.leases]
        return bool(waits) and all(waits) and not record.holders

    def end_silent_leases(self, record: KeyRecord, now: Instant) -> None:
        """Leases that have been silent too long are late from now on, and late ones are forgotten in the end."""
        record.late = [lease for lease in record.late if now <= lease.heard_at + LATE_COUNTS_S]
        silent = [lease for lease in record.leases if now > self._lives_until(record, lease)]
        if not silent:
            return
        record.leases = [lease for lease in record.leases if lease not in silent]
        record.late += [lease for lease in silent if not lease.shadow]  # nobody would report the end of a shadow
        if any(lease.owes_first_byte for lease in silent):
            # whoever is granted it now waits longer: an origin that is slow must not be asked over and over
            usual = self.usual_first_byte_s(record.stream)
            self._first_byte_s[record.stream] = min(2 * usual, FIRST_BYTE_MAX_S)

    def _lives_until(self, record: KeyRecord, lease: LeaseState) -> Instant:
        if lease.waits:
            return lease.heard_at + WAITING_LIVES_S
        if lease.received_bytes:
            return lease.heard_at + self._limits.silence_s + self._limits.progress_s
        usual = self._first_byte_s.get(record.stream, self._limits.first_byte_unknown_s)
        longer = SHADOW_LIVES_S if lease.shadow else 0.0
        return lease.granted_at + usual + self._limits.first_byte_grace_s + longer

    # ---- how long an origin takes to begin

    def learn_first_byte(self, stream: str, seconds: float) -> None:
        """An origin began after so long. Slowness is learnt fast, as each wait that ends too early costs a copy."""
        seconds = min(seconds, FIRST_BYTE_MAX_S)
        usual = self._first_byte_s.get(stream, seconds)
        weight = 0.5 if seconds > usual else 0.2
        self._first_byte_s[stream] = usual + weight * (seconds - usual)
        if len(self._first_byte_s) > STREAMS_MAX:
            self._first_byte_s.pop(next(iter(self._first_byte_s)))

    def usual_first_byte_s(self, stream: str) -> float:
        """How many seconds a stream's origin usually takes to begin, from the lease on."""
        return self._first_byte_s.get(stream, self._limits.first_byte_unknown_s)
