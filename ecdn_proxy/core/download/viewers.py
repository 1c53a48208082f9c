"""The viewers on this machine that wait for one segment, and what each has had of it.

join(), leave()       a viewer asks, a viewer's connection ends
deliver()             every byte once and in order, to each as far as it is here
give_stored()         everything at once, from this machine's own store
finish()              everybody has had everything
hand_over()           one viewer gets the origin's own answer, as it was given to its own request
objection()           who of them may not have a copy as it is, and why
pass_unfit()          those for whom what is here is no answer go to the origin
release()             everybody for himself: who has had nothing asks the origin, the others see a broken connection
"""

from dataclasses import dataclass, field

from ecdn_proxy.core.download.assembly import Assembly
from ecdn_proxy.core.download.pacing import pace_kbps
from ecdn_proxy.core.events import (
    Abort,
    AnswerStatus,
    BeginAnswer,
    Deliver,
    Effect,
    Finish,
    HandOver,
    PassOn,
    Served,
    Wanted,
)
from ecdn_proxy.core.http.cross_origin import is_proven
from ecdn_proxy.core.http.freshness import CopyAge, Demand, is_selected, objection, page_of
from ecdn_proxy.core.values import OriginRequest, Source, StoredSegment
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.integrity import SegmentHead

_CACHE: Source = "cache"
UNSELECTED = "it is an answer to requests without a field that this one has (Vary)"


@dataclass(slots=True)
class WaitingViewer:
    """One viewer's answer, for which it waits."""

    number: int
    origin: OriginRequest
    asked_at: Instant
    slack_s: float
    demand: Demand
    """What its request asks of a copy."""
    first: bool
    """This viewer caused the download; others on the machine read along."""

    @property
    def listed_at(self) -> int:
        """The place in its rendition at which its manifest lists the segment."""
        return self.demand.number or 0

    answered: bool = False
    """It has been told the head."""
    sent: int = 0
    """Bytes that it has had."""
    by_source: dict[Source, int] = field(default_factory=dict)
    """The same by where they came from."""


def demand_of(wanted: Wanted, changed_at: Instant | None, now: Instant) -> Demand:
    """What a viewer's request asks of a copy, after a request from this machine changed the segment at `changed_at`."""
    headers = wanted.origin.headers
    sent = frozenset(name for name, _ in headers)
    return Demand(now, page_of(headers), wanted.max_age_s, wanted.number, sent, changed_at)


class Viewers:
    """Who waits for one segment."""

    def __init__(self, out: list[Effect], key: str, stream: str) -> None:
        self._out = out
        self._key = key
        self._stream = stream
        self._rendition = ""
        self._number = 0
        self._plays_s = 0.0
        self._best_kbps = 0
        self._waiting: dict[int, WaitingViewer] = {}
        self._came = 0
        self.replaced = False
        """A source was given up on the way, and nobody here noticed."""

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, number: int) -> bool:
        return number in self._waiting

    def join(self, wanted: Wanted, slack_s: float, now: Instant, changed_at: Instant | None = None) -> None:
        """One more viewer waits; a request from this machine changed the segment at `changed_at`, or never."""
        demand = demand_of(wanted, changed_at, now)
        self._rendition, self._number = wanted.rendition, wanted.number
        self._waiting[wanted.viewer] = WaitingViewer(
            wanted.viewer, wanted.origin, now, slack_s, demand, first=not self._came
        )
        self._plays_s, self._best_kbps = wanted.duration_s, wanted.best_kbps
        self._came += 1

    def any_answered(self) -> bool:
        """Whether a viewer has been told the head."""
        return any(viewer.answered for viewer in self._waiting.values())

    def leave(self, number: int) -> bool:
        """A viewer's connection ended; says whether it waited here."""
        return self._waiting.pop(number, None) is not None

    def hand_over(self, number: int, fetch: int, why: str, now: Instant) -> bool:
        """Let a viewer have the answer to its own request as the origin gives it; False when it left or had bytes."""
        viewer = self._waiting.get(number)
        if viewer is None or viewer.answered:
            return False
        del self._waiting[number]
        self._out.append(HandOver(number, fetch, why))
        self._note_served(viewer, "passed", why, now)
        return True

    def asked_at(self, otherwise: Instant) -> Instant:
        """When the first of them asked; `otherwise` without viewers."""
        return min((viewer.asked_at for viewer in self._waiting.values()), default=otherwise)

    def whose_page_is_asked_for(self, head: SegmentHead | None) -> WaitingViewer | None:
        """The viewer whose own request shall be used at the origin: one whose page needs its word, if there is one."""
        needs = (it for it in self._waiting.values() if head is not None and not is_proven(head, it.demand.page))
        return next(needs, self.longest_waiting())

    def longest_waiting(self) -> WaitingViewer | None:
        """The viewer whose own request shall be used at the origin."""
        return next(iter(self._waiting.values()), None)

    def objection(self, head: SegmentHead, age: CopyAge, now: Instant) -> tuple[WaitingViewer, str] | None:
        """The first viewer that may not have a copy as it is, and why; None if all may."""
        for viewer in self._waiting.values():
            if (why := objection(head, age, viewer.demand, now)) is not None:
                return viewer, why
        return None

    def pass_unfit(self, head: SegmentHead, now: Instant, *, asked_for: int = 0) -> None:
        """Let those go to the origin for whom what is here is no answer, and who have had nothing of it.

        Their requests have a field by which the answer varies, or the origin has not shown that their pages may read
        it. For the viewer `asked_for`, whose own request was sent, the origin's answer is an answer.
        """
        self.pass_unselected(head, now, asked_for=asked_for)
        for viewer in list(self._waiting.values()):
            if not viewer.answered and viewer.number != asked_for and not is_proven(head, viewer.demand.page):
                self._pass(viewer, "the origin has not shown that this page may read what another was given", now)

    def pass_unselected(self, head: SegmentHead, now: Instant, *, asked_for: int = 0) -> None:
        """The same, for those only whose requests have a field by which the answer varies."""
        for viewer in list(self._waiting.values()):
            if not viewer.answered and viewer.number != asked_for and not is_selected(head, viewer.demand.sent):
                self._pass(viewer, UNSELECTED, now)

    def _pass(self, viewer: WaitingViewer, why: str, now: Instant) -> None:
        del self._waiting[viewer.number]
        self._out.append(PassOn(viewer.number, why))
        self._note_served(viewer, "passed", why, now)

    def any_sent(self) -> bool:
        """Whether any byte has reached a viewer."""
        return any(viewer.sent for viewer in self._waiting.values())

    def deadline(self, share: float) -> Instant | None:
        """When the first of them has waited this share of its slack; None without viewers."""
        return min((it.asked_at + share * it.slack_s for it in self._waiting.values()), default=None)

    def deliver(self, assembly: Assembly, source: Source, why: str, came: bytes = b"") -> None:
        """Give every viewer what is here and it has not had yet.

        Args:
            assembly: what is here.
            source: where it comes from.
            why: the same in words.
            came: bytes that the origin has just sent, the last that are here: whoever had all before them gets them as
                they came. Cut into pieces first, they would cost as much again.
        """
        if assembly.head is None:
            return
        available = assembly.available_bytes
        if not available and not assembly.complete:
            return  # a head alone may still prove to be a liar's
        for viewer in self._waiting.values():
            shown: Source = source if viewer.first else "cache"
            if not viewer.answered:
                viewer.answered = True
                pace = self._pace_kbps(assembly) if shown != "origin" else 0
                self._out.append(BeginAnswer(viewer.number, assembly.head, shown, why, pace))
            if viewer.sent < available:
                parts = (came,) if viewer.sent + len(came) == available else assembly.read(viewer.sent)
                self._out += [Deliver(viewer.number, part) for part in parts]
                viewer.by_source[shown] = viewer.by_source.get(shown, 0) + available - viewer.sent
                viewer.sent = available

    def _pace_kbps(self, assembly: Assembly) -> int:
        return pace_kbps(assembly.origin_kbps, self._best_kbps, assembly.total_bytes, self._plays_s)

    def give_stored(self, stored: StoredSegment, why: str, now: Instant) -> None:
        """Everything at once, from this machine's own store."""
        for viewer in self._waiting.values():
            self._out.append(BeginAnswer(viewer.number, stored.head, "cache", why))
            self._out.append(Deliver(viewer.number, stored.body))
            viewer.by_source["cache"] = len(stored.body)
        self.finish(why, now)

    def finish(self, why: str, now: Instant) -> None:
        """Everybody has had everything."""
        for viewer in self._waiting.values():
            self._out.append(Finish(viewer.number))
            source: Source = max(viewer.by_source, key=lambda it: viewer.by_source[it], default=_CACHE)
            self._note_served(viewer, source, why, now)
        self._waiting.clear()

    def release(self, why: str, status: int, now: Instant) -> None:
        """Everybody for himself; a `status` other than 0 is told to those who have had nothing."""
        for viewer in self._waiting.values():
            if viewer.answered:
                self._out.append(Abort(viewer.number, why))
            elif status:
                self._out.append(AnswerStatus(viewer.number, status, why))
            else:
                self._out.append(PassOn(viewer.number, why))
            self._note_served(viewer, "passed", why, now)
        self._waiting.clear()

    def _note_served(self, viewer: WaitingViewer, source: Source, why: str, now: Instant) -> None:
        """The status page's row for one viewer."""
        self._out.append(
            Served(
                key=self._key,
                stream=self._stream,
                rendition=self._rendition,
                number=self._number,
                source=source,
                why=why,
                ms=(now - viewer.asked_at) * 1000,
                bytes_by_source=tuple(viewer.by_source.items()),
                replaced=self.replaced,
            )
        )
