"""A real browser as the viewer: Debian's Chromium, with the trust and the proxy that an office sets.

Map:
    Act                     a seek, a change of rendition
    PlayerReport            what the page measured, and whether it counts as having played, or why not
    trust_store             a fresh home directory whose NSS database trusts the given certificates
    play                    open a player page through a PAC, let it play, take a picture, report
Chromium never asks a PAC about 127.0.0.1 or localhost; so pages under test carry a host name, which the proxy resolves.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from playwright.async_api import Error, Page, async_playwright

from tests.demo.clock import seconds as clock_seconds
from tests.demo.clock import wall
from tests.demo.processes import ahead

CHROMIUM = Path("/usr/bin/chromium")
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
WARM_UP_SECONDS = 4.0  # the start is measured apart from steady playing
UNTIL_SECONDS = 60.0  # a guard only: on a quiet machine it is true at once
PROGRESS_MIN = 0.9
FRAMES_A_SECOND_MIN = 15.0  # of 25


class Act(NamedTuple):
    """What the viewer does in the page, so long after it opened or after the act before."""

    after_seconds: float
    script: str


@dataclass
class PlayerReport:
    """What the page saw. `progress` is media seconds per second after the start; 1.0 is steady playing.

    `bytes` of segments came through the browser's HTTP; `received` is what hls.js was given, by whatever loader,
    `from_peers` what p2p-media-loader had from `peers` that it met. `stalled`: for each stall the ms since the start,
    the second of the media, and the spans that were in the buffer. `heights`: since which ms the picture was so high.
    """

    url: str
    startup_ms: int | None = None
    stalls: int = 0
    stalled: list[tuple[int, float, list[tuple[float, float]]]] = field(default_factory=list)
    stall_ms: int = 0
    progress: float = 0.0
    frames: int = 0
    frames_a_second: float = 0.0
    dropped: int = 0
    segments: int = 0
    bytes: int = 0
    received: int = 0
    peers: int = 0
    from_peers: int = 0
    height: int = 0
    heights: list[tuple[int, int]] = field(default_factory=list)
    wall_ms: int = 0
    switches: int = 0
    parts: int = 0
    position: float = 0.0
    buffer_seconds: float = 0.0
    latency_seconds: float | None = None
    errors: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    screenshot: Path | None = None

    @property
    def shown(self) -> bool:
        """It started, pictures were shown, and nobody complained; how well, a busy machine decides: `played`."""
        return self.startup_ms is not None and self.frames > 0 and not self.errors

    @property
    def trouble(self) -> list[str]:
        """Why it does not count as having played; a clock can run with hardly a frame shown."""
        found = [f"a player said: {error}" for error in self.errors]
        if self.progress <= PROGRESS_MIN:
            found.append(f"{self.progress} s of media in a second, {self.buffer_seconds} s in the buffer at the end")
        if self.frames_a_second <= FRAMES_A_SECOND_MIN:
            found.append(f"{self.frames_a_second} frames a second, {self.dropped} dropped")
        return found

    @property
    def played(self) -> bool:
        """Time went on, pictures with it, and nobody complained."""
        return not self.trouble


class Unavailable(Exception):
    """Chromium or certutil is missing, or it did not start."""


def available() -> str | None:
    """Why no browser can be driven here, or None."""
    if not CHROMIUM.exists():
        return f"{CHROMIUM} is missing (apt install chromium)"
    if shutil.which("certutil") is None:
        return "certutil is missing (apt install libnss3-tools)"
    return None


async def _certutil(*arguments: str) -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec("certutil", *arguments, stdout=pipe, stderr=pipe)
    _, trouble = await process.communicate()
    if process.returncode:
        raise Unavailable(f"certutil {arguments[0]}: {trouble.decode(errors='replace').strip()}")


async def trust_store(home: Path, ca_files: Sequence[Path]) -> None:
    """Makes `home` trust the roots in `ca_files`, for Chromium and whatever else reads NSS there."""
    directory = home / ".pki" / "nssdb"
    directory.mkdir(parents=True)
    database = f"sql:{directory}"
    await _certutil("-N", "-d", database, "--empty-password")
    for number, ca in enumerate(ca_files):
        await _certutil("-A", "-d", database, "-t", "C,,", "-n", f"ca{number}", "-i", str(ca))


async def play(
    url: str,
    *,
    seconds: float,
    ca_files: Sequence[Path],
    pac_url: str | None = None,
    resolve: dict[str, str] | None = None,
    screenshot: Path | None = None,
    acts: Sequence[Act] = (),
    until: str = "",
    at: float = 0.0,
    flags: Sequence[str] = (),
) -> PlayerReport:
    """Plays `url` for some seconds. `resolve` maps host names for a browser that no PAC sends to a proxy.

    After the `acts` it plays for `seconds` more, and on until `until` is true of the page, whose JavaScript it is;
    progress is measured there. A page that starts its player `at` a wall time is opened at once. `flags` are Chromium's
    own.
    """
    if (reason := available()) is not None:
        raise Unavailable(reason)
    home = Path(tempfile.mkdtemp(prefix="demo-browser-"))
    try:
        await trust_store(home, ca_files)
        arguments = [*_ARGUMENTS, *flags]
        arguments += [f"--proxy-pac-url={pac_url}"] if pac_url else ["--no-proxy-server"]
        if resolve:
            rules = ",".join(f"MAP {name} {address}" for name, address in resolve.items())
            arguments.append(f"--host-resolver-rules={rules}")
        async with async_playwright() as driver:
            context = await driver.chromium.launch_persistent_context(
                home / "profile",
                executable_path=CHROMIUM,
                headless=True,
                args=arguments,
                env={"HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
                viewport={"width": 1000, "height": 900},
            )
            ahead(*(child.pid for child in psutil.Process().children(recursive=True)))
            try:
                page = context.pages[0] if context.pages else await context.new_page()
                return await _watch(page, url, seconds, screenshot, acts, until, at)
            finally:
                await context.close()
    except Error as error:
        raise Unavailable(f"Chromium: {error.message.splitlines()[0]}") from error
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def _watch(
    page: Page, url: str, duration: float, screenshot: Path | None, acts: Sequence[Act], until: str, at: float
) -> PlayerReport:
    report = PlayerReport(url)
    page.on("console", lambda m: report.console.append(m.text[:200]) if m.type == "error" else None)
    page.on("requestfailed", lambda r: report.console.append(f"{r.failure} {r.url[:160]}"))
    begun = clock_seconds()
    try:
        await page.goto(url, wait_until="domcontentloaded", timeout=20_000)
    except Error as error:
        report.errors.append(error.message.splitlines()[0])
        return report
    if at > wall():
        await asyncio.sleep(at - wall())
        begun = clock_seconds()
    for act in acts:
        await asyncio.sleep(act.after_seconds)
        await page.evaluate(act.script)
        begun = clock_seconds()
    await asyncio.sleep(min(WARM_UP_SECONDS, duration / 2))
    first: dict[str, Any] = await page.evaluate("window.snap()")
    await asyncio.sleep(max(1.0, duration - (clock_seconds() - begun)))
    if until:
        try:
            await page.wait_for_function(until, timeout=1000 * UNTIL_SECONDS, polling=250)
        except Error:
            report.errors.append(f"in vain for {UNTIL_SECONDS:.0f} s: {until}")
    last: dict[str, Any] = await page.evaluate("window.snap()")
    if screenshot is not None:
        await page.screenshot(path=screenshot)
        report.screenshot = screenshot
    passed = (last["wall_ms"] - first["wall_ms"]) / 1000
    report.progress = round((last["position"] - first["position"]) / passed, 3)
    report.frames_a_second = round((last["frames"] - first["frames"]) / passed, 1)
    for name in (
        "startup_ms",
        "stalls",
        "stalled",
        "stall_ms",
        "frames",
        "dropped",
        "segments",
        "bytes",
        "received",
        "peers",
        "from_peers",
        "height",
        "heights",
        "wall_ms",
        "switches",
        "parts",
    ):
        setattr(report, name, last[name])
    report.position = round(last["position"], 2)
    report.buffer_seconds, report.latency_seconds = round(last["buffer"], 2), last["latency"]
    report.errors += last["errors"]
    return report
