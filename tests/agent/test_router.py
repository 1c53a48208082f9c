"""What the front asks of an agent: from where a segment comes, and what passed by."""

import asyncio
from pathlib import Path

import pytest

from ecdn_proxy.agent.api import FromMemory, Shared, SharedHead, ViewerRequest
from tests.agent.origins import BODY, LIVE
from tests.agent.systems import HLS, started, why

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]


async def test_the_second_time_it_is_in_memory(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        await agent.watch()
        head, body = await agent.play("1.ts")
        assert isinstance(head, SharedHead)
        assert (head.source, body) == ("origin", BODY)
        again = agent.system.router.route(agent.get("1.ts"))
        assert isinstance(again, FromMemory)
        assert again.segment.body == BODY
        assert agent.origin.paths() == ["/live/1.ts"]
        status = agent.system.status()
        assert (status.bytes.origin, status.bytes.cache, status.bytes.passed) == (len(BODY), len(BODY), len(LIVE))
        assert [it.source for it in status.recent] == ["cache", "origin"]
        assert agent.origin.asked[0].headers["cookie"] == "session=ann"


async def test_a_large_segment_is_streamed_even_from_memory(tmp_path: Path) -> None:
    large = bytes(5_000_000)
    async with started(tmp_path) as agent:
        agent.origin.answers["/live/1.ts"] = agent.origin.plain(body=large, headers={"Cache-Control": "max-age=60"})
        await agent.watch()
        assert (await agent.play("1.ts"))[1] == large
        head, body = await agent.play("1.ts")
        assert isinstance(head, SharedHead)
        assert (head.source, body == large) == ("cache", True)


async def test_nothing_is_asked_of_anybody_before_a_shared_route_is_opened(tmp_path: Path) -> None:
    """A viewer may leave while mitmproxy brings its request to the gateway."""
    async with started(tmp_path) as agent:
        await agent.watch()
        route = agent.system.router.route(agent.get("1.ts"))
        assert isinstance(route, Shared)
        assert "origin.test" not in repr(route)
        assert "1.ts" not in repr(route)
        await asyncio.sleep(0.05)
        assert agent.origin.asked == []
        assert (await agent.play("1.ts"))[1] == BODY


async def test_a_request_that_breaks_the_classifier_passes(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        odd = ViewerRequest("GET", agent.origin.url("/1.ts"), None)  # type: ignore[arg-type]
        assert why(agent.system.router.route(odd)) == "a fault of this agent's own"
        await agent.system.router.manifest_arrived(odd, HLS, LIVE.encode())


async def test_a_manifest_that_cannot_be_used_is_shown_without_its_tokens(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        request = agent.get("live.m3u8?token=secret")
        await agent.system.router.manifest_arrived(request, HLS, b"#EXTM3U\n#EXT-X-TARGETDURATION:two\n")
        (shown,) = [it for it in agent.system.status().conditions if it.code == "manifest-refused"]
        assert "live.m3u8" in shown.text
        assert "secret" not in shown.text
        await agent.system.router.manifest_arrived(agent.get("page"), (("content-type", "text/plain"),), b"hello")


async def test_what_was_left_out_of_a_manifest_is_shown_and_the_rest_is_shared(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        broken = LIVE.replace("#EXT-X-VERSION:3", "#EXT-X-MEDIA-SEQUENCE:\n#EXT-X-VERSION:3")
        await agent.system.router.manifest_arrived(agent.get("live.m3u8?token=secret"), HLS, broken.encode())
        (shown,) = [it for it in agent.system.status().conditions if it.code == "manifest-partly-used"]
        assert "live.m3u8: left out: the number of EXT-X-MEDIA-SEQUENCE" in shown.text
        assert "secret" not in shown.text
        assert isinstance(agent.system.router.route(agent.get("1.ts")), Shared)
