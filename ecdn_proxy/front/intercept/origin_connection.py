"""A connection of our own to an origin: TCP to the address that was checked, TLS as mitmproxy makes it.

    connecting ──TCP──► shaking hands ──TLS──► open ──either side──► ended
        └── refused, no answer ──┴── no end to it in time ──┘ ended

Map: `OriginEvents` (whom it tells) · `OriginConnection.send`, `slow`, `leave`.
"""

import asyncio
from typing import Protocol, cast

import structlog

from ecdn_proxy.front.http.targets import TargetRefused, Targets
from ecdn_proxy.front.intercept import mitm_transport as inner
from ecdn_proxy.front.intercept.tls_stream import TlsEnded, TlsStream
from ecdn_proxy.front.tls import policy as interception
from ecdn_proxy.front.tls.policy import Interception
from ecdn_proxy.sansio.tasks import Tasks

_log = structlog.get_logger("ecdn.proxy")


class OriginEvents(Protocol):
    """Calls that a connection makes; none after `leave`."""

    def came(self, data: bytes) -> None:
        """Plain bytes from the origin."""
        ...

    def came_for_now(self) -> None:
        """No more of them at once."""
        ...

    def ended(self, *, whole: bool) -> None:
        """It has ended; not `whole`: by a fault, or before it was open."""
        ...

    def too_slow(self) -> None:
        """The origin did not end its handshake; nothing more will come."""
        ...


class OriginConnection(asyncio.Protocol):
    """One connection to an origin; `said` is what the viewer's own ClientHello says."""

    def __init__(
        self,
        told: OriginEvents,
        place: tuple[str, int],
        said: inner.OpenedTls,
        interception: Interception,
        targets: Targets,
    ) -> None:
        self._told: OriginEvents | None = told
        self._host, self._port = place
        self._said = said
        self._interception = interception
        self._targets = targets
        self._transport: asyncio.Transport | None = None
        self._tls: TlsStream | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._unsent = b""
        self._slow = False

    def begin(self, tasks: Tasks) -> None:
        """Connect."""
        self._connecting = tasks.start(self._connect(), "connect")

    def send(self, data: bytes) -> None:
        """Plain bytes to the origin; they wait for TLS."""
        if self._tls is None or not self._tls.established:
            self._unsent += data
        else:
            self._tls.encrypt(data)
            self._tls.flush()

    def slow(self, paused: bool) -> None:
        """Whether no more is wanted for now; a handshake goes on all the same."""
        self._slow = paused
        if self._tls is not None and self._tls.established and self._transport is not None:
            if self._transport.is_closing():
                return
            (self._transport.pause_reading if paused else self._transport.resume_reading)()

    def leave(self) -> None:
        """End it; nothing more is told."""
        self._told = None
        self._settle()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def _connect(self) -> None:
        try:
            address = await self._targets.resolve(self._host, self._port)
            await asyncio.get_running_loop().create_connection(lambda: self, address, self._port)
        except (TargetRefused, OSError):
            self._ended(whole=False)
        except Exception:
            _log.exception("a connection to an origin failed")  # a check that failed among them: nothing is sent
            self._ended(whole=False)

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP stands."""
        self._connecting = None
        self._transport = cast("asyncio.Transport", transport)
        if self._told is None:
            self._transport.abort()
            return
        said = self._said
        tls = self._interception.speak_to(self._host, self._port, said.sni, said.alpn_offers)
        self._tls = TlsStream(tls, self._transport)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(interception.HANDSHAKE_MAX_S, self._give_up)
        self._tls.begin()

    def data_received(self, data: bytes) -> None:
        """Encrypted bytes from the origin."""
        tls = self._tls
        if tls is None or self._told is None:
            return
        new = not tls.established
        try:
            for plain in tls.decrypt(data):
                if self._told is not None:
                    self._told.came(plain)
        except TlsEnded as end:
            self._ended(whole=tls.established and not end.why)
            return
        if new and tls.established:
            self._settle()
            unsent, self._unsent = self._unsent, b""
            self.send(unsent)
            self.slow(self._slow)
        if self._told is not None:
            self._told.came_for_now()

    def connection_lost(self, error: Exception | None) -> None:
        """The origin has ended it."""
        self._ended(whole=error is None and self._tls is not None and self._tls.established)

    def _ended(self, *, whole: bool) -> None:
        told = self._told
        self.leave()
        if told is not None:
            told.ended(whole=whole)

    def _give_up(self) -> None:
        _log.warning("an origin did not end its TLS handshake", seconds=interception.HANDSHAKE_MAX_S)
        told = self._told
        self.leave()
        if told is not None:
            told.too_slow()

    def _settle(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
