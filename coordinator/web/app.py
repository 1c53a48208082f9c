"""The web server: one table of routes, each with the credential that it needs, and the one place that checks it.

ROUTES              method, path, handler, credential
make_app(system)    the aiohttp application that answers them
WebServer           the listening socket with TLS: agents' sockets, and HTTP for all others
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple, assert_never

import structlog
from aiohttp import web

from coordinator.core import limits
from coordinator.io import clock
from coordinator.service.settings import ConfigurationError
from coordinator.service.system import SERVER_CERTIFICATE_CHECK_S, System
from coordinator.web import api, enrol, health, tls
from coordinator.web.app_keys import CERTIFICATE, IDLE_TIMEOUTS, SYSTEM
from coordinator.web.idle_timeouts import IdleTimeouts
from coordinator.web.protocol_switch import ProtocolSwitch
from coordinator.web.responses import no_certificate, refusal
from coordinator.web.socket import CLOSE_WITHIN_S, AgentSockets

LOG = structlog.get_logger("coordinator.web")
BACKLOG = 4_096
"""Connections that may wait to be accepted; Linux may allow fewer (net.core.somaxconn)."""
SHUTDOWN_S = 0.5
"""How long requests under way may take when the coordinator closes."""
KEEPALIVE_S = 30.0
"""How long a connection may be idle between two requests: enrolment is one request, and an idle one holds memory."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Credential = Literal["none", "token", "device", "admin"]
"""`none`: public; `token`: an enrolment token in the body; `device`: mutual TLS; `admin`: a bearer token."""


class Route(NamedTuple):
    """One method and path, and the credential that a request for it must have."""

    method: str
    path: str
    handler: Handler
    credential: Credential


async def _not_first(_request: web.Request) -> web.StreamResponse:
    """GET /v1/agent behind another request. As a connection's first request `protocol_switch` takes it."""
    return refusal(400, "not-first", "an agent's socket must be the first thing that a connection asks for")


ROUTES = (
    Route("GET", "/healthz", health.healthz, "none"),
    Route("GET", "/readyz", health.readyz, "none"),
    Route("GET", "/metrics", health.metrics, "none"),
    Route("GET", "/v1/root", enrol.root, "none"),
    Route("POST", "/v1/enrol", enrol.enrol, "token"),
    Route("POST", "/v1/renew", enrol.renew, "device"),
    Route("GET", "/v1/agent", _not_first, "device"),
    Route("GET", "/api/v1/agents", api.agents, "admin"),
    Route("POST", "/api/v1/agents/{device}/deny", api.deny, "admin"),
    Route("POST", "/api/v1/agents/{device}/allow", api.allow, "admin"),
)


def make_app(system: System) -> web.Application:
    """The application that answers ROUTES; it has no listening socket of its own."""
    app = web.Application(client_max_size=limits.REQUEST_BYTES_MAX, middlewares=[_speak_json])
    app[SYSTEM] = system
    app[IDLE_TIMEOUTS] = IdleTimeouts()
    for route in ROUTES:
        app.router.add_route(route.method, route.path, _guarded(route))
    return app


def _guarded(route: Route) -> Handler:
    """The handler of `route` behind the check of its credential."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        system = request.app[SYSTEM]
        match route.credential:
            case "none" | "token":
                pass
            case "device":
                transport = request.transport
                shown = tls.device_certificate(transport, system.authority.tenant) if transport is not None else None
                if shown is None:
                    return no_certificate()
                request[CERTIFICATE] = shown
            case "admin":
                kind, _, token = request.headers.get("Authorization", "").partition(" ")
                if kind.lower() != "bearer" or not system.is_admin(token.strip()):
                    response = refusal(401, "no-admin", "this path needs the admin token as a bearer token")
                    response.headers["WWW-Authenticate"] = "Bearer"
                    return response
            case _ as never:
                assert_never(never)
        return await route.handler(request)

    return guarded


@web.middleware
async def _speak_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Make every refusal a `Rejected` in JSON; a fault of ours is logged, and the answer does not show its inside."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        response = refusal(error.status, "http", error.reason)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except ConnectionError:
        raise
    except Exception as error:
        request.app[SYSTEM].faults += 1
        LOG.error("a request failed", path=request.path, exc_info=error)
        return refusal(500, "fault", "a fault of the coordinator; its log says more")
    finally:
        if request.transport is not None:
            request.app[IDLE_TIMEOUTS].restart(request.transport)


class WebServer:
    """The listening socket with TLS, for agents' sockets and HTTP; it answers between `open` and `close`.

    Args:
        system: the coordinator behind it.
        host: the address to listen on.
        port: the port; 0 for any, `self.port` is the real one.
        names: the names and addresses in the coordinator's own certificate.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """

    def __init__(self, system: System, host: str, port: int, names: list[str]) -> None:
        self._system = system
        self._names = names
        self._socket = bind(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._context: ssl.SSLContext | None = None
        self._server: asyncio.Server | None = None
        self._app = make_app(system)
        self._agents = AgentSockets(system, self._app[IDLE_TIMEOUTS])
        self._runner = web.AppRunner(
            self._app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=SHUTDOWN_S,
            keepalive_timeout=KEEPALIVE_S,
        )

    async def open(self) -> None:
        """Answer from now on."""
        authority = self._system.authority
        certificate = authority.server_certificate(self._names, clock.utc())
        self._context = tls.server_context(certificate, authority.root_pem)
        await self._runner.setup()
        self._server = await asyncio.get_running_loop().create_server(
            self._connection,
            sock=self._socket,
            ssl=self._context,
            backlog=BACKLOG,
            ssl_handshake_timeout=limits.HANDSHAKE_S,
        )
        self._system.tasks.start(self._keep_certificate(), "server certificate")

    def _connection(self) -> asyncio.BaseProtocol:
        assert self._runner.server is not None
        return ProtocolSwitch(self._agents, self._runner.server, self._app[IDLE_TIMEOUTS])

    async def _keep_certificate(self) -> None:
        assert self._context is not None
        while True:
            await asyncio.sleep(SERVER_CERTIFICATE_CHECK_S)
            self._context.load_cert_chain(self._system.authority.server_certificate(self._names, clock.utc()))

    async def close(self) -> None:
        """Tell every agent that the coordinator closes, then stop answering."""
        self._system.disconnect_all("the coordinator is closing; agents come back by themselves", 1)
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._agents.all_gone()
        await self._runner.cleanup()
        self._socket.close()


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens on `host` and `port`.

    Raises:
        ConfigurationError: the address is in use, does not exist, or may not be used by this process.
    """
    try:
        found: list[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener
