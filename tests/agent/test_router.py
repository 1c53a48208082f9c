"""What the front asks of an agent: from where a segment comes, tickets, and what passed by."""

from pathlib import Path

import pytest

from ecdn_proxy.agent.api import Begun, FromMemory, ToGateway, ViewerRequest
from ecdn_proxy.agent.router import TICKETS_MAX
from tests.agent.origins import BODY, LIVE
from tests.agent.systems import HLS, started, why

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]


async def test_the_second_time_it_is_in_memory(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        await agent.watch()
        head, body = await agent.play("1.ts")
        assert isinstance(head, Begun)
        assert (head.source, body) == ("origin", BODY)
        again = agent.system.sort(agent.get("1.ts"))
        assert isinstance(again, FromMemory)
        assert again.segment.body == BODY
        assert agent.origin.paths() == ["/live/1.ts"]
        status = agent.system.status()
        assert (status.bytes.origin, status.bytes.cache, status.bytes.passed) == (len(BODY), len(BODY), len(LIVE))
        assert [it.source for it in status.recent] == ["cache", "origin"]
        assert agent.origin.asked[0].headers["cookie"] == "session=ann"


async def test_a_large_segment_goes_through_the_gateway_even_from_memory(tmp_path: Path) -> None:
    large = bytes(5_000_000)
    async with started(tmp_path) as agent:
        agent.origin.answers["/live/1.ts"] = agent.origin.plain(body=large, headers={"Cache-Control": "max-age=60"})
        await agent.watch()
        assert (await agent.play("1.ts"))[1] == large
        head, body = await agent.play("1.ts")
        assert isinstance(head, Begun)
        assert (head.source, body == large) == ("cache", True)


async def test_a_ticket_is_good_once(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        await agent.watch()
        route = agent.system.sort(agent.get("1.ts"))
        assert isinstance(route, ToGateway)
        await agent.system.open(route.ticket).close()
        for ticket in (route.ticket, "made up"):
            with pytest.raises(KeyError):
                agent.system.open(ticket)


async def test_tickets_are_bounded(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        await agent.watch()
        first = agent.system.sort(agent.get("1.ts"))
        for _ in range(TICKETS_MAX):
            agent.system.sort(agent.get("2.ts"))
        assert isinstance(first, ToGateway)
        with pytest.raises(KeyError):
            agent.system.open(first.ticket)


async def test_a_request_that_breaks_the_sorter_passes(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        odd = ViewerRequest("GET", agent.origin.url("/1.ts"), None)  # type: ignore[arg-type]
        assert why(agent.system.sort(odd)) == "a fault of this agent's own"
        await agent.system.manifest(odd, 200, HLS, LIVE.encode())


async def test_a_manifest_that_cannot_be_used_is_shown_without_its_tokens(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        request = agent.get("live.m3u8?token=secret")
        await agent.system.manifest(request, 200, HLS, b"#EXTM3U\n#EXT-X-TARGETDURATION:two\n")
        (shown,) = [it for it in agent.system.status().conditions if it.code == "manifest-refused"]
        assert "live.m3u8" in shown.text
        assert "secret" not in shown.text
        await agent.system.manifest(agent.get("page"), 200, (("content-type", "text/plain"),), b"hello")
