"""The questions that one download puts to the ledgers, one at a time: what is said in them, and how many there were.

    ask()                home of the key: fetch, read from a neighbour, or everybody for himself?
    ask_for_errand()     the same at the home that sent a neighbour here
    ask_for_reserve()    the own fetch says nothing: who else has the segment?
    owns(), home_answered(), device_left(), wake()     what comes of the open question; it closes with the decision
    private_s()          for how long nothing of the rendition is shared when viewers go alone
    gives_way()          whether a lease that was granted had better be somebody else's

How one question goes from home to home is `LeaseRequest`'s; what follows from its answer is `Download`'s.
"""

from collections.abc import Callable

from ecdn_proxy.core.download.delivery import Delivery
from ecdn_proxy.core.download.lease_request import HomesAnswer, LeaseRequest, Reason
from ecdn_proxy.core.download.origin_fetch import FetchLease
from ecdn_proxy.core.download.parents import Parents
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.swarm.decisions import LeaseDecision, ViewersGoAlone
from ecdn_proxy.sansio.machine import Instant

REASKS_MAX = 12
"""A key that has been asked about this often is not to be had by sharing: this machine fetches it."""


class Questions:
    """What one download asks of the ledgers."""

    def __init__(
        self,
        context: NodeContext,
        key: str,
        stream: str,
        now: Instant,
        *,
        parents: Parents,
        delivery: Delivery,
        is_unsettled: Callable[[str, Instant], bool],
    ) -> None:
        """Ask nothing yet; `is_unsettled` says whether a stream's committee changed a moment ago."""
        self._context = context
        self._key = key
        self._stream = stream
        self._begun_at = now
        self._parents = parents
        self._delivery = delivery
        self._is_unsettled = is_unsettled
        self.lease_request: LeaseRequest | None = None
        """The open question, if any."""
        self.tries = 0
        """How often a ledger was asked, and a neighbour in reserve taken."""
        self.give_way_until: Instant = 0.0
        """Until then somebody else may fetch it."""

    @property
    def is_open(self) -> bool:
        """Whether an answer is waited for."""
        return self.lease_request is not None

    @property
    def due_at(self) -> Instant | None:
        """When the next home is asked as well; None when nothing is waited for."""
        return None if self.lease_request is None else self.lease_request.due_at

    def were_enough(self) -> bool:
        """Whether no ledger can help."""
        return self.tries > REASKS_MAX

    def drop(self) -> None:
        """The open question needs no answer any more."""
        self.lease_request = None

    # ---- a question is put

    def ask(self, reason: Reason, now: Instant, rather_not: str | None = None) -> LeaseDecision | None:
        """Ask the key's home what to do; `rather_not` as `besides` in `Parents.avoided`."""
        # of a recording a ledger knows only what was watched lately: homes of older lists may know who has the rest
        unsettled = not self._is_live() or self._is_unsettled(self._stream, now)
        return self._put(reason, now, rather_not, unsettled=unsettled)

    def ask_for_errand(self, home: str, now: Instant) -> LeaseDecision | None:
        """Ask the home that sent a neighbour here: it knows whom to read from."""
        return self._put("first", now, at=home, unsettled=False)

    def ask_for_reserve(self, now: Instant) -> LeaseDecision | None:
        """Ask who else has the segment, or gets it, while the own fetch goes on."""
        return self._put("parent slow", now, unsettled=False)

    def _is_live(self) -> bool:
        return self._delivery.wanted is None or self._delivery.wanted.live

    def _put(
        self, reason: Reason, now: Instant, rather_not: str | None = None, *, at: str | None = None, unsettled: bool
    ) -> LeaseDecision | None:
        delivery = self._delivery
        request = self.lease_request = LeaseRequest(
            self._context,
            self._key,
            self._stream,
            reason=reason,
            avoid=self._parents.avoided(rather_not),
            have=delivery.assembly.next_piece(),
            unsettled=unsettled,
            stale=delivery.stale,
            asked_at=delivery.viewers.asked_at(self._begun_at),
        )
        return self._closed_by(request.begin(now, at))

    # ---- what comes of it

    def _closed_by(self, decision: LeaseDecision | None) -> LeaseDecision | None:
        """The question is open until there is a decision."""
        if decision is not None:
            self.lease_request = None
        return decision

    def owns(self, device: str, request: int) -> bool:
        """Whether an answer belongs to the open question."""
        return self.lease_request is not None and self.lease_request.owns(device, request)

    def home_answered(self, device: str, message: HomesAnswer, now: Instant) -> LeaseDecision | None:
        """A home that was asked has answered the open question."""
        assert self.lease_request is not None, "an answer that is owned has a question"
        return self._closed_by(self.lease_request.home_answered(device, message, now))

    def device_left(self, device: str, now: Instant) -> LeaseDecision | None:
        """The link to a device ended or could not be opened."""
        if self.lease_request is None:
            return None
        return self._closed_by(self.lease_request.link_closed(device, now))

    def wake(self, now: Instant) -> LeaseDecision | None:
        """Nobody answered in time."""
        assert self.lease_request is not None, "only an open question becomes due"
        return self._closed_by(self.lease_request.wake(now))

    def private_s(self, answer: ViewersGoAlone) -> float:
        """For how long the segment's rendition is not shared after this answer, in seconds; 0.0: only this segment."""
        wanted = self._delivery.wanted
        # whoever judged the answer may lack a rule that this machine has: then only this key is private
        ruled = wanted is not None and wanted.origin.rule is not None
        lasting = not answer.status and not ruled and answer.for_s > self._context.limits.gone_s
        return answer.for_s if lasting else 0.0

    # ---- giving way

    def gives_way(self, lease: FetchLease) -> bool:
        """Whether somebody else had better fetch it: this machine's copy would be of use to nobody but itself."""
        serves = self._context.membership.serves or not self._context.sharing
        return not serves and self._is_live() and self.tries == 1 and not lease.lone and not lease.hedge

    def give_way(self, now: Instant) -> None:
        """Leave the fetch to others for a while."""
        self.give_way_until = now + self._context.limits.give_way_s
