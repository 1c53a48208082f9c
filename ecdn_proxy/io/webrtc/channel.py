"""One WebRTC data channel to another agent, from its opening to its last message: tls_links/connection for WebRTC.

    greeting ──Hello of the signed device, ours sent──► open ──Bye, fault, silence, loss──► ended
                                                          └──leave: our Bye sent, reading on──┘

What the two say of the link itself is judged in io/handshake. One frame is one message (≤ 64 KiB). The device is known
before: its signature covers the fingerprint that DTLS has checked, so whatever arrives here comes from whoever holds
that key; still nothing counts before a good Hello, since the other end may have refused our certificate while this end
looks connected.

**Back-pressure.** `full` above `HIGH_BYTES` waiting in the engine; `drained` is told below `LOW_BYTES`.
**Liveness.** aiortc notices a dead peer after 32 s. Each end sends a Ping every `TICK_S`, also while it sends nothing
else; `SILENT_TICKS` of our own ticks without any message end the link. Ticks, not seconds: if this process was held up
itself, that is no sign that the other one died.
"""

import asyncio

from ecdn_proxy.io.clock import monotonic
from ecdn_proxy.io.handshake import OWN, Handshake, LinkEnd, Owner
from ecdn_proxy.io.webrtc.engine import Carrier
from ecdn_proxy.wire import ids
from ecdn_proxy.wire.codec import pack
from ecdn_proxy.wire.faults import PeerMisbehaved, UnknownMessage
from ecdn_proxy.wire.peer import Bye, Hello, PeerMessage, Pong, read_peer_message

TICK_S = 0.65
SILENT_TICKS = 4
"""Silence of 1.95 to 2.6 s; SCTP sends a lost message again after 1 s, so a single loss is no death."""
HIGH_BYTES = 4_194_304
LOW_BYTES = 1_048_576
"""Measured: smaller watermarks cost CPU, because aiortc then fills its queue in smaller turns."""
LIMIT_BYTES = 16_777_216
"""Whoever does not read while this much waits is hung up on."""

MOVED = "this link goes on over TLS"
"""The Bye of a link that moves: the other end says it too, after its last word, so that none is lost."""
LEAVE_S = 3.0


class Channel:
    """One data channel to `device`."""

    def __init__(self, owner: Owner["Channel"], tenant: str, device: str, *, dialled: bool) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._carrier: Carrier | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._silent = 0
        self._due = 0.0
        self._leaving = False
        self.talk = Handshake(tenant, device)
        self.over = asyncio.Event()
        """Set when the channel has ended."""
        self.settled = asyncio.Event()
        """Set when the channel is open, or will never be."""
        self.device = device
        self.dialled = dialled
        self.address = ""
        self.said: Hello | None = None
        self.opened_at = 0.0
        self.open = False
        self.end: LinkEnd | None = None
        self.full = False
        self.bytes_in = 0
        self.bytes_out = 0

    def carry(self, carrier: Carrier) -> None:
        """Take the engine's channel; it may not be open yet."""
        if self._carrier is not None:
            self._finish(LinkEnd("it opened a second channel", misbehaved=True))
            return
        self._carrier = carrier
        carrier.bufferedAmountLowThreshold = LOW_BYTES
        carrier.on("message", self._message)
        carrier.on("bufferedamountlow", self._low)
        carrier.on("close", lambda: self._finish(LinkEnd("the other end closed the channel")))
        if carrier.readyState == "open":
            self._ready()
        else:
            carrier.on("open", self._ready)

    # ---- what the owner may do

    def send(self, message: PeerMessage) -> None:
        """Send one message; nothing happens when the channel has ended."""
        carrier = self._carrier
        if self.end is not None or self._leaving or carrier is None or carrier.readyState != "open":
            return
        body = pack(message)
        self.bytes_out += len(body)
        carrier.send(body)
        waiting = carrier.bufferedAmount
        self.full = waiting > (LOW_BYTES if self.full else HIGH_BYTES)
        if waiting > LIMIT_BYTES:
            self._finish(LinkEnd("it no longer reads what it is sent"))

    def close(self, why: str, *, misbehaved: bool = False) -> None:
        """Say Bye and end; one that misbehaved hears nothing more."""
        if self.end is None and self.said is not None and not misbehaved:
            self.send(Bye(ids.sentence(why)))
        self._finish(LinkEnd(why, misbehaved))

    def leave(self) -> None:
        """Say Bye, send nothing more, but take what is still on its way until the other end says the same."""
        if self.end is None and not self._leaving:
            self.send(Bye(MOVED))
            self._leaving = True
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(LEAVE_S, lambda: self._finish(LinkEnd("left")))

    @property
    def waiting_bytes(self) -> int:
        """Bytes that the engine has not given to SCTP yet."""
        return 0 if self._carrier is None or self._carrier.readyState != "open" else self._carrier.bufferedAmount

    def lost(self, why: str) -> None:
        """The transport below is gone."""
        self._finish(LinkEnd(why))

    # ---- the engine's side

    def _ready(self) -> None:
        if self.end is not None or self.said is not None:
            return
        self.said = self._owner.hello()
        self.send(self.said)
        self._due = self._loop.time()
        self._tick()

    def _low(self) -> None:
        if self.full and self.end is None:
            self.full = False
            if self.open:
                self._owner.drained(self)

    def _message(self, body: bytes | str) -> None:
        if self.end is not None:
            return
        self._silent = 0
        try:
            if isinstance(body, str):
                raise PeerMisbehaved("text on a data channel")
            self.bytes_in += len(body)
            self._take(read_peer_message(body))
        except UnknownMessage as unknown:
            if self.talk.passes_over():
                self._owner.passed_over(self, unknown.tag)
        except PeerMisbehaved as fault:
            self._finish(LinkEnd(fault.why, misbehaved=True))
        except Exception as error:  # ours: it must not end aiortc's reader, which would not say why
            self._loop.call_exception_handler({"message": "a message could not be handled", "exception": error})
            self._finish(LinkEnd("a fault of this agent's own"))

    # ---- the link's own messages

    def _take(self, message: PeerMessage) -> None:
        if self.open and type(message) not in OWN:
            self._owner.received(self, message)
            return
        match self.talk.take(message, monotonic()):
            case Pong() as pong:
                self.send(pong)
            case Hello() as hello:
                self._opened(hello)
            case LinkEnd(why) as end:
                if why == MOVED and self.open:
                    self.send(Bye(MOVED))
                self._finish(end)

    def _opened(self, hello: Hello) -> None:
        self._ready()  # the answering end may read the Hello before aiortc tells it that the channel is open
        self.open = True
        self.opened_at = self._loop.time()
        self.send(self.talk.ping(monotonic()))
        self.settled.set()
        self._owner.greeted(self, hello)

    def _tick(self) -> None:
        if self.end is not None:
            return
        self._silent += 1
        if self._silent >= SILENT_TICKS:
            self._finish(LinkEnd(f"nothing was heard for {SILENT_TICKS * TICK_S:.1f} s"))
            return
        now = self._loop.time()
        self._due = self._due + TICK_S if self._due + TICK_S > now else now + TICK_S  # a late tick delays none after it
        self._timer = self._loop.call_at(self._due, self._tick)
        if self.open:
            self.send(self.talk.ping(monotonic()))

    def _finish(self, end: LinkEnd) -> None:
        """End the channel, the first time only."""
        if self.end is not None:
            return
        self.end = end
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.settled.set()
        self.over.set()
        self._owner.ended(self, end)
