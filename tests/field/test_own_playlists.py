"""Viewers that each have a playlist of their own, with equal segments: they meet; what is personal never crosses."""

import pytest

from tests.field.office import Office
from tests.field.origin import body, playlist
from tests.field.report import field

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="package")]

_P2PML = "https://github.com/Novage/p2p-media-loader/issues/12 https://github.com/Novage/p2p-media-loader/issues/105"


@field(
    property="each viewer has a playlist at an address of its own, the segments are the same: shared",
    source=_P2PML,
    right="those who list the same segments meet, whatever the playlist is called",
)
@pytest.mark.parametrize("way", ["path", "query"])
async def test_those_who_list_the_same_segments_meet(office: Office, folder: str, way: str) -> None:
    path, count = f"{folder}/1.ts", len(office.agents)
    office.origin.put(path, body(path), cache="max-age=3600", etag=True)
    own = playlist(path, probes=folder)
    form = "{}/session-{}a7f3/index.m3u8" if way == "path" else "{}/index.m3u8?viewer={}a7f3"
    names = [form.format(folder, desk) for desk in range(count)]
    for name in names:
        office.origin.put(name.partition("?")[0], own)
    await office.meet(names)
    for desk in range(count):
        assert (await office.get(desk, path)).body == body(path)
    assert office.origin.bodies(path) == 1.0


@field(
    property="advertisements of each viewer's own, at one address for all, never cross",
    source="https://docs.aws.amazon.com/mediatailor/latest/ug/what-is.html",
    right="bytes that the origin makes for one viewer are said to be private, or differ; they are each viewer's own",
)
async def test_personal_advertisements_do_not_cross(office: Office, folder: str) -> None:
    content, count = f"{folder}/1.ts", len(office.agents)
    office.origin.put(content, body(content), cache="max-age=3600", etag=True)
    for desk in range(count):
        mine = f"{folder}/ad/session-{desk}/0.ts"
        office.origin.put(mine, body(mine), cache="private, max-age=60", etag=True)
        office.origin.put(f"{folder}/session-{desk}/index.m3u8", playlist(mine, content, probes=folder))
    for _ in range(2):
        for desk in range(count):
            await office.learn(desk, f"{folder}/session-{desk}/index.m3u8")
            mine = f"{folder}/ad/session-{desk}/0.ts"
            assert (await office.get(desk, mine)).body == body(mine)
            assert (await office.get(desk, content)).body == body(content)
