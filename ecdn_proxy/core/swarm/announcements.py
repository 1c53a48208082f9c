"""Which streams are watched here, who is told so, and what new homes must learn of this machine.

watch(), wake()          a stream is watched from now on, or no longer: mDNS, the coordinator and the links are told
joining(), named()       a stream's first segment waits once, for a moment, for the neighbours' names
completed()              a segment is here: its home learns so
register()               the neighbourhood changed: a key's new home learns that the segment is here
tell_keepers(), keepers_told()    while the coordinator is away, agents tell each other who keeps the ledgers
look_around()            client isolation is noticed, and told
"""

from collections import OrderedDict

from ecdn_proxy.core.events import AnnounceStreams, ClearCondition, RaiseCondition
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.peer import Held, Keepers

STREAMS_MAX = 64
"""Streams that one machine watches at once, as far as it announces them."""
RECENT_KEYS = 24
"""Of so many segments new homes are told: the live window of two or three renditions, which a newcomer may ask for."""


class Announcements:
    """The streams that are watched on this machine, and what is told of them."""

    def __init__(self, context: NodeContext, share_after_watching_s: float) -> None:
        """A stream counts as watched for `share_after_watching_s` after a viewer last wanted a segment of it."""
        self._context = context
        self._share_after_s = share_after_watching_s
        self._joined: dict[str, Instant] = {}
        """Stream → since when it is watched."""
        self._changed: dict[str, Instant] = {}
        """Stream → when its committee changed last."""
        self._committees: dict[str, tuple[str, ...]] = {}
        """Stream → its committee when it changed last."""
        self._wanted_at: OrderedDict[str, Instant] = OrderedDict()
        """Stream → when a viewer last wanted a segment of it; the longest ago first."""
        self._named: set[str] = set()
        """Streams whose neighbours the coordinator has named."""
        self._recent: OrderedDict[str, tuple[str, str]] = OrderedDict()
        """Key of a segment that is here → its stream, and the home that knows so."""
        self._isolated = False
        """Whether it was announced that this machine is isolated."""
        self._evidence = 0
        """The evidence of client isolation when people were last told of it; 0: they were told that it is over."""
        self.tracker_connected = False
        """Whether the coordinator is there, whose tracker names the neighbours."""

    def watched(self) -> tuple[str, ...]:
        """The streams that are watched now."""
        return tuple(self._wanted_at)

    def watch(self, stream: str, now: Instant) -> None:
        """A viewer wants a segment of this stream; a stream that is new is announced."""
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
        """Tell mDNS, the coordinator and the links which streams are watched, and if this machine serves others."""
        self._context.out.append(AnnounceStreams(self.watched(), self._context.membership.serves, self._isolated))

    def look_around(self, now: Instant) -> None:
        """Tell people and the neighbours whether an access point seems to keep this machine from those beside it."""
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
        """The coordinator's tracker has named the neighbours of a stream."""
        self._named.add(stream)

    def tell_keepers(self, device: str, streams: tuple[str, ...]) -> None:
        """Tell a neighbour, while the coordinator is away, who keeps the ledgers of the streams that it watches.

        A neighbour that has come since the coordinator went would have another committee than everybody else.
        """
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
        """Whether a stream's segments wait, as the names of the neighbours may still come in a moment."""
        if not self._context.sharing or stream in self._named:
            return False
        return now < self._joined.get(stream, now) + self._join_wait_s()

    def _join_wait_s(self) -> float:
        limits = self._context.limits
        return limits.join_wait_tracker_s if self.tracker_connected else limits.join_wait_s

    def is_unsettled(self, stream: str, now: Instant) -> bool:
        """Whether a stream's committee changed a moment ago, so that others may still ask by an older list."""
        return now < self._changed.get(stream, now) + self._context.limits.unsettled_s

    def completed(self, key: str, stream: str, now: Instant, *, fetched: bool = False) -> None:
        """This machine has all of a segment: the segment's home learns so.

        If this machine `fetched` it from the origin, the next in rank after the home learns so too.
        """
        self._recent[key] = (stream, "")
        while len(self._recent) > RECENT_KEYS:
            self._recent.popitem(last=False)
        self._tell(key, stream, now)
        if fetched and self._context.sharing and self._context.membership.serves:
            for home in self._context.membership.homes(stream, key, now)[1:2]:
                if home != self._context.me.device:
                    self._context.reach(home, Held(key, stream), now)

    def register(self, streams: tuple[str, ...], now: Instant) -> None:
        """The neighbours of these streams may have changed: the new home of a segment that is here is told so."""
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
        """When a wait for names ends (of the streams in `joining`), or a stream is no longer watched."""
        times = [self._joined[it] + self._join_wait_s() for it in joining if it in self._joined]
        if self._wanted_at:
            times.append(next(iter(self._wanted_at.values())) + self._share_after_s)
        return min(times, default=None)

    def wake(self, now: Instant) -> None:
        """Forget streams that nobody has wanted for long enough, and announce those that are left."""
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
