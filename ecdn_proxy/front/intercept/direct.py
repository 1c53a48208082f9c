"""A plain GET straight to its origin, without mitmproxy's layers: manifests above all.

    idle ──ask──► asked ──the whole answer──► finishing (a manifest is learnt) ──► idle, connection kept
                    └── goes wrong before the viewer has had a byte: mitmproxy asks ── later: the viewer's breaks too

Map: `DirectFetch.ask` · `origin_sent`, `origin_ended`, … (told by `front/intercept/origin_connection.py`) · `_read`
(h11) · `_finish` · `_fail`.

Errors are left to mitmproxy, which asks again and says them: a GET may be repeated (RFC 9110 section 9.2.2). Only of a
handshake that does not end the viewer is told here, for it has waited long enough. Answers are framed anew, and their
bodies stay coded as they are. Interim responses and trailers are dropped (RFC 9110 sections 15.2 and 6.5.1).
"""

import asyncio
from collections.abc import Callable

import h11
import structlog
from mitmproxy import http

from ecdn_proxy.agent.api import ViewerRequest
from ecdn_proxy.front import errorpage
from ecdn_proxy.front.http.observed import ObservedAnswer, ObservedAnswers
from ecdn_proxy.front.intercept.mitm_relay import ANSWER_HEAD_BYTES_MAX, AnsweredConnection, in_http_1_1
from ecdn_proxy.front.intercept.origin_connection import OriginConnection, OriginEvents
from ecdn_proxy.front.tls import policy
from ecdn_proxy.sansio.tasks import Tasks

_log = structlog.get_logger("ecdn.proxy")


class DirectFetch:
    """One viewer's requests to one origin, one at a time; an `OriginEvents`."""

    def __init__(
        self,
        viewer: AnsweredConnection,
        host: str,
        connection_to: Callable[[OriginEvents], OriginConnection],
        observed: ObservedAnswers,
        tasks: Tasks,
    ) -> None:
        """Ask nobody yet.

        Args:
            viewer: whom the responses are written to.
            host: the origin's name.
            connection_to: makes a connection to the origin, not yet connected, that tells its argument.
            observed: notes what the answers say.
            tasks: owns what runs.
        """
        self._viewer = viewer
        self._host = host
        self._connection_to = connection_to
        self._observed = observed
        self._tasks = tasks
        self._origin: OriginConnection | None = None
        self._reading = _reader()
        self._answer: ObservedAnswer | None = None
        """What has come back, while a response is expected."""
        self._held: list[h11.Event] | None = None
        """The response so far, while the viewer may have nothing of it; None when it is sent on as it comes."""
        self._viewer_has_some = False
        self._finishing: asyncio.Task[None] | None = None
        self._viewer_is_slow = False

    @property
    def awaits_response(self) -> bool:
        """Whether a response is expected."""
        return self._answer is not None

    def ask(self, request: http.Request, viewer: ViewerRequest) -> None:
        """Send a clean GET without a body."""
        self._answer, self._viewer_has_some, self._held = self._observed.begin(viewer, request), False, None
        fields = list(request.headers.fields)
        try:
            head = self._reading.send(h11.Request(method=b"GET", target=request.data.path, headers=fields))
            end = self._reading.send(h11.EndOfMessage())
        except h11.LocalProtocolError:
            self._fail()
            return
        if self._origin is None:
            self._origin = self._connection_to(self)
            self._origin.hold_back(self._viewer_is_slow)
            self._origin.connect(self._tasks)
        self._origin.send((head or b"") + (end or b""))

    def hold_back(self, slow: bool) -> None:
        """Whether the viewer takes nothing more for now."""
        self._viewer_is_slow = slow
        if self._origin is not None:
            self._origin.hold_back(slow)

    def client_left(self) -> None:
        """The viewer has gone."""
        answer, self._answer = self._answer, None
        if self._finishing is not None:
            self._finishing.cancel()
        if answer is not None:
            self._observed.over(answer)
        self._abandon_origin()

    # ---- the origin's side

    def origin_sent(self, data: bytes) -> None:
        """Decrypted bytes have come."""
        self._reading.receive_data(data)

    def origin_paused(self) -> None:
        """These were all bytes that one read brought: send on what they hold."""
        self._read()
        if self._answer is None and self._reading.trailing_data[0]:
            self._abandon_origin()  # an answer without a question
        self._viewer.flush()

    def origin_ended(self, *, whole: bool) -> None:
        """The connection has ended, which may also be the end of a response without a length."""
        self._origin = None
        if self._finishing is not None:
            return
        if whole and self._answer is not None:
            self._reading.receive_data(b"")
            self._read()
        if self._finishing is None:
            self._fail()

    def origin_too_slow(self) -> None:
        """Say what mitmproxy would say after as long again."""
        self._origin = self._answer = None
        self._reading = _reader()
        page = errorpage.unreachable(f"it did not end its TLS handshake within {policy.HANDSHAKE_MAX_S:g} s")
        self._viewer.send_response(h11.Response(status_code=page.status_code, headers=list(page.headers.fields)))
        self._viewer.send_response(h11.Data(data=page.content or b""))
        self._viewer.send_response(h11.EndOfMessage())
        self._viewer.response_sent()

    # ---- the response

    def _read(self) -> None:
        """Read the response, as far as it has come."""
        try:
            while self._answer is not None and self._finishing is None:
                event = self._reading.next_event()
                match event:
                    case h11.Response() if _is_doubtful(event):
                        self._fail()
                    case h11.Response():
                        fields = event.headers.raw_items()
                        if self._observed.head_came(self._answer, self._host, event.status_code, fields):
                            self._held = []
                        self._send_or_hold(in_http_1_1(event))
                    case h11.Data(data=data):
                        self._send_or_hold(h11.Data(data=self._answer.body_came(bytes(data))))
                    case h11.EndOfMessage():
                        task = self._tasks.begin(self._finish(self._answer), "finish")
                        self._finishing = None if task.done() else task
                        return
                    case h11.InformationalResponse():
                        pass
                    case _:  # NEED_DATA or PAUSED
                        return
        except (h11.RemoteProtocolError, h11.LocalProtocolError):
            self._fail()

    def _send_or_hold(self, part: h11.Event) -> None:
        if self._held is not None:
            self._held.append(part)
        else:
            self._viewer_has_some = True
            self._viewer.send_response(part)

    async def _finish(self, answer: ObservedAnswer) -> None:
        await self._observed.ended(answer)
        held, self._held, self._answer, self._finishing = self._held or [], None, None, None
        ours, theirs = self._reading.our_state, self._reading.their_state
        if self._origin is not None and ours is theirs is h11.DONE and not self._reading.trailing_data[0]:
            self._reading.start_next_cycle()
        else:
            self._abandon_origin()
        try:
            for part in (*held, h11.EndOfMessage()):
                self._viewer.send_response(part)
        except h11.LocalProtocolError:
            self._viewer.close_connection()
            return
        self._viewer.response_sent()

    def _fail(self) -> None:
        """The response cannot come on this way."""
        answer, self._answer, self._held = self._answer, None, None
        self._abandon_origin()
        if answer is None:
            return
        if self._viewer_has_some:
            _log.warning("an answer broke off, or does not follow the rules of HTTP/1.1")
            self._observed.over(answer)
            self._viewer.close_connection()
        else:
            self._viewer.ask_through_mitmproxy()

    def _abandon_origin(self) -> None:
        """End the connection; the next request makes another one."""
        origin, self._origin = self._origin, None
        self._reading = _reader()
        if origin is not None:
            origin.abandon()


def _is_doubtful(response: h11.Response) -> bool:
    """Whether two readers may differ in where it ends (RFC 9112 sections 6.1 and 6.3); mitmproxy refuses it."""
    framing = [field for field in response.headers if field[0] in {b"content-length", b"transfer-encoding"}]
    if len(framing) != 1:
        return bool(framing)
    ((name, value),) = framing
    if name == b"content-length":
        return len(value) > 1 and value.startswith(b"0")
    return response.http_version != b"1.1" or response.status_code == 204


def _reader() -> h11.Connection:
    return h11.Connection(h11.CLIENT, max_incomplete_event_size=ANSWER_HEAD_BYTES_MAX)
