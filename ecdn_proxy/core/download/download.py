"""One segment on its way to this machine: for its viewers, and for the agents that read from it.

    LOADING → JOINING → ASKING → FOLLOWING ⇄ ASKING → … → ended
                             └→ FETCHING ──────────────↗   (silent: a neighbour in reserve → FOLLOWING)

    want(), viewer_left()                viewers come and go; nobody's leaving cancels what others wait for
    found()                              the ledger's answer: fetch, follow, or everybody for himself
    peer_said()                          bytes, checked and delivered in order as they come; the origin's: `atorigin`
    wake()                               silence, soft and hard deadline (`core.patience`), a batch to be signed

`fetching` is the own way to the origin, `parents` whom it is read from, `delivery` what is here and who waits for it.

Every way to the origin leads through the ledger, also the fallback; what was received stays, only what is missing is
asked for again.
"""

from collections.abc import Callable

from ecdn_proxy.core.download.assembly import Contradiction
from ecdn_proxy.core.download.lease_request import LeaseRequest, Reason
from ecdn_proxy.core.download.origin_part import OriginPart
from ecdn_proxy.core.download.outcome import Stage
from ecdn_proxy.core.events import Wanted
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.swarm.decisions import FollowParents, LeaseDecision, LeaseGranted, ViewersGoAlone
from ecdn_proxy.core.values import Source
from ecdn_proxy.sansio.machine import Instant, earliest
from ecdn_proxy.wire.integrity import Voucher
from ecdn_proxy.wire.peer import End, Noted, Piece, Refused, Vouched

REASKS_MAX = 12
"""A key that has been asked about this often is not to be had by sharing: this machine fetches it."""


class Download(OriginPart):
    """See the head of this file."""

    def __init__(
        self, context: NodeContext, key: str, stream: str, now: Instant, is_unsettled: Callable[[str, Instant], bool]
    ) -> None:
        super().__init__(context, key, stream, now)
        self._is_unsettled = is_unsettled
        self._lease_request: LeaseRequest | None = None
        self._reserve_why = ""
        self._give_way_until: Instant = 0.0
        self._asks = 0

    # ---- viewers

    @property
    def parent(self) -> str | None:
        """Whom this machine reads from now."""
        return self._parents.current

    def want(self, wanted: Wanted, slack_s: float, now: Instant) -> None:
        """A viewer waits for this segment."""
        if self.wanted is None:
            self.wanted, self._fetch_for, self._origin = wanted, wanted.viewer, wanted.origin
        self.viewers.join(wanted, slack_s, now)
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
        self._parents.drop()
        self._end_fetch("cancelled", 0, "its viewer left", now)
        self.stage = Stage.ENDED

    def reconsider(self, now: Instant) -> None:
        """Neighbours became known while this machine fetches by its own word alone and nothing has come yet."""
        lease = self._origin_fetch.lease
        if lease is None or not lease.lone or self.assembly.head is not None or self.children:
            return
        self._end_fetch("cancelled", 0, "neighbours became known", now)
        self._origin_fetch.tries -= 1
        self.ask("first", now)

    # ---- the ledger's answer

    def errand(self, home: str, now: Instant) -> None:
        """Nobody here watches it: ask the home that sent somebody here whom to read it from."""
        self._asks += 1
        self.stage = Stage.ASKING
        self._request_lease("first", now, at=home, unsettled=False)

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
        # of a recording the ledgers know only what was watched lately: whoever has the rest is asked for it
        unsettled = not self._is_live() or self._is_unsettled(self.stream, now)
        self._request_lease(reason, now, rather_not, unsettled=unsettled)

    def _is_live(self) -> bool:
        return self.wanted is None or self.wanted.live

    def _request_lease(
        self, reason: Reason, now: Instant, rather_not: str | None = None, *, at: str | None = None, unsettled: bool
    ) -> None:
        avoid, have = self._parents.avoided(rather_not), self.assembly.next_piece()
        self._lease_request = LeaseRequest(
            self._context, self.key, self.stream, reason=reason, avoid=avoid, have=have, unsettled=unsettled
        )
        self.found(self._lease_request.begin(now, at), now)

    def lease_request(self) -> LeaseRequest | None:
        """The open question, if any."""
        return self._lease_request

    def found(self, found: LeaseDecision | None, now: Instant) -> None:
        """What came of the question; None while it is open."""
        if found is None:
            return
        self._lease_request = None
        if self.stage is Stage.FETCHING and not self._is_relieved(found, now):
            return
        self.why = found.why
        match found:
            case LeaseGranted() if self._gives_way(found):
                self._origin_fetch.lease = found
                self._end_fetch("cancelled", 0, "this machine cannot give it to others", now)
                self._give_way_until = now + self._context.limits.give_way_s
                self.stage = Stage.GIVING_WAY
            case LeaseGranted() if self._origin is None:
                self._origin_fetch.lease = found
                self._end_fetch("cancelled", 0, "nobody watches it at this machine, which only passes it on", now)
                self.stage = Stage.ENDED
            case LeaseGranted():
                self._begin_fetch(found, now)
            case FollowParents():
                self._parents.named(found.parents, found.home)
                self._follow_next(now)
            case ViewersGoAlone(why, for_s, status):
                if not status and for_s > self._context.limits.gone_s:
                    self._keep_private(why, for_s)
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
            self._timeouts.staying(here, self._usual_first_byte_s(), now)
        else:
            self._timeouts.following(here, now)

    def _usual_first_byte_s(self) -> float:
        return self._context.ledger.usual_first_byte_s(self.stream)

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

    def peer_said(self, message: Noted | Vouched | Piece | End | Refused, now: Instant) -> None:
        """The parent sent something.

        Raises:
            PeerMisbehaved: it broke the protocol or sent wrong bytes.
        """
        self._parents.alive()
        if isinstance(message, Noted):
            return
        if self.stage is Stage.FETCHING and isinstance(message, Vouched) and not self._leads(message.voucher):
            return
        if self.stage is Stage.FETCHING and isinstance(message, Vouched | Piece):
            self._end_fetch("cancelled", 0, "a neighbour had it before the origin began", now)
            self._follow_reserve(now)
        if self.stage is Stage.FOLLOWING:  # a reserve's refusal says nothing of the origin
            self._timeouts.heard(now)
        self._parents.answered(now)
        match message:
            case Vouched(voucher=voucher, origin_kbps=kbps):
                self.assembly.origin_kbps = kbps
                try:
                    self.assembly.take_voucher(voucher)
                except Contradiction as error:
                    self._contradicted(error.why, now)
                    return
            case Piece(index=index, data=data):
                self._timeouts.began(now)
                try:
                    self.assembly.take_piece(index, data)
                except Contradiction as error:
                    self._contradicted(error.why, now)
                    return
                self._timeouts.steadied()
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

    def _leads(self, voucher: Voucher) -> bool:
        """Whether a neighbour has or gets more than is here: hashes of what it had from this machine say nothing."""
        return voucher.first + voucher.count > self.assembly.next_piece()

    # ---- fetching

    def _begin_fetch(self, lease: LeaseGranted, now: Instant) -> None:
        self._parents.drop()
        self.fetched = True
        self.stage = Stage.FETCHING
        self._timeouts.fetching(now)
        if (viewer := self.viewers.longest_waiting()) is not None:
            self._fetch_for, self._origin = viewer.number, viewer.origin
        assert self.wanted is not None, "only with a viewer's own request"
        assert self._origin is not None
        self._origin_fetch.begin(lease, self._origin, self.wanted.resource_range, self.assembly, now)

    def _look_around(self, now: Instant) -> None:
        """The own fetch says nothing: whoever has the segment, or gets it, is taken in reserve."""
        self._timeouts.looked(now)
        self._request_lease("parent slow", now, unsettled=False)

    def _gives_way(self, lease: LeaseGranted) -> bool:
        """Whether somebody else had better fetch it: this machine's copy would be of use to nobody but itself."""
        serves = self._context.membership.serves or not self._context.sharing
        return not serves and self._is_live() and self._asks == 1 and not lease.lone and not lease.hedge

    def _is_relieved(self, found: LeaseDecision, now: Instant) -> bool:
        """What a silent fetch's question led to; True when the answer takes the fetch's place at once.

        A neighbour is only taken in reserve: the origin may be slow for all, and then whoever asked first has it first.
        """
        match found:
            case FollowParents() if self._quiet_from() <= now:
                self._parents.named(found.parents, found.home)
                self._reserve_why = found.why
                self._request_next(now)
            case LeaseGranted() if self._origin_fetch.lease is not None and not self._origin_fetch.lease.lease:
                self._origin_fetch.lease = found
            case ViewersGoAlone(why, for_s) if for_s:
                self._end_fetch("cancelled", 0, why, now)
                return True
        return False

    def _follow_reserve(self, now: Instant) -> None:
        self._asks += 1
        self.why = self._reserve_why
        self._follow(now)

    # ---- delivering

    def _deliver(self, now: Instant, came: bytes = b"") -> None:
        """Give every viewer what is here and it has not had yet."""
        if self.ended or self.assembly.head is None:
            return
        self._timeouts.moved(self.assembly.available_bytes, now)
        self._hand_out(self._source(), came)
        if self.assembly.complete and self._origin_fetch.number is None:
            self.viewers.replaced = self._asks > 1
            self._finish(now)
            self._parents.done()
            self._end_fetch("complete", 200, "", now)

    def _source(self) -> Source:
        if self.parent is not None and (link := self._context.links.get(self.parent)) is not None:
            return link.kind
        return "origin"

    # ---- time

    def wake_at(self) -> Instant | None:
        """When `wake` has something to do."""
        times = [self.assembly.sign_due_at(self._context.limits.batch_wait_s)]
        if self.stage is Stage.FETCHING:
            times += [self._timeouts.origin_silent_at(), self._looks_at()]
        else:
            times.append(self._timeouts.give_up_at())
        if self._lease_request is not None:
            times.append(self._lease_request.due_at)
        if self.stage is Stage.GIVING_WAY:
            times.append(self._give_way_until)
        if self.stage is Stage.FOLLOWING:
            times += [self._parent_silent_at(), self._timeouts.due_at(self.viewers.deadline), self._link_due_at()]
        return earliest(times)

    def wake(self, now: Instant) -> None:
        """Do what has become due."""
        timeouts = self._timeouts
        if (sign_at := self.assembly.sign_due_at(self._context.limits.batch_wait_s)) is not None and sign_at <= now:
            self.assembly.sign_now()
        if self.stage is Stage.FETCHING:
            self._look_at_origin(now)
        elif timeouts.give_up_at() <= now:
            self._fetch_regardless(f"nothing came from neighbours for {timeouts.give_up_s:.0f} s", now)
        elif self._lease_request is not None:
            self.found(self._lease_request.wake(now), now)
        elif self.stage is Stage.GIVING_WAY and self._give_way_until <= now:
            self.ask("first", now)
        elif self.stage is Stage.FOLLOWING:
            self._look_at_parent(now)

    def _look_at_origin(self, now: Instant) -> None:
        if self._timeouts.origin_silent_at() <= now:
            self._lease_request = None
            self._origin_fell_silent(now)
        elif self._lease_request is not None:
            self.found(self._lease_request.wake(now), now)
        elif (at := self._looks_at()) is not None and at <= now:
            self._look_around(now)

    def _looks_at(self) -> Instant | None:
        """When the own fetch has been silent for so long that a neighbour is looked for; None with one in reserve."""
        if self.parent is not None or self._lease_request is not None:
            return None
        return self._timeouts.look_again_at(self._quiet_from())

    def _quiet_from(self) -> Instant:
        soft = self.viewers.deadline(self._context.limits.soft_share)
        return self._timeouts.quiet_from(self._usual_first_byte_s(), soft)

    def _look_at_parent(self, now: Instant) -> None:
        deadline, assembly = self.viewers.deadline, self.assembly
        if self.parent is not None and (link_due_at := self._link_due_at()) is not None and link_due_at <= now:
            self._context.missed(self.parent)
            self.parent_lost(now)
            return
        due = self._timeouts.due(deadline, now)
        if due is not None and self._timeouts.late(deadline, assembly.available_bytes, assembly.total_bytes, now):
            self._switch("hedge" if due == "hard" else "parent slow", now)
        elif self._parent_silent_at() <= now:
            self._timeouts.parent_was_silent()
            if self.parent is not None and self._parents.is_mute():
                self._context.missed(self.parent)
            self._switch("parent slow", now)

    def _link_due_at(self) -> Instant | None:
        """When the link to the parent must have opened."""
        return None if self.parent is None or self.parent in self._context.links else self._timeouts.link_due_at()

    def _parent_silent_at(self) -> Instant:
        return self._timeouts.silent_at(self._usual_first_byte_s())

    def _switch(self, reason: Reason, now: Instant) -> None:
        self._parents.leave(self.assembly.next_piece(), now)
        self.ask(reason, now, self._parents.left)

    def _fetch_regardless(self, why: str, now: Instant) -> None:
        self._timeouts.restarted(now)
        self._lease_request = None
        if self._origin is None:
            self._cancel(now)
            return
        self.why = why
        self._context.ledger.lease_shadowed(self.key, self.stream, self._context.me.device, 0, now)
        self._begin_fetch(LeaseGranted(None, 0, hedge=True, why=self.why), now)
