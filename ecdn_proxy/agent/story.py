"""The last events of a node, for the log line of a fault of ours: what had happened before it failed.

    NodeStory().tell(now, event)        told by the driver before each event and each wake
    str(story)                          one line for each, oldest first, in seconds of the machine's clock

A story holds what a recording holds (`ecdn_proxy.core.recording`) and nothing else: no URL, cookie or token, no bytes
of a segment. An event that carries any of these is put into words, or into numbers, when it is told, so that the story
keeps neither a segment in memory nor a viewer's credentials. Any other event is kept as it is, and put into words only
when a fault is logged. Measured: 0.15 µs for an event, a piece of a segment included; 20 µs for a viewer's request.
"""

from ecdn_proxy.core import events
from ecdn_proxy.core.recording import happened
from ecdn_proxy.sansio.machine import Instant, Story
from ecdn_proxy.wire.peer import Part, Piece

LINE_CHARS_MAX = 240
"""64 events make 15 kB at most: a log line that journald still takes whole (its LineMax is 48 kB)."""
_WORDED_AT_ONCE = frozenset({events.Wanted, events.OriginAnswered, events.Loaded})
"""These carry secrets or a whole segment. They come once or twice for each segment, so 20 µs may be spent on each."""


class NodeStory(Story):
    """The last 64 events of one node."""

    def tell(self, now: Instant, what: object) -> None:
        """Append one event, or the word "wake"."""
        if isinstance(what, events.Received):
            if isinstance(what.message, Piece):
                what = (what.device, what.message.request, what.message.index, len(what.message.data))
            elif isinstance(what.message, Part):
                what = self.words(what)
        elif isinstance(what, events.OriginSent):
            what = (what.fetch, len(what.data))
        elif type(what) in _WORDED_AT_ONCE:
            what = self.words(what)
        self.told.append((now, what))

    def words(self, what: object) -> str:
        """One event as it is logged."""
        match what:
            case str():
                return what
            case (device, request, index, size):
                return f"Received device={device} Piece request={request} index={index} {size} bytes"
            case (fetch, size):
                return f"OriginSent fetch={fetch} {size} bytes"
        try:
            return happened(what)[:LINE_CHARS_MAX]  # type: ignore[arg-type]
        except Exception:  # an event that cannot be put into words must not keep a failed node from being replaced
            return type(what).__name__
