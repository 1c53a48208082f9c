"""This machine's own way to the origin for one segment: one fetch at a time, under a lease that its home keeps.

begin()       the viewer's own request goes out, for the missing pieces only where the origin allows it
answered()    response headers: what they say of sharing, how long the origin took
progress()    the home hears that it has begun, and then ten times a second that it goes on
kbps()        the speed at which the origin gave it
end()         the fetch is over or given up, and the lease given back
"""

from typing import Literal

from ecdn_proxy.core.download.assembly import Assembly
from ecdn_proxy.core.events import AbortOrigin, FetchOrigin, OriginAnswered
from ecdn_proxy.core.http.cacheability import Cacheability, Private, Shareable, judge
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.swarm.decisions import LeaseGranted
from ecdn_proxy.core.values import ByteRange, OriginRequest
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.ids import sentence
from ecdn_proxy.wire.integrity import PIECE_BYTES
from ecdn_proxy.wire.peer import KBPS_MAX, Finished, Progress

FetchOutcome = Literal["complete", "failed", "private", "cancelled"]
KBPS_OVER_S = 0.005
"""The least time over which a speed is reckoned; what comes at once says nothing."""


class OriginFetch:
    """See the head of this file."""

    def __init__(self, context: NodeContext, key: str, stream: str) -> None:
        self._context = context
        self._key = key
        self._stream = stream
        self._range: ByteRange | None = None
        self.lease: LeaseGranted | None = None
        self.number: int | None = None
        """Of the fetch that is under way."""
        self.tries = 0
        self._resumed_from = 0
        self._began_at: Instant = 0.0
        self._authorized = False
        self._first: tuple[Instant, int] | None = None
        """When the first bytes of the present fetch came, and how many were here then."""
        self._reported_at: Instant | None = None
        """When the home was last told of the present fetch."""

    def begin(
        self,
        lease: LeaseGranted,
        origin: OriginRequest,
        resource_range: ByteRange | None,
        assembly: Assembly,
        now: Instant,
    ) -> None:
        """Ask the origin for what is missing of the resource, or of a part of it."""
        self._range = resource_range
        self.lease = lease
        self.number = self._context.number()
        self.tries += 1
        self._began_at, self._reported_at, self._first = now, None, None
        self._authorized = any(name == "authorization" for name, _ in origin.headers)
        have = assembly.next_piece() * PIECE_BYTES if assembly.resumable else 0
        self._resumed_from = have
        base = 0 if self._range is None else self._range.first
        head = assembly.head
        self._context.out.append(
            FetchOrigin(
                fetch=self.number,
                request=origin,
                first_byte=base + have,
                last_byte=None if self._range is None else self._range.last,
                ranged=bool(have) or self._range is not None,
                if_range=head.etag if have and head is not None else None,
            )
        )

    def answered(self, event: OriginAnswered, now: Instant) -> Cacheability:
        """Response headers arrived: whether the answer may be shared."""
        if self.lease is not None and self.lease.home is not None:
            self._context.ledger.learn_first_byte(self._stream, now - self._began_at)
        verdict = judge(
            event.status,
            event.headers,
            wanted=self._range,
            first_byte=self._resumed_from,
            authorized=self._authorized,
            utc=event.utc,
        )
        if not event.framed and isinstance(verdict, Shareable):
            return Private("the origin does not say where the body ends")
        return verdict

    def kbps(self, received_bytes: int, now: Instant) -> int:
        """How fast it came after its first bytes, as players reckon; 0 when too little came to tell."""
        if self._first is None or (took_s := now - self._first[0]) < KBPS_OVER_S:
            return 0
        return min(KBPS_MAX, round((received_bytes - self._first[1]) * 8 / 1000 / took_s))

    def progress(self, received_bytes: int, now: Instant) -> None:
        """So much is here; the home is told when it is time."""
        if self._first is None:
            self._first = now, received_bytes
        lease, context = self.lease, self._context
        if lease is None or (self._reported_at is not None and now - self._reported_at < context.limits.progress_s):
            return
        self._reported_at = now
        if lease.home is None:
            context.ledger.lease_progressed(self._key, lease.lease, context.me.device, received_bytes, now)
        else:
            context.send(lease.home, Progress(self._key, lease.lease, received_bytes))

    def home_lost(self, device: str, now: Instant) -> None:
        """The device that keeps this key's ledger is gone: the fetch goes on, its lease moves to the ledger here."""
        lease = self.lease
        if lease is not None and lease.home == device:
            self.lease = LeaseGranted(None, lease.lease, lease.hedge, lease.why)
            self._context.ledger.lease_shadowed(self._key, self._stream, self._context.me.device, lease.lease, now)

    def let_go(self) -> int | None:
        """The fetch under way, which is somebody else's from now on, or over."""
        number, self.number = self.number, None
        return number

    def abort(self, assembly: Assembly) -> None:
        """Break the fetch off."""
        if (number := self.let_go()) is not None:
            self._context.out.append(AbortOrigin(number))
        assembly.stop_origin()

    def move(self, home: str, lease: int, now: Instant) -> None:
        """Another home keeps the lease from now on, and the one before is told that it need not."""
        before = self.lease
        if before is not None:
            self._give_back(before, "cancelled", 0, "another home keeps the lease", now)
            self.lease = LeaseGranted(home, lease, before.hedge, before.why)
            self._reported_at = None

    def end(self, assembly: Assembly, outcome: FetchOutcome, status: int, why: str, now: Instant) -> None:
        """Give the lease back."""
        self.abort(assembly)
        lease, self.lease = self.lease, None
        if lease is not None:
            self._give_back(lease, outcome, status, why, now)

    def _give_back(self, lease: LeaseGranted, outcome: FetchOutcome, status: int, why: str, now: Instant) -> None:
        context = self._context
        if lease.home is None:
            context.ledger.lease_ended(self._key, lease.lease, context.me.device, outcome, status, why, now)
        else:
            context.send(lease.home, Finished(self._key, lease.lease, outcome, status, sentence(why)))
