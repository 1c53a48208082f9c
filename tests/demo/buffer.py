"""A player's buffer as arithmetic: what arrived, what was shown, when the picture stood still. Time is an argument.

Map:
    Playout    start after two segments, drain in real time, stall when empty, go on after one segment
"""

from dataclasses import dataclass

START_SEGMENTS = 2


@dataclass
class Playout:
    """One viewer's picture. `begun` is when the viewer pressed play."""

    begun: float
    level: float = 0.0
    segments: int = 0
    started_at: float | None = None
    stalled_at: float | None = None
    stalls: int = 0
    _stall_seconds: float = 0.0
    _at: float = 0.0

    @property
    def startup_ms(self) -> int | None:
        return None if self.started_at is None else round((self.started_at - self.begun) * 1000)

    def stall_seconds(self, now: float) -> float:
        """Seconds without picture after the start, an unfinished stall included."""
        self.advance(now)
        return self._stall_seconds + (0.0 if self.stalled_at is None else now - self.stalled_at)

    def advance(self, now: float) -> None:
        """Shows what there is until `now`."""
        passed, self._at = now - self._at, now
        if self.started_at is None or self.stalled_at is not None:
            return
        self.level -= passed
        if self.level <= 0:
            self.stalls += 1
            self.stalled_at = now + self.level
            self.level = 0.0

    def add(self, seconds: float, now: float) -> None:
        """A segment arrived at `now`."""
        self.advance(now)
        self.level += seconds
        self.segments += 1
        if self.started_at is None:
            if self.segments >= START_SEGMENTS:
                self.started_at = now
        elif self.stalled_at is not None:
            self._stall_seconds += now - self.stalled_at
            self.stalled_at = None
