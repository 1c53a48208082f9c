"""The origin behind a site's link: answers after its first byte's time, body by body through the shared link.

fetch()       for a node: OriginAnswered, OriginSent …, OriginEnded
pass_on()     for a player that the swarm let go
hand_over()   a node's fetch that becomes its player's
"""

from collections.abc import Callable

from ecdn_proxy.core import events
from ecdn_proxy.sim.host import Host
from ecdn_proxy.sim.links import CHUNK_BYTES, Flow, SharedLink
from ecdn_proxy.sim.live_stream import UTC_MINUS_NOW, LiveSegment, LiveStream
from ecdn_proxy.sim.player import Player
from ecdn_proxy.sim.virtual_clock import VirtualClock


class Origin:
    """One origin, never out of order: what breaks is nearer to the viewers."""

    def __init__(
        self,
        clock: VirtualClock,
        live_stream: LiveStream,
        link: SharedLink,
        first_byte_s: float,
        doomed: Callable[[Host], None],
    ) -> None:
        self._clock = clock
        self._stream = live_stream
        self.link = link
        self._first_byte_s = first_byte_s
        self._doomed = doomed
        """Told when half of a doomed segment has reached its fetcher."""
        self.link_bytes: dict[int, float] = {}
        """What the link carried in each second."""

    def fetch(self, host: Host, effect: events.FetchOrigin) -> None:
        """A node asks, perhaps for the rest only."""
        segment = self._stream.by_url[effect.request.url]
        number, size, begins = effect.fetch, len(segment.body), effect.first_byte
        fields = segment.headers
        status = 200
        if effect.ranged and begins:
            status, fields = 206, (*fields, ("content-range", f"bytes {begins}-{size - 1}/{size}"))
        fields = (*fields, ("content-length", str(size - begins)))
        flow = host.fetches[number] = self._flow(segment, begins)

        def arrived(size_bytes: int) -> None:
            at = size - flow.left_bytes - size_bytes
            whole = at % CHUNK_BYTES == 0 and size_bytes == len(segment.chunks[at // CHUNK_BYTES])
            data = segment.chunks[at // CHUNK_BYTES] if whole else segment.body[at : at + size_bytes]
            host.feed(events.OriginSent(number, data))
            if not flow.left_bytes and flow.wanted:
                host.fetches.pop(number, None)
                host.feed(events.OriginEnded(number))
            elif segment.doomed and 2 * flow.left_bytes <= size:
                segment.doomed = False
                self._doomed(host)

        def answered() -> None:
            if flow.wanted:
                host.feed(events.OriginAnswered(number, status, fields, self._clock.now + UTC_MINUS_NOW))
            if flow.wanted:
                self.link.add(flow)

        flow.arrived = arrived
        self._clock.at(self._clock.now + self._first_byte_s, answered)

    def _flow(self, segment: LiveSegment, begins: int) -> Flow:
        def carried(size_bytes: float) -> None:
            segment.origin_bytes += size_bytes
            second = int(self._clock.now)
            self.link_bytes[second] = self.link_bytes.get(second, 0.0) + size_bytes

        return Flow(self.link, len(segment.body) - begins, lambda _: None, carried)

    def pass_on(self, host: Host, player: Player) -> None:
        """A player asks by itself."""
        segment = player.waiting_for
        assert segment is not None
        flow = host.fetches[-host.viewer] = self._flow(segment, 0)
        flow.arrived = lambda _: self._passed(host, player, flow)
        self._clock.at(self._clock.now + self._first_byte_s, lambda: self.link.add(flow) if flow.wanted else None)

    def hand_over(self, host: Host, player: Player, fetch: int) -> None:
        """A running fetch is the player's from now on."""
        flow = host.fetches[fetch]
        flow.arrived = lambda _: self._passed(host, player, flow)

    @staticmethod
    def _passed(host: Host, player: Player, flow: Flow) -> None:
        if not flow.left_bytes and host.player is player and player.waiting_for is not None:
            player.got_bytes = len(player.waiting_for.body)
            player.finished()
