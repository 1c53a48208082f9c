"""The segment gateway: answers the requests that the addon routes here, on loopback, for nobody but mitmproxy.

    GET|HEAD /t/<ticket>    with the secret of this boot in `x-ecdn-secret`; anything else is 403

Map: `Gateway.start`, `.address`, `.secret`, `.close` · `ticket_for` (what the addon puts into the request's path) ·
`_answer` · `_send` (a reply of `front/http/responses.py`) · `_break` (a body whose rest cannot come ends as a broken
connection).

**The way of a segment through mitmproxy.** A hook of mitmproxy can neither stream a body that it makes nor go elsewhere
after an error; here both is possible. So the request takes one step more than on the lean path
(`front/intercept/connection.py`), but asks the agent as often: once on its way in, once on its way out.

    browser ──► mitmproxy: Addon.requestheaders ──► AgentApi.route      in: the route is kept here, under a ticket
                   └─ GET /t/<ticket> on loopback ──► Gateway
    browser ◄── mitmproxy ◄── Gateway ◄── ViewerResponse                out: the response that the route opens

A ticket is made, kept and spent in this file, and is good once. It stands for the whole route in place of its URL and
cookies, which therefore never leave this process. A viewer that goes away cancels its handler, and its response is
released within the same turn of the event loop.
"""

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import web
from multidict import CIMultiDict

from ecdn_proxy.agent.api import Shared
from ecdn_proxy.core.http.answers import REASONS
from ecdn_proxy.front.http.responses import Reply, brief, reply_to
from ecdn_proxy.wire.faults import Unavailable

SECRET_FIELD: Final = "x-ecdn-secret"  # noqa: S105 - the name of the field
KEEP_ALIVE_S: Final = 3_600.0
"""mitmproxy keeps a connection as long as its viewer does; it must not send a request on one that we have closed."""
HEAD_BYTES_MAX: Final = 65_536
TICKETS_MAX: Final = 1_024
"""Far more than mitmproxy brings here at once; a ticket that is never spent is of a viewer that left in between."""

_PLAIN = web.ResponseKey("plain", bool)
"""Set on a response that shall have no Content-Type."""
_log = structlog.get_logger("ecdn.gateway")


class Gateway:
    """One aiohttp server on a loopback port of its own."""

    def __init__(self, *, source_headers: bool, clock: Callable[[], float]) -> None:
        self._tickets: OrderedDict[str, Shared] = OrderedDict()
        self._source_headers = source_headers
        self._clock = clock
        self._runner: web.AppRunner | None = None
        self.secret: Final = secrets.token_urlsafe(32)
        self.address: tuple[str, int] = ("127.0.0.1", 0)

    async def start(self) -> None:
        """Listen on a free loopback port."""
        app = web.Application(middlewares=[self._guarded])
        app.router.add_get("/t/{ticket}", self._answer)  # also HEAD
        app.on_response_prepare.append(_only_what_we_said)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=KEEP_ALIVE_S,
            max_line_size=HEAD_BYTES_MAX,
            max_field_size=HEAD_BYTES_MAX,
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.address = (str(host), int(port))

    def ticket_for(self, route: Shared) -> str:
        """A ticket for one request; of more than `TICKETS_MAX` that wait, the oldest is no longer good."""
        ticket = secrets.token_urlsafe(16)
        self._tickets[ticket] = route
        if len(self._tickets) > TICKETS_MAX:
            self._tickets.popitem(last=False)
        return ticket

    async def close(self) -> None:
        """End what is still being answered and stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _guarded(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        shown = request.headers.get(SECRET_FIELD, "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(shown, self.secret.encode()):
            return web.Response(status=403, text="This door is for the ecdn proxy only.\n")
        return await handler(request)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        route = self._tickets.pop(request.match_info["ticket"], None)
        if route is None:
            return await _send(request, brief(502, "no such ticket"))
        response = route.open_response()
        try:
            headers = tuple((name.lower(), value) for name, value in request.headers.items())
            reply = await reply_to(response, request.method, headers, self._clock, show_source=self._source_headers)
            return await _send(request, reply)
        except Unavailable as fault:
            # nothing is written: the player sees its connection end, as without us, and no status of our own making
            _log.warning("segment unavailable", why=fault.why)
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        finally:
            await response.release()


async def _send(request: web.Request, reply: Reply) -> web.StreamResponse:
    response = _response(reply)
    await response.prepare(request)
    if reply.body is None:
        return response
    try:
        async for part in reply.parts():
            await response.write(part)
    except Unavailable as fault:
        return _break(request, response, fault.why)
    except ConnectionError:
        return response  # the viewer left; the proxy closed its side
    await response.write_eof()
    return response


def _break(request: web.Request, response: web.StreamResponse, why: str) -> web.StreamResponse:
    """End the connection after what was sent: no terminator, short of its Content-Length, so that the player knows."""
    _log.warning("answer broken off", why=why)
    if request.transport is not None:
        request.transport.close()
    return response


def _response(reply: Reply) -> web.StreamResponse:
    fields: CIMultiDict[str] = CIMultiDict(reply.headers)
    response = web.StreamResponse(status=reply.status, reason=reply.reason or REASONS.get(reply.status), headers=fields)
    response[_PLAIN] = "content-type" not in fields
    return response


async def _only_what_we_said(_: web.Request, response: web.StreamResponse) -> None:
    """Remove what aiohttp adds: an answer without Server or Content-Type stays without."""
    response.headers.popall("Server", None)
    if response.get(_PLAIN, False):
        response.headers.popall("Content-Type", None)
