"""An emulated viewer: plays a live stream through a proxy, keeps a real buffer and checks every byte at its source.

    python -m tests.demo.viewer --url https://origin.demo.test:PORT/live/hls/master.m3u8 --proxy http://127.0.0.2:3128
        --ca agent-ca.pem --origin-ca origin-ca.pem --resolve origin.demo.test=127.0.0.1 --seconds 40

Without --proxy it asks the origin itself. It prints one JSON line a second, and a last one with "event": "done".

Map:
    Figures          what the lines say
    Checker          SHA-256 of what came, against the origin's own word, on a connection that passes no proxy
    Viewer           manifest -> segments -> buffer, until it is told to end
                     --else-direct: where no proxy answers, ask the origin, as "PROXY ...; DIRECT" in a PAC file says
    FixedResolver    host names by a list, as test names are in no DNS
"""

import argparse
import asyncio
import hashlib
import json
import signal
import socket
import ssl
import statistics
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from tests.demo.buffer import Playout
from tests.demo.clock import seconds, wall
from tests.demo.manifests import Listing, Mpd, Smooth, Step, Variant, hls, variants

EDGE_SEGMENTS = 3  # start this many segments from the live edge, as players do
RETRY_SECONDS = 0.5
_ALL_IN_ONE: dict[str, type[Mpd | Smooth]] = {"mpd": Mpd, "Manifest": Smooth}
GIVE_UP_AFTER = (
    20  # attempts at one segment before it is left out: giving up early costs the buffer, as in real players
)


class FixedResolver(AbstractResolver):
    """Names from a list only; an address is its own name."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self._addresses.get(host)
        if address is None:
            raise OSError(f"{host} is not in the list of --resolve")
        return [ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        return


@dataclass
class Figures:
    """What one viewer measured so far."""

    manifests: int = 0
    segments: int = 0
    bytes: int = 0
    skipped: int = 0
    direct: int = 0
    checked: int = 0
    sha256_mismatches: int = 0
    mismatched: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    level: int = 0

    def line(self, event: str, playout: Playout, now: float) -> dict[str, object]:
        playout.advance(now)
        latencies = sorted(self.latencies_ms) or [0.0]
        return {
            "event": event,
            "seconds": round(now - playout.begun, 2),
            "startup_ms": playout.startup_ms,
            "stalls": playout.stalls,
            "stall_seconds": round(playout.stall_seconds(now), 3),
            "buffer_seconds": round(playout.level, 2),
            "segments": self.segments,
            "bytes": self.bytes,
            "manifests": self.manifests,
            "skipped": self.skipped,
            "direct": self.direct,
            "sha256_checked": self.checked,
            "sha256_mismatches": self.sha256_mismatches,
            "mismatched": self.mismatched[:5],
            "errors": dict(self.errors),
            "sources": dict(self.sources),
            "level": self.level,
            "latency_ms_p50": round(statistics.median(latencies), 1),
            "latency_ms_p95": round(latencies[int(len(latencies) * 0.95)], 1),
            "latency_ms_max": round(latencies[-1], 1),
        }


class Checker:
    """Compares hashes with the origin's. What the origin never published is a mismatch too."""

    def __init__(self, session: aiohttp.ClientSession, origin: str, figures: Figures) -> None:
        self._session, self._url, self._figures = session, f"{origin}/_demo/sha256", figures
        self._waiting: list[tuple[str, str]] = []

    def add(self, url: str, data: bytes) -> None:
        self._waiting.append((URL(url).path, hashlib.sha256(data).hexdigest()))

    async def check(self) -> None:
        batch, self._waiting = self._waiting, []
        if not batch:
            return
        try:
            async with self._session.post(self._url, json=sorted({path for path, _ in batch})) as answer:
                known = await answer.json()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._figures.errors[f"check {type(error).__name__}"] += 1
            self._waiting = batch + self._waiting
            return
        for path, digest in batch:
            self._figures.checked += 1
            if known.get(path) is None or known[path][0] != digest:
                self._figures.sha256_mismatches += 1
                self._figures.mismatched.append(path)


class Viewer:
    """One player. `proxy` is the agent's URL, or None for a viewer without one."""

    def __init__(self, session: aiohttp.ClientSession, checker: Checker, figures: Figures, url: str) -> None:
        self._session, self._checker, self._figures, self._url = session, checker, figures, url
        self.proxy: str | None = None
        self.abr = False
        self.level: int | None = None
        self.else_direct = False
        self.playout = Playout(begun=seconds())
        self.ended = asyncio.Event()
        self._variants: list[Variant] = []
        self._whole: tuple[Mpd | Smooth, float] | None = None
        self._speed = 0.0
        self._fetched: set[str] = set()

    async def _get(self, url: str) -> bytes | None:
        """The whole body, or None with the reason counted."""
        try:
            return await self._ask(url, self.proxy)
        except aiohttp.ClientProxyConnectionError as error:
            if not self.else_direct:
                self._figures.errors[type(error).__name__] += 1
                return None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._figures.errors[type(error).__name__] += 1
            return None
        self._figures.direct += 1
        try:
            return await self._ask(url, None)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._figures.errors[f"direct {type(error).__name__}"] += 1
            return None

    async def _ask(self, url: str, proxy: str | None) -> bytes | None:
        async with self._session.get(url, proxy=proxy) as answer:
            data = await answer.read()
            if answer.status != 200:
                self._figures.errors[str(answer.status)] += 1
                return None
            if source := answer.headers.get("X-Ecdn-Source"):
                self._figures.sources[source] += 1
            return data

    async def _manifest(self, url: str) -> str | None:
        data = await self._get(url)
        self._figures.manifests += data is not None
        return None if data is None else data.decode()

    async def _listing(self) -> Listing | None:
        """The manifest of the moment, fetched again when its time is over."""
        read = _ALL_IN_ONE.get(URL(self._url).name.rpartition(".")[2])
        if read is not None:
            if self._whole is None or seconds() >= self._whole[1]:
                begun = seconds()
                text = await self._manifest(self._url)
                if text is not None:
                    parsed = read(text, self._url)
                    self._whole = parsed, begun + parsed.update_seconds
            if self._whole is None:
                return None
            return self._whole[0].listing(self._choose(self._whole[0].bits), wall())
        if not self._variants:
            text = await self._manifest(self._url)
            self._variants = variants(text, self._url) if text else []
        if not self._variants:
            return None
        variant = self._variants[self._choose([variant.bits_a_second for variant in self._variants])]
        text = await self._manifest(variant.url)
        return hls(text, variant.url) if text else None

    def _choose(self, bits: list[int]) -> int:
        """The `level` told, or the best rendition; with `abr`, the best one that the last segments' speed affords."""
        level = len(bits) - 1 if self.level is None else min(self.level, len(bits) - 1)
        if self.abr and self._speed:
            level = max((i for i, need in enumerate(bits) if need < 0.8 * self._speed), default=0)
        self._figures.level = level
        return level

    async def _once(self, url: str | None) -> None:
        """Keys and initialisations: fetched once. They are not segments and are not counted as such."""
        if url is not None and url not in self._fetched:
            data = await self._get(url)
            if data is not None:
                self._fetched.add(url)
                self._checker.add(url, data)

    async def _step(self, step: Step, inits: tuple[str, ...]) -> bool:
        for url in (step.key, *inits):
            await self._once(url)
        begun = seconds()
        bodies = await asyncio.gather(*(self._segment(url) for url in step.urls))
        if not all(bodies):
            return False
        now = seconds()
        speed = sum(bodies) * 8 / max(0.001, now - begun)
        self._speed = 0.7 * self._speed + 0.3 * speed if self._speed else speed
        self.playout.add(step.seconds, now)
        return True

    async def _segment(self, url: str) -> int:
        begun = seconds()
        data = await self._get(url)
        if data is None:
            return 0
        self._figures.latencies_ms.append((seconds() - begun) * 1000)
        self._figures.segments += 1
        self._figures.bytes += len(data)
        self._checker.add(url, data)
        return len(data)

    async def play(self) -> None:
        """Plays until `ended` is set."""
        following: int | None = None
        failures = 0
        while not self.ended.is_set():
            begun = seconds()
            listing = await self._listing()
            if listing is None or not listing.steps:
                await self._pause(0.5)
                continue
            steps = listing.steps
            edge = max(steps[0].number, steps[-1].number - EDGE_SEGMENTS + 1)
            if following is None:
                following = edge
            elif following < steps[0].number:  # fallen out of the window: go on at the live edge
                self._figures.skipped += edge - following
                following = edge
            fresh = [step for step in steps if step.number >= following]
            for step in fresh:
                if self.ended.is_set():
                    return
                if not await self._step(step, listing.inits):
                    failures += 1
                    if failures < GIVE_UP_AFTER:
                        break
                    self._figures.skipped += 1
                following, failures = step.number + 1, 0
            wait = RETRY_SECONDS if failures else listing.refresh_seconds * (1 if fresh else 0.5)
            await self._pause(max(0.1, begun + wait - seconds()))

    async def end_after(self, duration: float, segments: int) -> None:
        """Set `ended` when the seconds have passed and the segments have come."""
        await self._pause(duration)
        while not self.ended.is_set() and self._figures.segments < segments:
            await self._pause(0.1)
        self.ended.set()

    async def _pause(self, duration: float) -> None:
        try:
            async with asyncio.timeout(duration):
                await self.ended.wait()
        except TimeoutError:
            return


async def _report(viewer: Viewer, checker: Checker, figures: Figures) -> None:
    while not viewer.ended.is_set():
        await checker.check()
        print(json.dumps(figures.line("progress", viewer.playout, seconds())), flush=True)
        try:
            async with asyncio.timeout(1.0):
                await viewer.ended.wait()
        except TimeoutError:
            continue


def _session(roots: list[Path], addresses: dict[str, str]) -> aiohttp.ClientSession:
    context = ssl.create_default_context(cafile=roots[0])
    for root in roots[1:]:
        context.load_verify_locations(cafile=root)
    connector = aiohttp.TCPConnector(resolver=FixedResolver(addresses), ssl=context)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=20, sock_connect=5))


def _roots(options: argparse.Namespace) -> list[Path]:
    """Whom the player trusts: behind a proxy its root alone, so that a connection that goes past it is noticed."""
    if options.ca is None:
        return [options.origin_ca]
    return [options.ca, options.origin_ca] if options.else_direct else [options.ca]


async def run(options: argparse.Namespace) -> None:
    """Plays as the options say and prints what happened."""
    addresses = dict(pair.split("=", 1) for pair in options.resolve)
    figures = Figures()
    async with (
        _session(_roots(options), addresses) as session,
        _session([options.origin_ca], addresses) as direct,
    ):
        checker = Checker(direct, str(URL(options.url).origin()), figures)
        viewer = Viewer(session, checker, figures, options.url)
        viewer.proxy, viewer.abr, viewer.else_direct = options.proxy, options.abr, options.else_direct
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, viewer.ended.set)
        async with asyncio.TaskGroup() as group:
            group.create_task(viewer.play())
            group.create_task(_report(viewer, checker, figures))
            if options.seconds:
                group.create_task(viewer.end_after(options.seconds, options.segments))
        await checker.check()
        print(json.dumps(figures.line("done", viewer.playout, seconds())), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="An emulated viewer of a live stream.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--proxy")
    parser.add_argument("--ca", type=Path, help="the root that signs what comes through the proxy")
    parser.add_argument("--origin-ca", type=Path, required=True)
    parser.add_argument("--resolve", action="append", default=[], metavar="HOST=ADDRESS")
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--segments", type=int, default=0, help="--seconds and so many segments")
    parser.add_argument("--abr", action="store_true")
    parser.add_argument("--else-direct", action="store_true")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
