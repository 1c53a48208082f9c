"""Fluid links: the site's way to the internet, shared evenly, and every host's uplink and downlink.

    SharedLink    flows share its rate evenly; none is faster than one connection can be under loss
    Flow          one body on its way through a shared link
    NetworkCard   a host's: pieces of its wires take turns, control messages wait only behind pieces of their own wire
    Wire          one direction between two hosts: messages arrive in order

There are no packets: a byte takes the time that its share of the rate gives it. Loss lowers the rate of a connection
(Mathis, Semke, Mahdavi, Ott: The Macroscopic Behavior of the TCP Congestion Avoidance Algorithm, 1997) and what the
link carries; it is not drawn packet by packet.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable

from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.sim.virtual_clock import VirtualClock
from ecdn_proxy.wire.peer import PeerMessage

CHUNK_BYTES = 32_768
"""An origin's body arrives in chunks of this size, and flows share a link chunk by chunk."""
BUFFER_HIGH_BYTES = 1_048_576
BUFFER_LOW_BYTES = 262_144
"""A link is full above the one and ready again below the other, as io/tls_links/connection sets its write buffer."""
SEGMENT_SIZE_BYTES = 1_448
"""TCP payload of one packet."""


def connection_cap(rtt_s: float, loss: float) -> float:
    """Bytes per second that one connection reaches under random loss (Mathis et al.); infinite without loss."""
    return math.inf if loss <= 0 else SEGMENT_SIZE_BYTES * 1.22 / (max(rtt_s, 0.001) * math.sqrt(loss))


class Flow:
    """A body on its way through a shared link."""

    __slots__ = ("_link", "arrived", "carried", "chunk_bytes", "left_bytes", "on", "target", "wanted")

    def __init__(
        self,
        link: "SharedLink",
        size_bytes: int,
        arrived: Callable[[int], None],
        carried: Callable[[float], None],
    ) -> None:
        self._link = link
        self.left_bytes = size_bytes
        self.arrived = arrived
        """Called with each chunk's size when the chunk has arrived; with the last one `left_bytes` is 0."""
        self.carried = carried
        """Called with the bytes that used the link, also with those of a chunk that was cut off."""
        self.chunk_bytes = 0
        self.target = 0.0
        self.on = False
        """Whether the link carries the flow at present."""
        self.wanted = True
        """False after `cancel`, which may come before the flow is on the link."""

    def cancel(self) -> None:
        """Nobody wants the body any more; what the link has carried of it so far is counted."""
        self.wanted = False
        self._link.remove(self)


class SharedLink:
    """A link that its flows share evenly, each advancing by the same number of bytes in the same time.

    So one count, of the bytes that a flow present since the beginning would have had, tells when each flow's chunk is
    through: flows wait in one heap, by the count at which their chunk ends.

    Args:
        clock: virtual time.
        bytes_per_s: what the link carries.
        cap_bytes_per_s: what one connection reaches at the most.
        chunk_bytes: bodies arrive in chunks of this size.
    """

    def __init__(
        self,
        clock: VirtualClock,
        bytes_per_s: float,
        cap_bytes_per_s: float = math.inf,
        *,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self._clock = clock
        self._chunk_bytes = chunk_bytes
        self.bytes_per_s = bytes_per_s
        self._cap = cap_bytes_per_s
        self._heap: list[tuple[float, int, Flow]] = []
        self._flows = 0
        self._count = 0
        self._served = 0.0
        """Bytes that a flow present since the beginning would have had."""
        self._as_of: Instant = clock.now
        self._rate = 0.0
        self._turn = 0

    def add(self, flow: Flow) -> None:
        """A flow begins."""
        self._advance()
        self._flows += 1
        flow.on = True
        self._next_chunk(flow, self._served)
        self._again()

    def remove(self, flow: Flow) -> None:
        """A flow ends early, or stalls: nothing more of it comes."""
        if not flow.on:
            return
        self._advance()
        flow.on = False
        self._flows -= 1
        flow.carried(max(0.0, flow.chunk_bytes - max(0.0, flow.target - self._served)))
        self._again()

    def _next_chunk(self, flow: Flow, begins: float) -> None:
        flow.chunk_bytes = min(self._chunk_bytes, flow.left_bytes)
        flow.target = begins + flow.chunk_bytes
        self._count += 1
        heapq.heappush(self._heap, (flow.target, self._count, flow))

    def _advance(self) -> None:
        now = self._clock.now
        self._served += (now - self._as_of) * self._rate
        self._as_of = now

    def _again(self) -> None:
        """Set the clock for the chunk that ends next: the number of flows, or the first of them, has changed."""
        heap = self._heap
        while heap and not heap[0][2].on:
            heapq.heappop(heap)
        self._turn += 1
        if self._flows:
            self._rate = min(self._cap, self.bytes_per_s / self._flows)
            wait = max(0.0, heap[0][0] - self._served) / self._rate
            self._clock.at(self._clock.now + wait, self._due, self._turn)
        else:
            self._rate = 0.0

    def _due(self, turn: int) -> None:
        if turn != self._turn:
            return
        self._advance()
        target, _, flow = heapq.heappop(self._heap)
        self._served = max(self._served, target)
        size = flow.chunk_bytes
        flow.left_bytes -= size
        if flow.left_bytes > 0:
            self._next_chunk(flow, target)
        else:
            flow.on = False
            self._flows -= 1
        self._again()
        flow.carried(size)
        flow.arrived(size)


class Wire:
    """One direction of a link between two hosts; messages that arrive together are delivered together."""

    __slots__ = ("deliver", "full", "held_until", "is_open", "last_arrival", "queue", "queued_bytes", "say_full", "to")

    def __init__(
        self, to: "NetworkCard", deliver: Callable[[list[PeerMessage]], None], say_full: Callable[[bool], None]
    ) -> None:
        self.to = to
        self.deliver = deliver
        self.say_full = say_full
        """Called with True when the sender's buffer is full, and with False when it has room again."""
        self.full = False
        self.queue: deque[tuple[PeerMessage, int, bool, Instant]] = deque()
        self.queued_bytes = 0
        self.last_arrival: Instant = 0.0
        self.held_until: Instant = 0.0
        """When the last piece on this wire is through the receiver's downlink; no later message arrives before."""
        self.is_open = True


class NetworkCard:
    """A host's network card: what the host sends leaves at its uplink's rate and arrives at the receiver's downlink's.

    A piece takes the receiver's downlink for no longer than the downlink needs for the piece, however slowly the piece
    is sent. A piece that waits for the receiver's downlink does not hold up what its sender gives to others.

    Args:
        clock: virtual time.
        up_bytes_per_s: what the host sends at the most; infinite where only delays matter.
        down_bytes_per_s: what the host receives at the most.
        delay_s: one way from this host to any other.
        scale: the scenario's; buffers are divided by it, as all sizes are.
    """

    __slots__ = (
        "_busy",
        "_clock",
        "_free_at",
        "_high_bytes",
        "_in_turn",
        "_low_bytes",
        "delay_s",
        "down_bytes_per_s",
        "down_free_at",
        "up_bytes_per_s",
    )

    def __init__(
        self, clock: VirtualClock, up_bytes_per_s: float, down_bytes_per_s: float, delay_s: float, scale: float
    ) -> None:
        self._clock = clock
        self._high_bytes = BUFFER_HIGH_BYTES / scale
        self._low_bytes = BUFFER_LOW_BYTES / scale
        self.up_bytes_per_s = up_bytes_per_s
        self.down_bytes_per_s = down_bytes_per_s
        self.delay_s = delay_s
        self.down_free_at: Instant = 0.0
        self._free_at: Instant = 0.0
        self._busy = False
        self._in_turn: deque[Wire] = deque()

    def send(self, wire: Wire, message: PeerMessage, size_bytes: int, *, bulk: bool) -> None:
        """Send one message; only `bulk` ones (pieces), and messages that wait behind them, take the uplink's time."""
        clock = self._clock
        if not bulk and not wire.queue:
            wire.last_arrival = max(wire.last_arrival, clock.now + self.delay_s)
            clock.at(wire.last_arrival, self._arrive, wire, [message])
            return
        if not wire.queue:
            self._in_turn.append(wire)
        wire.queue.append((message, size_bytes, bulk, clock.now))
        wire.queued_bytes += size_bytes
        if wire.queued_bytes > self._high_bytes and not wire.full:
            wire.full = True
            clock.at(clock.now, self._say_full, wire)
        if not self._busy:
            self._start()

    def _start(self) -> None:
        """The next wire in turn sends one piece, with the small messages that wait before the piece."""
        clock = self._clock
        while self._in_turn:
            wire = self._in_turn.popleft()
            if not wire.is_open:
                wire.queue.clear()
                continue
            messages: list[PeerMessage] = []
            size_bytes = 0
            queue = wire.queue
            begins = queue[0][3]
            while queue:
                message, size, bulk, _ = queue.popleft()
                messages.append(message)
                size_bytes += size
                if bulk:
                    break
            wire.queued_bytes -= size_bytes
            if wire.full and wire.queued_bytes < self._low_bytes:
                wire.full = False
                clock.at(clock.now, self._say_full, wire)
            if queue:
                self._in_turn.append(wire)
            begins = max(begins, self._free_at)
            self._free_at = begins + size_bytes / self.up_bytes_per_s
            across = max(self._free_at + self.delay_s, wire.last_arrival, clock.now)
            wire.last_arrival = across
            self._busy = True
            # one event for two things: this piece is across, and the next one begins (which was `delay_s` ago)
            clock.at(across, self._across_and_go_on, wire, messages, size_bytes, begins + self.delay_s)
            return
        self._busy = False

    @staticmethod
    def _say_full(wire: Wire) -> None:
        if wire.is_open:
            wire.say_full(wire.full)

    def _across_and_go_on(
        self, wire: Wire, messages: list[PeerMessage], size_bytes: int, first_byte_at: Instant
    ) -> None:
        """The piece's last byte is at the receiver's downlink, where pieces take turns in the order of these events."""
        self._start()
        to = wire.to
        through = max(to.down_free_at, first_byte_at) + size_bytes / to.down_bytes_per_s
        to.down_free_at = wire.held_until = max(self._clock.now, through, wire.held_until)
        self._arrive(wire, messages)

    def _arrive(self, wire: Wire, messages: list[PeerMessage]) -> None:
        if wire.held_until > self._clock.now:
            self._clock.at(wire.held_until, self._hand, wire, messages)
        elif wire.is_open:
            wire.deliver(messages)

    @staticmethod
    def _hand(wire: Wire, messages: list[PeerMessage]) -> None:
        if wire.is_open:
            wire.deliver(messages)
