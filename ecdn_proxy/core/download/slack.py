"""How much time a viewer has, and whether a segment will come too late.

    Cadence         how fast each rendition is asked for, and from it a request's slack in seconds
    finishes_at()   when the rest of a segment will be here, at the rate so far

A player has been playing nearly since its first request. What it has asked for since then, less the time that has
passed, is what it has in hand when it asks for the next segment: its slack. A new player has nothing in hand, but is
given some slack too: only a segment that comes more slowly than it plays is late, and looking for a better parent
without need costs everybody bytes.
"""

from collections import OrderedDict
from dataclasses import dataclass

from ecdn_proxy.core.limits import Limits
from ecdn_proxy.sansio.machine import Instant

_RUNS_MAX = 256
"""Renditions whose requests are remembered; the one asked for longest ago is forgotten first."""


@dataclass(slots=True)
class RequestRun:
    """Segments of one rendition asked for one after the other."""

    began_at: Instant
    """When the first of them was asked for."""
    number: int
    """Of the last of them."""
    asked_s: float = 0.0
    """Seconds of media asked for before the last request."""


class Cadence:
    """How each rendition is being asked for on this machine."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._runs: OrderedDict[tuple[str, str], RequestRun] = OrderedDict()

    def slack_s(self, stream: str, rendition: str, number: int, duration_s: float, now: Instant) -> float:
        """Note a request, and say how many seconds there are until its answer is needed.

        Args:
            stream: what is watched.
            rendition: which quality or track of it.
            number: the segment's position in its rendition; a jump begins anew.
            duration_s: how long the segment plays, in seconds.
            now: the time.
        """
        run = self._goes_on(stream, rendition, number) or RequestRun(now, number)
        if number > run.number:
            run.asked_s += duration_s
        ahead = run.asked_s - (now - run.began_at)
        if ahead < 0:
            run = RequestRun(now, number)
        run.number = number
        self._runs.pop((stream, rendition), None)
        self._runs[stream, rendition] = run
        if len(self._runs) > _RUNS_MAX:
            self._runs.popitem(last=False)
        limits = self._limits
        floor = max(limits.slack_floor_s, limits.slack_floor_segments * duration_s)
        return min(max(ahead, floor), limits.slack_ceiling_s)

    def _goes_on(self, stream: str, rendition: str, number: int) -> RequestRun | None:
        """The run that this request continues; after a switch of rendition, the run of the stream's other rendition."""
        own = self._runs.get((stream, rendition))
        if own is not None and number in (own.number, own.number + 1):
            return own
        for (other, _), run in reversed(self._runs.items()):
            if other == stream and number in (run.number, run.number + 1):
                return RequestRun(run.began_at, run.number, run.asked_s)
        return None


def finishes_at(received_bytes: int, total_bytes: int | None, began_at: Instant | None, now: Instant) -> Instant | None:
    """When the rest will be here at the rate so far; None when nothing can be said."""
    if not received_bytes or total_bytes is None or began_at is None or now <= began_at:
        return None
    return now + (total_bytes - received_bytes) * (now - began_at) / received_bytes
