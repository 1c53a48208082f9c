"""What a segment costs on its way through the proxy, beside squid, nginx, mitmdump and bare asyncio.

    python -m tests.bench proxy [--json F] [--rounds 5] [--segments 120]

The measured systems share one core, the clients (curl) and the origin (nginx) have the other. 2 MB segments over one
kept connection, CONNECT where there is a proxy; each round takes every system in turn, and the table shows medians.
CPU is user and system time of a system's processes, per GB (1e9 bytes) that the client got.

Map: `Bench.round` (every case once) · `report` (medians, and each aim with what came of it) · `viewers` (three of them)
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.bench import proxies
from tests.bench.proxies import HOST, LISTED, SEGMENT_BYTES, TUNNELLED, Absent, Files, System
from tests.demo import pki
from tests.demo.clock import seconds
from tests.demo.parts import Plan
from tests.demo.processes import Processes
from tests.demo.stage import Stage
from tests.product.outside import through

MEASURED, OTHERS = 1, 0
"""Cores."""
MANIFESTS, SET_UPS = 200, 8
VIEWERS, WATCHED_SECONDS, SEGMENT_SECONDS = 3, 24.0, 2.0
_FORMAT = "%{http_code} %{size_download} %{time_pretransfer} %{time_starttransfer} %{time_total} %{time_appconnect}\\n"
ROUTED, HIT, TUNNEL = "agent, routed from the origin", "agent, memory hit", "agent, tunnel of another host"
SQUID, DIRECT = "squid ssl-bump, memory hit", "nginx direct"


class Answer:
    """One transfer as curl saw it; times in ms."""

    def __init__(self, line: str) -> None:
        status, size, ready, first, total, secured = (float(word) for word in line.split())
        self.status, self.bytes = int(status), int(size)
        self.first_byte_ms = (first - ready) * 1e3
        self.total_ms = total * 1e3
        self.set_up_ms = secured * 1e3


async def fetch(system: System, files: Files, urls: list[str]) -> list[Answer]:
    """All of them over one connection, by curl."""
    rows = "".join(f'url="{url}"\noutput="/dev/null"\n' for url in urls) + f'write-out="{_FORMAT}"\n'
    command = ["curl", "-sS", "--http1.1", "--max-time", "60", "--cacert", str(system.ca), "-K", "-"]
    command += ["-x", system.proxy] if system.proxy else ["--connect-to", f"::127.0.0.1:{files.port}"]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate(rows.encode())
    answers = [Answer(line) for line in out.decode().splitlines()]
    if len(answers) != len(urls) or any(answer.status != 200 for answer in answers):
        raise RuntimeError(f"{system.name}: {len(answers)} of {len(urls)} came; {err.decode()[:300]}")
    return answers


class Bench:
    """All systems of one run, and every figure that it took."""

    def __init__(self, files: Files, systems: dict[str, System], agent: System, count: int) -> None:
        self._files, self._systems, self._agent = files, systems, agent
        self._streams = count // LISTED
        self._round = 0
        self.figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    async def round(self) -> None:
        """Every case once."""
        self._round += 1
        for name, system in self._systems.items():
            await self._segments(name, system, self._files.segments("hot", system.host) * self._streams)
            await self._manifests(name, system)
        tunnel = System(TUNNEL, self._agent.pid, self._files.pki.ca, self._agent.proxy, TUNNELLED)
        await self._segments(TUNNEL, tunnel, self._files.segments("hot", TUNNELLED) * self._streams)
        await self._manifests(TUNNEL, tunnel)
        new = [f"{self._round}-{number}" for number in range(self._streams)]
        await fetch(self._agent, self._files, [self._files.manifest(stream) for stream in new])
        await self._segments(ROUTED, self._agent, [url for stream in new for url in self._files.segments(stream)])
        await fetch(self._agent, self._files, [self._files.manifest("hot"), *self._files.segments("hot")])
        await self._segments(HIT, self._agent, self._files.segments("hot") * self._streams)
        await self._manifests("agent", self._agent)

    async def _segments(self, name: str, system: System, urls: list[str]) -> None:
        if name == SQUID:
            await fetch(system, self._files, urls[:LISTED])
        before, begun = system.cpu(), seconds()
        answers = await fetch(system, self._files, urls)
        used, passed = system.cpu() - before, seconds() - begun
        received = sum(answer.bytes for answer in answers)
        if received != SEGMENT_BYTES * len(urls):
            raise RuntimeError(f"{name}: {received} bytes of {len(urls)} segments")
        self._take(name, cpu_seconds_per_gb=used / (received / 1e9), mb_per_second=received / 1e6 / passed)
        self._take(name, first_byte_ms=statistics.median(answer.first_byte_ms for answer in answers[1:]))

    async def _manifests(self, name: str, system: System) -> None:
        url = self._files.manifest("hot", system.host)
        before = system.cpu()
        answers = await fetch(system, self._files, [url] * MANIFESTS)
        used = system.cpu() - before
        self._take(name, manifest_ms=statistics.median(answer.total_ms for answer in answers[1:]))
        self._take(name, manifests_per_second=1e3 / statistics.mean(answer.total_ms for answer in answers[1:]))
        self._take(name, cpu_ms_per_manifest=used * 1e3 / len(answers))
        set_ups = [(await fetch(system, self._files, [url]))[0].set_up_ms for _ in range(SET_UPS)]
        self._take(name, set_up_ms=statistics.median(set_ups))

    def _take(self, name: str, **figures: float) -> None:
        for what, figure in figures.items():
            self.figures[name][what].append(figure)

    def medians(self) -> dict[str, dict[str, float]]:
        return {
            name: {what: round(statistics.median(each), 3) for what, each in taken.items()}
            for name, taken in self.figures.items()
        }


async def viewers(stage: Stage, files: Files, agent: System) -> float:
    """Percent of a core while three watch, 8 Mbit/s each, all from the origin and none the same."""
    before, begun = 0.0, 0.0
    async with through(stage.agents[0]) as client:

        async def get(url: str) -> None:
            async with client.get(url) as answer:
                assert answer.status == 200
                async for _ in answer.content.iter_any():
                    pass

        async def watch(stream: str, later: float) -> None:
            await asyncio.sleep(later)
            for number in range(int(WATCHED_SECONDS / SEGMENT_SECONDS)):
                await asyncio.sleep(max(0.0, begun + later + number * SEGMENT_SECONDS - seconds()))
                await get(files.manifest(stream))
                await get(files.segments(stream)[number])

        for number in range(VIEWERS):
            await get(files.manifest(f"viewer-{number}"))
        before, begun = agent.cpu(), seconds()
        await asyncio.gather(*(watch(f"viewer-{n}", n * SEGMENT_SECONDS / VIEWERS) for n in range(VIEWERS)))
    return 100 * (agent.cpu() - before) / (seconds() - begun)


def aims(table: dict[str, dict[str, float]], rss_mb: float, watching: float) -> list[dict[str, Any]]:
    """Each aim, what was measured, and whether it is met; None where the reference is absent."""
    direct = table[DIRECT]
    squid = table[SQUID]["cpu_seconds_per_gb"] if SQUID in table else None

    def aim(what: str, measured: float, most: float | None) -> dict[str, Any]:
        limit = None if most is None else round(most, 2)
        return {"what": what, "measured": round(measured, 2), "aim": limit, "met": most is None or measured <= most}

    cpu = "cpu_seconds_per_gb"
    return [
        aim("routed segment, CPU-s/GB, 1.0 x squid", table[ROUTED][cpu], squid),
        aim("memory hit, CPU-s/GB, 0.5 x squid", table[HIT][cpu], None if squid is None else squid / 2),
        aim(
            "first byte of a routed segment, ms, direct + 3",
            table[ROUTED]["first_byte_ms"],
            direct["first_byte_ms"] + 3,
        ),
        aim("manifest, ms, direct + 1.5", table["agent"]["manifest_ms"], direct["manifest_ms"] + 1.5),
        aim("connection set-up, ms, direct + 8", table["agent"]["set_up_ms"], direct["set_up_ms"] + 8),
        aim("memory before the cache, MB", rss_mb, 120),
        aim("three viewers of 8 Mbit/s, percent of a core", watching, 3),
    ]


def _directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="ecdn-bench-"))
    directory.chmod(0o755)  # squid reads its files there as a user of its own
    return directory


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    os.sched_setaffinity(0, {OTHERS})
    settings: dict[str, Any] = {
        "origin_hosts": {HOST: "127.0.0.1", TUNNELLED: "127.0.0.1"},
        "bypass_domains": [TUNNELLED],
    } | dict(json.loads(arguments.settings))
    plan = Plan(viewers=1, mbps=0, settings=settings)
    directory = _directory()
    processes = Processes(directory)
    absent: dict[str, str] = {}
    systems: dict[str, System] = {}
    try:
        async with Stage(plan, directory / "stage", keep=False) as stage:
            files = Files.make(directory / "bench", pki.make(directory / "stage" / "pki"))
            systems[DIRECT] = await proxies.nginx(files, processes, OTHERS)
            others: list[Callable[[Files, Processes, int], Awaitable[System]]]
            others = [proxies.squid, proxies.mitmdump, proxies.bare]
            for start in others:
                try:
                    system = await start(files, processes, MEASURED)
                except Absent as why:
                    absent[start.__name__] = str(why)
                    print(f"skipped: {why}", file=sys.stderr)
                else:
                    systems[system.name] = system
            agent = proxies.ours(stage, MEASURED)
            await fetch(agent, files, [files.manifest("first")])
            rss_mb = agent.rss_mb()
            bench = Bench(files, systems, agent, arguments.segments)
            for _ in range(arguments.rounds):
                await bench.round()
            watching = await viewers(stage, files, agent)
            table = bench.medians()
            memory = {name: round(system.rss_mb(), 1) for name, system in [*systems.items(), ("agent", agent)]}
            return {
                "rounds": arguments.rounds,
                "segments": arguments.segments,
                "aims": aims(table, rss_mb, watching),
                "table": table,
                "rss_mb": memory | {"agent before the cache": round(rss_mb, 1)},
                "absent": absent,
            }
    finally:
        await processes.close()
        shutil.rmtree(directory, ignore_errors=True)


def show(result: dict[str, Any]) -> None:
    columns = (
        "cpu_seconds_per_gb",
        "first_byte_ms",
        "mb_per_second",
        "manifest_ms",
        "manifests_per_second",
        "set_up_ms",
    )
    print(f"{'':38}" + "".join(f"{column:>22}" for column in columns))
    for name, figures in result["table"].items():
        print(f"{name:38}" + "".join(f"{figures.get(column, '')!s:>22}" for column in columns))
    for aim in result["aims"]:
        print(f"{'met   ' if aim['met'] else 'MISSED'} {aim['what']:52} {aim['measured']:>8} (aim {aim['aim']})")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench proxy", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--segments", type=int, default=120, help="a round's, in multiples of 40")
    parser.add_argument("--settings", default="{}", help="further settings of the agent, as JSON")
    arguments = parser.parse_args()
    result = asyncio.run(run(arguments))
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
