"""The books: bytes and segments by source, the last segments with their reasons, who watches what.

`Meter.since()` gives what came since it was last asked, for the coordinator's beats.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from ecdn_proxy.core.events import Served
from ecdn_proxy.core.values import Source
from ecdn_proxy.sansio.machine import Instant

SOURCES: tuple[Source, ...] = ("cache", "lan", "webrtc", "origin", "passed")


@dataclass(slots=True)
class Counts:
    """Bytes and segments by source."""

    received: dict[Source, int] = field(default_factory=lambda: dict.fromkeys(SOURCES, 0))
    segments: dict[Source, int] = field(default_factory=lambda: dict.fromkeys(SOURCES, 0))


@dataclass(slots=True)
class Watched:
    """One stream as seen on this machine."""

    renditions: OrderedDict[str, Instant] = field(default_factory=OrderedDict)
    last: Instant = 0.0


class Meter:
    """Everything counted on this machine."""

    def __init__(self, recent_max: int) -> None:
        self.counts = Counts()
        self.recent: deque[Served] = deque(maxlen=recent_max)
        self.streams: OrderedDict[str, Watched] = OrderedDict()
        self.stalls_prevented = 0
        self._told = Counts()

    def served(self, served: Served, now: Instant) -> None:
        """A segment reached a viewer."""
        self.recent.appendleft(served)
        self.counts.segments[served.source] += 1
        self.stalls_prevented += served.replaced
        for source, amount in served.bytes_by_source:
            self.counts.received[source] += amount
        watched = self.streams.setdefault(served.stream, Watched())
        watched.last = now
        watched.renditions[served.rendition] = now
        while len(watched.renditions) > 16:
            watched.renditions.popitem(last=False)
        while len(self.streams) > 64:
            self.streams.popitem(last=False)

    def passed(self, amount: int) -> None:
        """Bytes went by untouched."""
        self.counts.received["passed"] += amount

    def since(self) -> Counts:
        """What was counted since the last call."""
        news = Counts()
        for source in SOURCES:
            news.received[source] = self.counts.received[source] - self._told.received[source]
            news.segments[source] = self.counts.segments[source] - self._told.segments[source]
        self._told = Counts(dict(self.counts.received), dict(self.counts.segments))
        return news

    def sentence(self) -> str:
        """What a helpdesk reads first."""
        received = self.counts.received
        total = received["cache"] + received["lan"] + received["webrtc"] + received["origin"]
        if not total:
            return "Ready: no stream has been watched on this machine since the agent started."
        near = 100 * (total - received["origin"]) / total
        return f"Working: {near:.0f} % of what was watched here came from your office."
