"""The office and the origin themselves: without this the other tests of this folder say nothing."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.field.office import Office, desks
from tests.field.origin import body, playlist

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office() -> AsyncIterator[Office]:
    async with desks(3, settings={"cache_disk_mb": 64}, own={2: {"uploads": False}}) as office:
        yield office


async def test_an_ordinary_segment_is_sent_once_for_all_desks(office: Office) -> None:
    office.origin.put("/ordinary/1.ts", body("1"), cache="max-age=3600", etag=True)
    office.origin.put("/ordinary/index.m3u8", playlist("1.ts", probes="/ordinary"))
    await office.meet("/ordinary/index.m3u8")
    for desk in range(3):
        assert (await office.get(desk, "/ordinary/1.ts")).body == body("1")
    assert office.origin.bodies("/ordinary/1.ts") == 1.0, await office.why()


async def test_an_agent_that_restarts_shares_again(office: Office) -> None:
    office.origin.put("/again/1.ts", body("again"), cache="max-age=3600", etag=True)
    office.origin.put("/again/index.m3u8", playlist("1.ts", probes="/again"))
    await office.meet("/again/index.m3u8")
    await office.get(0, "/again/1.ts")
    await office.restart(1)
    await office.kill(0)
    await office.start(0)
    await office.meet("/again/index.m3u8")


async def test_settings_of_one_desk_are_its_own(office: Office) -> None:
    said = [{it["name"]: it["value"] for it in (await office.status(desk))["settings"]}["uploads"] for desk in range(3)]
    assert said == ["true", "true", "false"]


async def test_plain_http_passes_too(office: Office) -> None:
    office.origin.put("/plain/1.ts", body("plain"), cache="max-age=3600", etag=True)
    office.origin.put("/plain/index.m3u8", playlist("1.ts"))
    for desk in range(2):
        await office.learn(desk, f"{office.origin.http}/plain/index.m3u8")
        assert (await office.get(desk, f"{office.origin.http}/plain/1.ts")).body == body("plain")
    assert office.origin.bodies("/plain/1.ts") == 1.0, await office.why()
