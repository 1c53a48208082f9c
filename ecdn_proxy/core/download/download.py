"""One segment on its way to this machine: for its viewers, and for the agents that read it from here.

`Download` joins the parts and decides between them; none of them does another's business:

    Delivery       what is here, who gets it, and whether they may have it yet
    Questions      what the ledgers are asked: fetch or read?
    OriginFetch    this machine's own fetch from the origin        Parents     the neighbours that it is read from
    Timeouts       how long each source is waited for              Lookout     what has become due by that

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
from ecdn_proxy.core.download.delivery import Delivery
from ecdn_proxy.core.download.gate import GateStep
from ecdn_proxy.core.download.lease_request import HomesAnswer, Reason
from ecdn_proxy.core.download.lookout import Due, Lookout
from ecdn_proxy.core.download.origin_fetch import FetchBroke, FetchLease, NotForOthers, OriginFetch, OtherVersion
from ecdn_proxy.core.download.outcome import Arrived, GivenUp, Outcome, Unshareable
from ecdn_proxy.core.download.parents import Parents, ParentsAnswer, ParentsBytes
from ecdn_proxy.core.download.questions import Questions
from ecdn_proxy.core.download.stages import UNDER_WAY, Stage, Staged, Work
from ecdn_proxy.core.download.timeouts import Timeouts
from ecdn_proxy.core.events import Load, OriginAnswered, Wanted
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.swarm.decisions import FollowParents, LeaseDecision, LeaseGranted, ViewersGoAlone
from ecdn_proxy.core.swarm.membership import rendezvous
from ecdn_proxy.core.values import StoredSegment
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire import peer


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
        self.why = ""
        """How the segment's source was chosen, for the status page."""
        self.outcome: Outcome | None = None
        """What is left of the download; None while it goes on."""
        self.delivery = Delivery(context, key, stream)
        self.origin = OriginFetch(context, key, stream)
        self.parents = Parents(context, key, stream)
        self.timeouts = Timeouts(context.limits, 1.0 - rendezvous(context.me.device, key) / 2**64, now)
        self.questions = Questions(
            context, key, stream, now, parents=self.parents, delivery=self.delivery, is_unsettled=is_unsettled
        )
        self._lookout = Lookout(
            context, stream, self.timeouts, self.delivery, self.parents, self.origin, self.questions
        )
        self._reserve_why = ""

    @property
    def assembly(self) -> Assembly:
        """The bytes that are here, checked."""
        return self.delivery.assembly

    # ---- its stage

    def _end(self, outcome: Outcome) -> None:
        self.questions.drop()
        self.outcome = outcome
        self.enter(Stage.ENDED)

    def under_way(self) -> frozenset[Work]:
        """What is open now, of all that a stage may have under way."""
        works: dict[Work, bool] = {
            "lease request": self.questions.is_open,
            "parent": self.parent is not None,
            "own fetch": self.origin.number is not None,
        }
        return frozenset(work for work, is_open in works.items() if is_open)

    def check(self) -> None:
        """Assert what holds after every event: what is under way fits the stage."""
        under_way = self.under_way()
        assert under_way in UNDER_WAY.get(self._stage, ()), f"{sorted(under_way)} under way while {self._stage.name}"
        assert (self.origin.number is None) == (self.origin.lease is None), "each fetch has a lease, and no other has"
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
        self.questions.tries += 1
        self.enter(Stage.ASKING)
        self._lease_answered(self.questions.ask_for_errand(home, now), now)

    def disk_answered(self, stored: StoredSegment | None, now: Instant, *, joining: bool) -> None:
        """The disk had the segment, or None: it has lost it; `joining` as in `begin`."""
        if self._stage is not Stage.LOADING:
            return
        if stored is not None and self.delivery.give_kept(stored, "on this machine's disk", now):
            self._end(Arrived(stored, from_disk=True, fetched=False))
        else:
            self.begin(now, on_disk=False, joining=joining)

    def joining_over(self, now: Instant) -> None:
        """The neighbours' names, for which the download stood `JOINING`, need not be waited for any more."""
        self._ask("first", now)

    # ---- viewers and children

    def want(self, wanted: Wanted, slack_s: float, now: Instant, changed_at: Instant | None = None) -> None:
        """A viewer waits; its answer is needed in `slack_s` seconds. `changed_at` is as in `Viewers.join`."""
        delivery = self.delivery
        if delivery.wanted is None:
            self.origin.borrow_request(wanted.viewer, wanted.origin, wanted.number)
        was_errand = not delivery.viewers and self._stage is Stage.FOLLOWING
        delivery.join(wanted, slack_s, now, changed_at)
        if was_errand:  # agents judge by themselves what they are given, viewers cannot
            delivery.close()
            self._look_at_copy(now)
        else:
            delivery.pass_unfit(now)
        self._deliver(now)

    def viewer_left(self, number: int, now: Instant) -> None:
        """A viewer's connection ended."""
        if self.delivery.viewers.leave(number):
            self.child_left(now)

    def child_left(self, now: Instant) -> None:
        """An agent that read from here ended, or a viewer: without any left, nobody needs the segment."""
        if not self.delivery.is_needed():
            self._cancel(now)

    def _cancel(self, now: Instant) -> None:
        self.parents.cancel_parent()
        self.origin.end(self.assembly, "cancelled", 0, "its viewer left", now)
        self._end(GivenUp())

    # ---- asking the ledger

    def _ask(self, reason: Reason, now: Instant, rather_not: str | None = None) -> None:
        """Ask the key's home what to do; `rather_not` as `besides` in `Parents.avoided`."""
        questions = self.questions
        questions.tries += 1
        self.enter(Stage.ASKING)
        if questions.were_enough():
            self._fetch_regardless("no neighbour could serve it after many tries", now)
        else:
            self._lease_answered(questions.ask(reason, now, rather_not), now)

    def home_answered(self, device: str, message: HomesAnswer, now: Instant) -> bool:
        """A home's answer; False when it answers no question of this download."""
        if not self.questions.owns(device, message.request):
            return False
        self._lease_answered(self.questions.home_answered(device, message, now), now)
        return True

    def device_left(self, device: str, now: Instant) -> None:
        """No answer, no piece and no lease comes from this device any more."""
        self._lease_answered(self.questions.device_left(device, now), now)
        if self.parent == device:
            self.parent_lost(now)
        self.origin.home_lost(device, now)

    def _lease_answered(self, found: LeaseDecision | None, now: Instant) -> None:
        """What came of the question; None while it is open."""
        if found is None:
            return
        is_fetching = self._stage is Stage.FETCHING
        match found:
            case LeaseGranted():
                lease = FetchLease(found.home, found.lease, found.hedge, found.lone)
                if is_fetching:
                    self.origin.take_lease(lease)
                else:
                    self.why = found.why
                    self._granted(lease, now)
            case FollowParents(parents, why, home):
                if not is_fetching:
                    self.why = why
                    self.parents.cancel_parent()
                    self.parents.name_parents(parents, home)
                    self._follow_next(now)
                elif self._lookout.fetch_is_quiet(now):
                    # only in reserve: the origin may be slow for all, and then whoever asked first has it first
                    self._reserve_why = why
                    self.parents.name_parents(parents, home)
                    self.parents.request_next(self.assembly.next_piece(), now)
            case ViewersGoAlone(why, for_s, status):
                if is_fetching and not for_s:
                    return
                if is_fetching:
                    self.origin.end(self.assembly, "cancelled", 0, why, now)
                self._release(why, status, now, private_s=self.questions.private_s(found))

    def _granted(self, lease: FetchLease, now: Instant) -> None:
        if self.questions.gives_way(lease):
            self.origin.return_lease(lease, "cancelled", 0, "this machine cannot give it to others", now)
            self.questions.give_way(now)
            self.enter(Stage.GIVING_WAY)
        elif not self.origin.has_request:
            why = "nobody watches it at this machine, which only passes it on"
            self.origin.return_lease(lease, "cancelled", 0, why, now)
            self._end(GivenUp())
        else:
            self._begin_fetch(lease, now)

    # ---- following a parent

    @property
    def parent(self) -> str | None:
        """The device that this machine reads from now, or has in reserve while it fetches."""
        return self.parents.current

    def _follow_next(self, now: Instant) -> None:
        if self.parents.request_next(self.assembly.next_piece(), now):
            self._follow(now)
        else:
            self._ask("parent lost", now)

    def _follow(self, now: Instant) -> None:
        self.enter(Stage.FOLLOWING)
        here = self.assembly.available_bytes
        if self.parent == self.parents.left_as_slow:
            self.timeouts.parent_kept(here, self._lookout.usual_first_byte_s(), now)
        else:
            self.timeouts.parent_chosen(here, now)

    def _follow_reserve(self, now: Instant) -> None:
        """Go on from the neighbour that was taken in reserve."""
        self.questions.tries += 1
        self.why = self._reserve_why
        self._follow(now)

    def parent_lost(self, now: Instant) -> None:
        """The parent's link ended, it refused, or it broke the rules."""
        self.parents.parent_failed()
        if self._stage is Stage.FOLLOWING:
            self._follow_next(now)
        else:  # it was in reserve
            self.parents.request_next(self.assembly.next_piece(), now)

    def peer_said(self, message: peer.Transfer, now: Instant) -> None:
        """The parent, or the neighbour in reserve, sent something.

        Raises:
            PeerMisbehaved: it broke the protocol or sent wrong bytes.
        """
        self.parents.parent_spoke()
        match message:
            case peer.Noted():
                pass
            case peer.Awaiting():
                if self._stage is Stage.FOLLOWING:  # of one in reserve it says nothing new: the own fetch waits too
                    self.timeouts.source_awaits(now)
            case _:
                if self._listens_to(message, now):
                    self._take(message, now)

    def _listens_to(self, message: ParentsAnswer, now: Instant) -> bool:
        """Whether what the neighbour sends is taken; one in reserve takes the place of an own fetch that is behind."""
        fetches = self._stage is Stage.FETCHING and not self.origin.is_conditional
        if fetches and isinstance(message, ParentsBytes):
            if not self.parents.leads(message, self.assembly):
                return False
            self.origin.end(self.assembly, "cancelled", 0, "a neighbour had it before the origin began", now)
            self._follow_reserve(now)
        if self._stage is Stage.FOLLOWING:  # a refusal by the one in reserve says nothing of the origin
            self.timeouts.source_spoke(now)
        return True

    def _take(self, message: ParentsAnswer, now: Instant) -> None:
        """What the neighbour sends goes into the assembly, and from there to those who wait, if the gate is open."""
        try:
            if isinstance(message, peer.Vouched) and self.delivery.is_other_version(message.voucher):
                raise Contradiction("the neighbour has another version of this segment")
            is_going_on = self.parents.take_message(message, self.assembly, now)
        except Contradiction as error:
            self._neighbour_differs(error.why, now)
            return
        if not is_going_on:
            self.parent_lost(now)
            return
        if isinstance(message, peer.Vouched | peer.Part):
            self._look_at_copy(now)
        if self.assembly.complete and not self.delivery.is_open and isinstance(message, peer.End):
            self.parents.parent_gave_all()
        if isinstance(message, peer.Piece | peer.Part):
            self.timeouts.body_began(now)
            self.timeouts.parent_was_good()
        self._deliver(now)

    def _neighbour_differs(self, why: str, now: Instant) -> None:
        """The neighbour has another version than the one that is here; before the gate opened nobody has had a byte."""
        if self.delivery.is_open:
            self._contradicted(why, now)
        elif self._stage is Stage.FOLLOWING:
            self.delivery.begin_anew()
            self.parents.request_all_again(now)
        else:  # the origin is being asked about the copy that is here
            self.parents.cancel_parent()

    # ---- may the copy be used?

    def _look_at_copy(self, now: Instant) -> None:
        """The neighbour has said what it gives and how old that is: viewers may have it, or the origin is asked."""
        delivery = self.delivery
        if delivery.is_open or self._stage is not Stage.FOLLOWING or delivery.assembly.head is None:
            return
        if not delivery.pass_unselected(now):
            self.child_left(now)
            return
        step, why = delivery.judge(now)
        match step:
            case GateStep.USE:
                pass
            case GateStep.ASK_HOME:
                self._ask("first", now)
            case GateStep.ASK_ORIGIN:
                self.why = why
                self._begin_fetch(FetchLease(None, 0, hedge=True), now)
            case GateStep.DROP:
                self.parents.cancel_parent()
                self.delivery.begin_anew()
                self._ask("first", now)

    def _confirmed(self, now: Instant) -> None:
        """The origin answered 304: the copy that is here, or is coming from the neighbour in reserve, may be used."""
        delivery = self.delivery
        self.why = f"{self.why}; the origin confirmed the copy (304)"
        delivery.open(now, asked_for=self.origin.speaks_for)
        if not delivery.is_needed():
            self._cancel(now)
            return
        if delivery.assembly.complete:
            self._deliver(now)
        elif self.parent is not None:
            self.origin.end(self.assembly, "complete", 304, "", now)
            self._follow(now)
            self._deliver(now)
        else:
            self.origin.end(self.assembly, "cancelled", 0, "the neighbour whose copy was confirmed is gone", now)
            self._ask("parent lost", now)

    # ---- fetching from the origin

    @property
    def fetching(self) -> bool:
        """Whether this machine fetches the segment from the origin."""
        return self._stage is Stage.FETCHING

    def _begin_fetch(self, lease: FetchLease, now: Instant) -> None:
        delivery = self.delivery
        asks_to_confirm = delivery.asks_to_confirm()
        if not asks_to_confirm:
            self.parents.cancel_parent()
        self.enter(Stage.FETCHING)
        self.timeouts.fetch_begun(now)
        if (viewer := delivery.viewers.whose_page_is_asked_for(delivery.assembly.head)) is not None:
            self.origin.borrow_request(viewer.number, viewer.origin, viewer.listed_at)
        assert delivery.wanted is not None, "the origin is asked for a viewer only"
        resource_range = delivery.wanted.resource_range
        self.origin.begin(lease, resource_range, delivery.assembly, now, is_conditional=asks_to_confirm)

    def _fetch_regardless(self, why: str, now: Instant) -> None:
        """All waiting for others ends; a segment that nobody watches here is given up."""
        self.timeouts.gave_up(now)
        self.questions.drop()
        if not self.origin.has_request:
            self._cancel(now)
            return
        self.why = why
        self._context.ledger.lease_shadowed(self.key, self.stream, self._context.me.device, 0, now)
        self._begin_fetch(FetchLease(None, 0, hedge=True), now)

    def reconsider(self, now: Instant) -> None:
        """Neighbours became known; a fetch for want of them, of which nothing has come yet, is given up for them."""
        lease = self.origin.lease
        if lease is None or not lease.lone or self.assembly.head is not None or self.delivery.children:
            return
        self.parents.cancel_parent()
        self.origin.end(self.assembly, "cancelled", 0, "neighbours became known", now)
        self.origin.take_back_try()
        self._ask("first", now)

    def origin_answered(self, event: OriginAnswered, now: Instant) -> None:
        """Response headers of the fetch arrived."""
        delivery = self.delivery
        if event.status in (200, 206, 304) and delivery.wanted is not None:
            self._context.proofs.learn(self.stream, delivery.wanted.rendition, self.origin.page, event.headers, now)
        if self.origin.is_conditional:
            if self.origin.confirm(event, self.assembly, now):
                self._confirmed(now)
                return
            delivery.begin_anew()
        self.parents.cancel_parent()
        refused = self.origin.take_answer(event, self.assembly, now)
        self.timeouts.source_spoke(now)
        self.timeouts.origin_reached()
        match refused:
            case None:
                delivery.open(now, asked_for=self.origin.speaks_for)
                if (by_rule := self.origin.by_rule) and by_rule not in self.why:
                    self.why = f"{self.why}; {by_rule}"
                self._deliver(now)
            case OtherVersion(why) if delivery.was_given():
                self._contradicted(why, now)
            case OtherVersion(why):
                self.origin.end(self.assembly, "failed", 0, why, now)
                delivery.begin_version()
                self._ask("first", now)
            case FetchBroke(status, why):
                self._fetch_failed(why, status, now)
            case NotForOthers():
                self._pass_to_owner(refused, now)

    def _pass_to_owner(self, answer: NotForOthers, now: Instant) -> None:
        """The answer goes to the viewer whose request it was, the others go their own way."""
        fetch = self.origin.let_go()
        assert fetch is not None, "the answer is that of the fetch under way"
        self.origin.end(self.assembly, answer.outcome, answer.status, answer.why, now)
        self.delivery.hand_over(self.origin.for_viewer, fetch, answer.why, now)
        private_s = self._context.limits.private_s if answer.lasting else 0.0
        self._release(answer.why, answer.status if answer.status in (404, 410) else 0, now, private_s=private_s)

    def origin_sent(self, data: bytes, now: Instant) -> None:
        """Body bytes of the fetch arrived."""
        self.parents.cancel_parent()
        self.timeouts.body_began(now)
        try:
            self.origin.take_body(data, self.assembly, now)
        except Contradiction as error:
            self._contradicted(error.why, now)
            return
        self._deliver(now, data)

    def origin_ended(self, now: Instant) -> None:
        """The body ended as its headers had announced."""
        try:
            self.origin.end_body(self.assembly, now)
        except Contradiction as error:
            self._contradicted(error.why, now)
            return
        self._deliver(now)

    def origin_failed(self, why: str, now: Instant) -> None:
        """The connection of the fetch broke."""
        self.origin.let_go()
        self._fetch_failed(why, 0, now)

    def _fetch_failed(self, why: str, status: int, now: Instant) -> None:
        """Go on without this fetch; `status` if the origin said itself that it failed."""
        self.origin.end(self.assembly, "failed", status, why, now)
        if self.origin.is_conditional:  # the reserve's copy stays behind the gate
            self.parents.cancel_parent()
        if self.parent is not None:
            self._follow_reserve(now)
        elif self.origin.may_try_again():
            self._ask("first", now)
        else:
            self._release(why, 0, now)

    # ---- delivering

    def _deliver(self, now: Instant, came: bytes = b"") -> None:
        """Give every viewer what is here, of which the origin has just sent `came`; end when that is all."""
        delivery, assembly = self.delivery, self.assembly
        if not delivery.may_begin():
            return
        self.timeouts.grows, self.timeouts.resumes = assembly.total_bytes is None, assembly.resumable
        self.timeouts.bytes_arrived(assembly.available_bytes, now)
        delivery.deliver(self.parents.source(), self.why, came)
        if assembly.complete and self.origin.number is None:
            stored = delivery.finish(self.why, now, tries=self.questions.tries)
            self.parents.parent_gave_all()
            if assembly.disputed:
                self._end(Unshareable(assembly.disputed, self._context.limits.private_s))
                return
            self.origin.end(self.assembly, "complete", 200, "", now)
            self._end(Arrived(stored, from_disk=False, fetched=self.origin.was_asked))

    def _release(self, why: str, status: int, now: Instant, *, private_s: float = 0.0) -> None:
        """Everybody for himself, as in `Viewers.release`; the rendition is not shared for the next `private_s`."""
        self.delivery.viewers.release(why, status, now)
        self._end(Unshareable(why, private_s) if private_s else GivenUp())

    def _contradicted(self, why: str, now: Instant) -> None:
        """Honest sources differ: keep what viewers have from being mixed with anything else.

        What a neighbour said of the segment counts no more. An own fetch that brings what viewers have had goes on.
        """
        self.parents.cancel_parent()
        if self._stage is Stage.FOLLOWING and self.origin.has_request and not self.assembly.disputed:
            self.assembly.dispute(why)
            self._fetch_regardless(why, now)
            return
        self.origin.end(self.assembly, "private", 0, why, now)
        self._release(why, 0, now, private_s=self._context.limits.private_s)

    # ---- time

    def wake_at(self) -> Instant | None:
        """When `wake` has something to do."""
        return self._lookout.wake_at(self._stage)

    def wake(self, now: Instant) -> None:
        """Do what has become due."""
        for due in self._lookout.due(self._stage, now):
            match due:
                case Due.SIGN:
                    self.assembly.sign_due(now)
                case Due.SAY_SO:
                    self.timeouts.say_so(now)
                    self.origin.report_waiting(self.assembly.available_bytes, now)
                case Due.GIVE_UP:
                    self._fetch_regardless(f"nothing came from neighbours for {self.timeouts.give_up_s:.0f} s", now)
                case Due.HOME_SILENT:
                    self._lease_answered(self.questions.wake(now), now)
                case Due.ASK_AGAIN:
                    self._ask("first", now)
                case Due.ORIGIN_SILENT:
                    self.questions.drop()
                    self.origin.fell_silent(self.timeouts)
                    self._fetch_failed("the origin fell silent", 0, now)
                case Due.LOOK_AROUND:
                    self.timeouts.looked_around(now)
                    self._lease_answered(self.questions.ask_for_reserve(now), now)
                case Due.PARENT_UNLINKED:
                    self.parents.missed()
                    self.parent_lost(now)
                case Due.PARENT_LATE:
                    self._leave_parent("parent slow", now)
                case Due.PARENT_TOO_LATE:
                    self._leave_parent("hedge", now)
                case Due.PARENT_SILENT:
                    self.timeouts.parent_was_silent()
                    if self.parents.is_mute():
                        self.parents.missed()
                    self._leave_parent("parent slow", now)

    def _leave_parent(self, reason: Reason, now: Instant) -> None:
        self.parents.leave_slow_parent(self.assembly.next_piece(), now)
        self._ask(reason, now, self.parents.left_as_slow)
