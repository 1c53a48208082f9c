"""How long the origin pauses in the middle of a body that is made while it is sent, learnt for each rendition.

    Gaps.learn()        a body has ended: its longest pause
    Gaps.allowed_s()    a pause up to here is the stream's own cadence, and no sign of a broken connection

An encoder that sends CMAF chunks pauses as long as a chunk plays, from a tenth of a second to the whole segment.
"""

from collections import OrderedDict

TIMES = 2.5
"""A pause may be this many times the longest one lately: encoders and lines vary."""
LEAST_S = 0.5
"""No pause up to here is ever judged: shorter ones tell nothing of a connection."""
MOST_S = 10.0
"""No pause beyond this is waited for, however long the segment plays."""
FORGETS = 0.3
"""By how much a shorter longest pause counts: cadences change when an event's encoder is restarted."""
RENDITIONS_MAX = 256
"""Renditions that are remembered; the one learnt longest ago is forgotten first."""


class Gaps:
    """The longest pauses lately, by stream and rendition."""

    def __init__(self) -> None:
        self._longest_s: OrderedDict[tuple[str, str], float] = OrderedDict()

    def learn(self, stream: str, rendition: str, longest_s: float) -> None:
        """A body that was made while it was sent has ended; its longest pause was `longest_s`."""
        before = self._longest_s.pop((stream, rendition), longest_s)
        self._longest_s[stream, rendition] = max(longest_s, before + FORGETS * (longest_s - before))
        if len(self._longest_s) > RENDITIONS_MAX:
            self._longest_s.popitem(last=False)

    def allowed_s(self, stream: str, rendition: str, duration_s: float) -> float:
        """How many seconds a body may pause; as long as its segment plays, while nothing was learnt.

        Args:
            stream: what is watched.
            rendition: which quality or track of it.
            duration_s: how long the segment plays.
        """
        bound = min(max(duration_s, LEAST_S), MOST_S)
        longest_s = self._longest_s.get((stream, rendition))
        return bound if longest_s is None else min(max(TIMES * longest_s, LEAST_S), bound)
