"""A request of an opened connection on its way through mitmproxy: one at a time, framed anew on both sides.

Map: `AnsweredConnection` (the viewer's connection, which responses are written to) · `MitmRelay.ask` (a whole request)
· `hand_over` (this request and all that follow) · `mitmproxy_wrote`, `mitmproxy_closed` (what mitmproxy makes of it).

mitmproxy gets the client's CONNECT and the decrypted requests, and applies the same hooks as without the lean path.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import h11
import structlog

from ecdn_proxy.front.intercept.mitm_transport import InnerTransport, OpenedTls

ANSWER_HEAD_BYTES_MAX: Final = 262_144
_log = structlog.get_logger("ecdn.proxy")


class AnsweredConnection(Protocol):
    """A viewer's connection, as whoever brings the response to its request sees it."""

    def send_response(self, part: h11.Event) -> None:
        """Write the next part of the response."""
        ...

    def response_sent(self) -> None:
        """The whole response has been written."""
        ...

    def ask_through_mitmproxy(self) -> None:
        """Nothing of a response has been written, and nothing will be: mitmproxy shall ask instead."""
        ...

    def send_raw(self, data: bytes) -> None:
        """Write bytes of a connection that was handed over."""
        ...

    def flush(self) -> None:
        """Nothing more will be written in this turn of the event loop."""
        ...

    def close_connection(self) -> None:
        """The rest of the response cannot come; the player shall know."""
        ...


class MitmRelay:
    """One viewer's requests through mitmproxy; `connect` is the client's CONNECT request as it came."""

    def __init__(
        self,
        viewer: AnsweredConnection,
        through_mitmproxy: Callable[[InnerTransport], None],
        connect: bytes,
        transport: asyncio.Transport,
        opened: OpenedTls,
    ) -> None:
        self._viewer = viewer
        self._through_mitmproxy = through_mitmproxy
        self._connect = connect
        self._transport = transport
        self._opened = opened
        self._inner: InnerTransport | None = None
        self._reading: h11.Connection | None = None
        """Reads mitmproxy's response while one is expected."""
        self._viewer_is_slow = False
        self.handed_over = False
        """Whether this connection is mitmproxy's from now on."""

    @property
    def awaits_response(self) -> bool:
        """Whether a response is expected."""
        return self._reading is not None

    def ask(self, request: h11.Request, body: bytes) -> None:
        """Send a whole request."""
        self._reading = h11.Connection(h11.CLIENT, max_incomplete_event_size=ANSWER_HEAD_BYTES_MAX)
        head = h11.Request(method=request.method, target=request.target, headers=request.headers.raw_items())
        parts = [self._reading.send(head)]
        if body:
            parts.append(self._reading.send(h11.Data(data=body)))
        parts.append(self._reading.send(h11.EndOfMessage()))
        self.client_sent(b"".join(part for part in parts if part))

    def hand_over(self, request: h11.Request, rest: bytes) -> None:
        """Give mitmproxy this request and all that follow: the bytes, as they are."""
        self.handed_over = True
        rows = [b"%s: %s\r\n" % field for field in request.headers.raw_items()]
        line = b"%s %s HTTP/%s\r\n" % (request.method, request.target, request.http_version)
        self.client_sent(b"".join([line, *rows, b"\r\n", rest]))

    def client_sent(self, data: bytes) -> None:
        """Decrypted bytes for mitmproxy; the first ones begin its handler."""
        if self._inner is None:
            self._inner = InnerTransport(self, self._connect, self._transport, self._opened)
            self._inner.hold_back(self._viewer_is_slow)
            self._through_mitmproxy(self._inner)
        self._inner.client_sent(data)

    def hold_back(self, slow: bool) -> None:
        """Whether the client takes nothing more for now."""
        self._viewer_is_slow = slow
        if self._inner is not None:
            self._inner.hold_back(slow)

    def client_left(self) -> None:
        """The client has gone."""
        if self._inner is not None:
            self._inner.client_left()

    # ---- mitmproxy's side

    def mitmproxy_wrote(self, data: bytes) -> None:
        """Bytes of a response, or of a connection that was handed over."""
        if self.handed_over:
            self._viewer.send_raw(data)
        elif self._reading is None:
            self._viewer.close_connection()  # an answer without a question
        else:
            self._reading.receive_data(data)
            self._send_on(self._reading)

    def mitmproxy_closed(self) -> None:
        """Mitmproxy has closed its side: a response may end so, and a refused tunnel does."""
        self._inner = None
        if self._reading is not None and not self.handed_over:
            self._reading.receive_data(b"")
            self._send_on(self._reading)
        if self._reading is not None or self.handed_over:
            self._viewer.close_connection()

    def pause_client(self) -> None:
        """Mitmproxy's reader is full; a relayed request has been read whole already, so there is nothing to pause."""
        if self.handed_over and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_client(self) -> None:
        """Mitmproxy's reader has room."""
        if self.handed_over and not self._transport.is_closing():
            self._transport.resume_reading()

    def _send_on(self, reading: h11.Connection) -> None:
        """Write the response to the viewer, as far as it has come."""
        try:
            while (event := reading.next_event()) is not h11.NEED_DATA and event is not h11.PAUSED:
                match event:
                    case h11.Response():
                        self._viewer.send_response(in_http_1_1(event))
                    case h11.Data(data=data):
                        self._viewer.send_response(h11.Data(data=data))
                    case h11.EndOfMessage():
                        self._viewer.send_response(h11.EndOfMessage())
                        self._reading = None
                        if reading.their_state is not h11.DONE and self._inner is not None:
                            self._inner.client_left()
                            self._inner = None
                        self._viewer.response_sent()
                        return
                    case _:  # an interim response: nobody has asked for one
                        pass
        except (h11.RemoteProtocolError, h11.LocalProtocolError):
            _log.warning("an answer broke off, or does not follow the rules of HTTP/1.1")
            self._viewer.close_connection()
        self._viewer.flush()


def in_http_1_1(response: h11.Response) -> h11.Response:
    """A response that was read, as it is written: in HTTP/1.1, the fields as they came."""
    return h11.Response(status_code=response.status_code, headers=response.headers, reason=response.reason)
