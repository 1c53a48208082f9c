"""A request of an opened connection on its way through mitmproxy: one at a time, framed anew on both sides.

Map: `RelayedConnection` (whom the answer is told) · `MitmRelay.ask` (a whole request) · `hand_over` (this request and
all that follow) · `came_out`, `gone` (what mitmproxy makes of it).

mitmproxy gets the client's CONNECT and the decrypted requests, and applies the same hooks as without the lean path.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import h11
import structlog

from ecdn_proxy.front.intercept import mitm_transport as inner
from ecdn_proxy.front.intercept.mitm_transport import InnerTransport

ANSWER_HEAD_BYTES_MAX: Final = 262_144
_log = structlog.get_logger("ecdn.proxy")


class RelayedConnection(Protocol):
    """The connection whose request is relayed."""

    def say(self, event: h11.Event) -> None:
        """The next part of the response."""
        ...

    def answered(self) -> None:
        """The whole response has been said."""
        ...

    def instead(self) -> None:
        """Nothing has been said and nothing will be: mitmproxy shall ask."""
        ...

    def raw(self, data: bytes) -> None:
        """Bytes of a connection that was handed over."""
        ...

    def flush(self) -> None:
        """No more for now."""
        ...

    def close(self) -> None:
        """The rest cannot come; the player shall know."""
        ...


class MitmRelay:
    """See the file's head; `connect` is the client's CONNECT request as it came."""

    def __init__(
        self,
        viewer: RelayedConnection,
        through_mitmproxy: Callable[[InnerTransport], None],
        connect: bytes,
        transport: asyncio.Transport,
        opened: inner.OpenedTls,
    ) -> None:
        self._viewer = viewer
        self._through_mitmproxy = through_mitmproxy
        self._connect = connect
        self._transport = transport
        self._opened = opened
        self._inner: InnerTransport | None = None
        self._reading: h11.Connection | None = None
        """Reads mitmproxy's response while one is expected."""
        self._slow = False
        self.handed_over = False

    @property
    def asked(self) -> bool:
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
        self.feed(b"".join(part for part in parts if part))

    def hand_over(self, request: h11.Request, rest: bytes) -> None:
        """This request and all that follow: the bytes, as they are."""
        self.handed_over = True
        rows = [b"%s: %s\r\n" % field for field in request.headers.raw_items()]
        line = b"%s %s HTTP/%s\r\n" % (request.method, request.target, request.http_version)
        self.feed(b"".join([line, *rows, b"\r\n", rest]))

    def feed(self, data: bytes) -> None:
        """From the client."""
        if self._inner is None:
            self._inner = InnerTransport(self, self._connect, self._transport, self._opened)
            self._inner.slow(self._slow)
            self._through_mitmproxy(self._inner)
        self._inner.feed(data)

    def slow(self, paused: bool) -> None:
        """Whether the client takes nothing more for now."""
        self._slow = paused
        if self._inner is not None:
            self._inner.slow(paused)

    def leave(self) -> None:
        """The client has gone."""
        if self._inner is not None:
            self._inner.leave()

    # ---- mitmproxy's side

    def came_out(self, data: bytes) -> None:
        """See `inner.Outer`."""
        if self.handed_over:
            self._viewer.raw(data)
        elif self._reading is None:
            self._viewer.close()  # an answer without a question
        else:
            self._reading.receive_data(data)
            self._pass_on(self._reading)

    def gone(self) -> None:
        """See `inner.Outer`."""
        self._inner = None
        if self._reading is not None and not self.handed_over:
            self._reading.receive_data(b"")  # a response may end so
            self._pass_on(self._reading)
        if self._reading is not None or self.handed_over:
            self._viewer.close()

    def hold(self) -> None:
        """See `inner.Outer`; what is relayed is one request, taken already."""
        if self.handed_over and not self._transport.is_closing():
            self._transport.pause_reading()

    def go_on(self) -> None:
        """See `inner.Outer`."""
        if self.handed_over and not self._transport.is_closing():
            self._transport.resume_reading()

    def _pass_on(self, reading: h11.Connection) -> None:
        """The response, as far as it has come."""
        try:
            while (event := reading.next_event()) is not h11.NEED_DATA and event is not h11.PAUSED:
                match event:
                    case h11.Response():
                        self._viewer.say(as_said(event))
                    case h11.Data(data=data):
                        self._viewer.say(h11.Data(data=data))
                    case h11.EndOfMessage():
                        self._viewer.say(h11.EndOfMessage())
                        self._reading = None
                        if reading.their_state is not h11.DONE and self._inner is not None:
                            self._inner.leave()
                            self._inner = None
                        self._viewer.answered()
                        return
                    case _:  # an interim response: nobody has asked for one
                        pass
        except (h11.RemoteProtocolError, h11.LocalProtocolError):
            _log.warning("an answer broke off, or does not follow the rules of HTTP/1.1")
            self._viewer.close()
        self._viewer.flush()


def as_said(response: h11.Response) -> h11.Response:
    """A response that was read, as it is written: in HTTP/1.1, the fields as they came."""
    return h11.Response(status_code=response.status_code, headers=response.headers, reason=response.reason)
