"""The local page: for a helpdesk on the phone, for scripts, for Prometheus, and for the browser's PAC setting.

    /              what works, what plays and from where, why, what is wrong and what to do
    /api/status    the same, JSON
    /proxy.pac     the PAC file
    /metrics       for Prometheus
    /healthz       200 while the page answers

Map: `Page.start`, `.address`, `.close` · `_guarded` (who may ask) · the HTML itself is made in `front/status/html.py`.

Any web page can send requests to loopback. So there are only GET and HEAD, which change nothing; Host must name this
machine (against DNS rebinding), Origin must be our own, and nothing may be embedded in another site.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import structlog
from aiohttp import web

from ecdn_proxy.agent.api import StartedAgent
from ecdn_proxy.core.http.hosts import HostScope, place
from ecdn_proxy.core.settings import Settings
from ecdn_proxy.front.status import html, pac
from ecdn_proxy.front.status.metrics import metrics

_log = structlog.get_logger("ecdn.page")
_HEADERS = {
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_LOCKED = "default-src 'none'; frame-ancestors 'none'"


class Page:
    """One aiohttp server on settings.page_listen."""

    def __init__(self, agent: StartedAgent, settings: Settings, proxy_address: Callable[[], str]) -> None:
        self._agent = agent
        self._settings = settings
        self._proxy_address = proxy_address
        self._scope = HostScope.of(settings.intercept_domains, settings.bypass_domains)
        self._runner: web.AppRunner | None = None
        self._hosts: frozenset[str] = frozenset()
        self.address: tuple[str, int] = place(settings.page_listen)

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is in use.
        """
        app = web.Application(middlewares=[self._guarded])
        app.router.add_get("/", self._home)
        app.router.add_get("/api/status", self._status)
        app.router.add_get("/proxy.pac", self._pac)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._health)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, *self.address).start()
        except OSError:
            await self._runner.cleanup()
            raise
        host, port = self._runner.addresses[0][:2]
        self.address = (str(host), int(port))
        names = {"localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in str(host) else str(host)}
        self._hosts = frozenset(f"{name}:{port}" for name in names)
        _log.info("status page listening", url=f"http://{f'[{host}]' if ':' in str(host) else host}:{port}/")

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _guarded(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        response = self._refusal(request)
        if response is None:
            try:
                response = await handler(request)
            except web.HTTPException as error:
                response = web.Response(status=error.status, text=f"{error.reason}\n")
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("content-security-policy", _LOCKED)
        return response

    def _refusal(self, request: web.Request) -> web.StreamResponse | None:
        if request.headers.getall("host", []) and request.host.lower() not in self._hosts:
            return web.Response(status=403, text="This page answers to this machine's own name only.\n")
        origin = request.headers.get("origin")
        if origin is not None and origin.lower() not in {f"http://{host}" for host in self._hosts}:
            return web.Response(status=403, text="This page answers to itself only.\n")
        embedded = request.headers.get("sec-fetch-mode", "navigate") != "navigate"
        if embedded and request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            return web.Response(status=403, text="This page cannot be used by other sites.\n")
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, text="GET only.\n", headers={"allow": "GET, HEAD"})
        return None

    async def _home(self, _: web.Request) -> web.StreamResponse:
        text = html.render(self._agent.status())
        fields = {"content-security-policy": html.CONTENT_SECURITY_POLICY}
        return web.Response(text=text, content_type="text/html", headers=fields)

    async def _status(self, _: web.Request) -> web.StreamResponse:
        return web.Response(body=msgspec.json.encode(self._agent.status()), content_type="application/json")

    async def _pac(self, _: web.Request) -> web.StreamResponse:
        corporate = read_corporate(self._settings)
        text = pac.pac(self._scope, self._proxy_address(), corporate)
        return web.Response(text=text, content_type=pac.TYPE)

    async def _metrics(self, _: web.Request) -> web.StreamResponse:
        return web.Response(text=metrics(self._agent.status()), content_type="text/plain")

    async def _health(self, _: web.Request) -> web.StreamResponse:
        return web.Response(text="ok\n")


def read_corporate(settings: Settings) -> str | None:
    """The text of the customer's own PAC; None without one, and when it cannot be read, so that streams still work."""
    if not settings.upstream_pac_file:
        return None
    try:
        return Path(settings.upstream_pac_file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        _log.warning("the customer's PAC cannot be read", file=settings.upstream_pac_file, why=str(error))
        return None
