"""Where browsers arrive: the listening socket of the lean path, and the first bytes of each connection.

    arrived ──CONNECT to an intercepted host──► tunnel allowed ──its ClientHello──► InterceptedConnection: TLS ends
       └──anything else: to mitmproxy, untouched        └──another name, no TLS, HTTP/2 only: to mitmproxy, untouched

Map: `Listener.start`, `.address`, `.idle`, `.close` · `_Arrival` (a connection until it is known whose it is) · `_Pipe`
(a tunnel that turned out to be mitmproxy's after its CONNECT had been answered).

Untouched means that mitmproxy's handler gets the socket itself, with every byte that was read so far.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, cast

import h11
import structlog
from mitmproxy.proxy.layers.tls import parse_client_hello
from OpenSSL import SSL

from ecdn_proxy.agent.api import AgentApi
from ecdn_proxy.front.http.observed import ObservedAnswers
from ecdn_proxy.front.http.targets import TargetRefused, Targets
from ecdn_proxy.front.intercept.connection import SILENT_MAX_S, InterceptedConnection, Services, Tunnel
from ecdn_proxy.front.intercept.mitm_transport import InnerTransport, OpenedTls
from ecdn_proxy.front.intercept.tls_stream import TlsStream
from ecdn_proxy.front.tls.policy import Interception
from ecdn_proxy.sansio.tasks import Tasks

HEAD_BYTES_MAX: Final = 16_384
"""A CONNECT request has some hundred bytes, a ClientHello with post-quantum key shares some thousand."""
_ALLOWED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
_log = structlog.get_logger("ecdn.proxy")

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listener:
    """One listening address; a `ListenerSide`. `handler` is what mitmproxy does with a new connection."""

    def __init__(
        self,
        agent: AgentApi,
        interception: Interception,
        targets: Targets,
        observed: ObservedAnswers,
        handler: Handler,
        utc: Callable[[], float],
        *,
        show_source: bool,
    ) -> None:
        self.interception = interception
        self.targets = targets
        self._handler = handler
        self._tasks = Tasks(_report)
        self._handling = Tasks(_report)
        """mitmproxy's handlers: they end with their connections, which mitmproxy's server closes."""
        self._server: asyncio.Server | None = None
        self._connections: set[_Closable] = set()
        self._busy: set[InterceptedConnection] = set()
        self.idle = asyncio.Event()
        """Set while no request is being answered here."""
        self.idle.set()
        self.services = Services(
            agent=agent,
            interception=interception,
            targets=targets,
            observed=observed,
            utc=utc,
            show_source=show_source,
            tasks=self._tasks,
            listener=self,
        )

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return str(host), int(port)

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be had.
        """
        self._server = await asyncio.get_running_loop().create_server(lambda: _Arrival(self), host, port)

    def stop_listening(self) -> None:
        """Accept no more."""
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """End every connection that is not mitmproxy's."""
        self.stop_listening()
        for connection in list(self._connections):
            connection.close_connection()
        await self._tasks.close()

    def start_mitmproxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Start mitmproxy's handler on a connection."""

        async def run() -> None:
            await self._handler(reader, writer)

        self._handling.start(run(), "mitmproxy")

    def remember(self, connection: "_Closable") -> None:
        """A connection is to be closed at the end."""
        self._connections.add(connection)

    def forget(self, connection: "_Closable") -> None:
        """A connection has ended, or is mitmproxy's now."""
        self._connections.discard(connection)

    def through_mitmproxy(self, inner: InnerTransport) -> None:
        """Start mitmproxy's handler on a connection that was opened here."""
        self.start_mitmproxy(inner.reader, inner.writer)

    def connection_ended(self, connection: InterceptedConnection) -> None:
        """An opened connection's client has left."""
        self.forget(connection)

    def set_busy(self, connection: InterceptedConnection, busy: bool) -> None:
        """A request is being answered on this connection, or no longer."""
        (self._busy.add if busy else self._busy.discard)(connection)
        if self._busy:
            self.idle.clear()
        else:
            self.idle.set()


class _Closable(Protocol):
    def close_connection(self) -> None: ...


class _Arrival(asyncio.Protocol):
    """A connection of which it is not known yet who opens it."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._connect = b""
        """The CONNECT request as it came, once the tunnel is allowed."""
        self._host, self._port = "", 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._timer = self._loop.call_later(SILENT_MAX_S, self.close_connection)
        self._listener.remember(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_watching()

    def close_connection(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._connect:
            self._read_connect()
        if self._connect and self._received:
            self._read_hello()

    def _read_connect(self) -> None:
        head, end, rest = bytes(self._received).partition(b"\r\n\r\n")
        if not end and b"CONNECT ".startswith(head[:8]) and len(head) <= HEAD_BYTES_MAX:
            return
        target = _connect_target(head + end) if end else None
        if target is None or not self._allowed(*target):
            self._to_mitmproxy()
            return
        assert self._transport is not None
        self._host, self._port = target
        self._connect, self._received = head + end, bytearray(rest)
        self._transport.write(_ALLOWED)

    def _allowed(self, host: str, port: int) -> bool:
        try:
            self._listener.targets.check_name(host, port)
        except TargetRefused:
            return False  # mitmproxy's addon says so on a page
        return self._listener.interception.intercepts(host)

    def _read_hello(self) -> None:
        try:
            hello = parse_client_hello(bytes(self._received))
        except ValueError:
            self._to_mitmproxy()
            return
        if hello is None:
            if len(self._received) > HEAD_BYTES_MAX:
                self._to_mitmproxy()
            return
        offers = tuple(hello.alpn_protocols)
        ours = hello.sni is None or self._listener.interception.intercepts(hello.sni)
        tls = None
        if ours and (not offers or b"http/1.1" in offers):
            tls = self._listener.interception.speak_for(hello.sni or self._host)
        if tls is None:
            self._to_mitmproxy()
        else:
            self._open(tls, OpenedTls(hello.sni, offers))

    def _open(self, tls: SSL.Connection, hello: OpenedTls) -> None:
        assert self._transport is not None
        self._stop_watching()
        tunnel = Tunnel(self._connect, self._host, self._port, hello)
        opened = InterceptedConnection(
            self._listener.services, tunnel, TlsStream(tls, self._transport), self._transport
        )
        self._listener.remember(opened)
        self._transport.set_protocol(opened)
        opened.data_received(bytes(self._received))

    def _to_mitmproxy(self) -> None:
        assert self._transport is not None
        self._stop_watching()
        if self._connect:
            pipe = _Pipe(self._listener, self._connect, self._transport)
            self._transport.set_protocol(pipe)
            pipe.data_received(bytes(self._received))
            return
        reader = asyncio.StreamReader(loop=self._loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self._loop)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        reader.feed_data(bytes(self._received))
        self._listener.start_mitmproxy(reader, asyncio.StreamWriter(self._transport, protocol, reader, self._loop))

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._listener.forget(self)


class _Pipe(asyncio.Protocol):
    """Bytes between a client and mitmproxy, none of them read."""

    def __init__(self, listener: Listener, connect: bytes, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._inner = InnerTransport(self, connect, transport, None)
        listener.through_mitmproxy(self._inner)

    def data_received(self, data: bytes) -> None:
        self._inner.client_sent(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._inner.client_left()

    def pause_writing(self) -> None:
        self._inner.hold_back(True)

    def resume_writing(self) -> None:
        self._inner.hold_back(False)

    def mitmproxy_wrote(self, data: bytes) -> None:
        self._transport.write(data)

    def mitmproxy_closed(self) -> None:
        self._transport.close()

    def pause_client(self) -> None:
        self._transport.pause_reading()

    def resume_client(self) -> None:
        self._transport.resume_reading()


def _connect_target(head: bytes) -> tuple[str, int] | None:
    """Host and port of a CONNECT request without fault or body; None: let mitmproxy judge it."""
    reading = h11.Connection(h11.SERVER)
    try:
        reading.receive_data(head)
        event = reading.next_event()
        ends = reading.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.Request) or event.method != b"CONNECT" or event.http_version != b"1.1":
        return None
    host, colon, port = event.target.decode("ascii", "replace").rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536 or ":" in host:
        return None
    return (host, int(port)) if isinstance(ends, h11.EndOfMessage) else None


def _report(name: str, error: BaseException) -> None:
    _log.error("a task failed", task=name, exc_info=error)
