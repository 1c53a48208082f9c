"""One WebRTC data channel to another agent, from its opening to its last message.

How it greets, what is said to keep it up, and how it ends: io/link_connection. One frame is one message (≤ 64 KiB).
The device is known before: its signature covers the fingerprint that DTLS has checked, so whatever arrives here comes
from whoever holds that key; still nothing counts before a good Hello, since the other end may have refused our
certificate while this end looks connected.

**Back-pressure.** A channel is `full` while more than `HIGH_BYTES` wait in the engine, and has drained below
`LOW_BYTES`.
**Liveness.** aiortc notices a dead peer after 32 s. Each end sends a Ping every `TICK_S`, also while it sends nothing
else; `SILENT_TICKS` of our own ticks without any message end the channel. Ticks, not seconds: if this process was held
up itself, that is no sign that the other one died.
"""

import asyncio

from ecdn_proxy.io.clock import monotonic
from ecdn_proxy.io.handshake import LinkEnd
from ecdn_proxy.io.link_connection import ConnectionOwner, LinkConnection, MessageConsumer
from ecdn_proxy.io.webrtc.engine import DataChannel
from ecdn_proxy.wire.codec import pack
from ecdn_proxy.wire.faults import PeerMisbehaved, UnknownMessage
from ecdn_proxy.wire.peer import PARTING_WEBRTC, PeerMessage, read_peer_message

TICK_S = 0.65
SILENT_TICKS = 4
"""Silence of 1.95 to 2.6 s. SCTP sends a lost message again after 1 s, so a single lost packet ends nothing."""
HIGH_BYTES = 4_194_304
LOW_BYTES = 1_048_576
"""Measured: smaller watermarks cost CPU, because aiortc then fills its queue in more and smaller turns."""
LIMIT_BYTES = 16_777_216
"""An other end that does not read while this much waits is hung up on."""


class Channel(LinkConnection):
    """One data channel; `dialled` at the end that made the offer."""

    kind = "webrtc"
    parting = PARTING_WEBRTC

    def __init__(
        self, owner: ConnectionOwner, consumer: MessageConsumer, tenant: str, device: str, *, dialled: bool
    ) -> None:
        super().__init__(owner, consumer, tenant, device, dialled=dialled)
        self._below: DataChannel | None = None
        self._silent_ticks = 0
        self._due = 0.0
        """When the next tick should come."""
        self.over = asyncio.Event()
        """Set when the channel has ended."""

    def attach(self, below: DataChannel) -> None:
        """Take the engine's data channel; it may not be open yet."""
        if self._below is not None:
            self._finish(LinkEnd("it opened a second channel", misbehaved=True), at_once=True)
            return
        self._below = below
        below.bufferedAmountLowThreshold = LOW_BYTES
        below.on("message", self._message)
        below.on("bufferedamountlow", self._low)
        below.on("close", lambda: self.lost("the other end closed the channel"))
        if below.readyState == "open":
            self._opened_below()
        else:
            below.on("open", self._opened_below)

    def send(self, message: PeerMessage) -> None:
        """Send one message; nothing happens when the channel was left or has ended."""
        below = self._below
        if self.end is not None or self._leaving or below is None or below.readyState != "open":
            return
        body = pack(message)
        self.bytes_out += len(body)
        below.send(body)
        waiting = below.bufferedAmount
        self.full = waiting > (LOW_BYTES if self.full else HIGH_BYTES)
        if waiting > LIMIT_BYTES:
            self.lost("it no longer reads what it is sent")

    @property
    def waiting_bytes(self) -> int:
        """Bytes that the engine has not given to SCTP yet."""
        return 0 if self._below is None or self._below.readyState != "open" else self._below.bufferedAmount

    def lost(self, why: str) -> None:
        """End without a Bye: what is below is gone, or nobody reads there."""
        self._finish(LinkEnd(why), at_once=True)

    # ---- the engine's side

    def _opened_below(self) -> None:
        if self.end is None and self.said is None:
            self._due = self._loop.time()
            self._tick()
            self._begin()

    def _low(self) -> None:
        if self.full and self.end is None:
            self.full = False
            if self.open:
                self._owner.drained(self)

    def _message(self, body: bytes | str) -> None:
        if self.end is not None:
            return
        self._silent_ticks = 0
        try:
            if isinstance(body, str):
                raise PeerMisbehaved("text on a data channel")
            self.bytes_in += len(body)
            self._take_message(read_peer_message(body))
        except UnknownMessage as unknown:
            self._pass_over(unknown)
        except PeerMisbehaved as fault:
            self._finish(LinkEnd(fault.why, misbehaved=True), at_once=True)
        except Exception as error:  # ours: it must not end aiortc's reader, which would not say why
            self._loop.call_exception_handler({"message": "a message could not be handled", "exception": error})
            self.lost("a fault of this agent's own")

    # ---- time-outs and the end

    def _keep_up(self) -> None:
        self._opened_below()  # the answering end may read the Hello before aiortc tells it that the channel is open
        self.send(self.handshake.ping(monotonic()))

    def _tick(self) -> None:
        self._silent_ticks += 1
        if self._silent_ticks >= SILENT_TICKS:
            self.lost(f"nothing was heard for {SILENT_TICKS * TICK_S:.1f} s")
            return
        now = self._loop.time()
        self._due = self._due + TICK_S if self._due + TICK_S > now else now + TICK_S  # a late tick delays none after it
        self._timer = self._loop.call_at(self._due, self._tick)
        if self.open:
            self.send(self.handshake.ping(monotonic()))

    def _release(self, *, at_once: bool) -> None:
        self.over.set()  # the hub closes what is below, when the last word has gone out
