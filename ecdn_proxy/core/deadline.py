"""How much time a viewer has, and whether a segment will come too late.

A player that asks for segments one after another fills its buffer: it is in a hurry. One that waits about a segment's
duration between two requests plays from a buffer of at least one more: its slack is that duration.
"""

from collections import OrderedDict

from ecdn_proxy.core.limits import Limits
from ecdn_proxy.sansio.machine import Instant

STEADY_SHARE = 0.5
"""Two requests further apart than this part of a segment's duration: the player keeps its buffer, not fills it."""
_REMEMBERED = 256


class Cadence:
    """How each rendition is being asked for on this machine."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._last: OrderedDict[tuple[str, str], Instant] = OrderedDict()

    def slack_s(self, stream: str, rendition: str, duration_s: float, now: Instant) -> float:
        """Seconds until this request's answer is needed; notes the request."""
        last = self._last.pop((stream, rendition), None)
        self._last[stream, rendition] = now
        if len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)
        floor = self._limits.slack_floor_s
        if last is None or now - last < STEADY_SHARE * duration_s:
            return floor
        return min(max(duration_s, floor), self._limits.slack_ceiling_s)


def finishes_at(received_bytes: int, total_bytes: int | None, began_at: Instant | None, now: Instant) -> Instant | None:
    """When the rest will be here at the rate so far; None when nothing can be said."""
    if not received_bytes or total_bytes is None or began_at is None or now <= began_at:
        return None
    return now + (total_bytes - received_bytes) * (now - began_at) / received_bytes
