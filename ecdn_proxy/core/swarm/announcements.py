"""Which streams are watched here, who has been told, and what new ledgers must learn.

look_around()  client isolation is noticed, and told
watch()      a stream is wanted: announce it, wait once for the neighbours' names
register()   the neighbourhood changed: tell a key's new home what this machine fetches or has
wake()       streams nobody watches any more are announced no longer
"""

from collections import OrderedDict

from ecdn_proxy.core.events import AnnounceStreams, ClearCondition, RaiseCondition
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.peer import Held, Keepers

STREAMS_MAX = 64
RECENT_KEYS = 24
"""The live window of two or three renditions: what a newcomer may ask for."""


class Announcements:
    """Streams watched on this machine."""

    def __init__(self, context: NodeContext, share_after_watching_s: float) -> None:
        self._context = context
        self._share_after_s = share_after_watching_s
        self._joined: dict[str, Instant] = {}
        self._changed: dict[str, Instant] = {}
        self._committees: dict[str, tuple[str, ...]] = {}
        self._wanted_at: OrderedDict[str, Instant] = OrderedDict()
        self._named: set[str] = set()
        self._recent: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._isolated = False
        self._evidence = 0
        """Of client isolation, as it was told to people."""
        self.tracker_connected = False

    def watched(self) -> tuple[str, ...]:
        """Streams watched now."""
        return tuple(self._wanted_at)

    def watch(self, stream: str, now: Instant) -> None:
        """A viewer wants this stream."""
        known = stream in self._wanted_at
        self._wanted_at[stream] = now
        self._wanted_at.move_to_end(stream)
        if known:
            return
        self._joined[stream] = self._changed[stream] = now
        if len(self._wanted_at) > STREAMS_MAX:
            self._forget(next(iter(self._wanted_at)))
        self.announce()

    def shares(self, stream: str) -> bool:
        """Whether this machine watches the stream, or did so a short while ago."""
        return stream in self._wanted_at

    def announce(self) -> None:
        """Tell mDNS, the coordinator and the links."""
        self._context.out.append(AnnounceStreams(self.watched(), self._context.membership.serves, self._isolated))

    def look_around(self, now: Instant) -> None:
        """Whether an access point seems to keep this machine from its like."""
        isolation, out = self._context.membership.isolation, self._context.out
        if isolation.is_sure(now):
            if self._evidence != isolation.evidence:
                out.append(RaiseCondition("client-isolation", "two or more were tried, and nobody there answers"))
            self._evidence = isolation.evidence
        elif self._evidence:
            out.append(ClearCondition("client-isolation"))
            self._evidence = 0
        if (isolated := isolation.holds(now)) != self._isolated:
            self._isolated = isolated
            self.announce()

    def named(self, stream: str) -> None:
        """The tracker has named the neighbours."""
        self._named.add(stream)

    def tell_keepers(self, device: str, streams: tuple[str, ...]) -> None:
        """The coordinator is away: a neighbour that has come since would have another committee than everybody else."""
        if self.tracker_connected:
            return
        for stream in streams:
            if stream in self._wanted_at and (members := self._context.membership.keepers(stream)):
                self._context.send(device, Keepers(stream, members))

    def keepers_told(self, told: Keepers, now: Instant) -> None:
        """A neighbour says who keeps a stream's ledgers."""
        wanted = not self.tracker_connected and told.stream in self._wanted_at
        if wanted and self._context.membership.keepers_told(told.stream, told.members):
            self.register((told.stream,), now)

    def joining(self, stream: str, now: Instant) -> bool:
        """Whether the neighbours' names may still come in a moment."""
        if not self._context.sharing or stream in self._named:
            return False
        return now < self._joined.get(stream, now) + self._join_wait_s()

    def _join_wait_s(self) -> float:
        limits = self._context.limits
        return limits.join_wait_tracker_s if self.tracker_connected else limits.join_wait_s

    def is_unsettled(self, stream: str, now: Instant) -> bool:
        """Whether the committee changed a moment ago, so that others may still ask by an older list."""
        return now < self._changed.get(stream, now) + self._context.limits.unsettled_s

    def completed(self, key: str, stream: str, now: Instant, *, fetched: bool = False) -> None:
        """This machine has all of a segment: its home learns so, and of a fetched one the next in rank too."""
        self._recent[key] = (stream, "")
        while len(self._recent) > RECENT_KEYS:
            self._recent.popitem(last=False)
        self._tell(key, stream, now)
        if fetched and self._context.sharing and self._context.membership.serves:
            for home in self._context.membership.homes(stream, key, now)[1:2]:
                if home != self._context.me.device:
                    self._context.reach(home, Held(key, stream), now)

    def register(self, streams: tuple[str, ...], now: Instant) -> None:
        """Membership may have changed: recent keys of these streams whose home is new are told to it."""
        for stream in streams:
            committee = tuple(self._context.membership.committee(stream, now)) if stream in self._wanted_at else ()
            if committee and self._committees.get(stream) != committee:
                self._committees[stream], self._changed[stream] = committee, now
                self._register_keys(stream, now)

    def _register_keys(self, stream_changed: str, now: Instant) -> None:
        for key, (stream, _) in list(self._recent.items()):
            if stream == stream_changed:
                self._tell(key, stream, now)

    def _tell(self, key: str, stream: str, now: Instant) -> None:
        context = self._context
        home = context.membership.homes(stream, key, now)[0]
        if self._recent[key][1] == home or not context.sharing:
            return
        self._recent[key] = (stream, home)
        if home == context.me.device:
            context.ledger.segment_held(key, stream, home)
        elif context.membership.serves:
            context.reach(home, Held(key, stream), now)

    def wake_at(self, joining: list[str]) -> Instant | None:
        """When a wait for names ends or a stream is no longer watched."""
        times = [self._joined[it] + self._join_wait_s() for it in joining if it in self._joined]
        if self._wanted_at:
            times.append(next(iter(self._wanted_at.values())) + self._share_after_s)
        return min(times, default=None)

    def wake(self, now: Instant) -> None:
        """Forget streams that nobody wants any more."""
        gone = [stream for stream, at in self._wanted_at.items() if at + self._share_after_s <= now]
        for stream in gone:
            self._forget(stream)
        if gone:
            self.announce()

    def _forget(self, stream: str) -> None:
        self._wanted_at.pop(stream, None)
        for known in (self._joined, self._changed, self._committees):
            known.pop(stream, None)
        self._named.discard(stream)
        self._context.membership.forget_stream(stream)
