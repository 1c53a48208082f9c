"""One segment on its way to this machine: for its viewers, and for the agents that read it from here.

`Download` joins the parts and decides between them; no part knows another's business:

    Assembly       the bytes that are here, checked              Viewers    who waits for them on this machine
    Gate           whether anybody may have them yet
    OriginFetch    this machine's own fetch from the origin      Parents    the neighbours that it is read from
    LeaseRequest   the question to the ledger: fetch or read?    Timeouts   how long each source is waited for

Where it stands is its stage. `stages.TRANSITIONS` holds every step from one stage to the next; `enter` alone takes it.

    begin(), begin_errand()              for a viewer here; for a neighbour that sent for it
    want(), viewer_left(), child_left()  viewers and children come and go; no one's leaving cancels what others wait for
    home_answered()                      the ledger's answer: fetch, follow, or everybody for himself
    peer_said(), parent_lost()           bytes from a neighbour, checked and delivered in order as they come
    origin_answered(), origin_sent(), origin_ended(), origin_failed()     the same from the origin
    wake()                               silence, the viewers' deadlines, a batch of hashes to be signed

Every way to the origin leads through the ledger, also the fallback. What was received stays: only what is missing is
asked for again. Nothing that a viewer has had is ever continued with another version's bytes.

A copy that was kept here, or that a neighbour gives, stands behind a gate until it may be used. Where the origin must
confirm it, the fetch is a conditional request: by 304 the gate opens, any other answer takes the place of the copy.
"""

from collections.abc import Callable

from ecdn_proxy.core.download.assembly import Assembly, Contradiction
from ecdn_proxy.core.download.cache import age_of
from ecdn_proxy.core.download.gate import Gate, GateStep
from ecdn_proxy.core.download.lease_request import LeaseRequest, Reason
from ecdn_proxy.core.download.origin_fetch import (
    ORIGIN_TRIES_MAX,
    FetchBroke,
    FetchLease,
    FetchOutcome,
    NotForOthers,
    OriginFetch,
    OtherVersion,
)
from ecdn_proxy.core.download.outcome import Arrived, GivenUp, Outcome, Unshareable
from ecdn_proxy.core.download.parents import Parents
from ecdn_proxy.core.download.stages import UNDER_WAY, Stage, Staged, Work
from ecdn_proxy.core.download.timeouts import Timeouts
from ecdn_proxy.core.download.viewers import Viewers
from ecdn_proxy.core.events import AbortOrigin, Load, OriginAnswered, Wanted
from ecdn_proxy.core.http.cross_origin import ALLOW_ORIGIN
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.swarm.decisions import FollowParents, LeaseDecision, LeaseGranted, ViewersGoAlone
from ecdn_proxy.core.swarm.membership import rendezvous
from ecdn_proxy.core.values import Source, StoredSegment
from ecdn_proxy.sansio.machine import Instant, earliest
from ecdn_proxy.wire.integrity import PIECE_BYTES
from ecdn_proxy.wire.peer import (
    Awaiting,
    End,
    Follow,
    GoAlone,
    Granted,
    Noted,
    Part,
    Piece,
    Redirect,
    Refused,
    Transfer,
    Vouched,
)

REASKS_MAX = 12
"""A key that has been asked about this often is not to be had by sharing: this machine fetches it."""


class Download(Staged):
    """The download of one key. Once it has ended, `outcome` says what is left of it, and the node forgets it."""

    def __init__(
        self, context: NodeContext, key: str, stream: str, now: Instant, is_unsettled: Callable[[str, Instant], bool]
    ) -> None:
        """Ask for nothing yet; `is_unsettled` says whether a stream's committee changed a moment ago."""
        super().__init__()
        self._context = context
        self.key = key
        self.stream = stream
        self.wanted: Wanted | None = None
        """The first viewer's request; without any, the segment is read for others only."""
        self.why = ""
        """How the segment's source was chosen, for the status page."""
        self.children = 0
        """Agents that read this segment from here; counted by the node."""
        self.outcome: Outcome | None = None
        """What is left of the download; None while it goes on."""
        self.assembly = Assembly(key, context.seal)
        self.viewers = Viewers(context.out, key, stream)
        self._origin = OriginFetch(context, key, stream)
        self._parents = Parents(context, key, stream)
        self.timeouts = Timeouts(context.limits, 1.0 - rendezvous(context.me.device, key) / 2**64, now)
        self._is_unsettled = is_unsettled
        self._lease_request: LeaseRequest | None = None
        self._asks = 0
        """How often a ledger was asked, and a neighbour in reserve taken."""
        self._give_way_until: Instant = 0.0
        self._reserve_why = ""
        self._begun_at = now
        self._gate = Gate(context.proofs, stream)
        self.begun_anew = False
        """What was here is void, so that children begin anew as well; taken back by `Downloads`."""

    # ---- its stage

    def _end(self, outcome: Outcome) -> None:
        self._lease_request = None
        self.outcome = outcome
        self.enter(Stage.ENDED)

    def under_way(self) -> frozenset[Work]:
        """What is open now, of all that a stage may have under way."""
        works: dict[Work, bool] = {
            "lease request": self._lease_request is not None,
            "parent": self.parent is not None,
            "own fetch": self._origin.number is not None,
        }
        return frozenset(work for work, is_open in works.items() if is_open)

    def check(self) -> None:
        """Assert what holds after every event: what is under way fits the stage."""
        under_way = self.under_way()
        assert under_way in UNDER_WAY.get(self._stage, ()), f"{sorted(under_way)} under way while {self._stage.name}"
        assert (self._origin.number is None) == (self._origin.lease is None), "each fetch has a lease, and no other has"
        assert (self.outcome is None) != self.ended
        assert self.parent != self._context.me.device
        assert self.assembly.vouched <= len(self.assembly.pieces)

    # ---- its beginning

    def begin(self, now: Instant, *, on_disk: bool, joining: bool) -> None:
        """Bring the segment here for a viewer; while `joining`, the neighbours' names may still come in a moment."""
        if on_disk:
            self._context.out.append(Load(self.key))
            self.enter(Stage.LOADING)
        elif joining:
            self.enter(Stage.JOINING)
        else:
            self._ask("first", now)

    def begin_errand(self, home: str, now: Instant) -> None:
        """Bring the segment here for a neighbour only: the home that sent the neighbour knows whom to read it from."""
        self._asks += 1
        self.enter(Stage.ASKING)
        self._request_lease("first", now, at=home, unsettled=False)

    def disk_answered(self, stored: StoredSegment | None, now: Instant, *, joining: bool) -> None:
        """The disk had the segment, or None: it has lost it; `joining` as in `begin`."""
        if self._stage is not Stage.LOADING:
            return
        if stored is not None and self.viewers.objection(stored.head, age_of(stored), now) is None:
            self.viewers.give_stored(stored, "on this machine's disk", now)
            self._end(Arrived(stored, from_disk=True, fetched=False))
            return
        if stored is not None:
            self.hold(stored)
        self.begin(now, on_disk=False, joining=joining)

    def hold(self, stored: StoredSegment) -> None:
        """A copy that was kept here may not be used as it is."""
        self._gate.hold(stored, self.assembly)

    def joining_over(self, now: Instant) -> None:
        """The neighbours' names, for which the download stood `JOINING`, need not be waited for any more."""
        self._ask("first", now)

    # ---- viewers and children

    def want(self, wanted: Wanted, slack_s: float, now: Instant, changed_at: Instant | None = None) -> None:
        """A viewer waits; its answer is needed in `slack_s` seconds. `changed_at` is as in `Viewers.join`."""
        if self.wanted is None:
            self.wanted = wanted
            self._origin.borrow_request(wanted.viewer, wanted.origin, wanted.number)
        was_errand = not self.viewers and self._stage is Stage.FOLLOWING
        self.viewers.join(wanted, slack_s, now, changed_at)
        if was_errand:  # agents judge by themselves what they are given, viewers cannot
            self._gate.close()
            self._look_at_copy(now)
        elif self._gate.is_open and self.assembly.head is not None:
            self.viewers.pass_unfit(self.assembly.head, now)
        self._deliver(now)

    def viewer_left(self, number: int, now: Instant) -> None:
        """A viewer's connection ended."""
        if self.viewers.leave(number):
            self.child_left(now)

    def child_left(self, now: Instant) -> None:
        """An agent that read from here ended, or a viewer: without any left, nobody needs the segment."""
        if not self.viewers and not self.children:
            self._cancel(now)

    def _cancel(self, now: Instant) -> None:
        self._parents.cancel_parent()
        self._end_fetch("cancelled", 0, "its viewer left", now)
        self._end(GivenUp())

    # ---- asking the ledger

    def _ask(self, reason: Reason, now: Instant, rather_not: str | None = None) -> None:
        """Ask the key's home what to do; `rather_not` as `besides` in `Parents.avoided`."""
        self._asks += 1
        self.enter(Stage.ASKING)
        if self._asks > REASKS_MAX:
            self._fetch_regardless("no neighbour could serve it after many tries", now)
            return
        # of a recording a ledger knows only what was watched lately: homes of older lists may know who has the rest
        unsettled = not self._is_live() or self._is_unsettled(self.stream, now)
        self._request_lease(reason, now, rather_not, unsettled=unsettled)

    def _is_live(self) -> bool:
        return self.wanted is None or self.wanted.live

    def _request_lease(
        self, reason: Reason, now: Instant, rather_not: str | None = None, *, at: str | None = None, unsettled: bool
    ) -> None:
        avoid, have = self._parents.avoided(rather_not), self.assembly.next_piece()
        self._lease_request = LeaseRequest(
            self._context,
            self.key,
            self.stream,
            reason=reason,
            avoid=avoid,
            have=have,
            unsettled=unsettled,
            stale=self._gate.stale,
            asked_at=self.viewers.asked_at(self._begun_at),
        )
        self._lease_answered(self._lease_request.begin(now, at), now)

    def lease_request(self) -> LeaseRequest | None:
        """The open question to a ledger, if any."""
        return self._lease_request

    def home_answered(self, device: str, message: Granted | Follow | Redirect | GoAlone, now: Instant) -> bool:
        """A home's answer; False when it answers no question of this download."""
        request = self._lease_request
        if request is None or not request.owns(device, message.request):
            return False
        self._lease_answered(request.home_answered(device, message, now), now)
        return True

    def device_left(self, device: str, now: Instant) -> None:
        """No answer, no piece and no lease comes from this device any more."""
        if self._lease_request is not None:
            self._lease_answered(self._lease_request.link_closed(device, now), now)
        if self.parent == device:
            self.parent_lost(now)
        self._origin.home_lost(device, now)

    def _lease_answered(self, found: LeaseDecision | None, now: Instant) -> None:
        """What came of the question; None while it is open."""
        if found is None:
            return
        self._lease_request = None
        is_fetching = self._stage is Stage.FETCHING
        match found:
            case LeaseGranted():
                lease = FetchLease(found.home, found.lease, found.hedge, found.lone)
                if not is_fetching:
                    self.why = found.why
                    self._granted(lease, now)
                elif self._origin.lease is not None and not self._origin.lease.number:
                    self._origin.lease = lease
            case FollowParents(parents, why, home):
                if not is_fetching:
                    self.why = why
                    self._parents.cancel_parent()
                    self._parents.name_parents(parents, home)
                    self._follow_next(now)
                elif self._fetch_quiet_from() <= now:
                    # only in reserve: the origin may be slow for all, and then whoever asked first has it first
                    self._reserve_why = why
                    self._parents.name_parents(parents, home)
                    self._request_next(now)
            case ViewersGoAlone(why, for_s, status):
                if is_fetching and for_s:
                    self._end_fetch("cancelled", 0, why, now)
                if not is_fetching or for_s:
                    # whoever judged the answer may lack a rule that this machine has: then only this key is private
                    ruled = self.wanted is not None and self.wanted.origin.rule is not None
                    lasting = not status and not ruled and for_s > self._context.limits.gone_s
                    self._release(why, status, now, private_s=for_s if lasting else 0.0)

    def _granted(self, lease: FetchLease, now: Instant) -> None:
        if self._gives_way(lease):
            self._origin.return_lease(lease, "cancelled", 0, "this machine cannot give it to others", now)
            self._give_way_until = now + self._context.limits.give_way_s
            self.enter(Stage.GIVING_WAY)
        elif not self._origin.has_request:
            why = "nobody watches it at this machine, which only passes it on"
            self._origin.return_lease(lease, "cancelled", 0, why, now)
            self._end(GivenUp())
        else:
            self._begin_fetch(lease, now)

    def _gives_way(self, lease: FetchLease) -> bool:
        """Whether somebody else had better fetch it: this machine's copy would be of use to nobody but itself."""
        serves = self._context.membership.serves or not self._context.sharing
        return not serves and self._is_live() and self._asks == 1 and not lease.lone and not lease.hedge

    # ---- following a parent

    @property
    def parent(self) -> str | None:
        """The device that this machine reads from now, or has in reserve while it fetches."""
        return self._parents.current

    def _follow_next(self, now: Instant) -> None:
        if self._request_next(now):
            self._follow(now)
        else:
            self._ask("parent lost", now)

    def _request_next(self, now: Instant) -> bool:
        return self._parents.request_next(self.assembly.next_piece(), now)

    def _follow(self, now: Instant) -> None:
        self.enter(Stage.FOLLOWING)
        here = self.assembly.available_bytes
        if self.parent == self._parents.left_as_slow:
            self.timeouts.parent_kept(here, self._usual_first_byte_s(), now)
        else:
            self.timeouts.parent_chosen(here, now)

    def _follow_reserve(self, now: Instant) -> None:
        """Go on from the neighbour that was taken in reserve."""
        self._asks += 1
        self.why = self._reserve_why
        self._follow(now)

    def _usual_first_byte_s(self) -> float:
        return self._context.ledger.usual_first_byte_s(self.stream)

    def parent_lost(self, now: Instant) -> None:
        """The parent's link ended, it refused, or it broke the rules."""
        self._parents.parent_failed()
        if self._stage is Stage.FOLLOWING:
            self._follow_next(now)
        else:  # it was in reserve
            self._request_next(now)

    def reads(self, device: str, request: int) -> bool:
        """Whether a transfer message belongs to the current parent, or to the one in reserve."""
        return self._parents.is_answer(device, request)

    def peer_said(self, message: Transfer, now: Instant) -> None:
        """The parent, or the neighbour in reserve, sent something.

        Raises:
            PeerMisbehaved: it broke the protocol or sent wrong bytes.
        """
        self._parents.parent_spoke()
        match message:
            case Noted():
                pass
            case Awaiting():
                if self._stage is Stage.FOLLOWING:  # of one in reserve it says nothing new: the own fetch waits too
                    self.timeouts.source_awaits(now)
            case _:
                if self._listens_to(message, now):
                    self._take(message, now)

    def _listens_to(self, message: Vouched | Piece | Part | End | Refused, now: Instant) -> bool:
        """Whether what the neighbour sends is taken; one in reserve takes the place of an own fetch that is behind."""
        fetches = self._stage is Stage.FETCHING and not self._origin.is_conditional
        if fetches and isinstance(message, Vouched | Piece | Part):
            if not self._leads(message):
                return False
            self._end_fetch("cancelled", 0, "a neighbour had it before the origin began", now)
            self._follow_reserve(now)
        if self._stage is Stage.FOLLOWING:  # a refusal by the one in reserve says nothing of the origin
            self.timeouts.source_spoke(now)
        return True

    def _take(self, message: Vouched | Piece | Part | End | Refused, now: Instant) -> None:
        """What the neighbour sends goes into the assembly, and from there to those who wait, if the gate is open."""
        try:
            if isinstance(message, Vouched) and self._gate.is_other_version(message.voucher, self.assembly):
                raise Contradiction("the neighbour has another version of this segment")
            is_going_on = self._parents.take_message(message, self.assembly, now)
        except Contradiction as error:
            self._neighbour_differs(error.why, now)
            return
        if not is_going_on:
            self.parent_lost(now)
            return
        if isinstance(message, Vouched | Part):
            self._look_at_copy(now)
        if self.assembly.complete and not self._gate.is_open and isinstance(message, End):
            self._parents.parent_gave_all()
        if isinstance(message, Piece | Part):
            self.timeouts.body_began(now)
            self.timeouts.parent_was_good()
        self._deliver(now)

    def _neighbour_differs(self, why: str, now: Instant) -> None:
        """The neighbour has another version than the one that is here; before the gate opened nobody has had a byte."""
        if self._gate.is_open:
            self._contradicted(why, now)
        elif self._stage is Stage.FOLLOWING:
            self._begin_anew()
            self._parents.request_all_again(now)
        else:  # the origin is being asked about the copy that is here
            self._parents.cancel_parent()

    # ---- may the copy be used?

    @property
    def may_be_given(self) -> bool:
        """Whether viewers and children may have what is here."""
        return self._gate.is_open

    def _look_at_copy(self, now: Instant) -> None:
        """The neighbour has said what it gives and how old that is: viewers may have it, or the origin is asked."""
        if self._gate.is_open or self._stage is not Stage.FOLLOWING or self.assembly.head is None:
            return
        waited = bool(self.viewers)
        self.viewers.pass_unselected(self.assembly.head, now)
        if waited and not self.viewers:
            self.child_left(now)
            return
        rendition = "" if self.wanted is None else self.wanted.rendition
        step, why = self._gate.judge(self.assembly, self.viewers, rendition, now)
        match step:
            case GateStep.USE:
                pass
            case GateStep.ASK_HOME:
                self._ask("first", now)
            case GateStep.ASK_ORIGIN:
                self.why = why
                self._begin_fetch(FetchLease(None, 0, hedge=True), now)
            case GateStep.DROP:
                self._parents.cancel_parent()
                self._begin_anew()
                self._ask("first", now)

    def _begin_anew(self) -> None:
        """Nobody here has had a byte of what is here, and it is void."""
        self.assembly = Assembly(self.key, self._context.seal)
        self._gate.holds_kept_copy = False
        self.begun_anew = True

    def _confirmed(self, event: OriginAnswered, now: Instant) -> None:
        """The origin answered 304: the copy that is here, or is coming from the neighbour in reserve, may be used."""
        assembly = self.assembly
        assert assembly.head is not None, "a copy with a head was confirmed"
        self._gate.open()
        self.why = f"{self.why}; the origin confirmed the copy (304)"
        # many servers send a page's permission with a body only: without one it is still to be asked for
        names_a_page = any(name == ALLOW_ORIGIN for name, _ in event.headers)
        self.viewers.pass_unfit(assembly.head, now, asked_for=self._origin.for_viewer if names_a_page else 0)
        if not self.viewers and not self.children:
            self._cancel(now)
            return
        if assembly.complete:
            self._deliver(now)
        elif self.parent is not None:
            self._end_fetch("complete", 304, "", now)
            self._follow(now)
            self._deliver(now)
        else:
            self._end_fetch("cancelled", 0, "the neighbour whose copy was confirmed is gone", now)
            self._ask("parent lost", now)

    def _leads(self, message: Vouched | Piece | Part) -> bool:
        """Whether a neighbour has or gets more than is here; what it had from this machine it can vouch for as well."""
        match message:
            case Vouched(voucher=voucher):
                return voucher.first + voucher.count > self.assembly.next_piece()
            case Part(voucher=part):
                return part.index * PIECE_BYTES + part.size_bytes > self.assembly.available_bytes
            case Piece():
                return True

    # ---- fetching from the origin

    @property
    def fetching(self) -> bool:
        """Whether this machine fetches the segment from the origin."""
        return self._stage is Stage.FETCHING

    def fetches(self, fetch: int) -> bool:
        """Whether an event of the origin belongs to this download."""
        return self._origin.number == fetch

    def _begin_fetch(self, lease: FetchLease, now: Instant) -> None:
        asks_to_confirm = self._gate.asks_to_confirm(self.assembly)
        if not asks_to_confirm:
            self._parents.cancel_parent()
        self.enter(Stage.FETCHING)
        self.timeouts.fetch_begun(now)
        if (viewer := self.viewers.whose_page_is_asked_for(self.assembly.head)) is not None:
            self._origin.borrow_request(viewer.number, viewer.origin, viewer.listed_at)
        assert self.wanted is not None, "the origin is asked for a viewer only"
        self._origin.begin(lease, self.wanted.resource_range, self.assembly, now, is_conditional=asks_to_confirm)

    def _fetch_regardless(self, why: str, now: Instant) -> None:
        """All waiting for others ends; a segment that nobody watches here is given up."""
        self.timeouts.gave_up(now)
        self._lease_request = None
        if not self._origin.has_request:
            self._cancel(now)
            return
        self.why = why
        self._context.ledger.lease_shadowed(self.key, self.stream, self._context.me.device, 0, now)
        self._begin_fetch(FetchLease(None, 0, hedge=True), now)

    def reconsider(self, now: Instant) -> None:
        """Neighbours became known; a fetch for want of them, of which nothing has come yet, is given up for them."""
        lease = self._origin.lease
        if lease is None or not lease.lone or self.assembly.head is not None or self.children:
            return
        self._parents.cancel_parent()
        self._end_fetch("cancelled", 0, "neighbours became known", now)
        self._origin.tries -= 1
        self._ask("first", now)

    def lease_moves(self, home: str, lease: int, now: Instant) -> None:
        """A home that seemed silent grants the lease of what is being fetched already: all the others ask there."""
        self._origin.move_lease(home, lease, now)

    def origin_answered(self, event: OriginAnswered, now: Instant) -> None:
        """Response headers of the fetch arrived."""
        if event.status in (200, 206, 304) and self.wanted is not None:
            self._context.proofs.learn(self.stream, self.wanted.rendition, self._origin.page, event.headers, now)
        if self._origin.is_conditional:
            if self._origin.confirm(event, self.assembly, now):
                self._confirmed(event, now)
                return
            self._begin_anew()
        self._parents.cancel_parent()
        refused = self._origin.take_answer(event, self.assembly, now)
        self.timeouts.source_spoke(now)
        self.timeouts.origin_reached()
        match refused:
            case None:
                self._gate.open()
                assert self.assembly.head is not None
                self.viewers.pass_unfit(self.assembly.head, now, asked_for=self._origin.for_viewer)
                if (by_rule := self._origin.by_rule) and by_rule not in self.why:
                    self.why = f"{self.why}; {by_rule}"
                self._deliver(now)
            case OtherVersion(why) if self.viewers.any_sent() or self.children:
                self._contradicted(why, now)
            case OtherVersion(why):
                self._end_fetch("failed", 0, why, now)
                self.assembly = Assembly(self.key, self._context.seal)
                self._ask("first", now)
            case FetchBroke(status, why):
                self._fetch_failed(why, status, now)
            case NotForOthers():
                self._pass_to_owner(refused, now)

    def _pass_to_owner(self, answer: NotForOthers, now: Instant) -> None:
        """The answer goes to the viewer whose request it was, the others go their own way."""
        fetch = self._origin.let_go()
        assert fetch is not None, "the answer is that of the fetch under way"
        self._end_fetch(answer.outcome, answer.status, answer.why, now)
        if not self.viewers.hand_over(self._origin.for_viewer, fetch, answer.why, now):
            self._context.out.append(AbortOrigin(fetch))
        private_s = self._context.limits.private_s if answer.lasting else 0.0
        self._release(answer.why, answer.status if answer.status in (404, 410) else 0, now, private_s=private_s)

    def origin_sent(self, data: bytes, now: Instant) -> None:
        """Body bytes of the fetch arrived."""
        self._parents.cancel_parent()
        self.timeouts.body_began(now)
        try:
            self._origin.take_body(data, self.assembly, now)
        except Contradiction as error:
            self._contradicted(error.why, now)
            return
        self._deliver(now, data)

    def origin_ended(self, now: Instant) -> None:
        """The body ended as its headers had announced."""
        try:
            self._origin.end_body(self.assembly, now)
        except Contradiction as error:
            self._contradicted(error.why, now)
            return
        self._deliver(now)

    def origin_failed(self, why: str, now: Instant) -> None:
        """The connection of the fetch broke."""
        self._origin.let_go()
        self._fetch_failed(why, 0, now)

    def _fetch_failed(self, why: str, status: int, now: Instant) -> None:
        """Go on without this fetch; `status` if the origin said itself that it failed."""
        self._end_fetch("failed", status, why, now)
        if self._origin.is_conditional:  # the reserve's copy stays behind the gate
            self._parents.cancel_parent()
        if self.parent is not None:
            self._follow_reserve(now)
        elif self._origin.tries >= ORIGIN_TRIES_MAX:
            self._release(why, 0, now)
        else:
            self._ask("first", now)

    def _end_fetch(self, outcome: FetchOutcome, status: int, why: str, now: Instant) -> None:
        self._origin.end(self.assembly, outcome, status, why, now)

    # ---- delivering

    def _deliver(self, now: Instant, came: bytes = b"") -> None:
        """Give every viewer what is here, of which the origin has just sent `came`; end when that is all."""
        assembly, viewers = self.assembly, self.viewers
        if assembly.head is None or not self._gate.is_open:
            return
        self.timeouts.grows, self.timeouts.resumes = assembly.total_bytes is None, assembly.resumable
        self.timeouts.bytes_arrived(assembly.available_bytes, now)
        viewers.deliver(assembly, self._source(), self.why, came)
        assembly.announced = assembly.announced or viewers.any_answered()
        if assembly.complete and self._origin.number is None:
            viewers.replaced = self._asks - self._gate.home_asks > 1
            stored = assembly.stored(self.stream, self._context.utc(now), now)
            viewers.finish(self.why, now)
            self._parents.parent_gave_all()
            if assembly.disputed:
                self._end(Unshareable(assembly.disputed, self._context.limits.private_s))
                return
            self._end_fetch("complete", 200, "", now)
            self._end(Arrived(stored, from_disk=False, fetched=self._origin.was_asked))

    def _source(self) -> Source:
        if self.parent is not None and (link := self._context.links.get(self.parent)) is not None:
            return link.kind
        return "cache" if self._gate.holds_kept_copy else "origin"

    def _release(self, why: str, status: int, now: Instant, *, private_s: float = 0.0) -> None:
        """Everybody for himself, as in `Viewers.release`; the rendition is not shared for the next `private_s`."""
        self.viewers.release(why, status, now)
        self._end(Unshareable(why, private_s) if private_s else GivenUp())

    def _contradicted(self, why: str, now: Instant) -> None:
        """Honest sources differ: keep what viewers have from being mixed with anything else.

        What a neighbour said of the segment counts no more. An own fetch that brings what viewers have had goes on.
        """
        self._parents.cancel_parent()
        if self._stage is Stage.FOLLOWING and self._origin.has_request and not self.assembly.disputed:
            self.assembly.dispute(why)
            self._fetch_regardless(why, now)
            return
        self._end_fetch("private", 0, why, now)
        self._release(why, 0, now, private_s=self._context.limits.private_s)

    # ---- time

    def wake_at(self) -> Instant | None:
        """When `wake` has something to do."""
        stage, timeouts = self._stage, self.timeouts
        times = [self.assembly.sign_due_at(self._context.limits.batch_wait_s)]
        if stage is Stage.FETCHING:
            times += [timeouts.origin_silent_at(), timeouts.say_so_at(), self._look_around_at()]
        else:
            times.append(timeouts.give_up_at())
        if self._lease_request is not None:
            times.append(self._lease_request.due_at)
        if stage is Stage.GIVING_WAY:
            times.append(self._give_way_until)
        if stage is Stage.FOLLOWING:
            times.append(timeouts.parent_silent_at(self._usual_first_byte_s()))
            times.append(timeouts.deadline_at(self.viewers.deadline))
            times.append(None if self._is_linked() else timeouts.link_due_at())
        return earliest(times)

    def wake(self, now: Instant) -> None:
        """Do what has become due."""
        timeouts = self.timeouts
        if (sign_at := self.assembly.sign_due_at(self._context.limits.batch_wait_s)) is not None and sign_at <= now:
            self.assembly.sign_due(now)
        if self._stage is Stage.FETCHING:
            self._look_at_origin(now)
        elif timeouts.give_up_at() <= now:
            self._fetch_regardless(f"nothing came from neighbours for {timeouts.give_up_s:.0f} s", now)
        elif self._lease_request is not None:
            self._lease_answered(self._lease_request.wake(now), now)
        elif self._stage is Stage.GIVING_WAY and self._give_way_until <= now:
            self._ask("first", now)
        elif self._stage is Stage.FOLLOWING:
            self._look_at_parent(now)

    def _look_at_origin(self, now: Instant) -> None:
        if (say_so_at := self.timeouts.say_so_at()) is not None and say_so_at <= now:
            self.timeouts.say_so(now)
            self._origin.report_waiting(self.assembly.available_bytes, now)
        if self.timeouts.origin_silent_at() <= now:
            self._lease_request = None
            if self.timeouts.thought_for_minutes():
                self._origin.tries = ORIGIN_TRIES_MAX  # it had minutes: nobody here asks it again
            elif self.timeouts.origin_was_silent():
                self._origin.tries -= 1
            self._fetch_failed("the origin fell silent", 0, now)
        elif self._lease_request is not None:
            self._lease_answered(self._lease_request.wake(now), now)
        elif (at := self._look_around_at()) is not None and at <= now:
            # the own fetch says nothing: whoever has the segment, or gets it, is taken in reserve
            self.timeouts.looked_around(now)
            self._request_lease("parent slow", now, unsettled=False)

    def _look_around_at(self) -> Instant | None:
        """When the own fetch has been silent for so long that a neighbour is looked for; None with one in reserve."""
        if self.parent is not None or self._lease_request is not None or self._origin.is_conditional:
            return None
        return self.timeouts.look_around_at(self._fetch_quiet_from())

    def _fetch_quiet_from(self) -> Instant:
        soft = self.viewers.deadline(self._context.limits.soft_share)
        return self.timeouts.fetch_quiet_from(self._usual_first_byte_s(), soft)

    def _look_at_parent(self, now: Instant) -> None:
        assert self.parent is not None
        assembly = self.assembly
        if not self._is_linked() and self.timeouts.link_due_at() <= now:
            self._context.missed(self.parent)
            self.parent_lost(now)
            return
        deadline = self.viewers.deadline
        passed = self.timeouts.deadline_passed(deadline, now)
        if passed is not None and self.timeouts.is_late(deadline, assembly.available_bytes, assembly.total_bytes, now):
            self._leave_parent("hedge" if passed == "hard" else "parent slow", now)
        elif self.timeouts.parent_silent_at(self._usual_first_byte_s()) <= now:
            self.timeouts.parent_was_silent()
            if self._parents.is_mute():
                self._context.missed(self.parent)
            self._leave_parent("parent slow", now)

    def _is_linked(self) -> bool:
        return self.parent in self._context.links

    def _leave_parent(self, reason: Reason, now: Instant) -> None:
        self._parents.leave_slow_parent(self.assembly.next_piece(), now)
        self._ask(reason, now, self._parents.left_as_slow)
