"""What it costs a machine to be one of a large office's seven homes: real links, the shipped node, one process for it.

    python -m tests.bench.home [--json F] [--viewers 200,500,1000] [--loop uvloop|asyncio] [--seconds 20]

For each number of viewers, over loopback: everybody links to the home within `--join` seconds; then the links are idle;
then everybody asks who has the current segment and says that it has it, each at its own moment of the 2 s (a home has
such a turn once in seven segments); then all ask at one moment. CPU is the home's alone; the viewers are links of
another process.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import uvloop

from ecdn_proxy.agent.links import Links
from ecdn_proxy.core import events
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.node import Node
from ecdn_proxy.core.swarm.membership import rendezvous
from ecdn_proxy.front.cli import DESCRIPTORS
from ecdn_proxy.io.handshake import Ourselves
from ecdn_proxy.io.link_connection import ConnectionKind
from ecdn_proxy.io.tls_links.contexts import Contexts, client_context, server_context
from ecdn_proxy.sansio.descriptors import raise_descriptor_limit
from ecdn_proxy.sansio.driver import Driver
from ecdn_proxy.sim.seal import QuickSeal
from ecdn_proxy.wire.peer import Ask, Contact, Finished, Follow, Granted, Held, PeerMessage
from ecdn_proxy.wire.tracker import COMMITTEE_MAX
from tests.bench.idle import Idle
from tests.io.material import TENANT, Root, root

HOME = "home"
STREAM = "cd" * 16
COMMITTEE = (HOME, *(f"other-{at}" for at in range(1, COMMITTEE_MAX)))
"""The other six are named and never there: the home measured here is asked for its own keys only."""
SEGMENT_S = 2.0
LOOPBACK = [ip_network("127.0.0.0/8")]


def _contexts(material: dict[str, str]) -> Contexts:
    pem = (material["certificate"], material["key"], material["root"])
    return Contexts(server_context(*pem), client_context(*pem))


class Home(Idle):
    """The child process: a hub and a node, as in an agent; commands on stdin, figures on stdout."""

    def __init__(self, material: dict[str, str]) -> None:
        me = Contact(HOME, ("127.0.0.1",), 1)
        self.links = 0
        self.node = Node(
            me,
            QuickSeal(HOME),
            limits=Limits(),
            memory_bytes=0,
            disk_bytes=0,
            upload_mbps=20,
            share_after_watching_s=60,
        )
        self.driver: Driver[events.Event, events.Effect] = Driver(self.node, self._perform, self._failed)
        ourselves = Ourselves(HOME, TENANT, "bench", ("127.0.0.1",))
        self.hub = Links(ourselves, ("127.0.0.1", 0), _contexts(material), LOOPBACK, self, None)

    def link_opened(
        self, contact: Contact, kind: ConnectionKind, streams: tuple[str, ...], serves: bool, rtt_ms: float
    ) -> None:
        self.links += 1
        self.driver.feed(events.LinkOpened(contact, kind, streams, serves, rtt_ms))

    def link_closed(self, device: str, why: str, misbehaved: bool) -> None:
        self.driver.feed(events.LinkClosed(device, why, misbehaved))

    def link_received(self, device: str, message: PeerMessage) -> None:
        self.driver.feed(events.Received(device, message))

    def link_ready(self, device: str) -> None:
        self.driver.feed(events.LinkReady(device))

    def _perform(self, effect: events.Effect) -> None:
        if isinstance(effect, events.Send):
            self.hub.send(effect.device, effect.message)

    @staticmethod
    def _failed(error: Exception) -> None:
        print(f"the home failed: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)

    async def serve(self) -> None:
        """Answer one line with one line until there is none."""
        await self.hub.start()
        self.driver.feed(events.StreamOpened(STREAM))
        others = [(Contact(device, ("127.0.0.1",), 1), "same subnet") for device in COMMITTEE[1:]]
        self.driver.feed(events.TrackerSaid(STREAM, COMMITTEE, tuple(others)))
        print(self.hub.port, flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            rss = psutil.Process().memory_info().rss
            print(json.dumps({"cpu_s": time.process_time(), "rss": rss, "links": self.links}), flush=True)
        await self.hub.close()


def keys() -> Iterator[str]:
    """Segment keys whose ledger the measured home keeps."""
    for number in count():
        key = f"{number:064x}"
        if max(COMMITTEE, key=lambda device: rendezvous(device, key)) == HOME:
            yield key


class Viewer(Idle):
    """One link to the home, and its open question."""

    def __init__(self, material: dict[str, str]) -> None:
        name = material["device"]
        self.opened = asyncio.Event()
        self.answered = asyncio.Event()
        ourselves = Ourselves(name, TENANT, "bench", ("127.0.0.1",))
        self.hub = Links(ourselves, ("127.0.0.1", 1), _contexts(material), LOOPBACK, self, None)  # it only dials

    def link_opened(self, *_: object) -> None:
        self.opened.set()

    def link_closed(self, device: str, why: str, misbehaved: bool) -> None:
        print(f"a link ended: {why}", file=sys.stderr, flush=True)
        os._exit(1)

    def link_received(self, device: str, message: PeerMessage) -> None:
        if isinstance(message, Granted):
            self.hub.send(HOME, Finished(message.key, message.lease, "complete", 200, ""))
        if isinstance(message, (Granted, Follow)):
            self.answered.set()
            self.hub.send(HOME, Held(message.key, STREAM))

    async def join(self, port: int, at: float) -> float:
        await asyncio.sleep(at)
        begun = time.perf_counter()
        self.hub.dial(Contact(HOME, ("127.0.0.1",), port))
        await self.opened.wait()
        return time.perf_counter() - begun

    async def ask(self, key: str, at: float) -> float:
        await asyncio.sleep(at)
        begun = time.perf_counter()
        self.answered.clear()
        self.hub.send(HOME, Ask(1, key, STREAM, "first"))
        await self.answered.wait()
        return time.perf_counter() - begun


def _spread(seconds: list[float]) -> dict[str, float]:
    quantiles = statistics.quantiles(seconds, n=100)
    return {"p50_ms": round(1e3 * quantiles[49], 1), "p99_ms": round(1e3 * quantiles[98], 1)}


async def _measure(viewers: int, arguments: argparse.Namespace, home: "_Process") -> dict[str, Any]:
    tenant = root()
    material = _material(tenant, HOME)
    port = int(home.start(material))
    crowd = [Viewer(_material(tenant, f"v{at:05}")) for at in range(viewers)]
    empty = await home.ask()
    joined = await asyncio.gather(*(it.join(port, at * arguments.join / viewers) for at, it in enumerate(crowd)))
    await asyncio.sleep(1)
    linked = await home.ask()
    await asyncio.sleep(arguments.seconds)
    idle = await home.ask()
    turns = max(1, round(arguments.seconds / SEGMENT_S))
    own: list[float] = []
    mine = keys()
    for _ in range(turns):
        key = next(mine)
        own += await asyncio.gather(*(it.ask(key, at * SEGMENT_S / viewers) for at, it in enumerate(crowd)))
    turned = await home.ask()
    last = next(mine)
    together = await asyncio.gather(*(it.ask(last, 0.0) for it in crowd))
    assert linked["links"] == viewers
    idle_share = (idle["cpu_s"] - linked["cpu_s"]) / arguments.seconds
    turn_share = (turned["cpu_s"] - idle["cpu_s"]) / (turns * SEGMENT_S)
    return {
        "viewers": viewers,
        "link_kib": round((linked["rss"] - empty["rss"]) / viewers / 1024, 1),
        "rss_mb": round(linked["rss"] / 1e6),
        "join_cpu_ms": round(1e3 * (linked["cpu_s"] - empty["cpu_s"]) / viewers, 2),
        "join": _spread(list(joined)),
        "idle_core_percent": round(100 * idle_share, 2),
        "asked_core_percent": round(100 * turn_share, 2),
        "ask_cpu_ms": round(1e3 * (turn_share - idle_share) * SEGMENT_S / viewers, 3),
        "answer": _spread(own),
        "answer_all_at_once": _spread(list(together)),
    }


def _material(tenant: Root, device: str) -> dict[str, str]:
    certificate, key = tenant.device(device)
    return {"device": device, "certificate": certificate, "key": key, "root": tenant.pem}


class _Process:
    """The home's process."""

    def __init__(self, loop: str) -> None:
        command = [sys.executable, "-m", "tests.bench.home", "--home", "--loop", loop]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _say(self, line: str) -> str:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(line + "\n")
        self._child.stdin.flush()
        return self._child.stdout.readline()

    def start(self, material: dict[str, str]) -> str:
        return self._say(json.dumps(material))

    async def ask(self) -> Any:
        return json.loads(await asyncio.get_running_loop().run_in_executor(None, self._say, "now"))

    def end(self) -> None:
        self._child.communicate(timeout=30)


async def _child() -> None:
    await Home(json.loads(sys.stdin.readline())).serve()


def main() -> None:
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--viewers", default="200,500,1000")
    parser.add_argument("--join", type=float, default=20.0, help="seconds within which everybody links")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="uvloop")
    parser.add_argument("--home", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    raise_descriptor_limit(DESCRIPTORS)
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
        "asyncio": asyncio.new_event_loop,
        "uvloop": uvloop.new_event_loop,
    }
    factory = factories[arguments.loop]
    if arguments.home:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_child())
        return
    rows = []
    for viewers in (int(it) for it in arguments.viewers.split(",")):
        home = _Process(arguments.loop)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            rows.append(runner.run(_measure(viewers, arguments, home)))
        home.end()
        print(json.dumps(rows[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"loop": arguments.loop, "homes": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
