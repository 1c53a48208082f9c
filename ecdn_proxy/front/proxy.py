"""The local HTTP forward proxy: mitmproxy's engine with the few addons that are needed, embedded in our event loop.

Map: `Proxy.start` (listen; `CannotListen` says what to do) · `.address` · `Proxy.drain_and_close`.

mitmproxy keeps its master in a global: one proxy per process. `Master.run` is not used: it would install a task
factory and an exception handler for everything else in the loop, and it goes on without a listening socket.
"""

import asyncio
import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import structlog
from mitmproxy import options
from mitmproxy.addons import core, disable_h2c, dns_resolver, next_layer, proxyserver, upstream_auth
from mitmproxy.connection import Server
from mitmproxy.master import Master
from mitmproxy.proxy.mode_servers import ServerInstance
from mitmproxy.proxy.server import ConnectionIO
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from ecdn_proxy.agent.api import AgentApi
from ecdn_proxy.core.http.hosts import HostScope, place
from ecdn_proxy.core.settings import Settings
from ecdn_proxy.front import mitm_patches
from ecdn_proxy.front.http.observed import ObservedAnswers
from ecdn_proxy.front.http.targets import Targets
from ecdn_proxy.front.intercept.listener import Listener
from ecdn_proxy.front.intercept.mitm_transport import OPENED
from ecdn_proxy.front.mitm.addon import Addon
from ecdn_proxy.front.mitm.gateway import Gateway
from ecdn_proxy.front.tls import policy
from ecdn_proxy.front.tls.authority import Authority, trusted_roots, write_private
from ecdn_proxy.io import clock

READ_BYTES: Final = 262_144
"""Measured against 64 KiB: a seventh less CPU for a routed segment."""
_log = structlog.get_logger("ecdn.proxy")


class CannotListen(Exception):
    """The port is not free or not allowed; the text says what, where, and the cure."""


class Proxy:
    """One listening proxy, with mitmproxy inside."""

    def __init__(
        self,
        agent: AgentApi,
        settings: Settings,
        state_dir: Path,
        gateway: Gateway,
        authority: Authority,
    ) -> None:
        self._agent = agent
        self._settings = settings
        self._state_dir = state_dir
        self._gateway = gateway
        self._scope = HostScope.of(settings.intercept_domains, settings.bypass_domains)
        self._interception = policy.Interception(self._scope, authority, agent.host_bypassed)
        self.targets = Targets(settings)
        self._observed = ObservedAnswers(agent, self._interception)
        self._addon: Addon | None = None
        self._master: Master | None = None
        self._server = _Server()
        self._listener: Listener | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        if self._listener is not None:
            return self._listener.address
        host, port = self._server.listen_addrs()[0][:2]
        return host, port

    def intercepts(self, host: str) -> bool:
        """Whether TLS of connections to this host ends here, now."""
        return self._interception.intercepts(host)

    async def start(self) -> None:
        """Listen.

        Raises:
            CannotListen: the port is in use or not allowed.
            OSError: the state directory cannot be written, or origin_ca_file cannot be read.
            ValueError: origin_ca_file holds no certificate.
        """
        mitm_patches.install()
        _quieten()
        roots = self._state_dir / "origin-roots.pem"
        write_private(roots, trusted_roots(self._settings.origin_ca_file))
        self._master = self._assemble(roots)
        failed = await (self._listen_on_the_lean_path() if self._settings.lean_path else self._listen_by_mitmproxy())
        if failed is not None:
            await self._master.done()
            raise CannotListen(
                f"The proxy cannot listen on {self._settings.listen}: {_reason(failed)}. Is another ecdn agent or "
                "proxy running? Stop it, or set another address with the setting listen."
            )
        await self._master.running()
        self._own_ports()
        _log.info("proxy listening", address=self._settings.listen, domains=self._scope.intercept)

    async def _listen_by_mitmproxy(self) -> Exception | None:
        """Without the lean path mitmproxy listens; the reason is returned if it cannot."""
        await self._server.setup_servers()
        failed = [server.last_exception for server in self._server.servers if server.last_exception is not None]
        if failed or not self._server.listen_addrs():
            return failed[0] if failed else OSError()
        return None

    async def _listen_on_the_lean_path(self) -> Exception | None:
        """The lean path listens, and gives mitmproxy what is not its own; the reason is returned if it cannot."""
        behind: ServerInstance[Any] = ServerInstance.make("regular", self._server)
        listener = Listener(
            self._agent,
            self._interception,
            self.targets,
            self._observed,
            behind.handle_stream,
            clock.utc,
            show_source=self._settings.source_headers,
        )
        try:
            await listener.start(*place(self._settings.listen))
        except OSError as error:
            return error
        self._listener = listener
        return None

    async def drain_and_close(self, limit_s: float) -> None:
        """Accept no more, let running requests end within the limit, then close every connection."""
        if self._master is None or self._addon is None:
            return
        listener = self._listener
        if listener is None:
            await self._server.servers.update([])
        else:
            listener.stop_listening()
        try:
            async with asyncio.timeout(limit_s):
                await self._addon.idle.wait()
                if listener is not None:
                    await listener.idle.wait()
        except TimeoutError:
            _log.warning("requests cut off at the end of the draining time", limit_s=limit_s)
        if listener is not None:
            await listener.close()
        await self._server.hang_up()
        await self._observed.close()
        await self._master.done()
        self._master = None

    def _assemble(self, roots: Path) -> Master:
        host, port = place(self._settings.listen)
        # on the lean path mitmproxy has no listening socket of its own
        modes = [] if self._settings.lean_path else ["regular"]
        master = Master(options.Options(listen_host=host, listen_port=port, mode=modes))
        self._addon = Addon(
            self._agent,
            self._gateway,
            self._interception,
            self.targets,
            self._observed,
            source_headers=self._settings.source_headers,
        )
        master.addons.add(  # type: ignore[no-untyped-call]
            core.Core(),
            disable_h2c.DisableH2C(),
            self._server,
            dns_resolver.DnsResolver(),
            self._interception,
            next_layer.NextLayer(),
            upstream_auth.UpstreamAuth(),
            self._addon,
        )
        master.options.update(  # type: ignore[no-untyped-call]
            confdir=str(self._state_dir),
            connection_strategy="lazy",
            show_ignored_hosts=False,
            validate_inbound_headers=True,
            store_streamed_bodies=False,
            rawtcp=False,
            ssl_verify_upstream_trusted_ca=str(roots),
            **policy.OPTIONS,
        )
        return master

    def _own_ports(self) -> None:
        pages = [place(setting)[1] for setting in (self._settings.page_listen, self._settings.peer_listen)]
        self.targets.own_ports.update({self.address[1], self._gateway.address[1], *pages} - {0})


class _Server(proxyserver.Proxyserver):
    """mitmproxy's server, which also knows how to end its connections."""

    name = "proxyserver"

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._empty = asyncio.Event()
        self._empty.set()

    @contextmanager
    def register_connection(self, connection_id: tuple[Any, ...] | str, handler: Any) -> Iterator[None]:
        """Called by mitmproxy around each client connection."""
        self._empty.clear()
        opened = handler.transports[handler.client].writer.get_extra_info(OPENED)
        if opened is not None:
            handler.client.tls = True
            handler.client.sni, handler.client.alpn_offers = opened.sni, opened.alpn_offers
        try:
            with super().register_connection(connection_id, handler):
                yield
        finally:
            if not self.connections:
                self._empty.set()

    def server_connected(self, data: ServerConnectionHookData) -> None:
        """Read more at once from origins, for each read costs a walk through all of mitmproxy's layers.

        A handshake with an origin that does not end is ended; mitmproxy would wait for as long as the viewer does.
        """
        handler = self.connections.get(data.client.id)
        transport = handler.transports.get(data.server) if handler is not None else None
        if transport is not None and isinstance(transport.reader, asyncio.StreamReader):
            transport.reader = _LargeReader(transport.reader)  # type: ignore[assignment]
            asyncio.get_running_loop().call_later(policy.HANDSHAKE_MAX_S, _give_up, data.server, transport)

    async def hang_up(self) -> None:
        """Close all client connections and wait until their handlers have ended."""
        for handler in list(self.connections.values()):
            for transport in list(handler.transports.values()):
                if transport.handler is not None:
                    transport.handler.cancel("the agent stops")
        await self._empty.wait()


def _give_up(server: Server, transport: ConnectionIO) -> None:
    """End a connection to an origin, unless its TLS stands, was not wanted, or has failed already."""
    if server.tls and not server.tls_established and server.connected and transport.writer is not None:
        _log.warning("an origin did not end its TLS handshake", seconds=policy.HANDSHAKE_MAX_S)
        transport.writer.close()


class _LargeReader:
    """A connection to an origin as mitmproxy reads it, in parts larger than its own 64 KiB."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def read(self, _: int) -> bytes:
        """Read what is there, up to READ_BYTES; the stream's own limit holds the sender back as before."""
        return await self._reader.read(READ_BYTES)


def _reason(failed: Exception) -> str:
    number = getattr(failed, "errno", None)
    if number == errno.EADDRINUSE:
        return "the port is in use"
    return os.strerror(number) if number is not None else "no address could be had"


def _quieten() -> None:
    """Silence what mitmproxy says of each connection, with hosts and paths: none of that belongs in a log."""
    logging.getLogger("mitmproxy").setLevel(logging.WARNING)
    logging.getLogger("mitmproxy.addons.proxyserver").setLevel(logging.CRITICAL)  # a port in use: we say it ourselves
    server = logging.getLogger("mitmproxy.proxy.server")
    if _not_our_fault not in server.filters:
        server.addFilter(_not_our_fault)


def _not_our_fault(record: logging.LogRecord) -> bool:
    """Make a WARNING of an ERROR without a traceback, which is of a client or origin: ERROR is for faults of ours."""
    if record.levelno >= logging.ERROR and not record.exc_info:
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True
