"""A plain GET straight to its origin, without mitmproxy's layers: manifests above all.

    idle ──ask──► asked ──the whole answer──► finishing (a manifest is learnt) ──► idle, connection kept
                    └── goes wrong before the viewer has had a byte: mitmproxy asks ── later: the viewer's breaks too

Map: `DirectFetch.ask` · `came`, `ended`, `too_slow` (the connection: `front.onward`) · `_read` (h11) · `_finish`,
`_fail`.

Errors are left to mitmproxy, which asks again and says them: a GET may be repeated (RFC 9110 section 9.2.2). Only a
handshake that does not end is told here, for that viewer has waited long enough. Answers are framed anew, their bodies
stay coded as they are; interim responses and trailers are dropped (RFC 9110 sections 15.2 and 6.5.1).
"""

import asyncio
from collections.abc import Callable

import h11
import structlog
from mitmproxy import http

from ecdn_proxy.agent.api import ViewerRequest
from ecdn_proxy.front import errorpage
from ecdn_proxy.front.http.observed import ObservedAnswer, ObservedAnswers
from ecdn_proxy.front.intercept.mitm_relay import ANSWER_HEAD_BYTES_MAX, RelayedConnection, as_said
from ecdn_proxy.front.intercept.origin_connection import OriginConnection, OriginEvents
from ecdn_proxy.front.tls import policy as interception
from ecdn_proxy.sansio.tasks import Tasks

_log = structlog.get_logger("ecdn.proxy")


class DirectFetch:
    """One viewer's requests, one at a time; `connect` makes a connection to their origin that tells its caller."""

    def __init__(
        self,
        viewer: RelayedConnection,
        host: str,
        connect: Callable[[OriginEvents], OriginConnection],
        passages: ObservedAnswers,
        tasks: Tasks,
    ) -> None:
        self._viewer = viewer
        self._host = host
        self._connect = connect
        self._passages = passages
        self._tasks = tasks
        self._onward: OriginConnection | None = None
        self._http = _reading()
        self._passage: ObservedAnswer | None = None
        self._held: list[h11.Event] | None = None
        """The answer so far, while nothing of it may go on."""
        self._told = False
        """The viewer has had part of the answer."""
        self._finishing: asyncio.Task[None] | None = None
        self._slow = False

    @property
    def asked(self) -> bool:
        """Whether a response is expected."""
        return self._passage is not None

    def ask(self, request: http.Request, viewer: ViewerRequest) -> None:
        """Send a clean GET without a body."""
        self._passage, self._told, self._held = ObservedAnswer(viewer), False, None
        fields = list(request.headers.fields)
        try:
            head = self._http.send(h11.Request(method=b"GET", target=request.data.path, headers=fields))
            end = self._http.send(h11.EndOfMessage())
        except h11.LocalProtocolError:
            self._fail()
            return
        if self._onward is None:
            self._onward = self._connect(self)
            self._onward.slow(self._slow)
            self._onward.begin(self._tasks)
        self._onward.send((head or b"") + (end or b""))

    def slow(self, paused: bool) -> None:
        """Whether the viewer takes nothing more for now."""
        self._slow = paused
        if self._onward is not None:
            self._onward.slow(paused)

    def leave(self) -> None:
        """The viewer has gone."""
        passage, self._passage = self._passage, None
        if self._finishing is not None:
            self._finishing.cancel()
        if passage is not None:
            self._passages.over(passage)
        self._hang_up()

    # ---- the origin's side

    def came(self, data: bytes) -> None:
        """See `onward.Told`."""
        self._http.receive_data(data)

    def came_for_now(self) -> None:
        """See `onward.Told`."""
        self._read()
        if self._passage is None and self._http.trailing_data[0]:
            self._hang_up()  # an answer without a question
        self._viewer.flush()

    def ended(self, *, whole: bool) -> None:
        """See `onward.Told`."""
        self._onward = None
        if self._finishing is not None:
            return
        if whole and self._passage is not None:
            self._http.receive_data(b"")  # a response may end so
            self._read()
        if self._finishing is None:
            self._fail()

    def too_slow(self) -> None:
        """See `onward.Told`: what mitmproxy would say after as long again."""
        self._onward = self._passage = None
        self._http = _reading()
        page = errorpage.unreachable(f"it did not end its TLS handshake within {interception.HANDSHAKE_MAX_S:g} s")
        self._viewer.say(h11.Response(status_code=page.status_code, headers=list(page.headers.fields)))
        self._viewer.say(h11.Data(data=page.content or b""))
        self._viewer.say(h11.EndOfMessage())
        self._viewer.answered()

    # ---- the answer

    def _read(self) -> None:
        """The response, as far as it has come."""
        try:
            while self._passage is not None and self._finishing is None:
                event = self._http.next_event()
                match event:
                    case h11.Response() if _is_doubtful(event):
                        self._fail()
                    case h11.Response():
                        fields = event.headers.raw_items()
                        if self._passages.answered(self._passage, self._host, event.status_code, fields):
                            self._held = []
                        self._tell(as_said(event))
                    case h11.Data(data=data):
                        self._tell(h11.Data(data=self._passage.take(bytes(data))))
                    case h11.EndOfMessage():
                        task = self._tasks.begin(self._finish(self._passage), "finish")
                        self._finishing = None if task.done() else task
                        return
                    case h11.InformationalResponse():
                        pass
                    case _:  # NEED_DATA or PAUSED
                        return
        except (h11.RemoteProtocolError, h11.LocalProtocolError):
            self._fail()

    def _tell(self, event: h11.Event) -> None:
        if self._held is not None:
            self._held.append(event)
        else:
            self._told = True
            self._viewer.say(event)

    async def _finish(self, passage: ObservedAnswer) -> None:
        await self._passages.ended(passage)
        held, self._held, self._passage, self._finishing = self._held or [], None, None, None
        ours, theirs = self._http.our_state, self._http.their_state
        if self._onward is not None and ours is theirs is h11.DONE and not self._http.trailing_data[0]:
            self._http.start_next_cycle()
        else:
            self._hang_up()
        try:
            for event in (*held, h11.EndOfMessage()):
                self._viewer.say(event)
        except h11.LocalProtocolError:
            self._viewer.close()
            return
        self._viewer.answered()

    def _fail(self) -> None:
        """The answer cannot come on this way."""
        passage, self._passage, self._held = self._passage, None, None
        self._hang_up()
        if passage is None:
            return
        if self._told:
            _log.warning("an answer broke off, or does not follow the rules of HTTP/1.1")
            self._passages.over(passage)
            self._viewer.close()
        else:
            self._viewer.instead()

    def _hang_up(self) -> None:
        """The next request makes another connection."""
        onward, self._onward = self._onward, None
        self._http = _reading()
        if onward is not None:
            onward.leave()


def _is_doubtful(response: h11.Response) -> bool:
    """Whether two readers may differ in where it ends (RFC 9112 sections 6.1 and 6.3); mitmproxy refuses it."""
    framing = [field for field in response.headers if field[0] in {b"content-length", b"transfer-encoding"}]
    if len(framing) != 1:
        return bool(framing)
    ((name, value),) = framing
    if name == b"content-length":
        return len(value) > 1 and value.startswith(b"0")
    return response.http_version != b"1.1" or response.status_code == 204


def _reading() -> h11.Connection:
    return h11.Connection(h11.CLIENT, max_incomplete_event_size=ANSWER_HEAD_BYTES_MAX)
