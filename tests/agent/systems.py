"""A system started for real beside a small origin, and what a front does to them.

async with started(tmp_path) as agent:  await agent.watch();  head, body = await agent.play("1.ts")
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ecdn_proxy.agent.api import PassToOrigin, Route, Shared, ViewerRequest, ViewerResponse
from ecdn_proxy.agent.recorder import RecordFile
from ecdn_proxy.agent.settings import load
from ecdn_proxy.agent.system import System
from ecdn_proxy.core.values import Headers
from tests.agent.origins import LIVE, Origin, serving

ANN: Headers = (("cookie", "session=ann"),)
EVE: Headers = (("cookie", "session=eve"),)
HLS = (("content-type", "application/vnd.apple.mpegurl"),)


class Agent:
    """A system and its origin, with what a front does to them."""

    def __init__(self, system: System, origin: Origin) -> None:
        self.system = system
        self.origin = origin

    def get(self, name: str, *headers: tuple[str, str]) -> ViewerRequest:
        return ViewerRequest("GET", self.origin.url(f"/live/{name}"), headers or ANN)

    async def watch(self, *headers: tuple[str, str], text: str = LIVE) -> None:
        """The manifest went by."""
        request = self.get("live.m3u8", *headers)
        assert self.system.router.may_be_manifest(request, 200, HLS)
        await self.system.router.manifest_arrived(request, HLS, text.encode())
        self.system.router.passed_to_origin(request, 200, len(text))

    def open(self, name: str, *headers: tuple[str, str]) -> ViewerResponse:
        route = self.system.router.route(self.get(name, *headers))
        assert isinstance(route, Shared), route
        return route.open_response()

    async def play(self, name: str, *headers: tuple[str, str]) -> tuple[object, bytes]:
        """The head and the body."""
        response = self.open(name, *headers)
        try:
            async with asyncio.timeout(20):
                return await response.head(), await whole(response)
        finally:
            await response.release()

    def codes(self) -> set[str]:
        return {it.code for it in self.system.status().conditions}


async def whole(response: ViewerResponse) -> bytes:
    return b"".join([bytes(part) async for part in response.body()])


@asynccontextmanager
async def started(state_dir: Path, record: RecordFile | None = None, **flags: object) -> AsyncIterator[Agent]:
    given = {"intercept_domains": ["origin.test"], "allow_local_origins": True, "peer_listen": "127.0.0.1:0"}
    effective = load(None, {}, {**given, **flags})
    async with serving() as origin, System(settings=effective, state_dir=state_dir, record=record) as system:
        yield Agent(system, origin)


def why(route: Route) -> str:
    assert isinstance(route, PassToOrigin), route
    return route.why
