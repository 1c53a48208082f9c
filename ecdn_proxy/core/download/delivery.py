"""What is here of one segment, who waits for it on this machine, and whether they may have it yet.

    give_kept(), hold()             the copy that was kept here: to everybody at once, or behind the gate
    join()                          a viewer waits
    pass_unselected(), judge()      a neighbour has said what it gives and how old that is: may it be used?
    open(), close()                 the origin has answered; agents judged for themselves until a viewer came
    deliver(), finish()             to every viewer what is here, if the gate is open; all of it is here
    hand_over()                     to one viewer the origin's own answer
    begin_anew(), begin_version()   what is here is void
    is_needed(), was_given()        of viewers, and of agents that read from here

It joins `Assembly` (the bytes), `Viewers` and `Gate`: no byte goes to anybody but through here. Where bytes come from,
and what is done when the gate stays shut, is `Download`'s.
"""

from ecdn_proxy.core.download.assembly import Assembly
from ecdn_proxy.core.download.cache import age_of
from ecdn_proxy.core.download.gate import Gate, GateStep
from ecdn_proxy.core.download.viewers import Viewers
from ecdn_proxy.core.events import AbortOrigin, Wanted
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.values import Source, StoredSegment
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.integrity import Voucher


class Delivery:
    """One segment's bytes on this machine, and those who are given them."""

    def __init__(self, context: NodeContext, key: str, stream: str) -> None:
        self._context = context
        self._key = key
        self._stream = stream
        self._gate = Gate(context.proofs, stream)
        self.assembly = Assembly(key, context.seal)
        self.viewers = Viewers(context.out, key, stream)
        self.wanted: Wanted | None = None
        """The first viewer's request; without any, the segment is read for others only."""
        self.children = 0
        """Agents that read this segment from here; counted by the node."""
        self.begun_anew = False
        """What was here is void, so that children begin anew as well; taken back by `Downloads`."""

    # ---- for whom

    def join(self, wanted: Wanted, slack_s: float, now: Instant, changed_at: Instant | None = None) -> None:
        """A viewer waits; its answer is needed in `slack_s` seconds. `changed_at` is as in `Viewers.join`."""
        if self.wanted is None:
            self.wanted = wanted
        self.viewers.join(wanted, slack_s, now, changed_at)

    def is_needed(self) -> bool:
        """Whether anybody waits for the segment: a viewer here, or an agent that reads it from here."""
        return bool(self.viewers or self.children)

    def was_given(self) -> bool:
        """Whether anybody may have had a byte of what is here."""
        return bool(self.viewers.any_sent() or self.children)

    # ---- what was kept here

    def give_kept(self, stored: StoredSegment, why: str, now: Instant) -> bool:
        """Give everybody the copy that was kept here; False when a viewer may not have it: the gate is before it."""
        if self.viewers.objection(stored.head, age_of(stored), now) is not None:
            self.hold(stored)
            return False
        self.viewers.give_stored(stored, why, now)
        return True

    def hold(self, stored: StoredSegment) -> None:
        """A copy that was kept here may not be used as it is."""
        self._gate.hold(stored, self.assembly)

    # ---- may it be used?

    @property
    def is_open(self) -> bool:
        """Whether viewers and children may have what is here."""
        return self._gate.is_open

    @property
    def stale(self) -> tuple[str, Instant] | None:
        """The newest copy that was met and may not be used as it is, as in `Gate.stale`."""
        return self._gate.stale

    def asks_to_confirm(self) -> bool:
        """Whether a fetch that begins now asks the origin about the copy that is here, and not for the segment."""
        return self._gate.asks_to_confirm(self.assembly)

    def is_other_version(self, voucher: Voucher) -> bool:
        """Whether a neighbour gives another version than the one that stands behind the gate."""
        return self._gate.is_other_version(voucher, self.assembly)

    def pass_unselected(self, now: Instant) -> bool:
        """Let those go whose requests have a field by which the answer varies; False when no viewer is left by it."""
        assert self.assembly.head is not None, "a copy is judged by its head"
        waited = bool(self.viewers)
        self.viewers.pass_unselected(self.assembly.head, now)
        return bool(self.viewers) or not waited

    def judge(self, now: Instant) -> tuple[GateStep, str]:
        """What is to be done about the copy of which a neighbour has just said how old it is, and why."""
        rendition = "" if self.wanted is None else self.wanted.rendition
        return self._gate.judge(self.assembly, self.viewers, rendition, now)

    def open(self, now: Instant, *, asked_for: int) -> None:
        """The origin has answered `asked_for`'s request, or confirmed the copy: all may have it for whom it is fit."""
        self._gate.open()
        self.pass_unfit(now, asked_for=asked_for)

    def close(self) -> None:
        """A viewer has come, who cannot judge a copy's age as agents do."""
        self._gate.close()

    def pass_unfit(self, now: Instant, *, asked_for: int = 0) -> None:
        """Let those viewers go for whom what they may have is no answer, as in `Viewers.pass_unfit`."""
        if self.is_open and self.assembly.head is not None:
            self.viewers.pass_unfit(self.assembly.head, now, asked_for=asked_for)

    # ---- what is here is void

    def begin_anew(self) -> None:
        """Nobody here has had a byte of what is here, and it is void; children begin anew as well."""
        self.begin_version()
        self._gate.holds_kept_copy = False
        self.begun_anew = True

    def begin_version(self) -> None:
        """What is here is void: another version takes its place."""
        self.assembly = Assembly(self._key, self._context.seal)

    # ---- to everybody what is here

    def may_begin(self) -> bool:
        """Whether viewers can be told what is here."""
        return self.assembly.head is not None and self.is_open

    def deliver(self, source: Source | None, why: str, came: bytes = b"") -> None:
        """Give every viewer what is here and it has not had yet, as in `Viewers.deliver`; `source`: of a parent."""
        assembly = self.assembly
        kept_or_fetched: Source = "cache" if self._gate.holds_kept_copy else "origin"
        self.viewers.deliver(assembly, source or kept_or_fetched, why, came)
        assembly.announced = assembly.announced or self.viewers.any_answered()

    def finish(self, why: str, now: Instant, *, tries: int) -> StoredSegment:
        """All of it is here, and everybody has had everything; what is kept of it.

        Args:
            why: how its source was chosen.
            now: the time.
            tries: how often a source was looked for; more than once: one was given up on the way, and nobody noticed.
        """
        self.viewers.replaced = tries - self._gate.home_asks > 1
        stored = self.assembly.stored(self._stream, self._context.utc(now), now)
        self.viewers.finish(why, now)
        return stored

    def hand_over(self, viewer: int, fetch: int, why: str, now: Instant) -> None:
        """The origin's answer is for nobody but the viewer whose request it was; without that one nobody wants it."""
        if not self.viewers.hand_over(viewer, fetch, why, now):
            self._context.out.append(AbortOrigin(fetch))
