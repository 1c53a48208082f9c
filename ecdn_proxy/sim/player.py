"""A live player: joins behind the edge, keeps its cadence, stalls when its buffer is empty.

    Player.join()       opens the stream; asks for what the playlist lists, one segment after another; waits for the
                        next reload of the playlist; and so on
    Player.finished()   the segment that it asked for is whole
    Player.broken()     its answer was cut off or refused

The player does as hls.js does. It begins `behind` segments from the live edge and plays once the first segment is
whole. It reloads the playlist every target duration (after half of one when nothing new was listed). Where it may
choose the rendition, it does so by the throughput that it measured.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.sim.live_stream import LiveSegment, LiveStream
from ecdn_proxy.sim.virtual_clock import VirtualClock

RETRY_S = 0.5
"""A player asks again this long after a broken answer."""
WINDOW_SEGMENTS = 8
"""A player further behind than this has lost its segment from the playlist and jumps to the edge."""
SAFE_SHARE = 0.8
"""The part of the measured throughput that a rendition may take."""
MANIFEST_S = 0.05
"""From opening the player to its first request for a segment: the playlist is fetched."""


@dataclass(frozen=True, slots=True)
class PlayedSegment:
    """A segment that reached its player."""

    segment: LiveSegment
    asked_at: Instant
    took_s: float
    stalled_s: float
    """How long the picture stood still before the segment came."""
    startup: bool
    """The segment was asked for while the player filled its buffer, not at the live edge."""
    first: bool
    """The segment was the player's first."""
    joined_at: Instant


class Player:
    """One viewer's player, from opening the stream until the machine goes away or the event ends.

    Args:
        clock: virtual time.
        live_stream: what is watched.
        ask: called with the player and the segment that it wants next.
        played: called with every segment that came.
        rendition: which one is watched, or the first one where the player may choose.
        abr: the player chooses its renditions.
        together: the player asks for a segment at the moment when it appears, as all others do.
        behind: how many segments from the live edge the player begins.
        last: the number of the event's last segment.
    """

    def __init__(
        self,
        clock: VirtualClock,
        live_stream: LiveStream,
        ask: Callable[["Player", LiveSegment], None],
        played: Callable[[PlayedSegment], None],
        *,
        rendition: int,
        abr: bool,
        together: bool,
        behind: int,
        last: int,
    ) -> None:
        self._clock = clock
        self._stream = live_stream
        self._ask = ask
        self._played = played
        self.rendition = rendition
        self._abr = abr
        self._together = together
        self._behind = behind
        self._last = last
        self.segment_s = live_stream.segment_s
        self.joined_at = clock.now
        self.gone = False
        self._next = 0
        self._asked_at: Instant | None = None
        self._segment: LiveSegment | None = None
        self._known = -1
        self._first = True
        self._startup = True
        self._plays_until: Instant | None = None
        """When the picture stops without another segment."""
        self._bytes_per_s: float | None = None

    def join(self) -> None:
        """Open the stream; the playlist comes after `MANIFEST_S`."""
        self._known = self._stream.edge(self._clock.now)
        self._next = max(0, self._known - self._behind + 1)
        self._clock.at(self._clock.now + MANIFEST_S, self._go_on)

    @property
    def best_kbps(self) -> int:
        """kbit/s of the best rendition where the player chooses among several, else 0."""
        best = max(map(self._stream.size_bytes, range(len(self._stream.bitrates_mbps))))
        return round(best * 8 / 1000 / self.segment_s) if self._abr else 0

    @property
    def waiting_for(self) -> LiveSegment | None:
        """The segment that the player has asked for and does not have yet."""
        return self._segment

    @property
    def done(self) -> bool:
        """Whether the player has had the last segment of the event."""
        return self._next > self._last

    def _reload(self) -> None:
        if self.gone:
            return
        known, self._known = self._known, self._stream.edge(self._clock.now)
        if self._known == known:
            self._clock.at(self._clock.now + self._stream.segment_s / 2, self._reload)
        else:
            self._go_on()

    def _go_on(self) -> None:
        if self.gone or self.done or self._segment is not None:
            return
        now = self._clock.now
        if self._next <= self._known:
            if self._known - self._next >= WINDOW_SEGMENTS:
                self._next = self._known - 1
            self._segment = self._stream.segment(self.rendition, self._next)
            self._asked_at = now
            self._ask(self, self._segment)
        elif self._together:
            self._startup = False
            self._clock.at(self._stream.published_at(self._next), self._reload)
        else:
            self._startup = False
            since = (now - self.joined_at) % self._stream.segment_s
            self._clock.at(now + self._stream.segment_s - since, self._reload)

    # ---- what becomes of its request

    def finished(self) -> None:
        """The segment is whole: play it, and ask for the next one."""
        segment, asked_at = self._segment, self._asked_at
        assert segment is not None
        assert asked_at is not None
        now = self._clock.now
        self._segment = None
        until = self._plays_until
        stalled = 0.0 if until is None else max(0.0, now - until)
        self._plays_until = (now if until is None else max(until, now)) + self._stream.segment_s
        self._measure(len(segment.body), now - asked_at)
        self._next += 1
        self._played(
            PlayedSegment(segment, asked_at, now - asked_at, stalled, self._startup, self._first, self.joined_at)
        )
        self._first = False
        self._clock.at(now, self._go_on)

    def broken(self) -> None:
        """The answer was cut off or refused: ask again after `RETRY_S`."""
        self._clock.at(self._clock.now + RETRY_S, self._again, self._segment)

    def _again(self, segment: LiveSegment | None) -> None:
        if not self.gone and segment is not None and self._segment is segment:
            self._ask(self, segment)

    def left(self, now: Instant) -> float:
        """The event is over or the machine went away; returns for how many seconds the picture stands still by now."""
        self.gone = True
        waiting = self._segment is not None and self._plays_until is not None
        return max(0.0, now - self._plays_until) if waiting and self._plays_until is not None else 0.0

    def _measure(self, size: int, took_s: float) -> None:
        if not self._abr:
            return
        sample = size / max(took_s, 0.005)
        self._bytes_per_s = sample if self._bytes_per_s is None else 0.7 * self._bytes_per_s + 0.3 * sample
        fits = [
            at
            for at in range(len(self._stream.bitrates_mbps))
            if self._stream.size_bytes(at) / self._stream.segment_s <= SAFE_SHARE * self._bytes_per_s
        ]
        self.rendition = max(fits, default=0)
