"""A live player: joins behind the edge, keeps its cadence, stalls when its buffer is empty.

    JOINING → asks for what the playlist lists, one segment after another → waits for the next reload → …

As hls.js does it: it begins `behind` segments from the edge, plays once the first is whole, reloads the playlist every
target duration of its own (half of that when nothing new was listed), and chooses renditions, when it may, from the
throughput it measured.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.sim.show import Clip, Show
from ecdn_proxy.sim.world import World

RETRY_S = 0.5
"""After a broken answer a player asks again."""
WINDOW_SEGMENTS = 8
"""A player further behind than this has lost its segment from the playlist and jumps to the edge."""
SAFE_SHARE = 0.8
"""Part of the measured throughput that a rendition may take."""
MANIFEST_S = 0.05
"""From opening the player to its first segment request: the playlist's own way."""


@dataclass(frozen=True, slots=True)
class PlayedSegment:
    """One segment reached one player."""

    clip: Clip
    asked_at: Instant
    took_s: float
    stalled_s: float
    """How long the picture stood still for it."""
    startup: bool
    """It was asked for while the player filled its buffer, not at the live edge."""
    first: bool
    joined_at: Instant


class Asking(Protocol):
    """How a player's request reaches its proxy."""

    def __call__(self, player: "Player", clip: Clip) -> None:
        """Ask for a segment."""
        ...


class Player:
    """One viewer."""

    def __init__(
        self,
        world: World,
        show: Show,
        ask: Asking,
        told: Callable[["Player", PlayedSegment], None],
        *,
        rendition: int,
        abr: bool,
        together: bool,
        behind: int,
        last: int,
    ) -> None:
        self._world = world
        self._show = show
        self._ask = ask
        self._told = told
        self.rendition = rendition
        self._abr = abr
        self._together = together
        self._behind = behind
        self._last = last
        self.segment_s = show.segment_s
        self.joined_at = world.now
        self.gone = False
        self._next = 0
        self._asked_at: Instant | None = None
        self._clip: Clip | None = None
        self._known = -1
        self._first = True
        self._startup = True
        self._plays_until: Instant | None = None
        """When the picture stops without another segment."""
        self._bytes_per_s: float | None = None
        self.got_bytes = 0

    def join(self) -> None:
        """The player opens the stream and has its playlist."""
        self._known = self._show.edge(self._world.now)
        self._next = max(0, self._known - self._behind + 1)
        self._world.at(self._world.now + MANIFEST_S, self._go_on)

    @property
    def best_kbps(self) -> int:
        """Of the best picture, if it chooses among several."""
        best = max(map(self._show.size_bytes, range(len(self._show.bitrates_mbps))))
        return round(best * 8 / 1000 / self.segment_s) if self._abr else 0

    @property
    def waiting_for(self) -> Clip | None:
        """The segment it has asked for."""
        return self._clip

    @property
    def done(self) -> bool:
        """It has had the last segment of the event."""
        return self._next > self._last

    def _reload(self) -> None:
        if self.gone:
            return
        known, self._known = self._known, self._show.edge(self._world.now)
        if self._known == known:
            self._world.at(self._world.now + self._show.segment_s / 2, self._reload)
        else:
            self._go_on()

    def _go_on(self) -> None:
        if self.gone or self.done or self._clip is not None:
            return
        now = self._world.now
        if self._next <= self._known:
            if self._known - self._next >= WINDOW_SEGMENTS:
                self._next = self._known - 1
            self._clip = self._show.clip(self.rendition, self._next)
            self._asked_at = now
            self.got_bytes = 0
            self._ask(self, self._clip)
        elif self._together:
            self._startup = False
            self._world.at(self._show.published_at(self._next), self._reload)
        else:
            self._startup = False
            since = (now - self.joined_at) % self._show.segment_s
            self._world.at(now + self._show.segment_s - since, self._reload)

    # ---- what becomes of a request

    def finished(self) -> None:
        """The segment is whole."""
        clip, asked_at = self._clip, self._asked_at
        assert clip is not None
        assert asked_at is not None
        assert self.got_bytes == len(clip.body)
        now = self._world.now
        self._clip = None
        until = self._plays_until
        stalled = 0.0 if until is None else max(0.0, now - until)
        self._plays_until = (now if until is None else max(until, now)) + self._show.segment_s
        self._measure(len(clip.body), now - asked_at)
        self._next += 1
        self._told(
            self, PlayedSegment(clip, asked_at, now - asked_at, stalled, self._startup, self._first, self.joined_at)
        )
        self._first = False
        self._world.at(now, self._go_on)

    def broken(self) -> None:
        """The answer was cut off or refused: ask again in a moment."""
        self._world.at(self._world.now + RETRY_S, self._again, self._clip)

    def _again(self, clip: Clip | None) -> None:
        if not self.gone and clip is not None and self._clip is clip:
            self.got_bytes = 0
            self._ask(self, clip)

    def left(self, now: Instant) -> float:
        """The event is over or the machine went away; seconds of standing picture that nobody was told of yet."""
        self.gone = True
        waiting = self._clip is not None and self._plays_until is not None
        return max(0.0, now - self._plays_until) if waiting and self._plays_until is not None else 0.0

    def _measure(self, size: int, took_s: float) -> None:
        if not self._abr:
            return
        sample = size / max(took_s, 0.005)
        self._bytes_per_s = sample if self._bytes_per_s is None else 0.7 * self._bytes_per_s + 0.3 * sample
        fits = [
            at
            for at in range(len(self._show.bitrates_mbps))
            if self._show.size_bytes(at) / self._show.segment_s <= SAFE_SHARE * self._bytes_per_s
        ]
        self.rendition = max(fits, default=0)
