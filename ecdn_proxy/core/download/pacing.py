"""How fast a player is given what a neighbour had already: as fast as the origin gave it to the office.

A player that chooses among renditions takes the speed of its last segments for the speed of its line. What lies next
door comes a hundred times faster than any line, and a player that believes it asks for a rendition that the line cannot
carry: it stands still, goes down, is given the next segments by its neighbours, and goes up again. So a segment that
the office has already takes as long as it took from the origin, and each player sees what it would see alone on the
line. What is still on its way comes at the line's speed by itself, but for what was here before it was asked for.

    pace_kbps()   of one answer
    Pace          when a byte of it is due
"""

from dataclasses import dataclass

from ecdn_proxy.sansio.machine import Instant

PLAYS_TIMES = 1.25
"""Never slower than this many times as fast as it plays, whatever a neighbour told: what is here must not make a player
stand still. With less, simulated players stall four times as long; more shows a player speed that its line lacks."""

AMPLE_TIMES = 1.5
"""A line so many times as fast as the best picture carries whatever a player chooses: it need not wait. hls.js goes up
to what takes 0.7 of its estimate."""


def pace_kbps(origin_kbps: int, best_kbps: int, total_bytes: int | None, duration_s: float) -> int:
    """Kilobits a second for one answer; 0 is as fast as the player takes it.

    Args:
        origin_kbps: how fast the origin gave the segment to whoever fetched it; 0 when nobody has said.
        best_kbps: of the stream's best picture; 0 when players have no choice.
        total_bytes: of the segment; None when its size is not known.
        duration_s: the segment's.
    """
    if not origin_kbps or not total_bytes or duration_s <= 0 or origin_kbps >= AMPLE_TIMES * best_kbps:
        return 0
    return max(origin_kbps, round(PLAYS_TIMES * total_bytes * 8 / 1000 / duration_s))


@dataclass(frozen=True, slots=True)
class Pace:
    """One answer's, counted from the request."""

    begun_at: Instant
    kbps: int

    def due(self, through_byte: int) -> Instant:
        """When a player may have so many bytes of its answer."""
        return self.begun_at + through_byte * 8 / 1000 / self.kbps if self.kbps else self.begun_at
