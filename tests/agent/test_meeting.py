"""Two enrolled machines with all their links: viewers of the same segments meet, whatever their playlists' URLs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from coordinator.io.ca import Authority
from ecdn_proxy.agent.api import SharedHead, ViewerRequest
from ecdn_proxy.agent.settings import load
from ecdn_proxy.agent.system import System
from ecdn_proxy.wire.peer import Contact
from tests.agent.origins import BODY, Origin, serving
from tests.agent.systems import HLS, Agent
from tests.io.switching import authority, identity
from tests.io.waiting import Record

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]


@asynccontextmanager
async def desk(directory: Path, tenant: Authority, device: str, address: str, origin: Origin) -> AsyncIterator[Agent]:
    """An agent on an own loopback address; its coordinator does not answer."""
    state = directory / device
    state.mkdir()
    msgspec.structs.replace(identity(tenant, device), coordinator="https://127.0.0.1:1").save(state)
    given = {
        "intercept_domains": ["origin.test"],
        "allow_local_origins": True,
        "peer_listen": f"{address}:0",
        "peer_networks": ["127.0.0.0/8"],
        "lan_discovery": False,
    }
    async with System(settings=load(None, {}, given), state_dir=state) as system:
        yield Agent(system, origin)


async def linked(one: Agent, other: Agent, address: str) -> None:
    sharing, there = one.system._sharing, other.system._sharing
    assert sharing is not None
    assert there is not None
    sharing.links.dial(Contact(there.identity.device, (address,), there.links.port))
    await Record().until(lambda: bool(one.system.status().peers and other.system.status().peers))


async def watch(agent: Agent, viewer: str, *lines: str) -> None:
    """A playlist of this viewer's own went by: a session, with advertisements for nobody else."""
    request = ViewerRequest("GET", agent.origin.url(f"/v1/session/{viewer}/index.m3u8"), (("cookie", viewer),))
    text = "\n".join(("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:700", *lines, ""))
    await agent.system.router.manifest_arrived(request, HLS, text.encode())


async def play(agent: Agent, viewer: str, path: str) -> tuple[str, bytes]:
    route = agent.system.router.route(ViewerRequest("GET", agent.origin.url(path), (("cookie", viewer),)))
    response = route.open_response()  # type: ignore[union-attr]
    try:
        async with asyncio.timeout(20):
            head = await response.head()
            body = b"".join([bytes(part) async for part in response.body()])
    finally:
        await response.release()
    assert isinstance(head, SharedHead)
    return head.source, body


async def test_own_playlists_with_equal_segments_take_one_copy_and_advertisements_stay_personal(tmp_path: Path) -> None:
    tenant = authority(tmp_path / "tenant")
    async with (
        serving() as origin,
        desk(tmp_path, tenant, "ann", "127.0.0.2", origin) as ann,
        desk(tmp_path, tenant, "bob", "127.0.0.3", origin) as bob,
    ):
        programme = [f"/event/720p/s{number}.ts" for number in (1, 2, 3)]
        for agent, viewer in ((ann, "ann"), (bob, "bob")):
            advertisement = f"#EXT-X-DISCONTINUITY\n#EXTINF:4,\n../../segment/{viewer}/0/0.ts\n#EXT-X-DISCONTINUITY"
            await watch(agent, viewer, advertisement, *(f"#EXTINF:4,\n{path}" for path in programme))
        await linked(ann, bob, "127.0.0.3")
        for path in programme:
            assert await play(ann, "ann", path) == ("origin", BODY)
            assert await play(bob, "bob", path) == ("lan", BODY)
        assert await play(ann, "ann", "/v1/segment/ann/0/0.ts") == ("origin", BODY)
        assert await play(bob, "bob", "/v1/segment/bob/0/0.ts") == ("origin", BODY)
        assert sorted(origin.paths()) == sorted([*programme, "/v1/segment/ann/0/0.ts", "/v1/segment/bob/0/0.ts"])
