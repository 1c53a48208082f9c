"""A connection of our own to an origin: TCP to the address that was checked, TLS as mitmproxy makes it.

    connecting ──TCP──► shaking hands ──TLS──► open ──either side──► ended
        └── refused, no answer ──┴── no end to it in time ──┘ ended

Map: `OriginEvents` (whom it tells) · `OriginConnection.connect` · `send` · `hold_back` · `abandon`.
"""

import asyncio
from typing import Protocol, cast

import structlog

from ecdn_proxy.front.http.targets import TargetRefused, Targets
from ecdn_proxy.front.intercept.mitm_transport import OpenedTls
from ecdn_proxy.front.intercept.tls_stream import TlsEnded, TlsStream
from ecdn_proxy.front.tls import policy
from ecdn_proxy.front.tls.policy import Interception
from ecdn_proxy.sansio.tasks import Tasks

_log = structlog.get_logger("ecdn.proxy")


class OriginEvents(Protocol):
    """What happens on a connection to an origin; nothing is told after `abandon`."""

    def origin_sent(self, data: bytes) -> None:
        """Decrypted bytes have come."""
        ...

    def origin_paused(self) -> None:
        """These were all bytes that one read brought."""
        ...

    def origin_ended(self, *, whole: bool) -> None:
        """The connection has ended; not `whole` when a fault ended it, or before it was open."""
        ...

    def origin_too_slow(self) -> None:
        """The origin did not end its handshake within `policy.HANDSHAKE_MAX_S`; nothing more will come."""
        ...


class OriginConnection(asyncio.Protocol):
    """One connection to an origin at `place`, host and port; `hello` is what the viewer's own ClientHello says."""

    def __init__(
        self,
        events: OriginEvents,
        place: tuple[str, int],
        hello: OpenedTls,
        interception: Interception,
        targets: Targets,
    ) -> None:
        self._events: OriginEvents | None = events
        self._host, self._port = place
        self._hello = hello
        self._interception = interception
        self._targets = targets
        self._transport: asyncio.Transport | None = None
        self._tls: TlsStream | None = None
        self._handshake_timer: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._unsent = b""
        self._held_back = False

    def connect(self, tasks: Tasks) -> None:
        """Begin to connect; `tasks` owns the attempt."""
        self._connecting = tasks.start(self._connect(), "connect")

    def send(self, data: bytes) -> None:
        """Send plain bytes to the origin; they wait until TLS stands."""
        if self._tls is None or not self._tls.established:
            self._unsent += data
        else:
            self._tls.encrypt(data)
            self._tls.flush()

    def hold_back(self, slow: bool) -> None:
        """Whether no more is wanted for now; a handshake goes on all the same."""
        self._held_back = slow
        if self._tls is not None and self._tls.established and self._transport is not None:
            if self._transport.is_closing():
                return
            (self._transport.pause_reading if slow else self._transport.resume_reading)()

    def abandon(self) -> None:
        """End the connection; nothing more is told."""
        self._events = None
        self._stop_handshake_timer()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def _connect(self) -> None:
        try:
            address = await self._targets.resolve(self._host, self._port)
            await asyncio.get_running_loop().create_connection(lambda: self, address, self._port)
        except (TargetRefused, OSError):
            self._end(whole=False)
        except Exception:
            _log.exception("a connection to an origin failed")  # a check that failed among them: nothing is sent
            self._end(whole=False)

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP stands."""
        self._connecting = None
        self._transport = cast("asyncio.Transport", transport)
        if self._events is None:
            self._transport.abort()
            return
        hello = self._hello
        tls = self._interception.speak_to(self._host, self._port, hello.sni, hello.alpn_offers)
        self._tls = TlsStream(tls, self._transport)
        loop = asyncio.get_running_loop()
        self._handshake_timer = loop.call_later(policy.HANDSHAKE_MAX_S, self._give_up)
        self._tls.begin_handshake()

    def data_received(self, data: bytes) -> None:
        """Encrypted bytes have come from the origin."""
        tls = self._tls
        if tls is None or self._events is None:
            return
        new = not tls.established
        try:
            for plain in tls.decrypt(data):
                if self._events is not None:
                    self._events.origin_sent(plain)
        except TlsEnded as end:
            self._end(whole=tls.established and not end.why)
            return
        if new and tls.established:
            self._stop_handshake_timer()
            unsent, self._unsent = self._unsent, b""
            self.send(unsent)
            self.hold_back(self._held_back)
        if self._events is not None:
            self._events.origin_paused()

    def connection_lost(self, error: Exception | None) -> None:
        """The origin has ended the connection."""
        self._end(whole=error is None and self._tls is not None and self._tls.established)

    def _end(self, *, whole: bool) -> None:
        events = self._events
        self.abandon()
        if events is not None:
            events.origin_ended(whole=whole)

    def _give_up(self) -> None:
        _log.warning("an origin did not end its TLS handshake", seconds=policy.HANDSHAKE_MAX_S)
        events = self._events
        self.abandon()
        if events is not None:
            events.origin_too_slow()

    def _stop_handshake_timer(self) -> None:
        if self._handshake_timer is not None:
            self._handshake_timer.cancel()
            self._handshake_timer = None
