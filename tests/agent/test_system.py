"""One agent started for real, not enrolled, driven through its doors against a small origin on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from ecdn_proxy.agent.doors import Begun, Delivery, FromMemory, OwnAnswer, Pass, Route, ToGateway, ViewerRequest
from ecdn_proxy.agent.settings import load
from ecdn_proxy.agent.system import TICKETS_MAX, System
from ecdn_proxy.core import happenings as h
from ecdn_proxy.core.happenings import Headers
from ecdn_proxy.core.providers import BadProfile
from ecdn_proxy.wire.faults import Unavailable
from ecdn_proxy.wire.peer import Bye
from tests.agent.origins import BODY, LIVE, Origin, serving
from tests.core.makers import contact
from tests.core.world import STREAM

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]

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
        assert self.system.wants_body(request, 200, HLS)
        await self.system.manifest(request, 200, HLS, text.encode())
        self.system.passed(request, 200, len(text))

    def open(self, name: str, *headers: tuple[str, str]) -> Delivery:
        route = self.system.sort(self.get(name, *headers))
        assert isinstance(route, ToGateway), route
        return self.system.open(route.ticket)

    async def play(self, name: str, *headers: tuple[str, str]) -> tuple[object, bytes]:
        """Through the gateway: the head and the body."""
        delivery = self.open(name, *headers)
        try:
            async with asyncio.timeout(20):
                return await delivery.begin(), await whole(delivery)
        finally:
            await delivery.close()

    def codes(self) -> set[str]:
        return {it.code for it in self.system.status().conditions}


async def whole(delivery: Delivery) -> bytes:
    return b"".join([bytes(part) async for part in delivery.body()])


@asynccontextmanager
async def started(state_dir: Path, **flags: object) -> AsyncIterator[Agent]:
    given = {"intercept_domains": ["origin.test"], "allow_local_origins": True, "peer_listen": "127.0.0.1:0"}
    effective = load(None, {}, {**given, **flags})
    async with serving() as origin, System(settings=effective, state_dir=state_dir) as system:
        yield Agent(system, origin)


def why(route: Route) -> str:
    assert isinstance(route, Pass), route
    return route.why


# ---- playing


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


async def test_two_viewers_of_one_segment_are_one_fetch(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        agent.origin.answers["/live/1.ts"] = agent.origin.slowly
        await agent.watch()
        one, two = agent.open("1.ts"), agent.open("1.ts")
        await one.begin()
        agent.origin.go_on.set()
        assert await whole(one) == await whole(two) == BODY
        await one.close()
        await two.close()
        assert len(agent.origin.asked) == 1


async def test_a_large_segment_goes_through_the_gateway_even_from_memory(tmp_path: Path) -> None:
    large = bytes(5_000_000)
    async with started(tmp_path) as agent:
        agent.origin.answers["/live/1.ts"] = agent.origin.plain(body=large, headers={"Cache-Control": "max-age=60"})
        await agent.watch()
        assert (await agent.play("1.ts"))[1] == large
        head, body = await agent.play("1.ts")
        assert isinstance(head, Begun)
        assert (head.source, body == large) == ("cache", True)


async def test_a_restarted_agent_has_it_on_disk(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        await agent.watch()
        port = agent.origin.port
        await agent.play("1.ts")
        shelf = agent.system._shelf
        assert shelf is not None
        key = shelf.held()[0][0] if shelf.held() else ""
        async with asyncio.timeout(20):
            while not key:
                await asyncio.sleep(0.01)
                key = shelf.held()[0][0] if shelf.held() else ""
    async with started(tmp_path) as agent:
        assert agent.system._node.cache.on_disk(key)
        assert port


async def test_what_another_viewer_proved_does_not_count(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        await agent.watch()
        await agent.play("1.ts")
        assert "not yet answered" in why(agent.system.sort(agent.get("1.ts", *EVE)))
        agent.system.passed(agent.get("1.ts", *EVE), 200, len(BODY))
        assert isinstance(agent.system.sort(agent.get("1.ts", *EVE)), FromMemory)
        agent.system.passed(agent.get("1.ts", *EVE), 403, 0)
        assert isinstance(agent.system.sort(agent.get("1.ts", *EVE)), Pass)


async def test_an_answer_for_one_viewer_alone_is_its_own(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        agent.origin.answers["/live/1.ts"] = agent.origin.plain(headers={"Set-Cookie": "id=canary"})
        await agent.watch()
        head, body = await agent.play("1.ts")
        assert isinstance(head, OwnAnswer)
        assert (dict(head.headers)["set-cookie"], body) == ("id=canary", BODY)
        head, _ = await agent.play("1.ts")
        assert isinstance(head, OwnAnswer)
        assert len(agent.origin.asked) == 2


async def test_a_viewer_that_leaves_ends_its_fetch(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        agent.origin.answers["/live/1.ts"] = agent.origin.slowly
        await agent.watch()
        delivery = agent.open("1.ts")
        await delivery.begin()
        await delivery.close()
        async with asyncio.timeout(20):
            await agent.origin.ended.wait()


async def test_without_an_origin_the_viewer_sees_so(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        await agent.watch(text=LIVE.replace("1.ts", "http://127.0.0.1:1/live/1.ts"))
        request = ViewerRequest("GET", "http://127.0.0.1:1/live/1.ts", ANN)
        agent.system.passed(request, 200, 0)
        route = agent.system.sort(request)
        assert isinstance(route, ToGateway), route
        delivery = agent.system.open(route.ticket)
        with pytest.raises(Unavailable):
            await delivery.begin()
        await delivery.close()


# ---- tickets


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


# ---- a fault of ours


async def test_a_fault_of_ours_sends_viewers_to_the_origin_and_is_mended(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:

        async def late(request: web.Request) -> web.StreamResponse:
            await agent.origin.go_on.wait()
            return agent.origin.segment(request)

        agent.origin.answers |= {"/live/2.ts": agent.origin.slowly, "/live/3.ts": late}
        await agent.watch()
        begun, waiting = agent.open("2.ts"), agent.open("3.ts")
        await begun.begin()
        agent.system._feed(h.LinkOpened(contact("ann"), "lan", (STREAM,), serves=True, rtt_ms=1.0))
        agent.system._feed(h.Received("ann", Bye("this never reaches a node")))
        assert "restarted-within" in agent.codes()
        with pytest.raises(Unavailable):
            await whole(begun)
        agent.origin.go_on.set()
        assert isinstance(await waiting.begin(), OwnAnswer)
        assert await whole(waiting) == BODY
        for delivery in (begun, waiting):
            await delivery.close()
        head, body = await agent.play("1.ts")
        assert isinstance(head, Begun)
        assert body == BODY
        assert isinstance(agent.system.sort(agent.get("1.ts")), FromMemory)


async def test_a_request_that_breaks_the_sorter_passes(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        odd = ViewerRequest("GET", agent.origin.url("/1.ts"), None)  # type: ignore[arg-type]
        assert why(agent.system.sort(odd)) == "a fault of this agent's own"
        await agent.system.manifest(odd, 200, HLS, LIVE.encode())


# ---- manifests and conditions


async def test_a_manifest_that_cannot_be_used_is_shown_without_its_tokens(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        request = agent.get("live.m3u8?token=secret")
        await agent.system.manifest(request, 200, HLS, b"#EXTM3U\n#EXT-X-TARGETDURATION:two\n")
        (shown,) = [it for it in agent.system.status().conditions if it.code == "manifest-refused"]
        assert "live.m3u8" in shown.text
        assert "secret" not in shown.text
        await agent.system.manifest(agent.get("page"), 200, (("content-type", "text/plain"),), b"hello")


async def test_a_machine_that_is_not_enrolled_says_so_and_works(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        status = agent.system.status()
        assert (status.enrolled, status.state, status.peers) == (False, "limited", ())
        assert agent.codes() == {"not-enrolled"}
        agent.system.bypassed("pinned.test", "a program refused the certificate")
        assert "host-bypassed" in agent.codes()


async def test_without_domains_everything_passes(tmp_path: Path) -> None:
    async with started(tmp_path, intercept_domains=[]) as agent:
        assert "no-streaming-domains" in agent.codes()
        assert agent.system.status().state == "passing"


async def test_a_disk_that_cannot_be_used_costs_only_the_disk(tmp_path: Path) -> None:
    (tmp_path / "segments").write_text("in the way")
    async with started(tmp_path) as agent:
        assert "disk-cache-unavailable" in agent.codes()
        await agent.watch()
        assert (await agent.play("1.ts"))[1] == BODY


async def test_no_disk_when_none_is_wanted(tmp_path: Path) -> None:
    async with started(tmp_path, cache_disk_mb=0) as agent:
        assert agent.system._shelf is None
        assert not (tmp_path / "segments").exists()


@pytest.mark.parametrize(
    "text",
    [
        "[[profile",
        "[[profile]]\nname = 3\n",
        "profile = 3",
    ],
)
async def test_a_profile_file_that_is_none_stops_the_start_and_leaves_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text(text)
    with pytest.raises(BadProfile):
        async with started(tmp_path, profiles_file=str(file)):
            pass


async def test_further_profiles_are_read(tmp_path: Path) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text("")
    async with started(tmp_path, profiles_file=str(file)) as agent:
        await agent.watch()
