"""Recordings, low latency, encryption and other players, through two agents of one office."""

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from statistics import median

import aiohttp
import pytest
import pytest_asyncio

from tests.demo import browser
from tests.demo.clock import wall
from tests.demo.content import DEFAULT_DIRECTORY, Content, prepare
from tests.demo.origin import NODE_MODULES
from tests.demo.parts import Plan
from tests.demo.playlists import PART_SECONDS, PARTS, VOD_SEGMENTS
from tests.demo.stage import Stage
from tests.product.outside import Copies, per_segment, settled, through, wrong

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="module")]

_NO_BROWSER = browser.available() or (
    None if (NODE_MODULES / "shaka-player").is_dir() else "no players: run npm ci in tests/npm"
)
STREAMLINK = Path(sys.executable).with_name("streamlink")


def in_browser[T: Callable[..., object]](test: T) -> T:
    missing = pytest.mark.skipif(_NO_BROWSER is not None, reason=str(_NO_BROWSER))
    marked: T = pytest.mark.browser(pytest.mark.node(missing(test)))
    return marked


type Record = Callable[[str, object], None]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[Stage]:
    async with Stage(Plan(viewers=2)) as stage:
        yield stage


async def _origin_bytes(stage: Stage, since: int) -> int:
    return sum(entry["bytes"] for entry in await stage.origin.log(since) if entry["kind"] == "segment")


async def _lan(stage: Stage) -> list[int]:
    await stage.refresh()
    return [agent.bytes_from("lan") for agent in stage.agents]


async def _bodies(client: aiohttp.ClientSession, stage: Stage, manifests: list[str], media: list[str]) -> list[str]:
    """What a player gets that reads the manifests and then all of `media`: SHA-256 of each."""
    for path in manifests:
        async with client.get(f"{stage.origin.url}{path}") as answer:
            assert answer.status == 200, path
            await answer.read()
    digests = []
    for path in media:
        async with client.get(f"{stage.origin.url}{path}") as answer:
            assert answer.status == 200, path
            digests.append(hashlib.sha256(await answer.read()).hexdigest())
    return digests


async def _published(stage: Stage, paths: list[str]) -> list[str]:
    async with stage.session.post(f"{stage.origin.url}/_demo/sha256", json=paths) as answer:
        told = await answer.json()
    return [told[path][0] for path in paths]


# Recordings


async def _twice(stage: Stage, manifests: list[str], media: list[str], pause: float) -> tuple[int, int]:
    """Both viewers get all of it, the second one after the first; its bytes from the origin and from the LAN."""
    right = await _published(stage, media)
    async with through(stage.agents[0]) as first:
        assert await _bodies(first, stage, manifests, media) == right
    lan, since = await _lan(stage), len(await stage.origin.log())
    async with through(stage.agents[1]) as second:
        assert await _bodies(second, stage, manifests, media[:1]) == right[:1]
        await asyncio.sleep(pause)
        assert await _bodies(second, stage, [], media[1:]) == right[1:]
    return await _origin_bytes(stage, since), (await _lan(stage))[1] - lan[1]


async def test_the_latest_of_a_recording_comes_from_the_first_viewers_agent(
    stage: Stage, record_property: Record
) -> None:
    manifests = ["/vod/hls/master.m3u8", "/vod/hls/720/index.m3u8"]
    from_origin, from_lan = await _twice(stage, manifests, [f"/vod/hls/720/{n}.ts" for n in range(12)], pause=0.0)
    record_property("figures", [from_origin, from_lan])
    assert from_origin == 0
    assert from_lan > 5_000_000


async def test_a_playlist_that_a_browser_validates_comes_whole_until_the_agent_knows_it(stage: Stage) -> None:
    """As a browser does that has watched before its agent was started: it holds the playlist and its ETag."""
    url = f"{stage.origin.url}/vod/hls/360/index.m3u8?once={os.getpid()}"
    async with through(stage.agents[0]) as client:
        async with client.get(f"{stage.origin.url}/vod/hls/360/index.m3u8") as answer:
            etag, right = answer.headers["etag"], await answer.read()
        since = len(await stage.origin.log())
        async with client.get(url, headers={"if-none-match": etag}) as answer:
            assert (answer.status, answer.headers["etag"], await answer.read()) == (200, etag, right)
        async with client.get(url, headers={"if-none-match": etag}) as answer:
            assert (answer.status, await answer.read()) == (304, b"")
    assert [entry["status"] for entry in await stage.origin.log(since)] == [200, 304]


async def test_all_of_a_recording_comes_from_the_first_viewers_agent(stage: Stage) -> None:
    """In the first two seconds a newcomer asks the older ledgers as well, so this one pauses."""
    media = [f"/vod/dash/{track}/{n}.m4s" for n in range(VOD_SEGMENTS) for track in ("360", "audio")]
    from_origin, _ = await _twice(stage, ["/vod/dash/manifest.mpd"], media, pause=2.5)
    assert from_origin == 0


@in_browser
async def test_players_seek_and_change_their_rendition(
    stage: Stage, record_property: Record, quiet_machine: bool
) -> None:
    """hls.js and shaka-player at once, each at a desk of its own."""
    acts = (browser.Act(2.5, "window.seek(45)"), browser.Act(1.5, "window.pick(360)"))
    async with asyncio.TaskGroup() as group:
        users = []
        for index, (player, stream) in enumerate((("hls", "vod-hls"), ("shaka", "vod-dash"))):
            stage.plan.player, stage.plan.stream = player, stream  # type: ignore[assignment]
            changed = "window.snap().height === 360 && window.snap().position >= 45"
            users.append(group.create_task(stage.browse(index, 4.0, acts=acts, until=changed)))
            await asyncio.sleep(0)  # the page's address is made when the task starts
    reports = [user.result() for user in users]
    record_property("figures", [(one.progress, one.startup_ms, one.position, one.height) for one in reports])
    for report in reports:
        assert report.shown, report
        assert report.height == 360, report
        assert report.position >= 45, report
        if quiet_machine:
            assert report.trouble == []
            assert 47 < report.position < 58, report


# Low latency


class _LowLatency:
    """A player of `/live/ll/360`: a blocking reload and the hinted part, again and again."""

    def __init__(self, stage: Stage, client: aiohttp.ClientSession, epoch: float) -> None:
        self._client, self._epoch = client, epoch
        self._base = f"{stage.origin.url}/live/ll/360"
        self.late: list[float] = []
        self.ahead = 0
        """Playlists that came when the stream was already further."""
        self.reloads: list[str] = []
        self.parts: list[str] = []

    async def _get(self, path: str, **query: str) -> tuple[bytes, float]:
        async with self._client.get(f"{self._base}/{path}", params=query) as answer:
            assert answer.status == 200, (path, query, answer.status)
            return await answer.read(), wall()

    async def watch(self, first: int, count: int) -> None:
        """From part `first` since the epoch on."""
        await self._get("../master.m3u8")
        await self._get("index.m3u8")
        await asyncio.sleep(max(0.0, self._epoch + first * PART_SECONDS - wall()))
        for place in range(first, first + count):
            number, part = divmod(place, PARTS)
            name = f"{number}.{part}.m4s"
            query = {"_HLS_msn": str(number), "_HLS_part": str(part)}
            (playlist, came), (_, part_came) = await asyncio.gather(self._get("index.m3u8", **query), self._get(name))
            listed = re.findall(r'#EXT-X-PART:.*URI="([^"]+)"', playlist.decode())
            assert name in listed
            self.ahead += listed[-1] != name
            due = self._epoch + (place + 1) * PART_SECONDS
            self.late += [came - due, part_came - due]
            self.reloads.append(f"_HLS_msn={number}&_HLS_part={part}")
            self.parts.append(f"/live/ll/360/{name}")


async def test_blocking_reloads_reach_the_origin_and_parts_come_once_without_delay(
    stage: Stage, record_property: Record, quiet_machine: bool
) -> None:
    async with stage.session.get(f"{stage.origin.url}/_demo/info") as answer:
        epoch = (await answer.json())["epoch"]
    since = len(await stage.origin.log())
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(through(agent)) for agent in stage.agents]
        players = [_LowLatency(stage, client, epoch) for client in (*clients, stage.session)]
        first = int((wall() - epoch) / PART_SECONDS) + 3
        await asyncio.gather(*(player.watch(first, 3 * PARTS) for player in players))
    log = await stage.origin.log(since)
    for reload, part in zip(players[0].reloads, players[0].parts, strict=True):
        assert sum(entry["query"] == reload and entry["status"] == 200 for entry in log) == len(players), reload
        asked = sum(entry["path"] == part and entry["status"] == 200 for entry in log)
        # one of them is direct; the first two segments' parts are for the agents to find each other
        assert asked == 2 or part in players[0].parts[: 2 * PARTS], part
    late = [median(player.late) * 1000 for player in players]
    record_property("figures", late)
    if quiet_machine:
        assert max(late[:2]) < late[2] + 100, late
        assert [player.ahead for player in players] == [0, 0, 0]


async def test_an_origin_that_thinks_for_long_is_asked_once_for_both(stage: Stage, record_property: Record) -> None:
    """hls.js#5692, jellyfin#8744: a first byte after many seconds is no fault, and asking again makes it worse."""
    asked = {entry["path"] for entry in await stage.origin.log()}
    hls, dash = ["/vod/hls/master.m3u8", "/vod/hls/720/index.m3u8"], ["/vod/dash/manifest.mpd"]
    places = [(hls, f"/vod/hls/720/{number}.ts") for number in reversed(range(VOD_SEGMENTS))]
    places += [(dash, f"/vod/dash/720/{number}.m4s") for number in reversed(range(VOD_SEGMENTS))]
    manifests, path = next(it for it in places if it[1] not in asked)  # nobody has it yet
    right = await _published(stage, [path])
    async with through(stage.agents[0]) as first, through(stage.agents[1]) as second:
        for client in (first, second):
            await _bodies(client, stage, manifests, [])
        since = len(await stage.origin.log())
        await stage.origin.fault(match=re.escape(path), delay_ms=11_000)
        try:
            got = await asyncio.gather(*(_bodies(client, stage, [], [path]) for client in (first, second)))
        finally:
            await stage.origin.fault(clear=1)
    fetches = [entry for entry in await stage.origin.log(since) if entry["path"] == path]
    record_property("figures", [entry["bytes"] for entry in fetches])
    assert got == [right, right]
    assert len(fetches) == 1


async def test_whole_segments_of_a_low_latency_stream_are_shared(stage: Stage, record_property: Record) -> None:
    copies, lan = await Copies.from_now(stage), await _lan(stage)
    async with through(stage.agents[0]) as first, through(stage.agents[1]) as second:
        async with first.get(f"{stage.origin.url}/live/ll/720/index.m3u8") as answer:
            names = re.findall(r"^(\d+\.m4s)", await answer.text(), re.MULTILINE)[-3:]
        paths = [f"/live/ll/720/{name}" for name in names]
        manifests, right = ["/live/ll/master.m3u8", "/live/ll/720/index.m3u8"], await _published(stage, paths)
        assert await _bodies(first, stage, manifests, paths) == right
        assert await _bodies(second, stage, manifests, paths) == right
    counted = await copies.by_path("/ll/")
    record_property("figures", [counted, (await _lan(stage))[1] - lan[1]])
    assert counted == dict.fromkeys(paths, 1.0)
    assert (await _lan(stage))[1] > lan[1]


@in_browser
async def test_a_low_latency_player_is_as_close_to_live_as_without_an_agent(
    stage: Stage, record_property: Record, quiet_machine: bool
) -> None:
    stage.plan.player, stage.plan.stream = "hls", "ll"
    enough = "window.snap().parts > 10"
    behind, direct = await asyncio.gather(stage.browse(0, 6.0, until=enough), stage.browse(None, 6.0, until=enough))
    figures = [(one.latency_seconds, one.parts, one.startup_ms, one.stalls) for one in (behind, direct)]
    record_property("figures", figures)
    for report in (behind, direct):
        assert report.shown, report
        assert report.parts > 10, report
    assert behind.latency_seconds is not None
    assert direct.latency_seconds is not None
    if quiet_machine:
        assert behind.trouble == direct.trouble == []
        assert behind.latency_seconds < direct.latency_seconds + 1.0


# Smooth Streaming


async def test_smooth_streaming_is_shared(stage: Stage, record_property: Record) -> None:
    """dash.js plays it in tests/lab/test_players.py."""
    stage.plan.stream = "smooth"
    copies, lan = await Copies.from_now(stage), await _lan(stage)
    viewers = [await stage.start_viewer(agent) for agent in stage.agents]
    await settled(viewers, 12)
    counted, shared = await copies.by_path("/smooth/"), sum(await _lan(stage)) - sum(lan)
    record_property("figures", [per_segment(counted), shared])
    assert wrong(viewers) == []
    assert len(counted) >= 6
    assert per_segment(counted) <= 1.1, counted
    assert shared > 1_000_000
    await stage.processes.end([viewer.child for viewer in viewers])


# Encryption


@in_browser
async def test_licences_are_each_viewers_own_and_encrypted_segments_are_shared(
    stage: Stage, record_property: Record, quiet_machine: bool
) -> None:
    stage.plan.player, stage.plan.stream = "shaka", "clearkey"
    copies, lan, since = await Copies.from_now(stage), await _lan(stage), len(await stage.origin.log())
    acts = (browser.Act(2.0, "window.pick(720)"),)
    enough = "window.snap().height === 720 && window.snap().bytes >= 1_500_000"
    reports = await asyncio.gather(*(stage.browse(desk, 6.0, acts=acts, until=enough) for desk in (0, 1)))
    log = [entry for entry in await stage.origin.log(since) if entry["path"] == "/licence/clearkey"]
    counted = await copies.by_path("/clearkey/")
    shared = sum(await _lan(stage)) - sum(lan)
    record_property("figures", [[(one.progress, one.startup_ms) for one in reports], per_segment(counted), shared])
    for report in reports:
        assert report.shown, report
        assert report.height == 720, report
        if quiet_machine:
            assert report.trouble == []
    assert [(entry["method"], entry["status"]) for entry in log] == [("POST", 200)] * 2
    assert per_segment(counted) <= 1.2, counted  # both begin at once and leave a rendition in the middle of a segment
    assert shared > 1_000_000


# Players without a browser


async def _run(*command: str, **environment: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"} | environment,
    )
    try:
        out, trouble = await asyncio.wait_for(process.communicate(), 100)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, trouble.decode(errors="replace")[-2000:]
    return out


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is missing (apt install ffmpeg)")
@pytest.mark.parametrize("path", ["/vod/hls/master.m3u8", "/vod/dash/manifest.mpd", "/live/aes/master.m3u8"])
async def test_ffmpeg_decodes_the_same_frames_from_one_copy(stage: Stage, path: str, record_property: Record) -> None:
    """It asks for the manifest with the CA checked; for what the manifest names, Debian's build checks no CA."""
    base, tail = ["ffmpeg", "-nostdin", "-v", "error"], ["-map", "0:v:0", "-map", "0:a:0", "-f", "streamhash", "-"]
    if path.startswith("/live/"):
        agent = stage.agents[1]
        out = await _run(
            *base, "-ca_file", str(agent.ca), "-tls_verify", "1", "-t", "4", "-i", f"{stage.origin.url}{path}",
            "-map", "0:v:0", "-f", "framehash", "-", http_proxy=agent.proxy_url,
        )  # fmt: skip
        assert len([line for line in out.splitlines() if not line.startswith(b"#")]) == 100
        return
    here = f"https://127.0.0.1:{stage.origin_port}{path}"
    since = len(await stage.origin.log())
    direct = await _run(*base, "-t", "10", "-i", here, *tail)
    assert direct.count(b"SHA256=") == 2
    alone, since = await _origin_bytes(stage, since), len(await stage.origin.log())
    await stage.refresh()
    passed = [agent.bytes_from("passed") for agent in stage.agents]
    for agent in stage.agents:
        options = ["-ca_file", str(agent.ca), "-tls_verify", "1", "-t", "10", "-i", f"{stage.origin.url}{path}"]
        assert await _run(*base, *options, *tail, http_proxy=agent.proxy_url) == direct
    log = await stage.origin.log(since)
    assert "bytes=0-" in {entry["range"] for entry in log if entry["kind"] != "segment"}, "as ffmpeg asks by itself"
    await stage.refresh()
    untouched = [agent.bytes_from("passed") - was for agent, was in zip(stage.agents, passed, strict=True)]
    record_property("figures", [alone, await _origin_bytes(stage, since), untouched])
    assert await _origin_bytes(stage, since) <= 1.2 * alone, "one copy for both desks"
    assert max(untouched) <= 0.1 * alone, "its manifests and nothing else"


@pytest.mark.skipif(not STREAMLINK.exists(), reason="streamlink is missing (make setup)")
async def test_streamlink_writes_the_published_bytes(stage: Stage, record_property: Record) -> None:
    content = await asyncio.to_thread(lambda: Content(prepare(DEFAULT_DIRECTORY)))
    right = b"".join(content.transport_stream("360", number) for number in range(10))
    lan = await _lan(stage)
    for agent in stage.agents:
        written = await _run(
            str(STREAMLINK), "--no-config", "--loglevel", "none", "--http-proxy", agent.proxy_url,
            "--hls-duration", "20", "--stdout", f"hls://{stage.origin.url}/vod/hls/master.m3u8", "360p",
            REQUESTS_CA_BUNDLE=str(agent.ca),
        )  # fmt: skip
        assert hashlib.sha256(written).digest() == hashlib.sha256(right).digest(), (len(written), len(right))
    record_property("figures", [after - was for after, was in zip(await _lan(stage), lan, strict=True)])
