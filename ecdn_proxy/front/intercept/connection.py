"""A connection to an intercepted host, opened here: TLS ends, segments are answered, all else goes on.

    waiting ──a segment's request──► answering ──► waiting
       ├────any other plain GET──► straight to the origin ──► waiting
       ├────any other plain request──► relayed through mitmproxy ──► waiting
       └────upgrade, long body, HTTP/1.0, …──► handed over to mitmproxy until the connection ends

Map: `InterceptedConnection` with `data_received` (TLS) · `_read` (HTTP/1.1 by h11: what is malformed is refused) ·
`_dispatch` (where to) · `_answer` (a segment) · `send_response`, `response_sent`, `ask_through_mitmproxy`, … (called by
`front/intercept/direct.py` and `front/intercept/mitm_relay.py`) · `Services`, `ListenerSide` (what it uses).

**The lean path of a segment.** The request crosses each floor once on its way in and once on its way out:

    browser ──► InterceptedConnection ──► AgentApi.route ──► node          in: one call, which returns the route
    browser ◄── InterceptedConnection ◄── ViewerResponse ◄── performer     out: the response that the route opens

The other way, of connections that are mitmproxy's, stands in `front/mitm/gateway.py`. Both ways answer by the functions
of `front/http/responses.py`. Nothing is answered out of turn: h11 reads no second request before the first has its
whole response.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

import h11
import structlog
from mitmproxy import http
from mitmproxy.net.http import http1

from ecdn_proxy.agent.api import AgentApi, FromMemory, PassToOrigin, Shared, ViewerRequest
from ecdn_proxy.core.http.answers import Circumstance
from ecdn_proxy.front import errorpage
from ecdn_proxy.front.http.observed import ObservedAnswers
from ecdn_proxy.front.http.responses import Reply, from_memory, reply_to, route_of
from ecdn_proxy.front.http.sanitize import clean
from ecdn_proxy.front.http.targets import Targets
from ecdn_proxy.front.intercept.direct import DirectFetch
from ecdn_proxy.front.intercept.mitm_relay import MitmRelay
from ecdn_proxy.front.intercept.mitm_transport import InnerTransport, OpenedTls
from ecdn_proxy.front.intercept.origin_connection import OriginConnection
from ecdn_proxy.front.intercept.tls_stream import TlsEnded, TlsStream
from ecdn_proxy.front.tls.policy import Interception
from ecdn_proxy.sansio.tasks import Tasks
from ecdn_proxy.wire.faults import Unavailable

HEAD_BYTES_MAX: Final = 65_536
RELAYED_BODY_MAX: Final = 65_536
"""A request's body up to this length is taken whole and relayed: beacons and licence requests. Longer ones stream."""
AHEAD_BYTES_MAX: Final = 131_072
"""What a client may send before its last request is answered; then it is read no further."""
WRITE_HIGH_BYTES: Final = 262_144
"""With more than this unsent, the source of the bytes waits."""
SILENT_MAX_S: Final = 600.0
"""As mitmproxy: a connection on which nothing has come for so long, and nothing is asked, is closed."""
_log = structlog.get_logger("ecdn.proxy")


class ListenerSide(Protocol):
    """The listener, as an opened connection sees it."""

    def through_mitmproxy(self, inner: InnerTransport) -> None:
        """Start mitmproxy's handler on a connection of its own."""
        ...

    def set_busy(self, connection: "InterceptedConnection", busy: bool) -> None:
        """A request is being answered on this connection, or no longer."""
        ...

    def connection_ended(self, connection: "InterceptedConnection") -> None:
        """The client has left."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """What every opened connection uses."""

    agent: AgentApi
    interception: Interception
    targets: Targets
    observed: ObservedAnswers
    utc: Callable[[], float]
    show_source: bool
    tasks: Tasks
    listener: ListenerSide


@dataclass(frozen=True, slots=True)
class Tunnel:
    """What the client asked for: its CONNECT request as it came, and what its ClientHello says."""

    connect: bytes
    host: str
    port: int
    opened: OpenedTls


class InterceptedConnection(asyncio.Protocol):
    """One client's connection; an `AnsweredConnection`.

    `tls` is the server's end of TLS, fresh. The client's hello comes by `data_received`.
    """

    def __init__(self, services: Services, tunnel: Tunnel, tls: TlsStream, transport: asyncio.Transport) -> None:
        self._services = services
        self._tunnel = tunnel
        self._tls = tls
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._answering: asyncio.Task[None] | None = None
        """Answers a segment's request, while one is being answered."""
        place = tunnel.host, tunnel.port
        self._direct = DirectFetch(
            self,
            tunnel.host,
            lambda events: OriginConnection(events, place, tunnel.opened, services.interception, services.targets),
            services.observed,
            services.tasks,
        )
        self._relay = MitmRelay(self, services.listener.through_mitmproxy, tunnel.connect, transport, tunnel.opened)
        self._client_is_slow = False
        self._room: asyncio.Future[None] | None = None
        """Waited for while the client is slow."""
        self._heard_at = self._loop.time()
        self._silence_timer = self._loop.call_later(SILENT_MAX_S, self._close_if_silent)
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)

    # ---- asyncio's side

    def data_received(self, data: bytes) -> None:
        """Encrypted bytes have come from the client."""
        if self._closed:
            return
        self._heard_at = self._loop.time()
        new = not self._tls.established
        try:
            for plain in self._tls.decrypt(data):
                self._plain_received(plain)
        except TlsEnded as end:
            if not self._tls.established:
                self._services.interception.distrusted(self._name, end.why)
            self.close_connection()
        if new and self._tls.established:
            self._services.interception.trusted(self._name)

    def eof_received(self) -> None:
        """The client has left; half a connection is of no use to HTTP."""

    def connection_lost(self, error: Exception | None) -> None:
        """The client has left, or the connection was closed here."""
        self._closed = True
        self._services.listener.set_busy(self, False)
        self._silence_timer.cancel()
        if self._answering is not None:
            self._answering.cancel()
        self._direct.client_left()
        self._relay.client_left()
        if self._room is not None and not self._room.done():
            self._room.cancel()
        self._services.listener.connection_ended(self)

    def pause_writing(self) -> None:
        """The client takes nothing more for now."""
        self._client_is_slow = True
        self._direct.hold_back(True)
        self._relay.hold_back(True)

    def resume_writing(self) -> None:
        """The client takes bytes again."""
        self._client_is_slow = False
        self._direct.hold_back(False)
        self._relay.hold_back(False)
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def close_connection(self) -> None:
        """Send what is encrypted, then end the connection."""
        if not self._closed:
            self._tls.flush()
            self._closed = True
            self._transport.close()

    def _close_if_silent(self) -> None:
        """While mitmproxy or the agent is at work, they have limits of their own."""
        left = self._heard_at + SILENT_MAX_S - self._loop.time()
        if left > 0 or self._at_work or self._relay.handed_over:
            self._silence_timer = self._loop.call_later(max(left, SILENT_MAX_S / 10), self._close_if_silent)
        else:
            self.close_connection()

    @property
    def _name(self) -> str:
        return self._tunnel.opened.sni or self._tunnel.host

    # ---- requests

    def _plain_received(self, data: bytes) -> None:
        if self._relay.handed_over:
            self._relay.client_sent(data)
            return
        self._http.receive_data(data)
        if self._at_work:
            if len(self._http.trailing_data[0]) > AHEAD_BYTES_MAX:
                self._transport.pause_reading()
        else:
            self._read()

    @property
    def _at_work(self) -> bool:
        """Whether a request waits for its response."""
        return self._answering is not None or self._direct.awaits_response or self._relay.awaits_response

    def _read(self) -> None:
        """Read the next request, and dispatch it if all of it is there."""
        while not self._closed and not self._at_work and not self._relay.handed_over:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                self._refuse(error.error_status_hint)
                return
            match event:
                case h11.Request():
                    self._request = event
                    self._body.clear()
                    if _is_for_mitmproxy_alone(event):
                        self._relay.hand_over(event, self._http.trailing_data[0])
                case h11.Data(data=data):
                    self._body += data
                case h11.EndOfMessage():
                    assert self._request is not None
                    self._dispatch(self._request)
                case h11.ConnectionClosed():
                    self.close_connection()
                case _:  # NEED_DATA or PAUSED
                    return

    def _dispatch(self, event: h11.Request) -> None:
        if event.method == b"GET" and not self._body:
            request = self._as_mitmproxy_reads(event)
            if clean(request) is None:
                inside = self._services.interception.intercepts(self._tunnel.host)
                viewer, route = route_of(self._services.agent, request, inside=inside)
                if not isinstance(route, PassToOrigin):
                    self._services.listener.set_busy(self, True)
                    self._answering = self._services.tasks.begin(self._answer(viewer, route), "answer")
                    self._answering.add_done_callback(self._answered)
                    return
                if inside:
                    self._services.listener.set_busy(self, True)
                    self._direct.ask(request, viewer)
                    return
        self._relay.ask(event, bytes(self._body))

    def _as_mitmproxy_reads(self, event: h11.Request) -> http.Request:
        return http.Request(
            host=self._tunnel.host,
            port=self._tunnel.port,
            method=event.method,
            scheme=b"https",
            authority=b"",
            path=event.target,
            http_version=b"HTTP/1.1",
            headers=http.Headers(event.headers.raw_items()),
            content=None,
            trailers=None,
            timestamp_start=0.0,
            timestamp_end=None,
        )

    def _refuse(self, status: int) -> None:
        """Answer with our own words: h11's hold parts of the request, and those may be secrets."""
        _log.warning("request refused", why="it is not HTTP/1.1")
        page = errorpage.bad_request("It does not follow the rules of HTTP/1.1.")
        page.status_code = status
        self._tls.encrypt(http1.assemble_response(page))  # type: ignore[no-untyped-call]
        self.close_connection()

    # ---- segments

    async def _answer(self, viewer: ViewerRequest, route: FromMemory | Shared) -> None:
        services = self._services
        if isinstance(route, FromMemory):
            now = Circumstance("cache", services.utc(), services.show_source)
            await self._send(from_memory(route.segment, viewer, now))
            return
        response = route.open_response()
        try:
            reply = await reply_to(response, "GET", viewer.headers, services.utc, show_source=services.show_source)
            await self._send(reply)
        except Unavailable as fault:
            # nothing is written: the player sees its connection end, as without us, and no status of our own making
            _log.warning("segment unavailable", why=fault.why)
        finally:
            await response.release()  # also when the viewer left before the head came: the node must hear of it

    async def _send(self, reply: Reply) -> None:
        fields = [(name.encode("latin-1"), value.encode("utf-8", "surrogateescape")) for name, value in reply.headers]
        reason = reply.reason.encode("latin-1", "replace")
        first = True
        try:
            self.send_response(h11.Response(status_code=reply.status, headers=fields, reason=reason))
            async for part in reply.parts():
                self.send_response(h11.Data(data=cast("bytes", part)))
                if first:
                    self._tls.flush()  # at once: much of the rest may be read and decrypted before the next turn
                    first = False
                if self._client_is_slow:
                    self._room = self._loop.create_future()
                    await self._room
            self.send_response(h11.EndOfMessage())
        except Unavailable as fault:
            _log.warning("answer broken off", why=fault.why)
        except h11.LocalProtocolError:
            _log.warning("answer broken off", why="the origin's answer does not follow the rules of HTTP/1.1")

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answering = None
        self._services.listener.set_busy(self, False)
        if self._http.our_state in {h11.SEND_RESPONSE, h11.SEND_BODY, h11.ERROR}:
            # broken off: short of its Content-Length or without the last chunk, so that the player knows
            self.close_connection()
        else:
            self._next()

    def _next(self) -> None:
        """This request is done; go on with the one after it."""
        self._tls.flush()
        if self._closed:
            return
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            self.close_connection()  # one side has said that this was the last
            return
        self._http.start_next_cycle()
        if not self._transport.is_reading():
            self._transport.resume_reading()
        self._loop.call_soon(self._read)

    # ---- everything else (`mitm_relay.AnsweredConnection`)

    def send_response(self, part: h11.Event) -> None:
        """Write the next part of the response."""
        for data in self._http.send_with_data_passthrough(part) or ():
            self._tls.encrypt(data)

    def response_sent(self) -> None:
        """The whole response has been written."""
        self._services.listener.set_busy(self, False)
        self._next()

    def ask_through_mitmproxy(self) -> None:
        """Nothing of a response has been written: mitmproxy asks instead, and says what is wrong."""
        self._services.listener.set_busy(self, False)
        if not self._closed and self._request is not None:
            self._relay.ask(self._request, b"")

    def send_raw(self, data: bytes) -> None:
        """Write bytes of a connection that was handed over."""
        if not self._closed:
            self._tls.encrypt(data)
            self._tls.flush()

    def flush(self) -> None:
        """Nothing more will be written in this turn of the event loop."""
        self._tls.flush()


def _is_for_mitmproxy_alone(event: h11.Request) -> bool:
    """Whether a request, and all that follow it on the connection, is handed over."""
    if event.http_version != b"1.1" or not event.target.startswith((b"/", b"*")) or event.method == b"CONNECT":
        return True
    for name, value in event.headers:
        if name in {b"upgrade", b"expect", b"transfer-encoding"}:
            return True
        if name == b"content-length" and int(value) > RELAYED_BODY_MAX:
            return True
    return False
