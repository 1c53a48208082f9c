"""This machine's own fetch of one segment from the origin: one at a time, under a lease that the key's home keeps.

    borrow_request()         whose request the origin is asked with: a viewer's own, with its cookies and tokens
    begin()                  it goes out, for the missing pieces only where the origin allows it
    confirm()                response headers of a conditional request: the copy that is here still holds, or not
    take_answer()            response headers: NotForOthers, FetchBroke, OtherVersion, or None: the body may be shared
    take_body(), end_body()  the bytes, into the assembly; the home hears ten times a second that they come
    report_waiting()         nothing comes, and rightly so: the home hears that the connection is good
    end()                    the fetch is over or given up, and the lease goes back to its home
    may_try_again(), take_back_try(), fell_silent()     how often the origin was tried, and what does not count
    take_lease(), move_lease(), home_lost()     a ledger keeps the lease from now on, or another home does

What follows for the download and its viewers is `Download`'s to decide.
"""

from dataclasses import dataclass, replace
from typing import Literal

from ecdn_proxy.core.download.assembly import Assembly, Contradiction
from ecdn_proxy.core.download.timeouts import Timeouts
from ecdn_proxy.core.events import AbortOrigin, FetchOrigin, OriginAnswered
from ecdn_proxy.core.http.cacheability import Broken, Cacheability, Gone, Private, Shareable, judge
from ecdn_proxy.core.http.cross_origin import ALLOW_ORIGIN
from ecdn_proxy.core.http.freshness import CopyAge, conditions, confirmed, page_of
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.values import ByteRange, OriginRequest
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.ids import sentence
from ecdn_proxy.wire.integrity import PIECE_BYTES
from ecdn_proxy.wire.peer import KBPS_MAX, Finished, Progress

FetchOutcome = Literal["complete", "failed", "private", "cancelled"]
ORIGIN_TRIES_MAX = 2
"""A fetch that broke is tried once more (or taken over by a neighbour) before the viewer goes by itself."""
KBPS_OVER_S = 0.005
"""The least time over which a speed is reckoned; bytes that come all at once say nothing about it."""
PAUSE_S = 0.1
"""In a body without length a longer silence counts as the encoder's, which has nothing to send, not as the line's."""


@dataclass(frozen=True, slots=True)
class FetchLease:
    """The right to fetch a segment from the origin."""

    home: str | None
    """The device that keeps it and is told how the fetch goes; None: this device's own ledger."""
    number: int
    """Of that ledger; 0 when no ledger granted it, as this machine fetches without anybody's word."""
    hedge: bool
    """Another device fetches the segment too, and is late."""
    lone: bool = False
    """Nobody was asked, for want of neighbours."""


@dataclass(frozen=True, slots=True)
class NotForOthers:
    """The origin's answer goes to the viewer whose request it was, and to nobody else."""

    outcome: FetchOutcome
    """What the home is told."""
    status: int
    why: str
    lasting: bool = False
    """The rendition's other segments will be answered in the same way."""


@dataclass(frozen=True, slots=True)
class FetchBroke:
    """The origin failed, and may be tried once more."""

    status: int
    why: str


@dataclass(frozen=True, slots=True)
class OtherVersion:
    """The origin has another version of the segment than the one that is here in part."""

    why: str


class OriginFetch:
    """The fetch that is under way, if any, its lease, and how often the origin was tried."""

    def __init__(self, context: NodeContext, key: str, stream: str) -> None:
        self._context = context
        self._key = key
        self._stream = stream
        self._request: OriginRequest | None = None
        self._range: ByteRange | None = None
        self.for_viewer = 0
        """The viewer whose request it is."""
        self.speaks_for = 0
        """The viewer for whose page the last answer speaks; 0: for nobody's."""
        self.listed_at: int | None = None
        """The place in its rendition at which that viewer's manifest lists the segment."""
        self.lease: FetchLease | None = None
        self.number: int | None = None
        """Of the fetch that is under way; the origin's events carry it."""
        self._tries = 0
        self.was_asked = False
        """The origin was asked for this segment at least once."""
        self._resumed_from = 0
        self.is_conditional = False
        """The fetch asks whether the copy that is here still holds; its body is wanted only if not."""
        self._began_at: Instant = 0.0
        self.by_rule = ""
        """What an administrator's rule changed about the answer, and which rule; "" if none did."""
        self._first: tuple[Instant, int] | None = None
        """When the first bytes of the present fetch came, and how many were here then."""
        self._bytes_at: Instant = 0.0
        """When the last bytes of the present fetch came."""
        self._paused_s = 0.0
        """How long its encoder had nothing to send."""
        self._reported_at: Instant | None = None
        """When the home was last told of the present fetch."""

    @property
    def has_request(self) -> bool:
        """Whether there is a viewer's request to ask the origin with."""
        return self._request is not None

    def borrow_request(self, viewer: int, request: OriginRequest, listed_at: int) -> None:
        """The next fetch asks with this viewer's own request, for the segment at this place of its rendition."""
        self.for_viewer, self._request, self.listed_at = viewer, request, listed_at

    @property
    def page(self) -> str | None:
        """The site of the page whose request the origin was asked with, by the request's Origin field."""
        return None if self._request is None else page_of(self._request.headers)

    def begin(
        self,
        lease: FetchLease,
        resource_range: ByteRange | None,
        assembly: Assembly,
        now: Instant,
        *,
        is_conditional: bool = False,
    ) -> None:
        """Ask the origin for what is missing of the resource, or of a range of it.

        With `is_conditional` ask whether the copy in `assembly` still holds.
        """
        assert self._request is not None, "the origin is asked with a viewer's own request"
        self._range = resource_range
        self.lease = lease
        self.number = self._context.number()
        self._tries += 1
        self.was_asked = True
        self._began_at, self._reported_at, self._first, self._paused_s = now, None, None, 0.0
        self.is_conditional = is_conditional
        have = assembly.next_piece() * PIECE_BYTES if assembly.resumable and not is_conditional else 0
        self._resumed_from = have
        base = 0 if self._range is None else self._range.first
        head = assembly.head
        self._context.out.append(
            FetchOrigin(
                fetch=self.number,
                request=self._request,
                first_byte=base + have,
                last_byte=None if self._range is None else self._range.last,
                ranged=bool(have) or self._range is not None,
                if_range=head.etag if have and head is not None else None,
                conditions=conditions(head) if is_conditional and head is not None else (),
            )
        )

    # ---- what the origin sends

    def confirm(self, event: OriginAnswered, assembly: Assembly, now: Instant) -> bool:
        """Response headers of a conditional request arrived; False: the copy that is here holds no more."""
        self.is_conditional = False
        if event.status != 304 or assembly.head is None:
            return False
        self._learn_first_byte(now)
        rule = None if self._request is None else self._request.rule
        head = confirmed(assembly.head, event.headers, event.utc, rule)
        age = CopyAge(now - max(0.0, event.utc - head.date_utc), now, assembly.age.number)
        assembly.confirm(head, age)
        # many servers send a page's permission with a body only: without one it is still to be asked for
        names_a_page = any(name == ALLOW_ORIGIN for name, _ in event.headers)
        self.speaks_for = self.for_viewer if names_a_page else 0
        self.let_go()  # a 304 has no body: nothing is to be aborted
        return True

    def _learn_first_byte(self, now: Instant) -> None:
        if self.lease is not None and self.lease.home is not None:
            self._context.ledger.learn_first_byte(self._stream, now - self._began_at)

    def take_answer(
        self, event: OriginAnswered, assembly: Assembly, now: Instant
    ) -> NotForOthers | FetchBroke | OtherVersion | None:
        """Response headers arrived. None: the body belongs to the assembly, which is ready for it."""
        self.speaks_for = self.for_viewer
        match self.judge_answer(event, now):
            case Shareable(head, first_byte, why):
                self.by_rule = why
                try:
                    assembly.begin_origin(head, first_byte, event.utc)
                    assembly.age = CopyAge(now - max(0.0, event.utc - head.date_utc), now, self.listed_at)
                    assembly.is_arriving = True
                except Contradiction as error:
                    return OtherVersion(error.why)
                return None
            case Private(why, lasting):
                return NotForOthers("private", event.status, why, lasting)
            case Gone(status):
                return NotForOthers("private", status, f"the origin answered {status}")
            case Broken(status, why):
                if self.may_try_again():
                    return FetchBroke(status, why)
                return NotForOthers("failed", status, why)

    def judge_answer(self, event: OriginAnswered, now: Instant) -> Cacheability:
        """Whether the answer may be shared; notes how long the origin took for it."""
        request = self._request
        assert request is not None, "the origin is asked with a viewer's own request"
        self._learn_first_byte(now)
        verdict = judge(
            event.status,
            event.headers,
            wanted=self._range,
            first_byte=self._resumed_from,
            sent={name for name, _ in request.headers},
            utc=event.utc,
            rule=request.rule,
        )
        if not event.framed and isinstance(verdict, Shareable):
            return Private("the origin does not say where the body ends")
        return verdict

    def take_body(self, data: bytes, assembly: Assembly, now: Instant) -> None:
        """Body bytes arrived.

        Raises:
            Contradiction: they differ from what is here or was vouched for.
        """
        if assembly.total_bytes is None and self._first is not None and now - self._bytes_at > PAUSE_S:
            self._paused_s += now - self._bytes_at
        self._bytes_at = now
        assembly.take_origin(data, now)
        self.report_progress(assembly.available_bytes, now)
        self._note_speed(assembly, now)

    def end_body(self, assembly: Assembly, now: Instant) -> None:
        """The body ended, and with it the fetch: all of the segment is here.

        Raises:
            Contradiction: the body did not end where what is here or was vouched for does.
        """
        self.let_go()
        assembly.end_origin(now)
        self._note_speed(assembly, now)
        if assembly.disputed:
            self.end(assembly, "private", 200, assembly.disputed, now)
        else:
            self.end(assembly, "complete", 200, "", now)

    def _note_speed(self, assembly: Assembly, now: Instant) -> None:
        """Whoever asks in the second half is given more than half of it at once; before that, little is known."""
        here, total = assembly.available_bytes, assembly.total_bytes
        if total is not None and 2 * here >= total:
            assembly.origin_kbps = self.kbps(here, now)

    def kbps(self, received_bytes: int, now: Instant) -> int:
        """How fast the body came after its first bytes, as players reckon; 0 when too little came to tell."""
        if self._first is None or (took_s := now - self._first[0] - self._paused_s) < KBPS_OVER_S:
            return 0
        return min(KBPS_MAX, round((received_bytes - self._first[1]) * 8 / 1000 / took_s))

    def report_progress(self, received_bytes: int, now: Instant) -> None:
        """So much is here; the home is told at once of the first bytes, and then every `progress_s`."""
        if self._first is None:
            self._first = now, received_bytes
        due = self._reported_at is None or now - self._reported_at >= self._context.limits.progress_s
        if self.lease is not None and due:
            self._reported_at = now
            self._tell_home(self.lease, received_bytes, now)

    def report_waiting(self, received_bytes: int, now: Instant) -> None:
        """No more than this is here, as the origin takes its time; the home is told that the lease's holder lives."""
        if self.lease is not None:
            self._tell_home(self.lease, received_bytes, now)

    def _tell_home(self, lease: FetchLease, received_bytes: int, now: Instant) -> None:
        context = self._context
        if lease.home is None:
            context.ledger.lease_progressed(self._key, lease.number, context.me.device, received_bytes, now)
        else:
            context.send(lease.home, Progress(self._key, lease.number, received_bytes))

    # ---- its end

    def let_go(self) -> int | None:
        """The fetch under way is over, or somebody else's from now on; its number."""
        number, self.number = self.number, None
        return number

    def end(self, assembly: Assembly, outcome: FetchOutcome, status: int, why: str, now: Instant) -> None:
        """Break the fetch off if it is under way, and give its lease back."""
        if (number := self.let_go()) is not None:
            self._context.out.append(AbortOrigin(number))
        assembly.stop_origin()
        lease, self.lease = self.lease, None
        if lease is not None:
            generation = assembly.generation if outcome == "complete" else None
            self.return_lease(lease, outcome, status, why, now, generation)

    def return_lease(
        self,
        lease: FetchLease,
        outcome: FetchOutcome,
        status: int,
        why: str,
        now: Instant,
        generation: str | None = None,
    ) -> None:
        """Tell the home that a lease is over, and how its fetch ended: with which version of the segment, if any."""
        context, key = self._context, self._key
        if lease.home is None:
            me = context.me.device
            context.ledger.lease_ended(key, lease.number, me, outcome, status, why, now, generation)
        else:
            context.send(lease.home, Finished(key, lease.number, outcome, status, sentence(why), generation))

    # ---- how often it was tried

    def may_try_again(self) -> bool:
        """Whether the origin may be asked once more after a fetch that broke."""
        return self._tries < ORIGIN_TRIES_MAX

    def take_back_try(self) -> None:
        """The last fetch counts as none: it was given up for the neighbours' sake."""
        self._tries -= 1

    def fell_silent(self, timeouts: Timeouts) -> None:
        """The origin was silent for too long; that counts when it had minutes, or each fetch had longer in vain."""
        if timeouts.thought_for_minutes():
            self._tries = ORIGIN_TRIES_MAX  # nobody here asks it again
        elif timeouts.origin_was_silent():
            self._tries -= 1

    # ---- its lease

    def take_lease(self, lease: FetchLease) -> None:
        """A ledger grants the fetch that is under way; one that it was granted before stays."""
        if self.lease is not None and not self.lease.number:
            self.lease = lease

    def home_lost(self, device: str, now: Instant) -> None:
        """The device that keeps the lease is gone: the fetch goes on, and its lease moves to the ledger here."""
        lease = self.lease
        if lease is not None and lease.home == device:
            self.lease = replace(lease, home=None)
            self._context.ledger.lease_shadowed(self._key, self._stream, self._context.me.device, lease.number, now)

    def move_lease(self, home: str, number: int, now: Instant) -> None:
        """Another home keeps the lease from now on, and the one before is told that it need not."""
        assert self.lease is not None, "each fetch has a lease"
        self.return_lease(self.lease, "cancelled", 0, "another home keeps the lease", now)
        self.lease = replace(self.lease, home=home, number=number, lone=False)
        self._reported_at = None
