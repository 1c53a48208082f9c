"""One bad value in a manifest: that part is left out, all the rest is shared."""

import pytest

from tests.field.mpd import mpd, probes, timeline
from tests.field.office import Office
from tests.field.origin import body, playlist
from tests.field.report import field

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="package")]

_FORGIVEN = "what players forgive is forgiven: the part that is wrong is left out, the rest is shared"

_THUMBNAILS = (
    '<AdaptationSet id="2" contentType="image" mimeType="image/jpeg"><SegmentTemplate media="t-$Number$.jpg" '
    'duration="120.5" startNumber="1"/><Representation id="t" bandwidth="10000" width="1024" height="1152"/>'
    "</AdaptationSet>"
)
_CAPTIONS = (
    '<AdaptationSet id="3" contentType="text" mimeType="application/mp4"><SegmentTemplate timescale="0" '
    'media="c-$Number$.m4s" duration="4"/><Representation id="c" bandwidth="1000" codecs="wvtt"/></AdaptationSet>'
)


@field(
    property="a fraction as duration in a set of thumbnails, or a timescale of 0 in captions: the video is shared",
    source="https://github.com/google/ExoPlayer/issues/9938 https://github.com/google/ExoPlayer/issues/8614 "
    "https://github.com/Dash-Industry-Forum/dash.js/issues/4785",
    right=_FORGIVEN,
)
@pytest.mark.parametrize("bad", ["thumbnails", "captions"])
async def test_an_mpd_with_one_bad_set_is_shared(office: Office, folder: str, bad: str) -> None:
    path, manifest = f"{folder}/v-0.m4s", f"{folder}/manifest.mpd"
    office.origin.put(path, body(path), cache="max-age=3600", etag=True)
    office.origin.put(manifest, mpd(folder, timeline(folder, 3), _THUMBNAILS if bad == "thumbnails" else _CAPTIONS))
    await _shared(office, manifest, path, probes(folder))


@field(
    property="`EXT-X-DEFINE:IMPORT` without its master, or `EXT-X-MEDIA-SEQUENCE` without a number: the rest is shared",
    source="https://github.com/google/ExoPlayer/issues/8614",
    right=_FORGIVEN,
)
@pytest.mark.parametrize("line", ['#EXT-X-DEFINE:IMPORT="token"', "#EXT-X-MEDIA-SEQUENCE:"])
async def test_a_playlist_with_one_bad_line_is_shared(office: Office, folder: str, line: str) -> None:
    path, manifest = f"{folder}/1.ts", f"{folder}/index.m3u8"
    office.origin.put(path, body(path), cache="max-age=3600", etag=True)
    right = playlist(path, probes=folder).decode()
    if line.startswith("#EXT-X-MEDIA-SEQUENCE"):
        bad = right.replace("#EXT-X-MEDIA-SEQUENCE:0", line)
    else:
        bad = right.replace("#EXT-X-MEDIA-SEQUENCE:0", f"{line}\n#EXT-X-MEDIA-SEQUENCE:0")
    assert bad != right
    office.origin.put(manifest, bad.encode())
    await _shared(office, manifest, path, [])


async def _shared(office: Office, manifest: str, path: str, found: list[str]) -> None:
    await office.meet(manifest, found)
    for desk in range(len(office.agents)):
        assert (await office.get(desk, path)).body == body(path)
    assert office.origin.bodies(path) == 1.0
