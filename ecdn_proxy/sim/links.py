"""Fluid links: the site's way to the internet, shared evenly; every host's uplink and downlink.

SharedLink   fetches share its rate evenly, none faster than one connection may be under loss
Wire         one direction between two agents: messages arrive in order
Uplink       a host's: pieces of its wires take turns; control messages wait only behind pieces of their own wire

No packets: a byte's time is its share of the rate. Loss lowers the rate of a connection (Mathis, Semke, Mahdavi, Ott
1997) and what the link carries; it is not drawn packet by packet.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable

from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.sim.virtual_clock import VirtualClock
from ecdn_proxy.wire.peer import PeerMessage

CHUNK_BYTES = 32_768
"""What an origin's body arrives in; also the grain of even sharing."""
BUFFER_HIGH_BYTES = 1_048_576
BUFFER_LOW_BYTES = 262_144
"""As `io.connection` sets its write buffer."""
SEGMENT_SIZE_BYTES = 1_448
"""TCP payload of a packet."""


def connection_cap(rtt_s: float, loss: float) -> float:
    """Bytes per second that one connection reaches under random loss."""
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
        """Told of each chunk's size; the last makes `left_bytes` 0."""
        self.carried = carried
        """Told of bytes that used the link, also those of a chunk that was cut off."""
        self.chunk_bytes = 0
        self.target = 0.0
        self.on = False
        self.wanted = True

    def cancel(self) -> None:
        """Nobody wants it any more; also before its first byte."""
        self.wanted = False
        self._link.remove(self)


class SharedLink:
    """Even sharing in virtual bytes: every flow advances alike, so one heap of targets is enough."""

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
        """A body begins."""
        self._advance()
        self._flows += 1
        flow.on = True
        self._next_chunk(flow, self._served)
        self._again()

    def remove(self, flow: Flow) -> None:
        """A body is not wanted any more."""
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
        """The number of flows or the first of them changed."""
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
    """One direction of a link between two agents."""

    __slots__ = ("deliver", "full", "held_until", "is_open", "last_arrival", "queue", "queued_bytes", "say_full", "to")

    def __init__(
        self, to: "NetworkCard", deliver: Callable[[list[PeerMessage]], None], say_full: Callable[[bool], None]
    ) -> None:
        self.to = to
        self.deliver = deliver
        self.say_full = say_full
        """Told when the sender's buffer is full, and when it has room again."""
        self.full = False
        self.queue: deque[tuple[PeerMessage, int, bool, Instant]] = deque()
        self.queued_bytes = 0
        self.last_arrival: Instant = 0.0
        self.held_until: Instant = 0.0
        """When the last of its pieces is through the receiver's downlink; nothing overtakes it."""
        self.is_open = True


class NetworkCard:
    """A host's network card: what it sends leaves at its uplink's rate and arrives at the other's downlink's.

    A piece takes the receiver's downlink for no longer than that needs for it, however slowly it is sent; whom it waits
    for there does not hold up what its sender gives to others.
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
        """Send one message; `bulk` ones take the uplink's time."""
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
        """The next wire in turn sends its small messages and one piece."""
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
            # one event for both: that it is across and that the next begins (whose times lie `delay_s` back)
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
        """The last byte is at the receiver's downlink, where pieces take turns in this order."""
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
