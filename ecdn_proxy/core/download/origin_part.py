"""A segment's fetch from the origin, as it goes: what the answer allows, its bytes, and what follows when it breaks.

    origin_answered()     shareable; not for others; gone; broken, which is tried once more
    origin_sent(), origin_ended(), origin_failed()

What is not for others goes to the viewer whose request it was, and everybody else asks for himself. Nothing that a
viewer has had is ever continued with another version's bytes.
"""

from abc import ABC, abstractmethod

from ecdn_proxy.core.download.assembly import Assembly, Contradiction
from ecdn_proxy.core.download.lease_request import Reason
from ecdn_proxy.core.download.origin_fetch import FetchOutcome, OriginFetch
from ecdn_proxy.core.download.outcome import Delivery, Stage
from ecdn_proxy.core.download.parents import Parents
from ecdn_proxy.core.download.timeouts import Timeouts
from ecdn_proxy.core.events import AbortOrigin, HandOver, OriginAnswered
from ecdn_proxy.core.http.cacheability import Broken, Gone, Private, Shareable
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.swarm.membership import rendezvous
from ecdn_proxy.core.values import OriginRequest
from ecdn_proxy.sansio.machine import Instant

ORIGIN_TRIES_MAX = 2
"""An own fetch that broke is tried once more (or taken over by a neighbour) before the viewer goes by itself."""


class OriginPart(Delivery, ABC):
    """The origin's part of an `acquisition`, which says where else bytes come from."""

    def __init__(self, context: NodeContext, key: str, stream: str, now: Instant) -> None:
        super().__init__(context, key, stream)
        self.fetched = False
        """This machine got it, or the rest of it, from the origin."""
        self._origin: OriginRequest | None = None
        """What the origin is asked; without a viewer there is nothing to ask with."""
        self._fetch_for = 0
        self._origin_fetch = OriginFetch(context, key, stream)
        self._parents = Parents(context, key, stream)
        self._timeouts = Timeouts(context.limits, 1.0 - rendezvous(context.me.device, key) / 2**64, now)

    @abstractmethod
    def ask(self, reason: Reason, now: Instant) -> None:
        """Ask the key's home what to do."""

    @abstractmethod
    def _follow_reserve(self, now: Instant) -> None:
        """Go on from the neighbour that was taken in reserve."""

    @abstractmethod
    def _deliver(self, now: Instant, came: bytes = b"") -> None:
        """Give every viewer what is here, of which the origin has just sent `came`; end when that is all."""

    @property
    def fetching(self) -> bool:
        """Whether this machine is at the origin for it, with a lease."""
        return self.stage is Stage.FETCHING and self._origin_fetch.lease is not None

    def fetches(self, fetch: int) -> bool:
        """Whether an origin event belongs here."""
        return self._origin_fetch.number == fetch

    def home_lost(self, device: str, now: Instant) -> None:
        """The device that keeps this key's ledger is gone."""
        self._origin_fetch.home_lost(device, now)

    def lease_moves(self, home: str, lease: int, now: Instant) -> None:
        """A home that seemed silent grants the lease of what is being fetched already: all the others ask there."""
        self._origin_fetch.move(home, lease, now)

    def origin_answered(self, event: OriginAnswered, now: Instant) -> None:
        """Response headers arrived."""
        self._parents.drop()
        verdict = self._origin_fetch.answered(event, now)
        self._timeouts.heard(now)
        match verdict:
            case Shareable(head, first_byte):
                try:
                    self.assembly.begin_origin(head, first_byte, event.utc)
                except Contradiction as error:
                    self._restart_or_release(error.why, now)
                    return
                self._deliver(now)
            case Private(why, lasting):
                if lasting:
                    self._keep_private(why, self._context.limits.private_s)
                self._own_answer("private", event.status, why, now)
            case Gone(status):
                self._own_answer("private", status, f"the origin answered {status}", now)
            case Broken(status, why) if self._origin_fetch.tries < ORIGIN_TRIES_MAX:
                self._abort_fetch()
                self.origin_failed(why, now, status)
            case Broken(status, why):
                self._own_answer("failed", status, why, now)

    def _restart_or_release(self, why: str, now: Instant) -> None:
        if self.viewers.any_sent() or self.children:
            self._contradicted(why, now)
            return
        self._abort_fetch()
        self.assembly = Assembly(self.key, self._context.seal)
        self._end_fetch("failed", 0, why, now)
        self.ask("first", now)

    def _own_answer(self, outcome: FetchOutcome, status: int, why: str, now: Instant) -> None:
        """The answer is not for others: it goes to the viewer whose request it was, the others go their own way."""
        fetch = self._origin_fetch.let_go()
        self._end_fetch(outcome, status, why, now)
        owner = self.viewers.take(self._fetch_for)
        if owner is not None and fetch is not None:
            self._context.out.append(HandOver(owner.number, fetch, why))
            self.viewers.note(owner, "passed", why, now)
        elif fetch is not None:
            self._context.out.append(AbortOrigin(fetch))
        self._release(why, status if status in (404, 410) else 0, now)

    def origin_sent(self, data: bytes, now: Instant) -> None:
        """Body bytes arrived."""
        self._parents.drop()
        self._timeouts.began(now)
        try:
            self.assembly.take_origin(data, now)
        except Contradiction as error:
            self._abort_fetch()
            self._contradicted(error.why, now)
            return
        self._origin_fetch.progress(self.assembly.available_bytes, now)
        self._note_speed(now)
        self._deliver(now, data)

    def origin_ended(self, now: Instant) -> None:
        """The body ended."""
        self._origin_fetch.let_go()
        try:
            self.assembly.end_origin(now)
        except Contradiction as error:
            self._contradicted(error.why, now)
            return
        self._note_speed(now)
        self._end_fetch("complete", 200, "", now)
        self._deliver(now)

    def _note_speed(self, now: Instant) -> None:
        """Whoever asks in the second half is given more than half of it at once; before that, little is known."""
        here, total = self.assembly.available_bytes, self.assembly.total_bytes
        if total is not None and 2 * here >= total:
            self.assembly.origin_kbps = self._origin_fetch.kbps(here, now)

    def origin_failed(self, why: str, now: Instant, status: int = 0) -> None:
        """The fetch broke; `status` if the origin said so itself."""
        self._origin_fetch.let_go()
        self._end_fetch("failed", status, why, now)
        if self._parents.current is not None:
            self._follow_reserve(now)
        elif self._origin_fetch.tries >= ORIGIN_TRIES_MAX:
            self._release(why, 0, now)
        else:
            self.ask("first", now)

    def _abort_fetch(self) -> None:
        self._origin_fetch.abort(self.assembly)

    def _end_fetch(self, outcome: FetchOutcome, status: int, why: str, now: Instant) -> None:
        self._origin_fetch.end(self.assembly, outcome, status, why, now)

    def _origin_fell_silent(self, now: Instant) -> None:
        if self._timeouts.origin_was_silent():
            self._origin_fetch.tries -= 1
        self._abort_fetch()
        self.origin_failed("the origin fell silent", now)

    def _contradicted(self, why: str, now: Instant) -> None:
        """Honest sources differ: keep what viewers have from being mixed with anything else."""
        self._parents.drop()
        self._end_fetch("private", 0, why, now)
        self._keep_private(why, self._context.limits.private_s)
        self._release(why, 0, now)
