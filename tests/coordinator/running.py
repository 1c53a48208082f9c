"""A real coordinator on loopback, in this process, with real TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import structlog

from coordinator.core.limits import Settings
from coordinator.core.registry import Token, digest_of
from coordinator.io import clock
from coordinator.service.system import System
from coordinator.web.app import WebServer
from ecdn_proxy.io.coordinator_client import client_context, enrol
from ecdn_proxy.io.identity import Identity

WAIT_S = 20.0


class RunningCoordinator:
    """The coordinator and what a test asks of it."""

    def __init__(self, folder: Path, system: System, server: WebServer) -> None:
        self.folder = folder
        self.system = system
        self.server = server
        self.url = f"https://127.0.0.1:{server.port}"
        self.sha256 = system.authority.root_sha256
        self._devices = 0

    async def token(self, text: str = "token-for-tests", uses: int = 1, *, hours: float = 1, networks: str = "") -> str:
        ends = clock.utc() + hours * 3_600
        await self.system.db.add_token(Token(digest_of(text), ends, uses, 0, networks), clock.utc())
        return text

    async def enrolled(self) -> Identity:
        """A new device."""
        self._devices += 1
        token = await self.token(f"token-number-{self._devices}")
        return await enrol(self.url, self.sha256, token, self.folder / f"state{self._devices}", "1.0")

    async def ask(
        self,
        method: str,
        path: str,
        identity: Identity | None = None,
        *,
        data: bytes | None = None,
        admin: bool = False,
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON (or text) and headers of an answer."""
        context = client_context(identity) if identity else self.trusting()
        admin_token = (self.folder / "data" / "admin-token").read_text()
        headers = {"Authorization": f"Bearer {admin_token}"} if admin else {}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, data=data, headers=headers, ssl=context) as response,
        ):
            body = await response.read()
            kind = response.content_type
            value = msgspec.json.decode(body) if kind == "application/json" else body.decode()
            return response.status, value, dict(response.headers)

    def trusting(self) -> ssl.SSLContext:
        """A client without certificate that trusts the tenant root only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.system.authority.root_pem)
        return context

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for something of this process to become true."""
        async with asyncio.timeout(WAIT_S):
            while not true():  # noqa: ASYNC110  # the thing waited for has no event of its own
                await asyncio.sleep(0.01)


@asynccontextmanager
async def opened(folder: Path, *, port: int = 0, **settings: Any) -> AsyncIterator[RunningCoordinator]:
    """A coordinator whose data lie in `folder/data`; may be opened again, at the `port` it had."""
    log = structlog.get_logger("test")
    async with System.opened(folder / "data", Settings(**settings), log) as system:
        server = WebServer(system, "127.0.0.1", port, ["localhost", "127.0.0.1"])
        try:
            await server.open()
            yield RunningCoordinator(folder, system, server)
        finally:
            await server.close()
