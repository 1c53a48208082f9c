"""How many agents one coordinator process holds: joining, memory for each, and how soon it answers.

    python -m tests.bench coordinator [--json F] [--agents 20000] [--seconds 60] [--clients 4] [--alone]

A real coordinator, and client processes that open real WebSockets with a device certificate each, from loopback
addresses of their own. They join evenly over `--seconds`, all sites at once, 200 to a site, each with one live stream,
and say what an agent says: Beat every 15 s, Watch every minute. Answers are timed on Alive, which comes straight back
through the same queue as everything else. `--tracker` names a folder in which npm has installed bittorrent-tracker;
the same number of clients then join it by WebSocket over TLS and announce themselves.

Map: `forge` (devices without 20,000 enrolments) · `Clients` (processes of `tests.bench.visitors`) · `measure`
"""

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psutil
import sqlalchemy as sa
import structlog

from coordinator.core.limits import Settings
from coordinator.core.registry import Device
from coordinator.io import clock
from coordinator.io.db import FILE
from coordinator.io.tables import DEVICE
from coordinator.service.system import System
from ecdn_proxy.io.identity import new_keys_and_csr
from ecdn_proxy.sansio.descriptors import raise_descriptor_limit
from tests.demo import pki
from tests.demo.clock import seconds
from tests.demo.origin import NODE_MODULES
from tests.demo.parts import free_port
from tests.demo.processes import Child, Processes

STEADY_S = 15.0
FILES_WANTED = 65_536
OTHER_FILES = 128
"""What a coordinator has open besides its agents' sockets, and some room."""


async def forge(folder: Path, count: int) -> None:
    """`count` devices with certificates of the tenant, in the register as if they had enrolled; one key serves all."""
    rows, chains = [], folder / "chains"
    chains.mkdir()
    keys, csr = new_keys_and_csr()
    async with System.opened(folder / "data", Settings(), structlog.get_logger("bench")) as system:
        for number in range(count):
            device = str(uuid.uuid4())
            issued = system.authority.issue_device(csr, keys.signing_public(), device, utc=clock.utc(), hours=24)
            (chains / f"{number}.pem").write_text(issued.pem + keys.tls)
            rows.append(Device(device, clock.utc(), "bench", issued.fingerprint, False, "", issued.ends_utc))
        (folder / "root.pem").write_text(system.authority.root_pem)
    engine = sa.create_engine(f"sqlite:///{folder / 'data' / FILE}")
    with engine.begin() as connection:
        connection.execute(sa.insert(DEVICE), [msgspec.structs.asdict(row) for row in rows])
    engine.dispose()


class Clients:
    """The client processes of one measurement."""

    def __init__(self, arguments: argparse.Namespace, kind: str, url: str, folder: Path) -> None:
        to = urlsplit(url)
        self._command = [sys.executable, "-m", "tests.bench.visitors", kind, str(to.hostname), str(to.port), to.path]
        self._command += ["--folder", str(folder), "--agents", str(arguments.agents)]
        self._command += ["--seconds", str(arguments.seconds), "--step", str(arguments.clients)]
        self._count = arguments.clients
        self._running: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        for client in range(self._count):
            pipe = asyncio.subprocess.PIPE
            self._running.append(
                await asyncio.create_subprocess_exec(
                    *self._command, "--first", str(client), stdin=pipe, stdout=pipe, limit=1 << 24
                )
            )

    async def hear(self) -> list[dict[str, Any]]:
        """One line of each."""

        async def line(process: asyncio.subprocess.Process) -> dict[str, Any]:
            assert process.stdout is not None
            heard: dict[str, Any] = json.loads(await process.stdout.readline())
            return heard

        return list(await asyncio.gather(*(line(process) for process in self._running)))

    async def go_on(self) -> None:
        for process in self._running:
            assert process.stdin is not None
            process.stdin.write(b"\n")
            await process.stdin.drain()

    async def end(self) -> None:
        for process in self._running:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def measure(child: Child, clients: Clients, agents: int) -> dict[str, Any]:
    """Joining, memory, answers and processor of one server."""
    process = psutil.Process(child.pid)

    def used() -> float:
        return float(sum(process.cpu_times()[:2]))

    try:
        await clients.start()
        await clients.hear()
        before, cpu = process.memory_info().rss, used()
        await clients.go_on()
        heard = await clients.hear()
        joined = sorted(each for one in heard for each in one["joined"])
        joining = used() - cpu
        rss = process.memory_info().rss
        cpu, begun = used(), seconds()
        await asyncio.sleep(STEADY_S)
        steady = (used() - cpu) / (seconds() - begun)
        await clients.go_on()
        heard_last = await clients.hear()
        answers = sorted(each for one in heard_last for each in one["answers"])
    finally:
        await clients.end()
    return {
        "wanted": agents,
        "joined": len(joined),
        "failed": sum(one["failed"] for one in heard),
        "failures": [why for one in heard for why in one["failures"]][:3],
        "lost_again": sum(one["lost"] for one in heard_last),
        "took_s": round(max(one["took_s"] for one in heard), 1),
        "join_ms_p50": round(statistics.median(joined), 1),
        "join_ms_p99": round(joined[int(len(joined) * 0.99)], 1),
        "cpu_ms_per_join": round(1e3 * joining / len(joined), 2),
        "kib_each": round((rss - before) / len(joined) / 1024, 1),
        "cpu_percent_steady": round(100 * steady, 1),
        "answer_ms_p50": round(statistics.median(answers), 2),
        "answer_ms_p99": round(answers[int(len(answers) * 0.99)], 2),
    }


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="ecdn-bench-"))
    processes = Processes(folder)
    result: dict[str, Any] = {}
    try:
        await forge(folder, arguments.agents)
        port, ready = free_port(), folder / "ready"
        command = ["coordinator", "run", "--data-dir", str(folder / "data"), "--listen", f"127.0.0.1:{port}"]
        child = await processes.python("coordinator", *command, "--ready-file", str(ready))
        await child.ready(ready, 60)
        clients = Clients(arguments, "ours", f"https://127.0.0.1:{port}/v1/agent", folder)
        result["coordinator"] = await measure(child, clients, arguments.agents)
        print(json.dumps(result), file=sys.stderr, flush=True)  # the reference takes as long again
        await processes.end([child])
        if not arguments.alone:
            result["bittorrent-tracker"] = await _reference(arguments, folder, processes)
    finally:
        await processes.close()
        shutil.rmtree(folder, ignore_errors=True)
    return result


async def _reference(arguments: argparse.Namespace, folder: Path, processes: Processes) -> dict[str, Any]:
    certificates, port = pki.make(folder / "pki"), free_port()
    script, certificate, key = NODE_MODULES.parent / "tracker.mjs", certificates.certificate, certificates.key
    node = ["node", str(script), "127.0.0.1", str(port), str(certificate), str(key)]
    child = await processes.start("tracker", node)
    await child.listening("127.0.0.1", port, 20)
    await asyncio.to_thread(shutil.copy, certificates.ca, folder / "root.pem")
    clients = Clients(arguments, "reference", f"https://127.0.0.1:{port}/", folder)
    return await measure(child, clients, arguments.agents)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench coordinator", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--agents", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=60, help="all join within so long")
    parser.add_argument("--clients", type=int, default=4, help="processes")
    parser.add_argument("--alone", action="store_true", help="without bittorrent-tracker")
    arguments = parser.parse_args()
    if not arguments.alone and not (NODE_MODULES / "bittorrent-tracker").is_dir():
        sys.exit("bittorrent-tracker is missing: npm ci in tests/npm, or --alone")
    if arguments.agents > (most := raise_descriptor_limit(FILES_WANTED) - OTHER_FILES):
        print(f"This process and its children may open so many files only: {most} agents.", file=sys.stderr)
        arguments.agents = most
    result = asyncio.run(run(arguments))
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
