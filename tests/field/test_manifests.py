"""Manifests not answered 200, because players ask for them by range or validate them: their segments are shared."""

import pytest

from tests.field.mpd import mpd, probes, timeline
from tests.field.office import Office
from tests.field.origin import body, playlist
from tests.field.report import field

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="package")]

_FFMPEG = "https://github.com/FFmpeg/FFmpeg/blob/master/libavformat/http.c"


async def _all_get(office: Office, path: str) -> float:
    """Every desk asks for a segment; how often the origin sent it."""
    for desk in range(len(office.agents)):
        assert (await office.get(desk, path)).body == body(path)
    return office.origin.bodies(path)


@field(
    property="a playlist that is asked for with `Range: bytes=0-` is learnt from the 206 that holds all of it",
    source=_FFMPEG,
    right="RFC 9110 section 15.3.7: a 206 whose Content-Range is the whole is the whole",
)
async def test_a_playlist_in_a_whole_206_is_learnt(office: Office, folder: str) -> None:
    path, manifest = f"{folder}/1.ts", f"{folder}/index.m3u8"
    office.origin.put(path, body(path), cache="max-age=3600", etag=True)
    office.origin.put(manifest, playlist(path, probes=folder), etag=True)
    for desk in range(len(office.agents)):
        got = await office.get(desk, manifest, {"Range": "bytes=0-"})
        assert (got.status, got.body) == (206, office.origin[manifest].body)
    assert await _all_get(office, path) == 1.0


@field(
    property="an MPD that is asked for with `Range: bytes=0-` is learnt from the 206 that holds all of it",
    source=_FFMPEG,
    right="RFC 9110 section 15.3.7: a 206 whose Content-Range is the whole is the whole",
)
async def test_an_mpd_in_a_whole_206_is_learnt(office: Office, folder: str) -> None:
    path, manifest = f"{folder}/v-0.m4s", f"{folder}/manifest.mpd"
    office.origin.put(path, body(path), cache="max-age=3600", etag=True)
    office.origin.put(manifest, mpd(folder, timeline(folder, 3)), etag=True)
    for desk in range(len(office.agents)):
        assert (await office.get(desk, manifest, {"Range": "bytes=0-"})).status == 206
    assert await _all_get(office, path) == 1.0


@field(
    property="a part of a playlist is passed on as it is",
    source=_FFMPEG,
    right="RFC 9110 section 15.3.7: a part says nothing of the whole",
)
async def test_a_part_of_a_playlist_is_passed_on(office: Office, folder: str) -> None:
    manifest = f"{folder}/index.m3u8"
    office.origin.put(manifest, playlist(f"{folder}/1.ts", probes=folder), etag=True)
    got = await office.get(0, manifest, {"Range": "bytes=10-19"})
    assert (got.status, got.body) == (206, office.origin[manifest].body[10:20])


@field(
    property="a browser that validates its playlist while the agent is new: right for it, and its segments are shared",
    source="https://github.com/video-dev/hls.js/issues/615",
    right="where the agent does not know the body, it asks without the condition; the viewer gets 200, or 304 if equal",
)
@pytest.mark.parametrize("kind", ["etag", "last_modified"])
async def test_a_304_for_a_playlist_is_learnt_by_a_new_agent(office: Office, folder: str, kind: str) -> None:
    path, manifest = f"{folder}/1.ts", f"{folder}/index.m3u8"
    office.origin.put(path, body(path), cache="max-age=3600", etag=True)
    office.origin.put(
        manifest, playlist(path, probes=folder), etag=kind == "etag", last_modified=kind == "last_modified"
    )
    known = (await office.get(None, manifest)).fields
    condition = {"If-None-Match": known["ETag"]} if kind == "etag" else {"If-Modified-Since": known["Last-Modified"]}
    for desk in range(len(office.agents)):
        got = await office.get(desk, manifest, condition)
        assert (got.status, got.body) in [(304, b""), (200, office.origin[manifest].body)]
    assert await _all_get(office, path) == 1.0


@field(
    property="an MPD served as `video/vnd.mpeg.dash.mpd` is an MPD",
    source="https://github.com/velocityzen/FileType/issues/1",
    right="a type that servers send by the file's name is known",
)
async def test_an_mpd_of_the_old_type_is_learnt(office: Office, folder: str) -> None:
    path, manifest = f"{folder}/v-0.m4s", f"{folder}/manifest.mpd"
    office.origin.put(path, body(path), cache="max-age=3600", etag=True)
    office.origin.put(manifest, mpd(folder, timeline(folder, 3)), fields={"Content-Type": "video/vnd.mpeg.dash.mpd"})
    await office.meet(manifest, probes(folder))
    assert await _all_get(office, path) == 1.0
