"""One TLS connection to another agent, from the end of its handshake to its last byte.

How it greets, what is said to keep it up, and how it ends: io/link_connection. Here are frames, time-outs and TLS.

The hot path is the 32 KiB piece. Bytes are decrypted straight into one buffer that all links of a thread share, and
decoded where they lie (one copy, into the message's own bytes); a message to send is encoded once, behind its length,
and handed to TLS whole.
"""

import asyncio
import ssl
import threading
from typing import Protocol, cast

from ecdn_proxy.io.clock import monotonic
from ecdn_proxy.io.handshake import LinkEnd
from ecdn_proxy.io.link_connection import ConnectionOwner, LinkConnection, MessageConsumer
from ecdn_proxy.io.tls_links.contexts import peer_identity
from ecdn_proxy.wire.codec import FRAME_BYTES_MAX, encode
from ecdn_proxy.wire.faults import PeerMisbehaved, UnknownMessage
from ecdn_proxy.wire.peer import PARTING_TLS, PeerMessage, read_peer_message

HELLO_S = 3.0
"""From accept or connect to the other end's Hello; on a LAN it takes milliseconds, on a loaded laptop tenths."""
PING_S = 2.0
UNANSWERED_MAX = 3
"""Pings without a Pong after which the other end is gone: after 6 to 8 s. A machine that was put to sleep keeps its
neighbours waiting no longer than that."""
WRITE_HIGH_BYTES = 1_048_576
"""A connection with more than this unsent is full: 80 ms of a 100 Mbit/s link."""
WRITE_LOW_BYTES = 262_144
WRITE_LIMIT_BYTES = 16_777_216
"""An other end that does not read while this much waits is hung up on, so that no peer can make us keep more."""
SHUTDOWN_S = 3.0
"""How long a closing connection may take to send what it still holds and the TLS farewell."""

_LENGTH = 4
_BUFFER_BYTES = 131_072
"""Room for several frames between two calls of the parser; asyncio's TLS reads at most this much from the socket."""
_of_thread = threading.local()


def _shared_view() -> memoryview:
    """The buffer into which every TLS connection of this thread reads."""
    view: memoryview | None = getattr(_of_thread, "view", None)
    if view is None:
        view = _of_thread.view = memoryview(bytearray(_BUFFER_BYTES))
    return view


class TlsConnectionOwner(ConnectionOwner, Protocol):
    """Whoever makes TLS connections."""

    def made(self, connection: "TlsConnection") -> None:
        """TLS stands; the future `lost` of the connection completes when its socket is gone."""
        ...


class TlsConnection(LinkConnection, asyncio.BufferedProtocol):
    """One TLS connection; `expected` is the device that was dialled, None for an accepted connection."""

    kind = "lan"
    parting = PARTING_TLS

    def __init__(self, owner: TlsConnectionOwner, consumer: MessageConsumer, tenant: str, expected: str | None) -> None:
        super().__init__(owner, consumer, tenant, "", dialled=expected is not None)
        self._maker = owner
        self._tenant = tenant
        self._expected = expected
        self._transport: asyncio.Transport | None = None
        self._begun = b""
        """The first part of a frame whose rest has not come."""
        self._held = False
        self.lost: asyncio.Future[None] = self._loop.create_future()

    def send(self, message: PeerMessage) -> None:
        """Send one message; nothing happens when the connection was left or has ended."""
        transport = self._transport
        if self.end is not None or self._leaving or transport is None:
            return
        frame = encode(message)
        self.bytes_out += len(frame)
        transport.write(frame)
        if self.full and transport.get_write_buffer_size() > WRITE_LIMIT_BYTES:
            self._finish(LinkEnd("it no longer reads what it is sent"), at_once=True)

    def hold_reading(self) -> None:
        """Read nothing until `resume_reading`; TCP makes the other end wait."""
        self._held = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again, from the next turn of the loop: whoever calls may be in the middle of reading."""
        self._held = False
        self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._may_read():
            begun = bytearray(self._begun)
            self._take_frames(memoryview(begun), len(begun))
        if self._transport is not None and self._may_read():
            self._transport.resume_reading()

    def _may_read(self) -> bool:
        return not self._held and self.end is None

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TLS handshake is over: see who it is, and say Hello."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES, low=WRITE_LOW_BYTES)
        self._maker.made(self)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        try:
            tenant, device, _ = peer_identity(cast("ssl.SSLObject", transport.get_extra_info("ssl_object")))
            if tenant != self._tenant:
                raise PeerMisbehaved("a certificate of another tenant")
        except PeerMisbehaved as fault:
            self._finish(LinkEnd(fault.why, misbehaved=True), at_once=True)
            return
        self.device = self.handshake.device = device
        if self._expected is not None and device != self._expected:
            self._finish(LinkEnd(f"another device answers at {self.address}"), at_once=True)
            return
        self._timer = self._loop.call_later(HELLO_S, self._silent)
        self._begin()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Room for the next bytes, behind the frame that has begun; a whole frame always fits.

        All TLS connections of a thread read into one buffer: the transport fills it and calls `buffer_updated` at once,
        before another connection reads. A buffer for each would cost a home of 200 agents 25 MB.
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
                    self._take_message(read_peer_message(view[start + _LENGTH : end]))
                except UnknownMessage as unknown:
                    self._pass_over(unknown)
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
        """The socket is gone. An agent of an older release that is left says no Bye: it only closes."""
        if error is not None:
            end = LinkEnd("the connection was lost")
        else:
            end = LinkEnd("the other end closed the connection", last_word="parting" if self._leaving else "none")
        self._finish(end, at_once=True)
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(None)

    # ---- time-outs and the end

    def _keep_up(self) -> None:
        self._stop_timer()
        self._send_ping()

    def _silent(self) -> None:
        self.close(f"no Hello within {HELLO_S:g} s")

    def _send_ping(self) -> None:
        if self.handshake.unanswered >= UNANSWERED_MAX:
            self._finish(LinkEnd(f"{UNANSWERED_MAX} pings unanswered"), at_once=True)
            return
        self._timer = self._loop.call_later(PING_S, self._send_ping)
        self.send(self.handshake.ping(monotonic()))

    def _release(self, *, at_once: bool) -> None:
        if self._transport is not None:
            if at_once:
                self._transport.abort()
            else:
                self._transport.close()
