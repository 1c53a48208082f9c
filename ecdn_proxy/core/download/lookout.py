"""What has become due for one download, and when something will be: every clock that it waits by, in their order.

    Due          what can become due
    wake_at()    when the first of it will be
    due()        what is due now

How long each source is waited for is reckoned by `Timeouts`; here it is decided which of its clocks count while the
download stands in a stage, and which of two that have run out comes first. What is done about it is `Download`'s.
"""

from collections.abc import Iterator
from enum import Enum

from ecdn_proxy.core.download.delivery import Delivery
from ecdn_proxy.core.download.origin_fetch import OriginFetch
from ecdn_proxy.core.download.parents import Parents
from ecdn_proxy.core.download.questions import Questions
from ecdn_proxy.core.download.stages import Stage
from ecdn_proxy.core.download.timeouts import Timeouts
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.sansio.machine import Instant, earliest


class Due(Enum):
    """What has become due."""

    SIGN = "hashes, or a part of a piece, wait to be signed"
    SAY_SO = "the own fetch rightly waits for the origin, and others are to hear of it"
    GIVE_UP = "nothing came from neighbours for seconds"
    ORIGIN_SILENT = "the own fetch has been silent for too long"
    HOME_SILENT = "nobody who was asked has answered in time"
    LOOK_AROUND = "the own fetch says nothing: whoever has the segment, or gets it, is taken in reserve"
    ASK_AGAIN = "others had their chance to fetch it"
    PARENT_UNLINKED = "no link to the parent has come about"
    PARENT_LATE = "by the viewers' soft deadline: the rest comes after it is needed"
    PARENT_TOO_LATE = "by the viewers' hard deadline: the rest comes after it is needed"
    PARENT_SILENT = "the parent has been silent for too long"


Clocks = Iterator[tuple[Due, Instant | None]]
_BESIDE_OTHERS = frozenset({Due.SIGN, Due.SAY_SO})
"""After these the download stands where it stood: whatever else is due is done as well."""


class Lookout:
    """Watches the clocks of one download."""

    def __init__(
        self,
        context: NodeContext,
        stream: str,
        timeouts: Timeouts,
        delivery: Delivery,
        parents: Parents,
        origin: OriginFetch,
        questions: Questions,
    ) -> None:
        self._context = context
        self._stream = stream
        self._timeouts = timeouts
        self._delivery = delivery
        self._parents = parents
        self._origin = origin
        self._questions = questions

    def wake_at(self, stage: Stage) -> Instant | None:
        """When something becomes due for a download that stands in this stage."""
        return earliest([at for _, at in self._clocks(stage)])

    def due(self, stage: Stage, now: Instant) -> Iterator[Due]:
        """What is due for a download that stands in this stage, one after the other.

        Each is to be done before the next is asked for: its clock may go by what was done. The viewers' deadlines are
        told once each.
        """
        for due, at in self._clocks(stage):
            if at is None or at > now:
                continue
            found = self._late_by_deadline(now) if due is Due.PARENT_LATE else due
            if found is not None:
                yield found
                if found not in _BESIDE_OTHERS:
                    return

    def _clocks(self, stage: Stage) -> Clocks:
        """Every clock that counts in this stage, and when it runs out: of those that have, the first comes first."""
        yield Due.SIGN, self._delivery.assembly.sign_due_at(self._context.limits.batch_wait_s)
        if stage is Stage.FETCHING:
            yield Due.SAY_SO, self._timeouts.say_so_at()
            yield Due.ORIGIN_SILENT, self._timeouts.origin_silent_at()
        else:
            yield Due.GIVE_UP, self._timeouts.give_up_at()
        yield Due.HOME_SILENT, self._questions.due_at
        match stage:
            case Stage.FETCHING:
                yield Due.LOOK_AROUND, self._look_around_at()
            case Stage.GIVING_WAY:
                yield Due.ASK_AGAIN, self._questions.give_way_until
            case Stage.FOLLOWING:
                yield Due.PARENT_UNLINKED, None if self._parents.is_linked() else self._timeouts.link_due_at()
                yield Due.PARENT_LATE, self._timeouts.deadline_at(self._delivery.viewers.deadline)
                yield Due.PARENT_SILENT, self._timeouts.parent_silent_at(self.usual_first_byte_s())
            case _:
                pass

    # ---- the own fetch

    def _look_around_at(self) -> Instant | None:
        """When the own fetch has been silent for so long that a neighbour is looked for; None with one in reserve."""
        if self._parents.current is not None or self._questions.is_open or self._origin.is_conditional:
            return None
        return self._timeouts.look_around_at(self._fetch_quiet_from())

    def fetch_is_quiet(self, now: Instant) -> bool:
        """Whether the own fetch has been silent for so long that a neighbour may have the segment sooner."""
        return self._fetch_quiet_from() <= now

    def _fetch_quiet_from(self) -> Instant:
        soft = self._delivery.viewers.deadline(self._context.limits.soft_share)
        return self._timeouts.fetch_quiet_from(self.usual_first_byte_s(), soft)

    def usual_first_byte_s(self) -> float:
        """How long the origin usually takes for a segment's first byte, in seconds."""
        return self._context.ledger.usual_first_byte_s(self._stream)

    # ---- the parent

    def _late_by_deadline(self, now: Instant) -> Due | None:
        """A deadline of the viewers has passed; None if the rest will be here when it is needed."""
        deadline, assembly = self._delivery.viewers.deadline, self._delivery.assembly
        passed = self._timeouts.deadline_passed(deadline, now)
        if not self._timeouts.is_late(deadline, assembly.available_bytes, assembly.total_bytes, now):
            return None
        return Due.PARENT_TOO_LATE if passed == "hard" else Due.PARENT_LATE
