"""How fast a player is given what a neighbour had already: as fast as the origin gave it to the office.

A player that chooses among renditions takes the speed of its last segments for the speed of its line. A segment from a
neighbour comes a hundred times faster than over any line, and a player that believes this speed asks for a rendition
that the line cannot carry: it stands still, goes down, is given the next segments by its neighbours, and goes up again.
So a segment that the office has already takes as long as it took from the origin, and each player sees what it would
see alone on the line. A segment that is still on its way comes at the line's speed by itself; only the bytes that were
here before the player asked must be held back.

    pace_kbps()   how fast one answer is given
    Pace          when a byte of one answer is due
"""

from dataclasses import dataclass

from ecdn_proxy.sansio.machine import Instant

PLAYS_TIMES = 1.25
"""An answer is given at least this many times as fast as it plays, whatever speed a neighbour told: a segment that is
here must not make a player stand still. With less, simulated players stall four times as long; with more, a player sees
a speed that its line lacks."""

AMPLE_TIMES = 1.5
"""A line that is this many times as fast as the best rendition carries whatever a player chooses, so its player need
not wait. hls.js goes up to a rendition that takes 0.7 of its estimate."""


def pace_kbps(origin_kbps: int, best_kbps: int, total_bytes: int | None, duration_s: float) -> int:
    """Kilobits a second for one answer; 0 is as fast as the player takes it.

    Args:
        origin_kbps: how fast the origin gave the segment to whoever fetched it; 0 when nobody has said.
        best_kbps: what the stream's best rendition takes; 0 when players have no choice.
        total_bytes: the segment's size; None when it is not known.
        duration_s: how long the segment plays, in seconds.
    """
    if not origin_kbps or not total_bytes or duration_s <= 0 or origin_kbps >= AMPLE_TIMES * best_kbps:
        return 0
    return max(origin_kbps, round(PLAYS_TIMES * total_bytes * 8 / 1000 / duration_s))


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast one answer is given, counted from its request; 0 kilobits a second is as fast as the player takes it."""

    begun_at: Instant
    kbps: int

    def due(self, through_byte: int) -> Instant:
        """When a player may have so many bytes of its answer."""
        return self.begun_at + through_byte * 8 / 1000 / self.kbps if self.kbps else self.begun_at
