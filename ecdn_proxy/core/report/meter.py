"""What is counted on this machine, and what was watched: the figures behind the status page and the beats.

    Meter.served(served, now)     a segment reached a viewer
    Meter.passed(amount)          bytes went by untouched
    Meter.node_ended(uploads)     a node that counted its own uploads has been replaced
    Meter.usage(uploads)          everything counted since the agent was started

Uploads are counted by the node (`core.upload`), which is replaced after a fault and then begins again at 0. So `usage`
takes the present node's count as an argument, and `node_ended` keeps the final count of each node before it.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from ecdn_proxy.core.events import Served
from ecdn_proxy.core.report.usage import BySource, ByteCounts, Usage
from ecdn_proxy.sansio.machine import Instant

RENDITIONS_MAX = 16
"""Renditions remembered of a stream: more than the quality ladder of any that was seen."""
STREAMS_MAX = 64
"""Streams remembered; as many as a `Watch` may name."""


@dataclass(slots=True)
class WatchedStream:
    """One stream as seen on this machine."""

    renditions: OrderedDict[str, Instant] = field(default_factory=OrderedDict)
    """Each with the time of its last segment, in the order of their first."""
    last: Instant = 0.0
    """When its last segment reached a viewer."""


class Meter:
    """Everything counted on this machine; `recent` and `streams` are what the status page lists."""

    def __init__(self, recent_max: int) -> None:
        self._counted = Usage()
        self.recent: deque[Served] = deque(maxlen=recent_max)
        """The last segments, the newest first."""
        self.streams: OrderedDict[str, WatchedStream] = OrderedDict()

    def served(self, served: Served, now: Instant) -> None:
        """A segment reached a viewer."""
        self.recent.appendleft(served)
        received = ByteCounts(**dict(served.bytes_by_source))
        self._counted += Usage(received, BySource(**{served.source: 1}), int(served.replaced))
        watched = self.streams.setdefault(served.stream, WatchedStream())
        watched.last = now
        watched.renditions[served.rendition] = now
        while len(watched.renditions) > RENDITIONS_MAX:
            watched.renditions.popitem(last=False)
        while len(self.streams) > STREAMS_MAX:
            self.streams.popitem(last=False)

    def passed(self, amount: int) -> None:
        """Bytes went from the origin to a viewer untouched."""
        self._counted += Usage(ByteCounts(passed=amount))

    def node_ended(self, uploads: ByteCounts) -> None:
        """A node has given `uploads` in all and counts no further; the next one begins at 0."""
        self._counted += Usage(uploads)

    def usage(self, uploads: ByteCounts) -> Usage:
        """Everything counted since the agent was started; `uploads` are those of the node that runs now."""
        return self._counted + Usage(uploads)

    def sentence(self) -> str:
        """What a helpdesk reads first."""
        received = self._counted.bytes
        total = received.cache + received.lan + received.webrtc + received.origin
        if not total:
            return "Ready: no stream has been watched on this machine since the agent started."
        near = 100 * (total - received.origin) / total
        return f"Working: {near:.0f} % of what was watched here came from your office."
