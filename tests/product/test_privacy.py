"""Two users of one machine, two machines of one office: nobody gets anything out of another one's session."""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count

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
BODY = random.Random(1).randbytes(200_000)
ALICE, BOB = {"Cookie": "session=alice"}, {"Cookie": "session=bob"}


@dataclass
class House:
    """One stage with two desks, and the strange origin."""

    stage: Stage
    strange: Strange
    here: ClientSession
    there: ClientSession


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house() -> AsyncIterator[House]:
    plan = Plan(viewers=2, settings={"origin_hosts": {pki.ORIGIN: "127.0.0.1", HOST: "127.0.0.1"}})
    async with (
        Stage(plan) as stage,
        Strange.open(pki.make(stage.directory / "pki")) as strange,
        through(stage.agents[0]) as here,
        through(stage.agents[1]) as there,
    ):
        yield House(stage, strange, here, there)


async def _get(client: ClientSession, url: str, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
    async with client.get(url, headers=headers) as answer:
        return answer.status, await answer.read(), {name.lower(): value for name, value in answer.headers.items()}


async def test_a_second_user_gets_nothing_from_the_first_ones_session(house: House) -> None:
    strange = house.strange

    async def members_only(request: web.Request) -> web.Response:
        if request.cookies.get("session") != "alice":
            return web.Response(status=403, text="members only")
        return web.Response(body=BODY, content_type="video/mp2t", headers={"Cache-Control": "public, max-age=60"})

    strange.handlers["/members/0.ts"] = members_only
    strange.says("/members/live.m3u8", playlist("0.ts"), PLAYLIST_TYPE)
    manifest, segment = f"{strange.url}/members/live.m3u8", f"{strange.url}/members/0.ts"
    assert (await _get(house.here, manifest, ALICE))[0] == 200
    assert (await _get(house.here, segment, ALICE))[:2] == (200, BODY)
    assert (await _get(house.here, segment, ALICE))[:2] == (200, BODY)
    assert strange.times("/members/0.ts") == 1, "the first user's own segment was not kept, so the rest shows nothing"
    status, body, _ = await _get(house.here, segment, BOB)
    assert (status, body) == (403, b"members only")
    assert strange.times("/members/0.ts") == 2
    assert strange.asked[-1].headers["cookie"] == "session=bob"
    # Without any cookie it is a third user; and one at the other desk is a fourth.
    for client, headers in ((house.here, {}), (house.there, BOB), (house.there, ALICE)):
        before = strange.times("/members/0.ts")
        status, body, _ = await _get(client, segment, headers)
        assert strange.times("/members/0.ts") == before + 1
        assert status == (200 if headers is ALICE else 403)


async def test_a_user_who_was_removed_gets_nothing_more(house: House) -> None:
    """The origin's no to a session takes back what its yes had proven."""
    strange = house.strange
    allowed = True

    async def while_allowed(_: web.Request) -> web.Response:
        return web.Response(body=BODY, content_type="video/mp2t", status=200 if allowed else 403)

    strange.handlers["/removed/0.ts"] = strange.handlers["/removed/1.ts"] = while_allowed
    strange.says("/removed/live.m3u8", playlist("0.ts", "1.ts"), PLAYLIST_TYPE)
    for name in ("live.m3u8", "0.ts", "1.ts"):
        assert (await _get(house.here, f"{strange.url}/removed/{name}", ALICE))[0] == 200
    allowed = False
    no_cache = ALICE | {"Cache-Control": "no-cache"}
    assert (await _get(house.here, f"{strange.url}/removed/0.ts", no_cache))[0] == 403
    assert (await _get(house.here, f"{strange.url}/removed/1.ts", ALICE))[0] == 403


async def test_what_sets_a_cookie_and_is_not_public_is_never_shared(house: House) -> None:
    strange = house.strange
    numbers = count(1)

    async def canary(_: web.Request) -> web.Response:
        headers = {"Set-Cookie": f"canary={next(numbers)}", "Cache-Control": "max-age=60"}
        return web.Response(body=BODY, content_type="video/mp2t", headers=headers)

    strange.handlers["/canary/0.ts"] = canary
    strange.says("/canary/live.m3u8", playlist("0.ts"), PLAYLIST_TYPE)
    seen = []
    for client, who in ((house.here, ALICE), (house.here, BOB), (house.there, ALICE), (house.here, ALICE)):
        assert (await _get(client, f"{strange.url}/canary/live.m3u8", who))[0] == 200
        status, body, headers = await _get(client, f"{strange.url}/canary/0.ts", who)
        assert (status, body) == (200, BODY)
        seen.append(headers["set-cookie"])
    assert seen == [f"canary={number}" for number in (1, 2, 3, 4)]
    assert strange.times("/canary/0.ts") == 4


@pytest.mark.parametrize("listed", [False, True], ids=["never listed", "listed by a trap"])
async def test_a_page_that_looks_like_a_segment_passes_untouched(house: House, listed: bool) -> None:
    """`/account/x.m4s` answers with the account page: the name alone, or a trap's playlist, makes it no segment."""
    strange = house.strange

    async def account(request: web.Request) -> web.Response:
        return web.Response(text=f"the account of {request.cookies['session']}", content_type="text/html")

    path = f"/account/{listed}/x.m4s"
    strange.handlers[path] = account
    if listed:
        strange.says("/trap.m3u8", playlist(path), PLAYLIST_TYPE)
        for client, who in ((house.here, ALICE), (house.here, BOB), (house.there, BOB)):
            assert (await _get(client, f"{strange.url}/trap.m3u8", who))[0] == 200
    for client, who, name in ((house.here, ALICE, "alice"), (house.here, BOB, "bob"), (house.there, BOB, "bob")):
        status, body, headers = await _get(client, f"{strange.url}{path}", who)
        assert (status, body.decode()) == (200, f"the account of {name}")
        assert headers["content-type"].startswith("text/html")
    assert strange.times(path) == 3


async def test_two_honest_sessions_do_share(house: House) -> None:
    """The other side of it: whoever fetched the manifest himself gets the segment from the neighbour."""
    strange = house.strange
    strange.says("/both/live.m3u8", playlist("0.ts"), PLAYLIST_TYPE)
    strange.says("/both/0.ts", BODY, "video/mp2t", Cache_Control="public, max-age=60")
    segment = f"{strange.url}/both/0.ts"
    assert (await _get(house.here, f"{strange.url}/both/live.m3u8", ALICE))[0] == 200
    assert (await _get(house.here, segment, ALICE))[1] == BODY
    assert (await _get(house.here, f"{strange.url}/both/live.m3u8", BOB))[0] == 200
    assert (await _get(house.here, segment, BOB))[1] == BODY
    assert (await _get(house.there, f"{strange.url}/both/live.m3u8", BOB))[0] == 200

    async def met() -> bool:
        await house.stage.refresh()
        return all(agent.status["peers"] for agent in house.stage.agents)

    await until(met, "the two agents meet")
    assert (await _get(house.there, segment, BOB))[1] == BODY
    assert strange.times("/both/0.ts") == 1
