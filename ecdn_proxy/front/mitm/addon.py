"""mitmproxy's hooks: each request goes to its origin, is answered from memory, or is sent to the gateway.

Map: `http_connect` (may a tunnel be opened) · `requestheaders` (clean, refuse, ask the agent, route) ·
`responseheaders`, `response`, `error` (stream what comes from the origin; `front/http/observed.py` learns from it) ·
`server_connect` (resolve, check, pin the address).

The way of a segment through this addon and the gateway stands in `front/mitm/gateway.py`.
"""

import asyncio
from typing import Final

import structlog
from mitmproxy import http, websocket
from mitmproxy.connection import Server
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from ecdn_proxy.agent.api import AgentApi, FromMemory, PassToOrigin, Shared
from ecdn_proxy.core.http.answers import Circumstance, ResponsePlan, answer_for
from ecdn_proxy.front import errorpage
from ecdn_proxy.front.http.observed import ObservedAnswer, ObservedAnswers
from ecdn_proxy.front.http.responses import has_body, route_of
from ecdn_proxy.front.http.sanitize import clean
from ecdn_proxy.front.http.targets import TargetRefused, Targets
from ecdn_proxy.front.mitm.gateway import SECRET_FIELD, Gateway
from ecdn_proxy.front.tls.policy import Interception
from ecdn_proxy.io import clock

REFUSED_BODY_MAX: Final = 65_536
_OBSERVED: Final = "ecdn"
"""Under this name a flow that goes to its origin carries its `ObservedAnswer`."""
_TO_GATEWAY: Final = frozenset({
    "accept", "connection", "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since",
    "origin", "range",
})  # fmt: skip
"""What the gateway needs of a viewer's request; the rest, cookies included, stays in the route behind the ticket."""
_log = structlog.get_logger("ecdn.proxy")


class Addon:
    """mitmproxy calls the methods named after its hooks."""

    name = "ecdn"

    def __init__(
        self,
        agent: AgentApi,
        gateway: Gateway,
        interception: Interception,
        targets: Targets,
        observed: ObservedAnswers,
        *,
        source_headers: bool,
    ) -> None:
        self._agent = agent
        self._gateway = gateway
        self._interception = interception
        self._targets = targets
        self._observed = observed
        self._source_headers = source_headers
        self._names: dict[str, tuple[str, int]] = {}
        """By mitmproxy's id of a connection: the host and port of which only the address is connected to."""
        self._busy: set[str] = set()
        """mitmproxy's ids of flows that have no whole response yet."""
        self.idle = asyncio.Event()
        """Set while no request is being answered."""
        self.idle.set()

    # ---- connections

    async def http_connect(self, flow: http.HTTPFlow) -> None:
        """A tunnel is asked for. A host out of scope is resolved now, while a page can still say why it is refused."""
        wrong = clean_connect(flow.request)
        if wrong is not None:
            flow.response = errorpage.bad_request(wrong)
            return
        host, port = flow.request.host, flow.request.port
        try:
            self._targets.check_name(host, port)
            if not self._interception.intercepts(host):
                await self._targets.resolve(host, port)
        except TargetRefused as refusal:
            _log.warning("tunnel refused", why=str(refusal))
            flow.response = errorpage.refused(str(refusal))
        except OSError as error:
            flow.response = errorpage.unresolved(f"{host}: {error}")

    async def server_connect(self, data: ServerConnectionHookData) -> None:
        """Resolve and check a target, and connect to the address that was checked and to no other."""
        address = data.server.address
        if address is None or address[:2] == self._gateway.address:
            return
        host, port = address[:2]
        try:
            pinned = await self._targets.resolve(host, port)
        except TargetRefused as refusal:
            data.server.error = f"{errorpage.REFUSED}{refusal}"
        except OSError as error:
            data.server.error = f"{errorpage.UNRESOLVED}{host}: {error}"
        except Exception:
            # mitmproxy would log it and connect, unchecked: of all our faults only this one must not fail open
            _log.exception("a target could not be checked; it is not connected to")
            data.server.error = f"{errorpage.REFUSED}{host} could not be checked"
        else:
            self._names[data.server.id] = (host, port)
            data.server.address = (pinned, port)

    def server_connected(self, data: ServerConnectionHookData) -> None:
        """Put the name back: by it the next request finds this connection, and the origin's certificate is checked."""
        name = self._names.pop(data.server.id, None)
        if name is not None:
            vars(data.server)["address"] = name  # mitmproxy's setter refuses on an open connection

    def server_connect_error(self, data: ServerConnectionHookData) -> None:
        """A connection could not be made."""
        self._names.pop(data.server.id, None)

    # ---- requests

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Route a request by its head."""
        if flow.error:
            return
        self._busy.add(flow.id)
        self.idle.clear()
        wrong = clean(flow.request)
        if wrong is not None:
            self._refuse(flow, errorpage.bad_request(wrong))
            return
        try:
            self._targets.check_name(flow.request.host, flow.request.port)
        except TargetRefused as refusal:
            _log.warning("request refused", why=str(refusal))
            self._refuse(flow, errorpage.refused(str(refusal)))
            return
        inside = self._interception.intercepts(flow.request.host)
        viewer, route = route_of(self._agent, flow.request, inside=inside)
        match route:
            case FromMemory(segment):
                now = Circumstance("cache", clock.utc(), self._source_headers)
                flow.response = _from_memory(answer_for(viewer.method, viewer.headers, segment.head, now), segment.body)
            case Shared():
                self._to_gateway(flow, self._gateway.ticket_for(route))
            case PassToOrigin():
                flow.request.stream = has_body(flow.request)
                if inside:
                    flow.metadata[_OBSERVED] = self._observed.begin(viewer, flow.request)

    def _to_gateway(self, flow: http.HTTPFlow, ticket: str) -> None:
        request = flow.request
        fields = [(name, value) for name, value in request.headers.fields if name.lower().decode() in _TO_GATEWAY]
        host = request.headers["host"].encode("utf-8", "surrogateescape")
        secret = (SECRET_FIELD.encode(), self._gateway.secret.encode())
        # `data` throughout: the setters of `request` would write the gateway's address into Host
        request.data.host, request.data.port = self._gateway.address
        request.data.scheme = b"http"
        request.data.path = f"/t/{ticket}".encode()
        request.headers.fields = ((b"host", host), *fields, secret)
        flow.server_conn = Server(address=self._gateway.address)  # a fresh one: no upstream proxy on this way

    def _refuse(self, flow: http.HTTPFlow, response: http.Response) -> None:
        """Answer at once. A body that would have to be read first is not: the connection ends instead."""
        length = flow.request.headers.get("content-length", "0")
        if "transfer-encoding" in flow.request.headers or len(length) > 5 or int(length) > REFUSED_BODY_MAX:
            flow.kill()  # type: ignore[no-untyped-call]
        else:
            flow.response = response

    # ---- responses

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Stream the response, unless it is a small manifest."""
        response = flow.response
        assert response is not None
        answer = flow.metadata.get(_OBSERVED)
        if not isinstance(answer, ObservedAnswer):
            response.stream = True
            return
        held = self._observed.head_came(answer, flow.request.host, response.status_code, response.headers.fields)
        response.stream = False if held else answer.body_came

    async def response(self, flow: http.HTTPFlow) -> None:
        """The response has come; one that is held goes on when this returns."""
        self._flow_done(flow)
        answer = flow.metadata.get(_OBSERVED)
        if not isinstance(answer, ObservedAnswer) or flow.response is None:
            return
        if flow.response.stream is False and flow.response.raw_content is not None:
            answer.body_came(flow.response.raw_content)
        await self._observed.ended(answer)

    def error(self, flow: http.HTTPFlow) -> None:
        """A request ended early: refused, broken off, or its viewer left."""
        self._flow_done(flow)
        if flow.killable and flow.server_conn.address == self._gateway.address:
            flow.kill()  # type: ignore[no-untyped-call]  # mitmproxy would answer 502; without us the connection ends
        answer = flow.metadata.get(_OBSERVED)
        if not isinstance(answer, ObservedAnswer):
            return
        self._observed.over(answer)
        if not answer.status and flow.server_conn.tls_established and flow.client_conn.connected:
            self._interception.origin_hung_up(flow.request.host)

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        """Messages pass; mitmproxy would keep each of them for as long as the connection lives."""
        assert isinstance(flow.websocket, websocket.WebSocketData)
        flow.websocket.messages.clear()

    def _flow_done(self, flow: http.HTTPFlow) -> None:
        self._busy.discard(flow.id)
        if not self._busy:
            self.idle.set()


def clean_connect(request: http.Request) -> str | None:
    """The reason why a CONNECT is refused, or None."""
    if request.http_version not in {"HTTP/1.1", "HTTP/1.0"}:
        return f"The version {request.http_version[:20]} is not one that this proxy speaks."
    if len(request.headers.get_all("host")) > 1:
        return "The request names several hosts."
    return None


def _from_memory(answer: ResponsePlan, body: bytes) -> http.Response:
    end = None if answer.length is None else answer.skip + answer.length
    content = body[answer.skip : end] if answer.body else b""
    headers = http.Headers([(name.encode(), value.encode()) for name, value in answer.headers])
    if answer.body:
        headers["content-length"] = str(len(content))
    return http.Response(
        http_version=b"HTTP/1.1",
        status_code=answer.status,
        reason=answer.reason.encode(),
        headers=headers,
        content=content,
        trailers=None,
        timestamp_start=0.0,
        timestamp_end=None,
    )
