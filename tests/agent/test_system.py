"""One agent started for real, not enrolled, driven through its doors against a small origin on loopback."""

import asyncio
from pathlib import Path

import pytest

from ecdn_proxy.agent.api import FromMemory, OwnHead, PassToOrigin, Shared, ViewerRequest
from ecdn_proxy.core.catalog.providers import BadProfile
from ecdn_proxy.wire.faults import Unavailable
from tests.agent.origins import BODY, LIVE
from tests.agent.systems import ANN, EVE, started, whole, why

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]


# ---- playing


async def test_two_viewers_of_one_segment_are_one_fetch(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        agent.origin.answers["/live/1.ts"] = agent.origin.slowly
        await agent.watch()
        one, two = agent.open("1.ts"), agent.open("1.ts")
        await one.head()
        agent.origin.go_on.set()
        assert await whole(one) == await whole(two) == BODY
        await one.release()
        await two.release()
        assert len(agent.origin.asked) == 1


async def test_a_restarted_agent_has_it_on_disk(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        await agent.watch()
        await agent.play("1.ts")
        disk = agent.system._disk
        assert disk is not None
        key = disk.held()[0][0] if disk.held() else ""
        async with asyncio.timeout(20):
            while not key:
                await asyncio.sleep(0.01)
                key = disk.held()[0][0] if disk.held() else ""
    async with started(tmp_path) as agent:
        assert agent.system._runner.node.cache.on_disk(key)


async def test_what_another_viewer_proved_does_not_count(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        await agent.watch()
        await agent.play("1.ts")
        assert "not yet answered" in why(agent.system.router.route(agent.get("1.ts", *EVE)))
        agent.system.router.passed_to_origin(agent.get("1.ts", *EVE), 200, len(BODY))
        assert isinstance(agent.system.router.route(agent.get("1.ts", *EVE)), FromMemory)
        agent.system.router.passed_to_origin(agent.get("1.ts", *EVE), 403, 0)
        assert isinstance(agent.system.router.route(agent.get("1.ts", *EVE)), PassToOrigin)


async def test_an_answer_for_one_viewer_alone_is_its_own(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        agent.origin.answers["/live/1.ts"] = agent.origin.plain(headers={"Set-Cookie": "id=canary"})
        await agent.watch()
        head, body = await agent.play("1.ts")
        assert isinstance(head, OwnHead)
        assert (dict(head.headers)["set-cookie"], body) == ("id=canary", BODY)
        head, _ = await agent.play("1.ts")
        assert isinstance(head, OwnHead)
        assert len(agent.origin.asked) == 2


async def test_a_viewer_that_leaves_ends_its_fetch(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        agent.origin.answers["/live/1.ts"] = agent.origin.slowly
        await agent.watch()
        response = agent.open("1.ts")
        await response.head()
        await response.release()
        async with asyncio.timeout(20):
            await agent.origin.ended.wait()


async def test_without_an_origin_the_viewer_sees_so(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        await agent.watch(text=LIVE.replace("1.ts", "http://127.0.0.1:1/live/1.ts"))
        request = ViewerRequest("GET", "http://127.0.0.1:1/live/1.ts", ANN)
        agent.system.router.passed_to_origin(request, 200, 0)
        route = agent.system.router.route(request)
        assert isinstance(route, Shared), route
        response = route.open_response()
        with pytest.raises(Unavailable):
            await response.head()
        await response.release()


# ---- conditions


async def test_a_machine_that_is_not_enrolled_says_so_and_works(tmp_path: Path) -> None:
    async with started(tmp_path) as agent:
        status = agent.system.status()
        assert (status.enrolled, status.state, status.peers) == (False, "limited", ())
        assert agent.codes() == {"not-enrolled"}
        agent.system.router.host_bypassed("pinned.test", "a program refused the certificate")
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
        assert agent.system._disk is None
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


PROFILE = """
[[profile]]
name = "town-hall"
why = "our town halls: the parameter viewer is each viewer's own"
hosts = ["127.0.0.1"]
%s
[[profile.drop_query]]
name = "viewer"
"""


def signed_for(viewer: str) -> str:
    return LIVE.replace(".ts", f".ts?viewer={viewer}")


@pytest.mark.parametrize(("text", "shared"), [(PROFILE % "", True), ("", False)], ids=["with it", "without it"])
async def test_a_further_profile_makes_one_segment_of_what_is_signed_for_each_viewer(
    tmp_path: Path, text: str, shared: bool
) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text(text)
    async with started(tmp_path, profiles_file=str(file)) as agent:
        await agent.watch(text=signed_for("ann"))
        await agent.watch(*EVE, text=signed_for("eve"))
        assert (await agent.play("1.ts?viewer=ann"))[1] == BODY
        route = agent.system.router.route(agent.get("1.ts?viewer=eve", *EVE))
        assert isinstance(route, FromMemory) == shared, route
        assert agent.origin.asked[0].query_string == "viewer=ann", "the origin is asked as the viewer asked"
        assert len(agent.origin.asked) == 1


async def test_a_further_profile_can_leave_a_host_to_its_origin(tmp_path: Path) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text(PROFILE % "share = false")
    async with started(tmp_path, profiles_file=str(file)) as agent:
        await agent.watch()
        assert "no manifest" in why(agent.system.router.route(agent.get("1.ts")))
