"""The origin from outside: what it publishes when, what it counts, and the trouble it makes on demand."""

import asyncio
import base64
import hashlib
import itertools
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.demo import content, ledger
from tests.demo.content import Content
from tests.demo.ledger import Throttle
from tests.demo.manifests import Smooth
from tests.demo.origin import pattern, wanted_range
from tests.demo.processes import Processes
from tests.demo.publishing import KEEP, KEY_ID, WINDOW, Publication, TooFarAhead, licence
from tests.demo.smooth import TICKS_A_SECOND


@pytest.fixture(scope="module")
def event() -> Publication:
    return Publication(Content(content.prepare()), epoch=1_000.0)


async def _json(client: aiohttp.ClientSession, path: str) -> Any:
    async with client.get(path) as answer:
        return await answer.json()


async def _newest(client: aiohttp.ClientSession) -> int:
    return int((await _json(client, "/_demo/info"))["newest"])


@pytest.mark.asyncio
async def test_the_ready_file_is_never_seen_half_written(tmp_path: Path) -> None:
    ready, same = tmp_path / "ready.json", tmp_path / "same"
    ready.write_text("of an earlier run")
    same.hardlink_to(ready)
    processes = Processes(tmp_path)
    try:
        await processes.python("origin", "tests.demo.origin", "--pki", str(tmp_path), "--ready-file", str(ready))
        async with asyncio.timeout(60):
            while (told := ready.read_text()) == "of an earlier run":  # noqa: ASYNC110  # another process makes it
                await asyncio.sleep(0.01)
    finally:
        await processes.close()
    assert json.loads(told)["port"]
    assert same.read_text() == "of an earlier run"  # replaced: written in place, it would be empty for a moment


def test_a_segment_exists_from_its_end_until_it_is_too_old(event: Publication) -> None:
    segment = event.media("/live/hls/720/5.ts")
    assert segment is not None
    assert not event.available(segment, 1_011.9)
    assert event.available(segment, 1_012.0)
    assert event.available(segment, 1_012.0 + 2 * KEEP + 1.9)
    assert not event.available(segment, 1_012.0 + 2 * KEEP + 2.0)
    assert event.published(segment, 9_999.0)
    assert not event.published(segment, 1_011.9)


def test_the_playlist_moves_with_the_live_edge_and_marks_the_seam(event: Publication) -> None:
    first = event.manifest("/live/hls/720/index.m3u8", 1_024.0)
    assert first is not None
    assert "#EXT-X-MEDIA-SEQUENCE:6\n" in first.data.decode()
    assert "#EXT-X-DISCONTINUITY\n" not in first.data.decode()
    later = event.manifest("/live/hls/720/index.m3u8", 1_026.0)
    assert later is not None
    text = later.data.decode()
    assert re.findall(r"(\d+)\.ts", text) == [str(n) for n in range(7, 7 + WINDOW)]
    assert text.index("#EXT-X-DISCONTINUITY\n") < text.index("12.ts")
    assert text.index("#EXT-X-DISCONTINUITY\n") > text.index("11.ts")


def _text(event: Publication, path: str, now: float) -> str:
    found = event.manifest(path, now)
    assert found is not None
    return found.data.decode()


def test_a_low_latency_playlist_ends_with_the_newest_part_and_hints_the_next(event: Publication) -> None:
    text = _text(event, "/live/ll/360/index.m3u8", 1_024.81)
    assert re.findall(r"^(\d+)\.m4s", text, re.MULTILINE) == [str(n) for n in range(6, 12)]
    parts = re.findall(r'#EXT-X-PART:.*URI="(.*?)"', text)
    assert parts == [f"{n}.{p}.m4s" for n in (10, 11) for p in range(5)] + ["12.0.m4s", "12.1.m4s"]
    assert '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="12.2.m4s"' in text
    assert 'URI="../720/index.m3u8",LAST-MSN=12,LAST-PART=1' in text
    assert "#EXT-X-PART" not in _text(event, "/live/cmaf/360/index.m3u8", 1_024.81)


def test_what_a_low_latency_player_asks_for_early_is_held_back(event: Publication) -> None:
    path, now = "/live/ll/360/index.m3u8", 1_024.81
    assert event.awaited(path, {}, None, now) == 0
    assert event.awaited(path, {"_HLS_msn": "12", "_HLS_part": "1"}, None, now) == 0
    assert event.awaited(path, {"_HLS_msn": "12", "_HLS_part": "2"}, None, now) == pytest.approx(0.39)
    assert event.awaited(path, {"_HLS_msn": "12"}, None, now) == pytest.approx(1.19)
    with pytest.raises(TooFarAhead):
        event.awaited(path, {"_HLS_msn": "16"}, None, now)
    hinted, later = event.media("/live/ll/360/12.2.m4s"), event.media("/live/ll/360/12.4.m4s")
    assert hinted is not None
    assert later is not None
    assert event.awaited("/live/ll/360/12.2.m4s", {}, hinted, now) == pytest.approx(0.39)
    assert event.awaited("/live/ll/360/12.4.m4s", {}, later, now) == 0
    assert not event.available(hinted, now)
    assert event.available(hinted, now + 0.4)
    assert event.media("/live/ll/360/12.5.m4s") is None


def test_a_segment_of_low_latency_dash_is_sent_while_it_is_made(event: Publication) -> None:
    text = _text(event, "/live/lldash/manifest.mpd", 1_024.81)
    assert 'availabilityTimeOffset="1.6" availabilityTimeComplete="false"' in text
    found, now = event.media("/live/lldash/360/12.m4s"), 1_024.81
    assert found is not None
    assert [event.available(found, at) for at in (1_023.9, now, 1_030.0)] == [False, True, True]
    chunks = event.chunks(found, now)
    assert [after for after, _ in chunks] == pytest.approx([-0.41, -0.01, 0.39, 0.79, 1.19])
    assert b"".join(chunk for _, chunk in chunks) == found.data
    assert event.chunks(found, 1_026.0) == []
    whole = event.media("/live/dash/360/12.m4s")
    assert whole is not None
    assert not event.available(whole, now)


def test_a_recording_is_whole_and_ended(event: Publication) -> None:
    text = _text(event, "/vod/hls/360/index.m3u8", 9_999.0)
    assert re.findall(r"(\d+)\.ts", text) == [str(n) for n in range(30)]
    assert text.endswith("#EXT-X-ENDLIST\n")
    assert 'type="static" mediaPresentationDuration="PT60S"' in _text(event, "/vod/dash/manifest.mpd", 9_999.0)
    for name in ("hls/360/29.ts", "dash/audio/29.m4s"):
        assert event.media(f"/vod/{name}") is not None
    for name in ("hls/360/30.ts", "dash/audio/30.m4s", "dash/360/t0.m4s", "dash/360/3.1.m4s"):
        assert event.media(f"/vod/{name}") is None


def test_a_licence_is_for_the_key_that_was_asked_for(event: Publication) -> None:
    assert str(KEY_ID) in _text(event, "/live/clearkey/manifest.mpd", 1_024.0)
    known = base64.urlsafe_b64encode(KEY_ID.bytes).decode().rstrip("=")
    told: Any = licence({"kids": [known], "type": "temporary"})
    assert [key["kid"] for key in told["keys"]] == [known]
    assert licence({"kids": ["other"]})["keys"] == []


def test_a_discontinuity_that_left_the_playlist_is_counted(event: Publication) -> None:
    counts = []
    for now in itertools.accumulate([1_024.0] + [2.0] * 40):
        found = event.manifest("/live/hls/360/index.m3u8", now)
        assert found is not None
        text = found.data.decode()
        match = re.search(r"DISCONTINUITY-SEQUENCE:(\d+)", text)
        assert match is not None
        # The first segment's own number: those that left, and its own if its tag is in front of it.
        own = int(match[1]) + bool(re.search(r"SEQUENCE:\d+\n#EXT-X-DISCONTINUITY\n", text))
        first = re.search(r"(\d+)\.ts", text)
        assert first is not None
        counts.append((own, int(first[1]) // content.SEGMENTS))
    assert all(own == loop for own, loop in counts)


def test_ranges() -> None:
    assert wanted_range("bytes=0-99", 1000) == (0, 100)
    assert wanted_range("bytes=900-", 1000) == (900, 1000)
    assert wanted_range("bytes=-10", 1000) == (990, 1000)
    assert wanted_range("bytes=5-4000", 1000) == (5, 1000)
    assert wanted_range("bytes=1000-", 1000) == (1000, 1000)
    assert wanted_range("bytes=0-1,4-5", 1000) is None
    assert wanted_range("", 1000) is None


@pytest.mark.asyncio
async def test_a_segment_has_validators_ranges_and_the_published_hash(client: aiohttp.ClientSession) -> None:
    path = f"/live/dash/720/{await _newest(client)}.m4s"
    async with client.get(path) as answer:
        whole = await answer.read()
        etag = answer.headers["ETag"]
        assert answer.headers["Cache-Control"].startswith("public, max-age=")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Timing-Allow-Origin"] == "*"
    async with client.post("/_demo/sha256", json=[path, "/live/dash/720/999999999.m4s"]) as answer:
        known = await answer.json()
    assert known[path] == [hashlib.sha256(whole).hexdigest(), len(whole)]
    assert known["/live/dash/720/999999999.m4s"] is None
    async with client.get(path, headers={"Range": "bytes=100-199"}) as answer:
        assert answer.status == 206
        assert answer.headers["Content-Range"] == f"bytes 100-199/{len(whole)}"
        assert await answer.read() == whole[100:200]
    async with client.get(path, headers={"If-None-Match": etag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")
    async with client.get(path, headers={"Range": f"bytes={len(whole)}-"}) as answer:
        assert answer.status == 416


@pytest.mark.asyncio
async def test_time_and_number_address_the_same_bytes(client: aiohttp.ClientSession) -> None:
    async with client.get("/live/dash/timeline.mpd") as answer:
        text = await answer.text()
    ticks = re.findall(r'<S t="(\d+)"', text)[-1]
    async with client.get(f"/live/dash/audio/t{ticks}.m4s") as answer:
        by_time = await answer.read()
        assert answer.status == 200
    number = round(int(ticks) / 48_000 / 2)
    async with client.get(f"/live/dash/audio/{number}.m4s") as answer:
        assert await answer.read() == by_time


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/missing", "/live/hls/1080/1.ts", "/live/hls/720/0.ts", "/live/hls/720/99999999.ts"])
async def test_what_is_not_published_is_missing(client: aiohttp.ClientSession, path: str) -> None:
    async with client.get(path) as answer:
        assert answer.status == 404


@pytest.mark.asyncio
async def test_every_byte_is_counted_by_request_and_by_path(client: aiohttp.ClientSession) -> None:
    path = f"/live/hls/360/{await _newest(client) - 10}.ts"
    async with client.get(path) as answer:
        size = len(await answer.read())
    async with client.get(path, headers={"Range": "bytes=0-999"}) as answer:
        await answer.read()
    async with client.head(path) as answer:
        assert answer.headers["Content-Length"] == str(size)
    entries = [entry for entry in await _json(client, "/_demo/log") if entry["path"] == path]
    seen = [(e["method"], e["status"], e["bytes"], e["range"], e["kind"]) for e in entries]
    assert seen == [
        ("GET", 200, size, None, "segment"),
        ("GET", 206, 1000, "bytes=0-999", "segment"),
        ("HEAD", 200, 0, None, "segment"),
    ]
    assert entries[0]["port"] > 0
    counts = await _json(client, "/_demo/counts")
    sums = {"requests": 3, "bytes": size + 1000, "not_modified": 0, "distinct": 1, "distinct_bytes": size}
    assert counts["paths"][path] == sums


@pytest.mark.asyncio
async def test_keys_must_not_be_stored(client: aiohttp.ClientSession) -> None:
    async with client.get("/live/aes/key/3.bin") as answer:
        assert (len(await answer.read()), answer.headers["Cache-Control"]) == (16, "no-store")


@pytest.mark.asyncio
async def test_faults_on_demand(client: aiohttp.ClientSession) -> None:
    path = f"/live/hls/360/{await _newest(client) - 9}.ts"
    await client.get("/_demo/fault", params={"match": path, "status": "503", "times": "1"})
    async with client.get(path) as answer:
        assert answer.status == 503
    async with client.get(path) as answer:
        assert answer.status == 200
    await client.get("/_demo/fault", params={"match": path, "truncate": "20000"})
    with pytest.raises(aiohttp.ClientPayloadError):
        async with client.get(path) as answer:
            await answer.read()
    entry = [entry for entry in await _json(client, "/_demo/log") if entry["path"] == path][-1]
    assert (entry["bytes"], entry["status"]) == (20_000, 0)


@pytest.mark.asyncio
async def test_what_a_proxy_must_leave_alone(client: aiohttp.ClientSession) -> None:
    async with client.get("/files/big.bin?bytes=2500000") as answer:
        assert await answer.read() == pattern(2_500_000)
    for method in ("PUT", "POST"):
        async with client.request(method, "/upload", data=pattern(300_000)) as answer:
            told = await answer.json()
        assert told == {"method": method, "bytes": 300_000, "sha256": hashlib.sha256(pattern(300_000)).hexdigest()}
    async with client.ws_connect("/ws") as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
        await socket.send_bytes(b"\0\1")
        assert await socket.receive_bytes() == b"\0\1"
    async with client.get("/redirect", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "/files/big.bin?bytes=1000")
    async with client.head("/head") as answer:
        assert (answer.headers["Content-Length"], answer.headers["X-Demo"]) == ("1234", "head")
    async with client.get("/time") as answer:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", await answer.text())


@pytest.mark.asyncio
async def test_the_speed_limit_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 kB at a megabyte a second, in turns: 0.2 s, of which the last 0.02 s may be sent ahead."""
    throttle, now = Throttle(8.0), 5.0
    turns: list[str] = []

    async def wait(duration: float) -> None:
        nonlocal now
        now += duration
        await asyncio.sleep(0)

    async def write(name: str) -> None:
        for _ in range(10):
            await throttle.take(10_000)
            turns.append(name)

    monkeypatch.setattr(ledger, "seconds", lambda: now)
    monkeypatch.setattr(ledger, "asyncio", SimpleNamespace(sleep=wait))
    await asyncio.gather(write("a"), write("b"))
    assert now - 5.0 == pytest.approx(0.18)
    assert "ab" * 8 in "".join(turns)


@pytest.mark.asyncio
async def test_smooth_chunks_are_there_when_they_are_listed_and_not_before(client: aiohttp.ClientSession) -> None:
    base = "/live/smooth/live.ism"
    async with client.get(f"{base}/Manifest") as answer:
        listed = Smooth(await answer.text(), str(answer.url)).listing(1, 0.0)
    assert len(listed.steps) == WINDOW
    for url in (*listed.steps[0].urls, *listed.steps[-1].urls):
        async with client.get(URL(url).path) as answer:
            assert answer.status == 200, url
        async with client.get(URL(url).path.replace("Fragments", "FragmentInfo")) as answer:
            assert answer.status == 200, url
    picture, ticks = URL(listed.steps[-1].urls[0]).path, listed.steps[-1].number * 2 * TICKS_A_SECOND
    async with client.get(picture.replace(str(ticks), str(ticks + 3 * 2 * TICKS_A_SECOND))) as answer:
        assert answer.status == 404
