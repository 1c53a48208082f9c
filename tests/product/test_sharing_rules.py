"""What only IT can know, and what the standard knows: an event of `no-store` segments and its like, at two desks.

All is seen from outside: requests counted at the origin, bodies compared at the players, reasons read in the status.
"""

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession, web

from tests.demo import pki
from tests.demo.parts import Plan
from tests.demo.stage import Stage
from tests.product.outside import through, until
from tests.product.strange import HOST, Strange, playlist

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="module")]

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
SEGMENTS = 12
S3_VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"
OWN_RULES = [
    {"name": "town-hall", "hosts": [f"*.{pki.DOMAIN}"], "path": "/ruled/", "ignore_no_store": True, "fresh_s": 60},
    {"name": "board", "hosts": [HOST], "path": "/kept-out/", "share": False},
    {"name": "mistaken", "hosts": ["*"], "immutable": True},
]
PUSHED = f"""
[[agents.sharing_rules]]
name = "pushed"
hosts = ["{HOST}"]
ignore_no_store = true
immutable = true
"""


@dataclass
class Office:
    """Two desks that have met, and an origin whose segments are of one kind below each folder."""

    stage: Stage
    strange: Strange
    desks: tuple[ClientSession, ClientSession]

    async def status(self, desk: int) -> dict[str, Any]:
        await self.stage.refresh()
        return self.stage.agents[desk].status

    async def play(self, folder: str, **headers: str) -> list[float]:
        """Both desks play an event whose segments have these fields; copies by segment that the origin sent.

        A cookie of the origin's is another one with each answer.
        """
        strange, cookies = self.strange, count(1)
        bodies: dict[str, bytes] = {}
        names = [f"{number}.ts" for number in range(SEGMENTS)]
        fields = {name.replace("_", "-"): value for name, value in headers.items()}

        async def answer(request: web.Request) -> web.Response:
            own = {"Set-Cookie": f"{fields['Set-Cookie']}{next(cookies)}"} if "Set-Cookie" in fields else {}
            return web.Response(body=bodies[request.path], headers={"Content-Type": "video/mp2t"} | fields | own)

        for number, name in enumerate(names):
            bodies[f"/{folder}/{name}"] = random.Random(f"{folder} {number}").randbytes(150_000)
            strange.handlers[f"/{folder}/{name}"] = answer
        strange.says(f"/{folder}/live.m3u8", playlist(*names), PLAYLIST_TYPE)
        for desk in self.desks:
            desk.cookie_jar.clear()
            async with desk.get(f"{strange.url}/{folder}/live.m3u8") as got:
                assert got.status == 200
        begun = len(strange.asked)
        for name in names:
            await asyncio.gather(*(self._segment(desk, f"/{folder}/{name}", bodies, fields) for desk in self.desks))
        asked = [it.path for it in strange.asked[begun:]]
        return [float(asked.count(f"/{folder}/{name}")) for name in names]

    async def _segment(self, desk: ClientSession, path: str, bodies: dict[str, bytes], fields: dict[str, str]) -> None:
        async with desk.get(f"{self.strange.url}{path}") as got:
            assert got.status == 200
            assert await got.read() == bodies[path]
            assert got.headers.get("Cache-Control") == fields.get("Cache-Control"), "the player sees the origin's word"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office() -> AsyncIterator[Office]:
    hosts = {pki.ORIGIN: "127.0.0.1", HOST: "127.0.0.1"}
    plan = Plan(viewers=2, settings={"origin_hosts": hosts, "sharing_rules": OWN_RULES})
    async with (
        Stage(plan) as stage,
        Strange.open(pki.make(stage.directory / "pki")) as strange,
        through(stage.agents[0]) as here,
        through(stage.agents[1]) as there,
    ):
        found = Office(stage, strange, (here, there))
        await found.play("before", Cache_Control="public, max-age=60")

        async def met() -> bool:
            return all([(await found.status(desk))["peers"] for desk in (0, 1)])

        await until(met, "the two agents meet")
        yield found


async def test_no_store_is_believed_without_a_rule(office: Office) -> None:
    assert await office.play("plain", Cache_Control="no-store") == [2.0] * SEGMENTS


async def test_an_event_of_no_store_segments_is_one_copy_with_a_rule(office: Office) -> None:
    assert await office.play("ruled", Cache_Control="no-store") == [1.0] * SEGMENTS
    why = {
        it["why"].rpartition("; ")[2]
        for desk in (0, 1)
        for it in (await office.status(desk))["recent"]
        if it["source"] == "origin" and "town-hall" in it["why"]
    }
    said = "shared although the origin said Cache-Control: no-store, fresh for 60 s (rule town-hall of agent-%d.toml)"
    assert why
    assert why <= {said % 1, said % 2}


async def test_a_rule_may_keep_a_folder_out(office: Office) -> None:
    assert await office.play("kept-out", Cache_Control="public, max-age=60") == [2.0] * SEGMENTS


async def test_a_mistaken_rule_is_told_and_the_others_count(office: Office) -> None:
    status = await office.status(0)
    assert [it["name"] for it in status["sharing_rules"]] == ["town-hall", "board"]
    (told,) = [it for it in status["conditions"] if it["code"] == "sharing-rule-refused"]
    assert told["text"].startswith("agent-1.toml, sharing_rules 3 ('mistaken'): '*' is no host of a rule; write ")


async def test_a_load_balancers_cookie_beside_public_is_left_out(office: Office) -> None:
    """A cookie by itself forbids nothing (RFC 9111 section 7.3)."""
    copies = await office.play("balanced", Cache_Control="public, max-age=60", Set_Cookie="AWSALB=")
    assert copies == [1.0] * SEGMENTS
    assert not any(list(desk.cookie_jar) for desk in office.desks)
    assert await office.play("own", Cache_Control="max-age=60", Set_Cookie="session=") == [2.0] * SEGMENTS


async def test_a_bucket_with_cors_is_one_copy_and_a_strange_request_gets_its_own(office: Office) -> None:
    assert await office.play("bucket", Cache_Control="max-age=60", Vary=S3_VARY) == [1.0] * SEGMENTS
    before = office.strange.times("/bucket/0.ts")
    fields = {"Access-Control-Request-Method": "GET"}
    async with office.desks[0].get(f"{office.strange.url}/bucket/0.ts", headers=fields) as got:
        assert got.status == 200
    assert office.strange.times("/bucket/0.ts") == before + 1
    assert office.strange.asked[-1].headers["access-control-request-method"] == "GET"
    assert await office.play("varied", Cache_Control="max-age=60", Vary="User-Agent") == [2.0] * SEGMENTS


async def test_a_rule_of_the_coordinator_counts_in_the_middle_of_an_event(office: Office) -> None:
    stage = office.stage
    assert await office.play("event", Cache_Control="no-store") == [2.0] * SEGMENTS
    assert stage.coordinator is not None
    stage.coordinator_config.write_text(PUSHED)
    stage.coordinator.signal(signal.SIGHUP)

    async def pushed() -> bool:
        return all(["pushed" in str((await office.status(desk))["sharing_rules"]) for desk in (0, 1)])

    await until(pushed, "both agents have the coordinator's rule")
    assert await office.play("later", Cache_Control="no-store") == [1.0] * SEGMENTS
    rules = [(it["name"], it["source"]) for it in (await office.status(0))["sharing_rules"]]
    assert rules == [("town-hall", "agent-1.toml"), ("board", "agent-1.toml"), ("pushed", "the coordinator")]
    assert await office.play("kept-out", Cache_Control="no-store") == [2.0] * SEGMENTS, "the machine's own rule wins"
