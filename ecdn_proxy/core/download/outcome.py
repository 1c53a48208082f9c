"""One segment as those who wait for it see it: what is here of it, who has had how much, how it ends.

    Stage        where it stands
    Delivery     the bytes (`segment`), the viewers (`audience`), the children, and what is left of it in the end

Where the bytes come from is the business of `acquisition`, which is built on this.
"""

from enum import Enum

import msgspec

from ecdn_proxy.core.download.assembly import Assembly
from ecdn_proxy.core.download.viewers import Viewers
from ecdn_proxy.core.events import Wanted
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.values import Source, StoredSegment
from ecdn_proxy.sansio.machine import Instant


class Stage(Enum):
    """Where a segment stands."""

    LOADING = "read from disk"
    JOINING = "waiting for the neighbours' names"
    ASKING = "asking who fetches it"
    GIVING_WAY = "letting somebody fetch who can send it to others"
    FOLLOWING = "reading from a neighbour"
    FETCHING = "fetching from the origin"
    ENDED = "over"


class Delivery:
    """One key. `ended` says that the node may forget it; `finished` holds the whole segment if there is one."""

    def __init__(self, context: NodeContext, key: str, stream: str) -> None:
        self._context = context
        self.key = key
        self.stream = stream
        self.wanted: Wanted | None = None
        """The first viewer's request; without any, it is read for others only."""
        self.stage = Stage.JOINING
        self.why = ""
        """How its source was chosen, for the status page."""
        self.assembly = Assembly(key, context.seal)
        self.viewers = Viewers(context.out, key, stream)
        self.children = 0
        """Agents that read this segment from here; kept by the node."""
        self.finished: StoredSegment | None = None
        self.from_disk = False
        self.private_for_s = 0.0
        """Set when the origin showed that this rendition is not to be shared."""
        self.private_why = ""

    @property
    def ended(self) -> bool:
        """Nothing more will come of it."""
        return self.stage is Stage.ENDED

    def loaded(self, stored: StoredSegment, now: Instant) -> None:
        """The disk had it."""
        self.finished, self.from_disk = stored, True
        self.viewers.give(stored, "on this machine's disk", now)
        self.stage = Stage.ENDED

    def _hand_out(self, source: Source, came: bytes = b"") -> None:
        """Give every viewer what is here and it has not had yet; see `Viewers.deliver`."""
        self.viewers.deliver(self.assembly, source, self.why, came)
        self.assembly.announced = self.assembly.announced or self.viewers.any_answered()

    def _finish(self, now: Instant) -> None:
        """Everything is here, and everybody has had it."""
        assembly = self.assembly
        assert assembly.head is not None
        body = assembly.body()
        self.finished = StoredSegment(
            key=self.key,
            stream=self.stream,
            head=msgspec.structs.replace(assembly.head, total_bytes=len(body)),
            body=body,
            vouchers=tuple(assembly.vouchers),
            stored_utc=self._context.utc(now),
            origin_kbps=assembly.origin_kbps,
        )
        self.viewers.finish(self.why, now)
        self.stage = Stage.ENDED

    def _keep_private(self, why: str, for_s: float) -> None:
        """This rendition is not to be shared for so long."""
        self.private_for_s, self.private_why = for_s, why

    def _release(self, why: str, status: int, now: Instant) -> None:
        """Everybody for himself: unanswered viewers ask the origin, the others see their connection break."""
        self.viewers.release(why, status, now)
        self.stage = Stage.ENDED
