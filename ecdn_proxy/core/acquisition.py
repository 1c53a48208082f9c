"""One segment on its way to this machine: for its viewers, and for the agents that read from it.

    LOADING → JOINING → ASKING → FOLLOWING ⇄ ASKING → … → ended
                             └→ FETCHING ──────────────↗   (silent: a neighbour in reserve → FOLLOWING)

    want(), viewer_left()                viewers come and go; nobody's leaving cancels what others wait for
    found()                              the ledger's answer: fetch, follow, or everybody for himself
    peer_said(), origin_*()              bytes, checked and delivered in order as they come
    wake()                               silence, soft and hard deadline (`core.patience`), a batch to be signed

`fetching` is the own way to the origin, `parents` whom it is read from, `audience` who waits for it here.

Every way to the origin leads through the ledger, also the fallback; what was received stays, only what is missing is
asked for again.
"""

from collections.abc import Callable
from enum import Enum

import msgspec

from ecdn_proxy.core.audience import Audience
from ecdn_proxy.core.fetching import Fetching, Outcome
from ecdn_proxy.core.happenings import AbortOrigin, HandOver, OriginAnswered, Source, StoredSegment, Wanted
from ecdn_proxy.core.inquiry import ByYourself, FetchIt, Found, Inquiry, ReadFrom, Reason
from ecdn_proxy.core.parents import Parents
from ecdn_proxy.core.patience import Patience
from ecdn_proxy.core.segment import Assembly, Contradiction
from ecdn_proxy.core.shareable import Broken, Gone, Private, Shareable
from ecdn_proxy.core.site import Site
from ecdn_proxy.core.view import rendezvous
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.peer import End, Piece, Refused, Vouched

ORIGIN_TRIES_MAX = 2
"""An own fetch that broke is tried once more (or taken over by a neighbour) before the viewer goes by itself."""
REASKS_MAX = 12
"""A key that has been asked about this often is not to be had by sharing: this machine fetches it."""


class Stage(Enum):
    """Where a segment stands."""

    LOADING = "read from disk"
    JOINING = "waiting for the neighbours' names"
    ASKING = "asking who fetches it"
    GIVING_WAY = "letting somebody fetch who can send it to others"
    FOLLOWING = "reading from a neighbour"
    FETCHING = "fetching from the origin"
    ENDED = "over"


class Acquisition:
    """One key. `ended` says that the node may forget it; `finished` holds the whole segment if there is one."""

    def __init__(self, site: Site, wanted: Wanted, now: Instant, is_unsettled: Callable[[str, Instant], bool]) -> None:
        self._site = site
        self.key = wanted.key
        self.stream = wanted.stream
        self.rendition = wanted.rendition
        self.number = wanted.number
        self.duration_s = wanted.duration_s
        self.stage = Stage.JOINING
        self.assembly = Assembly(wanted.key, site.seal)
        self.finished: StoredSegment | None = None
        self.private_for_s = 0.0
        """Set when the origin showed that this rendition is not to be shared."""
        self.private_why = ""
        self.from_disk = False
        self.fetched = False
        """This machine got it, or the rest of it, from the origin."""
        self.children = 0
        """Agents that read this segment from here; kept by the node."""
        self._is_unsettled = is_unsettled
        self.why = ""
        self._live = wanted.live
        self.audience = Audience(site.out, wanted)
        self._origin = wanted.origin
        self._fetch_for = wanted.viewer
        self._inquiry: Inquiry | None = None
        self._parents = Parents(site, wanted.key, wanted.stream)
        self._fetching = Fetching(site, wanted.key, wanted.stream, wanted.resource_range)
        self._reserve_why = ""
        self._give_way_until: Instant = 0.0
        self._patience = Patience(site.limits, 1.0 - rendezvous(site.me.device, wanted.key) / 2**64, now)
        self._asks = 0

    # ---- viewers

    @property
    def ended(self) -> bool:
        """Nothing more will come of it."""
        return self.stage is Stage.ENDED

    @property
    def parent(self) -> str | None:
        """Whom this machine reads from now."""
        return self._parents.current

    @property
    def fetching(self) -> bool:
        """Whether this machine is at the origin for it, with a lease."""
        return self.stage is Stage.FETCHING and self._fetching.lease is not None

    def want(self, wanted: Wanted, slack_s: float, now: Instant) -> None:
        """A viewer waits for this segment."""
        self.audience.join(wanted, slack_s, now)
        self._deliver(now)

    def viewer_left(self, number: int, now: Instant) -> None:
        """A viewer's connection ended."""
        if self.audience.leave(number):
            self.child_left(now)

    def child_left(self, now: Instant) -> None:
        """An agent that read from here ended, or a viewer: without any left, nobody needs the segment."""
        if not self.audience and not self.children:
            self._cancel(now)

    def _cancel(self, now: Instant) -> None:
        self._parents.drop()
        self._end_fetch("cancelled", 0, "its viewer left", now)
        self.stage = Stage.ENDED

    def loaded(self, stored: StoredSegment, now: Instant) -> None:
        """The disk had it."""
        self.finished, self.from_disk = stored, True
        self.audience.give(stored, "on this machine's disk", now)
        self.stage = Stage.ENDED

    def home_lost(self, device: str, now: Instant) -> None:
        """The device that keeps this key's ledger is gone."""
        self._fetching.home_lost(device, now)

    def reconsider(self, now: Instant) -> None:
        """Neighbours became known while this machine fetches by its own word alone and nothing has come yet."""
        lease = self._fetching.lease
        if lease is None or not lease.lone or self.assembly.head is not None or self.children:
            return
        self._end_fetch("cancelled", 0, "neighbours became known", now)
        self._fetching.tries -= 1
        self.ask("first", now)

    # ---- the ledger's answer

    def ask(self, reason: Reason, now: Instant, rather_not: str | None = None) -> None:
        """Ask the key's home what to do.

        Args:
            reason: why it is asked.
            now: the time.
            rather_not: a device that only this question avoids; the ledger may name it again when the fault was not
                its own.
        """
        self._asks += 1
        self.stage = Stage.ASKING
        if self._asks > REASKS_MAX:
            self._fetch_regardless("no neighbour could serve it after many tries", now)
            return
        self._inquiry = Inquiry(
            self._site,
            self.key,
            self.stream,
            reason=reason,
            avoid=self._parents.avoided(rather_not),
            have=self.assembly.next_piece(),
            # of a recording the ledgers know only what was watched lately: whoever has the rest is asked for it
            unsettled=not self._live or self._is_unsettled(self.stream, now),
        )
        self.found(self._inquiry.begin(now), now)

    def inquiry(self) -> Inquiry | None:
        """The open question, if any."""
        return self._inquiry

    def found(self, found: Found | None, now: Instant) -> None:
        """What came of the question; None while it is open."""
        if found is None:
            return
        self._inquiry = None
        if self.stage is Stage.FETCHING and not self._is_relieved(found, now):
            return
        self.why = found.why
        match found:
            case FetchIt() if self._gives_way(found):
                self._fetching.lease = found
                self._end_fetch("cancelled", 0, "this machine cannot give it to others", now)
                self._give_way_until = now + self._site.limits.give_way_s
                self.stage = Stage.GIVING_WAY
            case FetchIt():
                self._begin_fetch(found, now)
            case ReadFrom():
                self._parents.named(found.parents)
                self._follow_next(now)
            case ByYourself(why, for_s, status):
                if not status and for_s > self._site.limits.gone_s:
                    self.private_for_s, self.private_why = for_s, why
                self._release(why, status, now)

    # ---- following

    def _follow_next(self, now: Instant) -> None:
        if self._request_next(now):
            self._follow(now)
        else:
            self.ask("parent lost", now)

    def _request_next(self, now: Instant) -> bool:
        return self._parents.request_next(self.assembly.next_piece(), now)

    def _follow(self, now: Instant) -> None:
        self.stage = Stage.FOLLOWING
        here = self.assembly.available_bytes
        if self.parent == self._parents.left:
            self._patience.staying(here, self._usual_first_byte_s(), now)
        else:
            self._patience.following(here, now)

    def _usual_first_byte_s(self) -> float:
        return self._site.ledger.usual_first_byte_s(self.stream)

    def parent_lost(self, now: Instant) -> None:
        """The parent's link ended, it refused, or it broke the rules."""
        self._parents.lost()
        if self.stage is Stage.FOLLOWING:
            self._follow_next(now)
        elif self.stage is Stage.FETCHING:
            self._request_next(now)

    def reads(self, device: str, request: int) -> bool:
        """Whether a transfer message belongs to the current parent, or to the one in reserve."""
        return self.stage in (Stage.FOLLOWING, Stage.FETCHING) and self._parents.is_answer(device, request)

    def peer_said(self, message: Vouched | Piece | End | Refused, now: Instant) -> None:
        """The parent sent something.

        Raises:
            PeerMisbehaved: it broke the protocol or sent wrong bytes.
        """
        if self.stage is Stage.FETCHING and isinstance(message, Vouched | Piece):
            self._end_fetch("cancelled", 0, "a neighbour had it before the origin began", now)
            self._follow_reserve(now)
        self._patience.heard(now)
        self._parents.answered(now)
        match message:
            case Vouched(voucher=voucher):
                try:
                    self.assembly.take_voucher(voucher)
                except Contradiction as error:
                    self._contradicted(error.why, now)
                    return
            case Piece(index=index, data=data):
                self._patience.began(now)
                try:
                    self.assembly.take_piece(index, data)
                except Contradiction as error:
                    self._contradicted(error.why, now)
                    return
                self._patience.steadied()
            case End() if not self.assembly.complete:
                self.parent_lost(now)
                return
            case End():
                pass
            case Refused(reason=reason):
                if reason == "private":
                    self._parents.forgive()
                self.parent_lost(now)
                return
        self._deliver(now)

    def _contradicted(self, why: str, now: Instant) -> None:
        """Honest sources differ: keep what viewers have from being mixed with anything else."""
        self._parents.drop()
        self._end_fetch("private", 0, why, now)
        self.private_for_s, self.private_why = self._site.limits.private_s, why
        self._release(why, 0, now)

    # ---- fetching

    def _begin_fetch(self, lease: FetchIt, now: Instant) -> None:
        self._parents.drop()
        self.fetched = True
        self.stage = Stage.FETCHING
        self._patience.fetching(now)
        if (viewer := self.audience.longest_waiting()) is not None:
            self._fetch_for, self._origin = viewer.number, viewer.origin
        self._fetching.begin(lease, self._origin, self.assembly, now)

    def _look_around(self, now: Instant) -> None:
        """The own fetch says nothing: whoever has the segment, or gets it, is taken in reserve."""
        self._patience.looked(now)
        self._inquiry = Inquiry(
            self._site,
            self.key,
            self.stream,
            reason="parent slow",
            avoid=self._parents.avoided(),
            have=self.assembly.next_piece(),
            unsettled=False,
        )
        self.found(self._inquiry.begin(now), now)

    def _gives_way(self, lease: FetchIt) -> bool:
        """Whether somebody else had better fetch it: this machine's copy would be of use to nobody but itself."""
        serves = self._site.view.serves or not self._site.sharing
        return not serves and self._live and self._asks == 1 and not lease.lone and not lease.hedge

    def _is_relieved(self, found: Found, now: Instant) -> bool:
        """What a silent fetch's question led to; True when the answer takes the fetch's place at once.

        A neighbour is only taken in reserve: the origin may be slow for all, and then whoever asked first has it first.
        """
        match found:
            case ReadFrom() if self._quiet_from() <= now:
                self._parents.named(found.parents)
                self._reserve_why = found.why
                self._request_next(now)
            case FetchIt() if self._fetching.lease is not None and not self._fetching.lease.lease:
                self._fetching.lease = found
            case ByYourself(why, for_s) if for_s:
                self._end_fetch("cancelled", 0, why, now)
                return True
        return False

    def _follow_reserve(self, now: Instant) -> None:
        self._asks += 1
        self.why = self._reserve_why
        self._follow(now)

    def fetches(self, fetch: int) -> bool:
        """Whether an origin event belongs here."""
        return self._fetching.number == fetch

    def origin_answered(self, event: OriginAnswered, now: Instant) -> None:
        """Response headers arrived."""
        self._parents.drop()
        verdict = self._fetching.answered(event, now)
        self._patience.heard(now)
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
                    self.private_for_s, self.private_why = self._site.limits.private_s, why
                self._own_answer("private", event.status, why, now)
            case Gone(status):
                self._own_answer("private", status, f"the origin answered {status}", now)
            case Broken(status, why) if self._fetching.tries < ORIGIN_TRIES_MAX:
                self._abort_fetch()
                self.origin_failed(why, now, status)
            case Broken(status, why):
                self._own_answer("failed", status, why, now)

    def _restart_or_release(self, why: str, now: Instant) -> None:
        if self.audience.any_sent() or self.children:
            self._contradicted(why, now)
            return
        self._abort_fetch()
        self.assembly = Assembly(self.key, self._site.seal)
        self._end_fetch("failed", 0, why, now)
        self.ask("first", now)

    def _own_answer(self, outcome: Outcome, status: int, why: str, now: Instant) -> None:
        """The answer is not for others: it goes to the viewer whose request it was, the others go their own way."""
        fetch = self._fetching.let_go()
        self._end_fetch(outcome, status, why, now)
        owner = self.audience.take(self._fetch_for)
        if owner is not None and fetch is not None:
            self._site.out.append(HandOver(owner.number, fetch, why))
            self.audience.note(owner, "passed", why, now)
        elif fetch is not None:
            self._site.out.append(AbortOrigin(fetch))
        self._release(why, status if status in (404, 410) else 0, now)

    def origin_sent(self, data: bytes, now: Instant) -> None:
        """Body bytes arrived."""
        self._parents.drop()
        self._patience.began(now)
        try:
            self.assembly.take_origin(data, now)
        except Contradiction as error:
            self._abort_fetch()
            self._contradicted(error.why, now)
            return
        self._fetching.progress(self.assembly.available_bytes, now)
        self._deliver(now)

    def origin_ended(self, now: Instant) -> None:
        """The body ended."""
        self._fetching.let_go()
        try:
            self.assembly.end_origin(now)
        except Contradiction as error:
            self._contradicted(error.why, now)
            return
        self._end_fetch("complete", 200, "", now)
        self._deliver(now)

    def origin_failed(self, why: str, now: Instant, status: int = 0) -> None:
        """The fetch broke; `status` if the origin said so itself."""
        self._fetching.let_go()
        self._end_fetch("failed", status, why, now)
        if self.parent is not None:
            self._follow_reserve(now)
        elif self._fetching.tries >= ORIGIN_TRIES_MAX:
            self._release(why, 0, now)
        else:
            self.ask("first", now)

    def _abort_fetch(self) -> None:
        self._fetching.abort(self.assembly)

    def _end_fetch(self, outcome: Outcome, status: int, why: str, now: Instant) -> None:
        self._fetching.end(self.assembly, outcome, status, why, now)

    # ---- delivering

    def _deliver(self, now: Instant) -> None:
        """Give every viewer what is here and it has not had yet."""
        if self.ended or self.assembly.head is None:
            return
        self._patience.moved(self.assembly.available_bytes, now)
        self.audience.deliver(self.assembly, self._source(), self.why)
        self.assembly.announced = self.assembly.announced or self.audience.any_answered()
        if self.assembly.complete and self._fetching.number is None:
            self._complete(now)

    def _source(self) -> Source:
        if self.parent is not None and (link := self._site.links.get(self.parent)) is not None:
            return link.kind
        return "origin"

    def _complete(self, now: Instant) -> None:
        self.audience.replaced = self._asks > 1
        assembly = self.assembly
        assert assembly.head is not None
        body = assembly.body()
        self.finished = StoredSegment(
            key=self.key,
            stream=self.stream,
            head=msgspec.structs.replace(assembly.head, total_bytes=len(body)),
            body=body,
            vouchers=tuple(assembly.vouchers),
            stored_utc=self._site.utc(now),
        )
        self.audience.finish(self.why, now)
        self._parents.done()
        self._end_fetch("complete", 200, "", now)
        self.stage = Stage.ENDED

    def _release(self, why: str, status: int, now: Instant) -> None:
        """Everybody for himself: unanswered viewers ask the origin, the others see their connection break."""
        self.audience.release(why, status, now)
        self.stage = Stage.ENDED

    # ---- time

    def wake_at(self) -> Instant | None:
        """When `wake` has something to do."""
        times = [self.assembly.sign_due_at(self._site.limits.batch_wait_s)]
        if self.stage is Stage.FETCHING:
            times += [self._patience.origin_silent_at(), self._looks_at()]
        else:
            times.append(self._patience.give_up_at())
        if self._inquiry is not None:
            times.append(self._inquiry.due_at)
        if self.stage is Stage.GIVING_WAY:
            times.append(self._give_way_until)
        if self.stage is Stage.FOLLOWING:
            times += [self._parent_silent_at(), self._patience.due_at(self.audience.deadline)]
        return min((at for at in times if at is not None), default=None)

    def wake(self, now: Instant) -> None:
        """Do what has become due."""
        patience = self._patience
        if (sign_at := self.assembly.sign_due_at(self._site.limits.batch_wait_s)) is not None and sign_at <= now:
            self.assembly.sign_now()
        if self.stage is Stage.FETCHING:
            self._look_at_origin(now)
        elif patience.give_up_at() <= now:
            self._fetch_regardless(f"nothing came from neighbours for {patience.give_up_s:.0f} s", now)
        elif self._inquiry is not None:
            self.found(self._inquiry.wake(now), now)
        elif self.stage is Stage.GIVING_WAY and self._give_way_until <= now:
            self.ask("first", now)
        elif self.stage is Stage.FOLLOWING:
            self._look_at_parent(now)

    def _look_at_origin(self, now: Instant) -> None:
        if self._patience.origin_silent_at() <= now:
            self._inquiry = None
            self._origin_fell_silent(now)
        elif self._inquiry is not None:
            self.found(self._inquiry.wake(now), now)
        elif (at := self._looks_at()) is not None and at <= now:
            self._look_around(now)

    def _looks_at(self) -> Instant | None:
        """When the own fetch has been silent for so long that a neighbour is looked for; None with one in reserve."""
        if self.parent is not None or self._inquiry is not None:
            return None
        return self._patience.look_again_at(self._quiet_from())

    def _quiet_from(self) -> Instant:
        soft = self.audience.deadline(self._site.limits.soft_share)
        return self._patience.quiet_from(self._usual_first_byte_s(), soft)

    def _look_at_parent(self, now: Instant) -> None:
        deadline, assembly = self.audience.deadline, self.assembly
        due = self._patience.due(deadline, now)
        if due is not None and self._patience.late(deadline, assembly.available_bytes, assembly.total_bytes, now):
            self._switch("hedge" if due == "hard" else "parent slow", now)
        elif self._parent_silent_at() <= now:
            self._patience.parent_was_silent()
            self._switch("parent slow", now)

    def _parent_silent_at(self) -> Instant:
        return self._patience.silent_at(self._usual_first_byte_s())

    def _switch(self, reason: Reason, now: Instant) -> None:
        self._parents.leave(self.assembly.next_piece(), now)
        self.ask(reason, now, self._parents.left)

    def _fetch_regardless(self, why: str, now: Instant) -> None:
        self._patience.restarted(now)
        self._inquiry = None
        self.why = why
        self._site.ledger.shadow(self.key, self.stream, self._site.me.device, 0, now)
        self._begin_fetch(FetchIt(None, 0, hedge=True, why=self.why), now)

    def _origin_fell_silent(self, now: Instant) -> None:
        if self._patience.origin_was_silent():
            self._fetching.tries -= 1
        self._abort_fetch()
        self.origin_failed("the origin fell silent", now)
