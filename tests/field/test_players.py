"""Real players as clients at two desks: each gets the published bytes, and the office one copy of them.

They speak plain HTTP with the origin, so that none needs to be told whom to trust; `tests/product/test_players.py` and
`tests/lab/test_players.py` have them with TLS. What is not installed is skipped, with its package in the reason.
"""

import asyncio
import contextlib
import functools
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import Page, async_playwright

from tests.demo import browser
from tests.demo.content import DEFAULT_DIRECTORY, SEGMENT_SECONDS, Content, prepare
from tests.demo.origin import NODE_MODULES
from tests.field.office import Office
from tests.field.origin import playlist
from tests.field.report import field

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="package")]

RECORDED = 8
"""Segments of a recording."""
BEFORE, AFTER = 3, 5
"""Segments of an event when players come, and those that are added meanwhile."""
_BESIDE = Path(sys.executable).parent
_FFMPEG_SOURCE = "https://github.com/FFmpeg/FFmpeg/blob/master/libavformat/http.c"
_HASH, _COPY = ("ffmpeg", "-nostdin", "-v", "error"), ("-c", "copy", "-f", "streamhash", "-")
_ONE_COPY = "a player is a client like any other: what it asks in its own way is shared as what others ask"


def needs(command: str, package: str) -> pytest.MarkDecorator:
    """Skips where a command is missing, and says what to install."""
    there = shutil.which(command) or (_BESIDE / command).exists()
    return pytest.mark.skipif(not there, reason=f"{command} is missing ({package})")


async def run(*command: str, proxy: str | None = None, user: str | None = None, home: Path | None = None) -> bytes:
    """The standard output of a program that ends by itself and well; `proxy` by the usual variable."""
    environment = {"PATH": f"{_BESIDE}:{os.environ['PATH']}", "HOME": str(home or Path.home()), "LANG": "C.UTF-8"}
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment | ({"http_proxy": proxy} if proxy else {}),
        user=user,
    )
    try:
        out, trouble = await asyncio.wait_for(process.communicate(), 100)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, trouble.decode(errors="replace")[-2000:]
    return out


@functools.cache
def published() -> tuple[bytes, ...]:
    """The segments that these tests publish: transport streams of two seconds."""
    content = Content(prepare(DEFAULT_DIRECTORY))
    return tuple(content.transport_stream("360", number) for number in range(RECORDED))


def _put(office: Office, folder: str, number: int) -> str:
    path = f"{folder}/{number}.ts"
    office.origin.put(path, published()[number], cache="max-age=3600", etag=True)
    return path


async def recording(office: Office, folder: str) -> str:
    """A whole recording; the address of its playlist, by http."""
    await asyncio.to_thread(published)
    names = [_put(office, folder, number) for number in range(RECORDED)]
    office.origin.put(f"{folder}/index.m3u8", playlist(*names, probes=""), cache="no-cache", etag=True)
    return f"{office.origin.http}{folder}/index.m3u8"


async def event(office: Office, folder: str, readings: int) -> None:
    """Goes on for `AFTER` segments once the playlist was read so often, one each two seconds, and ends.

    By then every viewer has begun with the first segment: players begin `BEFORE` segments from the end.
    """
    manifest = f"{folder}/index.m3u8"
    await office.origin.until(lambda: len(office.origin.requests(manifest)) >= readings, 100)
    for number in range(BEFORE, BEFORE + AFTER):
        await asyncio.sleep(SEGMENT_SECONDS)
        names = [_put(office, folder, known) for known in range(number + 1)]
        last = number == BEFORE + AFTER - 1
        office.origin.put(manifest, playlist(*names, end=last), cache="no-cache", etag=True)


async def begun(office: Office, folder: str) -> str:
    """An event that has begun; the address of its playlist, by http."""
    await asyncio.to_thread(published)
    names = [_put(office, folder, number) for number in range(BEFORE)]
    office.origin.put(f"{folder}/index.m3u8", playlist(*names, end=False), cache="no-cache", etag=True)
    return f"{office.origin.http}{folder}/index.m3u8"


def straight(office: Office, url: str) -> str:
    """The same address for whoever goes past the agents and knows no name."""
    return url.replace(office.origin.http, f"http://127.0.0.1:{office.origin.ports[1]}")


def copies(office: Office, folder: str, besides: float = 0.0) -> list[float]:
    """How often the origin sent each segment to the agents; `besides` is what went past them."""
    return [office.origin.bodies(f"{folder}/{number}.ts") - besides for number in range(RECORDED)]


async def why(office: Office, folder: str) -> str:
    """For the message of a failed test: who asked the origin for a segment more than once, and what agents say."""
    again = [office.origin.requests(f"{folder}/{number}.ts") for number in range(RECORDED)]
    rows = [f"{it.path} at {it.at:.2f}: {it.status}, {it.sent} bytes, {it.fields}" for them in again for it in them[1:]]
    return "\n".join([*rows, *map(str, await office.why(RECORDED))])


async def video_of(file: Path) -> bytes:
    """SHA-256 of the video's packets in a file."""
    return await run(*_HASH, "-i", str(file), "-map", "0:v", *_COPY)


type Play = Callable[[str, str | None, Path], Awaitable[bytes]]
"""Plays the address through a proxy or none, with a folder of its own; what tells its bytes from others."""


async def _ffmpeg(url: str, proxy: str | None, _: Path) -> bytes:
    return await run(*_HASH, "-i", url, "-map", "0:v", *_COPY, proxy=proxy)


async def _mpv(url: str, proxy: str | None, folder: Path) -> bytes:
    out = folder / "out.ts"
    quick = ("--no-config", "--really-quiet", "--vo=null", "--no-audio", "--untimed")
    await run("mpv", *quick, f"--stream-record={out}", url, proxy=proxy)
    return await video_of(out)


async def _yt_dlp(url: str, proxy: str | None, folder: Path) -> bytes:
    out = folder / "out.ts"
    await run("yt-dlp", "--ignore-config", "--no-cache-dir", "--quiet", "--hls-use-mpegts", "--no-part", "--downloader",
              "ffmpeg", "-o", str(out), url, proxy=proxy)  # fmt: skip
    return await video_of(out)


async def _vlc(url: str, proxy: str | None, _: Path) -> bytes:
    """VLC refuses root, so it runs as nobody, in a folder that nobody can reach."""
    user = "nobody" if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="ecdn-vlc-") as made:
        folder = Path(made)
        if user is not None:
            shutil.chown(folder, user)
        written = f"#std{{access=file,mux=ts,dst={folder / 'out.ts'}}}"
        await run("cvlc", "-q", url, "--sout", written, "vlc://quit", proxy=proxy, user=user, home=folder)
        return await video_of(folder / "out.ts")


async def _gstreamer(url: str, proxy: str | None, folder: Path) -> bytes:
    """Its output is the segments as they are."""
    out = folder / "out.ts"
    source = ("souphttpsrc", f"location={url}")
    await run("gst-launch-1.0", "-q", *source, "!", "hlsdemux", "!", "filesink", f"location={out}", proxy=proxy)
    return await asyncio.to_thread(out.read_bytes)


async def _streamlink(url: str, proxy: str | None, _: Path) -> bytes:
    quiet = ("--no-config", "--loglevel", "none")
    return await run("streamlink", *quiet, "--stdout", f"hls://{url}", "best", proxy=proxy)


def player(play: Play, command: str, package: str) -> object:
    return pytest.param(play, id=command, marks=needs(command, package))


async def _both_play(office: Office, folder: str, play: Play, place: Path) -> tuple[bytes, bytes]:
    """A recording at two desks, one after the other, and before them without any; what the desks got, and the other."""
    url, got = await recording(office, folder), []
    for name, address, proxy in (
        ("direct", straight(office, url), None),
        *((str(desk), url, office.agents[desk].proxy_url) for desk in (0, 1)),
    ):
        own = place / name
        own.mkdir()
        got.append(await play(address, proxy, own))
    right, *desks = got
    assert desks == [right, right]
    assert copies(office, folder, besides=1.0) == [1.0] * RECORDED, await why(office, folder)
    return right, desks[0]


@field(
    property="GStreamer and streamlink: the published bytes, one copy for two desks",
    source="https://gstreamer.freedesktop.org/documentation/hls/hlsdemux.html https://streamlink.github.io/",
    right=_ONE_COPY,
)
@pytest.mark.parametrize(
    "play",
    [
        player(_gstreamer, "gst-launch-1.0", "apt install gstreamer1.0-tools gstreamer1.0-plugins-good -bad"),
        player(_streamlink, "streamlink", "make setup"),
    ],
)
async def test_players_that_keep_the_bytes_get_the_published_ones(
    office: Office, folder: str, tmp_path: Path, play: Play
) -> None:
    right, got = await _both_play(office, folder, play, tmp_path)
    assert right == got == b"".join(published())


@field(
    property="ffmpeg and mpv, which ask for playlists by range: the video as without us, one copy for two desks",
    source=_FFMPEG_SOURCE,
    right=_ONE_COPY,
)
@pytest.mark.parametrize(
    "play",
    [
        player(_ffmpeg, "ffmpeg", "apt install ffmpeg"),
        player(_mpv, "mpv", "apt install mpv"),
    ],
)
async def test_players_that_ask_for_playlists_by_range_share(
    office: Office, folder: str, tmp_path: Path, play: Play
) -> None:
    await _both_play(office, folder, play, tmp_path)


@field(
    property="yt-dlp and a recording, whose playlist it reads whole: the video as without us, one copy for two desks",
    source=_FFMPEG_SOURCE,
    right=_ONE_COPY,
)
@needs("yt-dlp", "make setup")
async def test_yt_dlp_shares_a_recording(office: Office, folder: str, tmp_path: Path) -> None:
    await _both_play(office, folder, _yt_dlp, tmp_path)


@field(
    property="VLC, which says `no-cache` with everything and asks by range: the video as without us, one copy",
    source="https://github.com/videolan/vlc/blob/master/modules/demux/adaptive/http/HTTPConnection.cpp",
    right=_ONE_COPY,
)
@needs("cvlc", "apt install vlc-bin vlc-plugin-base")
async def test_vlc_shares(office: Office, folder: str, tmp_path: Path) -> None:
    await _both_play(office, folder, _vlc, tmp_path)


@field(
    property="ffmpeg and yt-dlp that record an event live, both desks at once: the whole event, one copy",
    source=_FFMPEG_SOURCE,
    right=_ONE_COPY,
)
@pytest.mark.parametrize(
    "play", [player(_ffmpeg, "ffmpeg", "apt install ffmpeg"), player(_yt_dlp, "yt-dlp", "make setup")]
)
async def test_live_recordings_share(office: Office, folder: str, tmp_path: Path, play: Play) -> None:
    url, places = await begun(office, folder), [tmp_path / str(desk) for desk in (0, 1)]
    for place in places:
        place.mkdir()
    readings = 4 if play is _yt_dlp else 2  # yt-dlp reads it once before its ffmpeg does
    first, second, _ = await asyncio.gather(
        *(play(url, office.agents[desk].proxy_url, places[desk]) for desk in (0, 1)), event(office, folder, readings)
    )
    whole = tmp_path / "whole.ts"
    await asyncio.to_thread(whole.write_bytes, b"".join(published()))
    assert first == second == await video_of(whole)
    assert copies(office, folder) == [1.0] * RECORDED, await why(office, folder)


# Browsers: the page sends each segment back as its player got it


class Heard:
    """What the pages of one folder have sent back, by desk: segments' numbers in order, and those with wrong bytes."""

    def __init__(self, office: Office, folder: str) -> None:
        self.office, self.url = office, f"{office.origin.http}{folder}/player.html"
        self.numbers: dict[int, list[int]] = {0: [], 1: []}
        self.wrong: list[tuple[int, int]] = []
        page = (Path(__file__).with_name("player.html")).read_bytes()
        office.origin.put(f"{folder}/player.html", page, cache="no-cache", fields={"Content-Type": "text/html"})
        script = (NODE_MODULES / "hls.js/dist/hls.min.js").read_bytes()
        office.origin.put("/hls.js", script, cache="max-age=3600", fields={"Content-Type": "text/javascript"})
        for desk in self.numbers:
            office.origin.handle(f"{folder}/heard/{desk}", functools.partial(self._hear, desk))

    async def _hear(self, desk: int, request: web.Request) -> web.Response:
        number = int(request.query["segment"].partition(".")[0])
        if await request.read() != published()[number]:
            self.wrong.append((desk, number))
        self.numbers[desk].append(number)
        return web.Response(status=204)

    async def all_of(self, desk: int, times: int = 1) -> None:
        """Until this desk's player has had every segment so often."""
        heard = self.numbers[desk]
        await self.office.origin.until(lambda: all(heard.count(it) >= times for it in range(RECORDED)), 100)


@contextlib.asynccontextmanager
async def chromium(office: Office, desk: int) -> AsyncIterator[Page]:
    """A fresh Chromium at a desk; yields its page."""
    async with async_playwright() as driver:
        opened = await driver.chromium.launch(
            executable_path=browser.CHROMIUM,
            proxy={"server": office.agents[desk].proxy_url},
            args=["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"],
        )
        try:
            yield await opened.new_page()
        finally:
            await opened.close()


_IN_CHROMIUM = (
    pytest.mark.browser,
    pytest.mark.node,
    pytest.mark.skipif(browser.available() is not None, reason=str(browser.available())),
    pytest.mark.skipif(not (NODE_MODULES / "hls.js").is_dir(), reason="no players: npm ci in tests/npm"),
)


def in_chromium[T: Callable[..., object]](test: T) -> T:
    for mark in _IN_CHROMIUM:
        test = mark(test)
    return test


async def _reload(office: Office, folder: str, *, forced: bool) -> None:
    await recording(office, folder)
    heard = Heard(office, folder)
    for desk in (0, 1):
        async with chromium(office, desk) as page:
            if forced:
                session = await page.context.new_cdp_session(page)
                await session.send("Network.enable")
                await session.send("Network.setCacheDisabled", {"cacheDisabled": True})
            await page.goto(f"{heard.url}?desk={desk}")
            await heard.all_of(desk)
            await page.reload()
            await heard.all_of(desk, times=2)
    assert heard.wrong == []
    assert copies(office, folder) == [1.0] * RECORDED, await why(office, folder)


@field(
    property="Chromium that reloads its page in the middle: the published bytes, one copy for two desks",
    source="https://github.com/video-dev/hls.js/issues/615",
    right=_ONE_COPY,
)
@in_chromium
async def test_a_reloading_chromium_shares(office: Office, folder: str) -> None:
    await _reload(office, folder, forced=False)


@field(
    property="Chromium with its cache switched off, which says `no-cache` with everything: one copy for two desks",
    source="https://github.com/video-dev/hls.js/issues/810",
    right="RFC 9111 section 5.2.1.4: it asks for validation, not for another body",
)
@in_chromium
async def test_a_chromium_without_a_cache_shares(office: Office, folder: str) -> None:
    await _reload(office, folder, forced=True)


@field(
    property="an agent that restarts in the middle of an event: its viewer gets every segment, the office one copy",
    source="https://github.com/video-dev/hls.js/issues/5692",
    right="what the agent had is on its disk, what it misses its neighbours have; the player asks again",
)
@in_chromium
async def test_an_agent_restarts_in_the_middle_of_an_event(office: Office, folder: str) -> None:
    await begun(office, folder)
    heard = Heard(office, folder)

    async def trouble() -> None:
        await office.origin.until(lambda: BEFORE in heard.numbers[1], 100)
        await office.restart(1)

    async with chromium(office, 0) as first, chromium(office, 1) as second:
        await asyncio.gather(
            first.goto(f"{heard.url}?desk=0"),
            second.goto(f"{heard.url}?desk=1"),
            event(office, folder, readings=2),
            trouble(),
            heard.all_of(0),
            heard.all_of(1),
        )
    assert heard.wrong == []
    sent = copies(office, folder)
    assert sum(sent) <= RECORDED + 1, (sent, await why(office, folder))  # the one that it was fetching for both


@field(
    property="Firefox ESR: the published bytes, one copy for two desks",
    source="https://github.com/video-dev/hls.js/issues/5692",
    right=_ONE_COPY,
)
@needs("firefox-esr", "apt install firefox-esr")
@pytest.mark.skipif(not (NODE_MODULES / "hls.js").is_dir(), reason="no players: npm ci in tests/npm")
async def test_firefox_shares(office: Office, folder: str, tmp_path: Path) -> None:
    await recording(office, folder)
    heard = Heard(office, folder)
    for desk in (0, 1):
        profile = tmp_path / str(desk)
        profile.mkdir()
        preferences = {
            "network.proxy.type": "1",
            "network.proxy.http": f'"{office.agents[desk].address}"',
            "network.proxy.http_port": "3128",
            "media.autoplay.default": "0",
            "media.autoplay.blocking_policy": "0",
            "datareporting.policy.dataSubmissionEnabled": "false",
            "app.normandy.enabled": "false",
            "network.captive-portal-service.enabled": "false",
            "network.connectivity-service.enabled": "false",
            "services.settings.server": '"http://127.0.0.1:9"',
            "browser.shell.checkDefaultBrowser": "false",
            "dom.security.https_first": "false",
        }
        rows = [f'user_pref("{name}", {value});\n' for name, value in preferences.items()]
        (profile / "user.js").write_text("".join(rows))
        child = await office.stage.processes.start(
            f"firefox-{desk}",
            ["env", f"HOME={tmp_path}", "firefox-esr", "--headless", "--no-remote", "--profile", str(profile),
             f"{heard.url}?desk={desk}"],
        )  # fmt: skip
        try:
            await heard.all_of(desk)
        finally:
            await office.stage.processes.end([child])
    assert heard.wrong == []
    assert copies(office, folder) == [1.0] * RECORDED, await why(office, folder)
