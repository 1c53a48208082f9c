"""One TLS connection to another agent, from the end of its handshake to its last byte.

    greeting ──Hello of the certificate's device, ours sent──► open ──Bye, fault, silence, loss──► closed
        └──3 s, fault, other protocol──────────────────────────────────────────────────────────────► closed

The connection knows frames and time-outs. What the two say of the link itself is judged in io/handshake; which of two
links to a device lives is the hub's business (io/tls_links/hub). It tells its owner `greeted` once, then `received` for
each message that is not the link's own, and `ended` once.

The hot path is the 32 KiB piece. Bytes are decrypted straight into one buffer per link and decoded where they lie
(one copy, into the message's own bytes); a message to send is encoded once, behind its length, and handed to TLS whole.
"""

import asyncio
import ssl
import threading
from typing import Protocol, cast

from ecdn_proxy.io.clock import monotonic
from ecdn_proxy.io.handshake import OWN, Handshake, LinkEnd, Owner
from ecdn_proxy.io.tls_links.contexts import peer_identity
from ecdn_proxy.wire import ids
from ecdn_proxy.wire.codec import FRAME_BYTES_MAX, encode
from ecdn_proxy.wire.faults import PeerMisbehaved, UnknownMessage
from ecdn_proxy.wire.peer import Bye, Hello, PeerMessage, Pong, read_peer_message

HELLO_S = 3.0
"""From accept or connect to the other end's Hello; on a LAN it takes milliseconds, on a loaded laptop tenths."""
PING_S = 2.0
UNANSWERED_MAX = 3
"""Pings without a Pong after which the other end is gone: 6 to 8 s; a machine asleep costs its neighbours no longer."""
WRITE_HIGH_BYTES = 1_048_576
"""A link with more than this unsent is full: 80 ms of a 100 Mbit/s link."""
WRITE_LOW_BYTES = 262_144
WRITE_LIMIT_BYTES = 16_777_216
"""Whoever does not read while this much waits is hung up on, so that no peer can make us hold more."""
SHUTDOWN_S = 3.0
"""How long a closing link may take to send what it still holds and the TLS farewell."""

_LENGTH = 4
_BUFFER_BYTES = 131_072
"""Room for several frames between two calls of the parser; asyncio's TLS reads at most this much from the socket."""
_of_thread = threading.local()


def _shared_view() -> memoryview:
    """The buffer into which every link of this thread reads."""
    view: memoryview | None = getattr(_of_thread, "view", None)
    if view is None:
        view = _of_thread.view = memoryview(bytearray(_BUFFER_BYTES))
    return view


class ConnectionOwner(Owner["Connection"], Protocol):
    """Whoever opens connections and hears of them."""

    def made(self, connection: "Connection") -> None:
        """TLS stands; `lost` of the connection completes when its socket is gone."""
        ...


class Connection(asyncio.BufferedProtocol):
    """One connection; `expected` is the device that was dialled, None for an accepted one."""

    def __init__(self, owner: ConnectionOwner, tenant: str, expected: str | None) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._tenant = tenant
        self._expected = expected
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._begun = b""
        """The first part of a frame whose rest has not come."""
        self._held = False
        self._leaving = False
        self.talk = Handshake(tenant)
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self.settled = asyncio.Event()
        """Set when the connection is open, or will never be."""
        self.said: Hello | None = None
        """Our Hello, as it was sent."""
        self.device = ""
        """The certificate's device, once the handshake is over."""
        self.address = ""
        self.dialled = expected is not None
        self.opened_at = 0.0
        self.open = False
        self.end: LinkEnd | None = None
        self.full = False
        self.bytes_in = 0
        self.bytes_out = 0

    # ---- what the owner may do

    def send(self, message: PeerMessage) -> None:
        """Send one message; nothing happens when the connection has ended."""
        transport = self._transport
        if self.end is not None or self._leaving or transport is None:
            return
        frame = encode(message)
        self.bytes_out += len(frame)
        transport.write(frame)
        if self.full and transport.get_write_buffer_size() > WRITE_LIMIT_BYTES:
            self._finish(LinkEnd("it no longer reads what it is sent"), at_once=True)

    def close(self, why: str, *, misbehaved: bool = False) -> None:
        """Say Bye and end; one that misbehaved hears nothing more."""
        if self.end is None and self.open and not misbehaved:
            self.send(Bye(ids.sentence(why)))
        self._finish(LinkEnd(why, misbehaved), at_once=misbehaved)

    def leave(self, why: str) -> None:
        """Say Bye, send nothing more, but take what is still on its way until the other end closes."""
        if self.end is not None:
            return
        self.send(Bye(ids.sentence(why)))
        self._leaving = True
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(SHUTDOWN_S, self._left)

    def hold(self) -> None:
        """Read nothing until `go_on`."""
        self._held = True
        if self._transport is not None:
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        self._held = False
        if self._transport is not None and self.end is None:
            self._transport.resume_reading()
            held = bytearray(self._begun)
            self._take_frames(memoryview(held), len(held))

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TLS handshake is over: see who it is, and say Hello."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES, low=WRITE_LOW_BYTES)
        self._owner.made(self)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        try:
            tenant, device, _ = peer_identity(cast("ssl.SSLObject", transport.get_extra_info("ssl_object")))
            if tenant != self._tenant:
                raise PeerMisbehaved("a certificate of another tenant")
        except PeerMisbehaved as fault:
            self._finish(LinkEnd(fault.why, misbehaved=True), at_once=True)
            return
        self.device = self.talk.device = device
        if self._expected is not None and device != self._expected:
            self._finish(LinkEnd(f"another device answers at {self.address}"), at_once=True)
            return
        self._timer = self._loop.call_later(HELLO_S, self._silent)
        self.said = self._owner.hello()
        self.send(self.said)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Room for the next bytes, behind what is begun; a whole frame always fits.

        All links of a thread read into one buffer: the transport fills it and tells at once, before another link reads.
        A buffer for each would cost a home of 200 agents 25 MB.
        """
        view = _shared_view()
        begun = len(self._begun)
        view[:begun] = self._begun
        return view[begun:]

    def buffer_updated(self, nbytes: int) -> None:
        """More bytes have come: take the whole frames out."""
        self.bytes_in += nbytes
        self._take_frames(_shared_view(), len(self._begun) + nbytes)

    def _take_frames(self, view: memoryview, filled: int) -> None:
        start = 0
        try:
            while filled - start >= _LENGTH and self.end is None and not self._held:
                length = int.from_bytes(view[start : start + _LENGTH], "big")
                if length > FRAME_BYTES_MAX:
                    raise PeerMisbehaved(f"a frame of {length} bytes announced; the limit is {FRAME_BYTES_MAX}")
                end = start + _LENGTH + length
                if filled < end:
                    break
                try:
                    self._take(read_peer_message(view[start + _LENGTH : end]))
                except UnknownMessage as unknown:
                    if self.talk.passes_over():
                        self._owner.passed_over(self, unknown.tag)
                start = end
        except PeerMisbehaved as fault:
            self._finish(LinkEnd(fault.why, misbehaved=True), at_once=True)
        self._begun = b"" if self.end is not None else bytes(view[start:filled])

    def eof_received(self) -> bool:
        """The other end has finished."""
        return False

    def pause_writing(self) -> None:
        """More waits than the link has sent lately."""
        self.full = True

    def resume_writing(self) -> None:
        """The link has caught up."""
        self.full = False
        if self.open and self.end is None:
            self._owner.drained(self)

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        self._finish(
            LinkEnd("the connection was lost" if error else "the other end closed the connection"), at_once=True
        )
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(None)

    # ---- the link's own messages

    def _take(self, message: PeerMessage) -> None:
        if self.open and type(message) not in OWN:
            self._owner.received(self, message)
            return
        match self.talk.take(message, monotonic()):  # uvloop's own time has whole milliseconds only
            case Pong() as pong:
                self.send(pong)
            case Hello() as hello:
                self._opened(hello)
            case LinkEnd() as end:
                self._finish(end, at_once=False)

    def _opened(self, hello: Hello) -> None:
        self.open = True
        self.opened_at = self._loop.time()
        if self._timer is not None:
            self._timer.cancel()
        self.settled.set()
        self._send_ping()
        self._owner.greeted(self, hello)

    def _silent(self) -> None:
        self._finish(LinkEnd(f"no Hello within {HELLO_S:g} s"), at_once=True)

    def _left(self) -> None:
        self._finish(LinkEnd("left"), at_once=True)

    def _send_ping(self) -> None:
        if self.talk.unanswered >= UNANSWERED_MAX:
            self._finish(LinkEnd(f"{UNANSWERED_MAX} pings unanswered"), at_once=True)
            return
        self._timer = self._loop.call_later(PING_S, self._send_ping)
        self.send(self.talk.ping(monotonic()))

    def _finish(self, end: LinkEnd, *, at_once: bool) -> None:
        """End the connection, the first time only; the owner hears of it before the socket is gone."""
        if self.end is not None:
            return
        self.end = end
        self.settled.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            if at_once:
                self._transport.abort()
            else:
                self._transport.close()
        self._owner.ended(self, end)
