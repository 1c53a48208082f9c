"""What an agent costs its machine: memory when idle, processor while its user watches 8 Mbit/s.

    python -m tests.bench agent [--json F] [--seconds 30] [--viewers 3] [--mbps 8]

Some desks, one viewer each, watch the same live stream: first through agents, then each through a stock mitmdump, in
the same run. Processor time is the proxies' own, as the system counts it; players and origin run in this process and
do not count. Percent are of one core.
"""

import argparse
import asyncio
import hashlib
import json
import random
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from aiohttp import web

from tests.demo import pki
from tests.demo.clock import seconds
from tests.demo.parts import Agent, Plan, Through
from tests.demo.stage import Stage
from tests.product.outside import through
from tests.product.strange import HOST, Strange

SEGMENT_SECONDS = 2.0
WINDOW = 5
IDLE_SECONDS = 5.0
PLAYLIST_TYPE = "application/vnd.apple.mpegurl"


class Event:
    """A live stream that begins now; every segment is other bytes of the same length."""

    def __init__(self, strange: Strange, mbps: float) -> None:
        self._begun = seconds() - (WINDOW + 1) * SEGMENT_SECONDS
        self._strange = strange
        self._pattern = random.Random(8).randbytes(int(mbps * 1e6 / 8 * SEGMENT_SECONDS))
        strange.handlers["/live.m3u8"] = self._playlist

    def newest(self) -> int:
        return int((seconds() - self._begun) / SEGMENT_SECONDS) - 1

    def body(self, number: int) -> bytes:
        mark = number.to_bytes(8, "big")
        return mark + self._pattern[8:]

    async def _playlist(self, _: web.Request) -> web.Response:
        last = self.newest()
        numbers = range(last - WINDOW + 1, last + 1)
        for number in numbers:
            self._strange.handlers[f"/{number}.ts"] = self._segment
        rows = "".join(f"#EXTINF:{SEGMENT_SECONDS},\n{number}.ts\n" for number in numbers)
        head = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{numbers.start}\n"
        return web.Response(
            body=(head + rows).encode(), content_type=PLAYLIST_TYPE, headers={"Cache-Control": "no-cache"}
        )

    async def _segment(self, request: web.Request) -> web.Response:
        number = int(Path(request.path).stem)
        headers = {"Cache-Control": "public, max-age=60", "ETag": f'"{number}"'}
        return web.Response(body=self.body(number), content_type="video/mp2t", headers=headers)


@dataclass
class Seat:
    """One desk: its proxy's process, what its viewer got."""

    agent: Agent
    process: psutil.Process
    received: int = 0
    wrong: int = 0
    idle_rss: int = 0
    idle_seconds: float = 0.0
    used_seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)

    def family(self) -> Iterator[psutil.Process]:
        yield self.process
        yield from self.process.children(recursive=True)

    def cpu(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self.family())

    def rss(self) -> int:
        return sum(int(process.memory_info().rss) for process in self.family())

    async def watch(self, client: aiohttp.ClientSession, base: str, event: Event, until: float) -> None:
        """Fetches each new segment once, as a player at the live edge does."""
        following = event.newest()
        while seconds() < until:
            async with client.get(f"{base}/live.m3u8") as answer:
                listed = [int(Path(line).stem) for line in (await answer.text()).split() if line.endswith(".ts")]
            for number in [number for number in listed if number >= following]:
                begun = seconds()
                async with client.get(f"{base}/{number}.ts") as answer:
                    data = await answer.read()
                self.latencies_ms.append((seconds() - begun) * 1000)
                self.received += len(data)
                self.wrong += hashlib.sha256(data).digest() != hashlib.sha256(event.body(number)).digest()
                following = number + 1
            await asyncio.sleep(SEGMENT_SECONDS / 2)


async def measure(way: Through, arguments: argparse.Namespace) -> dict[str, Any]:
    """One way of watching."""
    plan = Plan(viewers=arguments.viewers, mbps=0, through=way, settings={"origin_hosts": {HOST: "127.0.0.1"}})
    async with Stage(plan) as stage, Strange.open(pki.make(stage.directory / "pki")) as strange:
        seats = []
        for agent in stage.agents:
            assert agent.child is not None
            seats.append(Seat(agent, psutil.Process(agent.child.pid)))
        # mitmdump is given the address, which the certificate names too: it has no list of hosts.
        base = strange.url if way == "agents" else f"https://127.0.0.1:{strange.port}"
        for seat in seats:
            seat.idle_seconds = -seat.cpu()
        await asyncio.sleep(IDLE_SECONDS)
        for seat in seats:
            seat.idle_seconds += seat.cpu()
            seat.idle_rss = seat.rss()
        event = Event(strange, arguments.mbps)
        begun = seconds()
        for seat in seats:
            seat.used_seconds = -seat.cpu()

        async def sit(seat: Seat, later: float) -> None:
            await asyncio.sleep(later)
            async with through(seat.agent) as client:
                await seat.watch(client, base, event, begun + arguments.seconds)

        await asyncio.gather(*(sit(seat, 0.3 * number) for number, seat in enumerate(seats)))
        passed = seconds() - begun
        for seat in seats:
            seat.used_seconds += seat.cpu()
        segments = [asked for asked in strange.asked if asked.path.endswith(".ts")]
        received = sum(seat.received for seat in seats)
        used = sum(seat.used_seconds for seat in seats)
        latencies = sorted(each for seat in seats for each in seat.latencies_ms)
        return {
            "idle_rss_mb": round(statistics.mean(seat.idle_rss for seat in seats) / 1e6, 1),
            "rss_mb": round(statistics.mean(seat.rss() for seat in seats) / 1e6, 1),
            "idle_cpu_percent": round(100 * sum(seat.idle_seconds for seat in seats) / len(seats) / IDLE_SECONDS, 2),
            "cpu_percent": round(100 * used / len(seats) / passed, 2),
            "cpu_percent_each": [round(100 * seat.used_seconds / passed, 2) for seat in seats],
            "cpu_seconds_per_gb": round(used / (received / 1e9), 2),
            "mbps_each": round(received * 8 / 1e6 / len(seats) / passed, 2),
            "latency_ms_p50": round(statistics.median(latencies), 1),
            "copies_per_segment": round(len(segments) / len({asked.path for asked in segments}), 3),
            "wrong_bodies": sum(seat.wrong for seat in seats),
        }


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "viewers": arguments.viewers,
        "mbps": arguments.mbps,
        "seconds": arguments.seconds,
        "agent": await measure("agents", arguments),
        "mitmdump": await measure("mitmdump", arguments),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench agent", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--viewers", type=int, default=3)
    parser.add_argument("--mbps", type=float, default=8)
    arguments = parser.parse_args()
    result = asyncio.run(run(arguments))
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
