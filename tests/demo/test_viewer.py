"""The emulated viewer: its buffer as a timetable, its reading of manifests, and a whole process."""

import asyncio
import json
import sys
from typing import Any

import pytest

from tests.demo.buffer import Playout
from tests.demo.conftest import REPOSITORY, Served
from tests.demo.manifests import Mpd, hls, resolve, variants


def test_it_starts_with_the_second_segment() -> None:
    playout = Playout(begun=100.0)
    playout.add(2.0, 100.3)
    assert playout.started_at is None
    playout.add(2.0, 100.5)
    assert playout.startup_ms == 500
    assert playout.level == 4.0


def test_until_its_buffer_is_empty_it_does_not_stall_and_then_it_does() -> None:
    playout = Playout(begun=0.0)
    playout.add(2.0, 0.0)
    playout.add(2.0, 1.0)
    playout.advance(4.9)
    assert (playout.stalls, round(playout.level, 3)) == (0, 0.1)
    playout.advance(5.5)
    assert (playout.stalls, playout.level) == (1, 0.0)
    assert playout.stall_seconds(6.0) == pytest.approx(1.0)
    playout.add(2.0, 7.0)
    assert playout.stall_seconds(7.5) == pytest.approx(2.0)
    assert playout.level == pytest.approx(1.5)
    playout.add(2.0, 8.0)
    assert playout.stalls == 1
    assert playout.level == pytest.approx(3.0)


def test_a_segment_in_time_prevents_the_stall() -> None:
    playout = Playout(begun=0.0)
    for at in (0.1, 0.2, 2.2, 4.2, 6.2, 8.2):
        playout.add(2.0, at)
    assert playout.stalls == 0
    assert playout.level == pytest.approx(12.0 - 8.0)


def test_nothing_is_a_stall_before_the_start() -> None:
    playout = Playout(begun=0.0)
    playout.add(2.0, 1.0)
    assert playout.stall_seconds(60.0) == 0
    assert playout.stalls == 0


def test_hls_with_keys_and_relative_names() -> None:
    text = (
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:19\n"
        '#EXT-X-KEY:METHOD=AES-128,URI="../key/1.bin"\n#EXTINF:2.000,\n19.ts\n'
        '#EXT-X-KEY:METHOD=AES-128,URI="../key/2.bin"\n#EXT-X-DISCONTINUITY\n#EXTINF:1.500,\n/other/20.ts?x=1\n'
    )
    listing = hls(text, "https://o.test:99/live/aes/720/index.m3u8")
    assert [(s.number, s.seconds, s.urls, s.key) for s in listing.steps] == [
        (19, 2.0, ("https://o.test:99/live/aes/720/19.ts",), "https://o.test:99/live/aes/key/1.bin"),
        (20, 1.5, ("https://o.test:99/other/20.ts?x=1",), "https://o.test:99/live/aes/key/2.bin"),
    ]
    with pytest.raises(ValueError, match="not a playlist"):
        hls("<html>", "https://o.test/")


def test_renditions_are_sorted() -> None:
    text = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\nb.m3u8\n#EXT-X-STREAM-INF:AVERAGE-BANDWIDTH=1,BANDWIDTH=5\na.m3u8\n"
    assert [v.url for v in variants(text, "https://o.test/m")] == ["https://o.test/a.m3u8", "https://o.test/b.m3u8"]
    assert variants("#EXTM3U\n", "https://o.test/m")[0].url == "https://o.test/m"
    assert resolve("https://o.test/a/b", "c%2Fd") == "https://o.test/a/c%2Fd"


_TIMELINE = (
    '<SegmentTemplate timescale="10" initialization="$RepresentationID$/i" media="$RepresentationID$/t$Time$">'
    '<SegmentTimeline><S t="40" d="20" r="1"/><S d="20"/></SegmentTimeline></SegmentTemplate>'
)
_NUMBER = (
    '<SegmentTemplate timescale="10" initialization="$RepresentationID$/i" media="$RepresentationID$/$Number$"'
    ' startNumber="5" duration="20"/>'
)


def _mpd(template: str) -> Mpd:
    group = '<AdaptationSet><Representation id="{0}" bandwidth="7">{1}</Representation></AdaptationSet>'
    return Mpd(
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" availabilityStartTime="1970-01-01T00:00:10Z"'
        ' minimumUpdatePeriod="PT2S" timeShiftBufferDepth="PT4S"><Period>'
        + group.format("v", template)
        + group.format("a", template)
        + "</Period></MPD>",
        "https://o.test/d/m.mpd",
    )


def test_dash_by_number_follows_the_clock() -> None:
    for now, numbers in ((13.9, [0]), (14.04, [0]), (14.06, [0, 1]), (16.06, [1, 2])):
        assert [step.number for step in _mpd(_NUMBER).listing(0, now).steps] == numbers
    step = _mpd(_NUMBER).listing(9, 12.1).steps[0]
    assert step.urls == ("https://o.test/d/v/5", "https://o.test/d/a/5")


def test_dash_by_timeline_is_what_is_listed() -> None:
    listing = _mpd(_TIMELINE).listing(0, 0.0)
    assert listing.inits == ("https://o.test/d/v/i", "https://o.test/d/a/i")
    assert [(s.number, s.seconds, s.urls[1]) for s in listing.steps] == [
        (2, 2.0, "https://o.test/d/a/t40"),
        (3, 2.0, "https://o.test/d/a/t60"),
        (4, 2.0, "https://o.test/d/a/t80"),
    ]


async def watch(served: Served, path: str, *how_long: str) -> dict[str, Any]:
    command = ["-m", "tests.demo.viewer", "--url", f"{served.url}{path}", "--origin-ca", str(served.ca)]
    command += ["--resolve", "origin.demo.test=127.0.0.1", *how_long]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=REPOSITORY, stdout=pipe)
    output, _ = await process.communicate()
    last: dict[str, Any] = json.loads(output.splitlines()[-1])
    return last


@pytest.mark.asyncio
@pytest.mark.processes
@pytest.mark.parametrize(
    "path",
    ["/live/hls/master.m3u8", "/live/aes/master.m3u8", "/live/dash/manifest.mpd", "/live/dash/timeline.mpd"],
)
async def test_it_plays_from_the_origin_and_every_byte_is_right(served: Served, path: str, quiet_machine: bool) -> None:
    segments = 8 if "dash" in path else 4  # pictures and sound apart, or in one
    done = await watch(served, path, "--seconds", "4.5", "--segments", str(segments))
    assert done["event"] == "done"
    assert (done["errors"], done["skipped"], done["sha256_mismatches"]) == ({}, 0, 0)
    assert done["segments"] >= segments
    assert done["sha256_checked"] >= done["segments"]
    assert done["startup_ms"] is not None
    if quiet_machine:
        assert done["seconds"] < 5
        assert done["startup_ms"] < 2000
        assert done["stalls"] == 0
        assert done["buffer_seconds"] > 2
