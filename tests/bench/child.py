"""What one child costs the agent that serves it: TLS beside WebRTC, the agent as it runs, one 3 Mbit/s stream.

    python -m tests.bench child [--json F] [--seconds 30] [--mbps 3] [--rounds 3]

One agent, a coordinator and an origin run as processes. A viewer fills the agent's cache and leaves. Then a child in
this process (its own CPU does not count) enrols, links, and asks for one segment every two seconds, as a viewer at the
live edge does; every answer is checked by its hash. Processor time is the agent's, all its processes, as the system
counts it; percent are of one core. `idle` is the same agent with the link standing and nothing asked.
"""

import argparse
import asyncio
import hashlib
import json
import random
import statistics
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal

import aiohttp
import psutil
import uvloop

from ecdn_proxy.io import clock
from ecdn_proxy.io.coordinator_client import CoordinatorLink, enrol
from ecdn_proxy.io.handshake import Ourselves
from ecdn_proxy.io.identity import Identity
from ecdn_proxy.io.link_connection import ConnectionKind, LinkConnection
from ecdn_proxy.io.tls_links.contexts import Contexts, client_context, server_context
from ecdn_proxy.io.tls_links.hub import TlsHub
from ecdn_proxy.io.webrtc.hub import WebrtcHub
from ecdn_proxy.wire.peer import Contact, End, Get, Hello, PeerMessage, Piece, Refused
from ecdn_proxy.wire.signalling import Answer, Bye, Call, Offer, Undeliverable
from ecdn_proxy.wire.tracker import FromAgent, FromCoordinator, Here, Network, Watch
from ecdn_proxy.wire.version import PROTOCOL
from tests.bench.agent import SEGMENT_SECONDS, Event
from tests.demo import pki
from tests.demo.clock import seconds
from tests.demo.parts import PEER_PORT, Agent, Plan
from tests.demo.stage import Stage
from tests.io.holding import Holder
from tests.io.waiting import Record
from tests.product.outside import through
from tests.product.strange import HOST, Strange

Way = Literal["idle", "tls", "webrtc"]
WAYS: tuple[Way, ...] = ("idle", "tls", "webrtc")
ADDRESS = "127.0.0.99"
SEGMENTS = 8


class Child(Holder):
    """A device that links to the agent and asks for segments that the agent has."""

    def __init__(self, identity: Identity, agent: Contact, stream: str) -> None:
        super().__init__(Record(), dial=self._called)
        self.identity, self.agent, self.stream = identity, agent, stream
        self.parts: dict[int, list[bytes]] = {}
        self.whole: dict[int, asyncio.Event] = {}
        self.opened = asyncio.Event()
        self.requests = 0
        self.hub: TlsHub | WebrtcHub | None = None
        self.coordinator = CoordinatorLink(identity, owner=self, chance=random.Random(1))

    def first_messages(self) -> Sequence[FromAgent]:
        here = Here(PROTOCOL, "bench", (Network(ADDRESS, 8, "wired"),), PEER_PORT, serves=False)
        return here, Watch((self.stream,), serves=False)

    def coordinator_said(self, message: FromCoordinator) -> None:
        if isinstance(message, Call | Offer | Answer | Bye | Undeliverable) and isinstance(self.hub, WebrtcHub):
            self.hub.heard(message)

    def coordinator_changed(self, connected: bool, why: str) -> None:
        pass

    def coordinator_passed_over(self, tag: int) -> None:
        pass

    def link_received(self, _: str, message: PeerMessage) -> None:
        match message:
            case Piece(request, index, data):
                parts = self.parts.setdefault(request, [])
                assert index == len(parts)
                parts.append(bytes(data))
            case End(request):
                self.whole[request].set()
            case Refused(_, reason):
                raise SystemExit(f"the agent refused a segment: {reason}")

    def greeted(self, connection: LinkConnection, contact: Contact, hello: Hello) -> None:
        super().greeted(connection, contact, hello)
        self.opened.set()

    def dial_failed(self, _: ConnectionKind, device: str, why: str, misbehaved: bool) -> None:
        raise SystemExit(f"no link: {why}")

    def _called(self, contact: Contact) -> None:
        if self.hub is not None:
            self.hub.dial(contact)

    @asynccontextmanager
    async def linked(self, way: Way) -> AsyncIterator[None]:
        """A link by TLS or by WebRTC."""
        self.opened.clear()
        who = self.identity
        ourselves = Ourselves(who.device, who.tenant, "bench", (ADDRESS,), port=PEER_PORT)
        ourselves.streams, ourselves.serves = (self.stream,), False
        networks = [ip_network("127.0.0.0/8")]
        if way == "webrtc":
            say = self.coordinator.send
            hub: TlsHub | WebrtcHub = WebrtcHub(ourselves, who, networks, self, self, say, clock.utc)
        else:
            pem = (who.certificate_pem, who.keys.tls, who.tenant_root_pem)
            contexts = Contexts(server_context(*pem), client_context(*pem))
            hub = TlsHub(ourselves, (ADDRESS, 0), contexts, networks, self, self)
            await hub.start()
        self.hub = hub
        try:
            hub.dial(self.agent)
            async with asyncio.timeout(20):
                await self.opened.wait()
            yield
        finally:
            await hub.close()
            self.hub = None

    async def ask(self, key: str) -> bytes:
        """One segment from the agent."""
        assert self.hub is not None
        self.requests += 1
        number = self.requests
        ended = self.whole[number] = asyncio.Event()
        self.send(self.agent.device, Get(number, key, self.stream, 0))
        async with asyncio.timeout(10):
            await ended.wait()
        del self.whole[number]
        return b"".join(self.parts.pop(number))


def _cpu(agent: Agent) -> float:
    assert agent.child is not None
    process = psutil.Process(agent.child.pid)
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))


async def _fill(stage: Stage, strange: Strange, mbps: float) -> tuple[str, dict[str, str]]:
    """A viewer watches for a while; the stream, and the SHA-256 of each segment that the agent has now, by its key."""
    event, (agent,) = Event(strange, mbps), stage.agents
    async with through(agent) as client:
        base, first = strange.url, event.newest()
        for number in range(first, first + SEGMENTS):
            while event.newest() < number:  # noqa: ASYNC110 - an encoder that works by the clock
                await asyncio.sleep(0.1)
            async with client.get(f"{base}/live.m3u8") as answer:
                await answer.read()
            async with client.get(f"{base}/{number}.ts") as answer:
                assert await answer.read() == event.body(number)
    async with aiohttp.ClientSession() as client, client.get(f"{agent.page_url}api/status") as answer:
        agent.status = await answer.json()
    recent = [it for it in agent.status["recent"] if it["number"] is not None]
    hashes = {it["key"]: hashlib.sha256(event.body(it["number"])).hexdigest() for it in recent}
    return recent[0]["stream"], hashes


async def _measure(child: Child, agent: Agent, way: Way, hashes: dict[str, str], duration: float) -> dict[str, float]:
    async with child.linked("tls" if way == "idle" else way):
        await asyncio.sleep(2)
        begun, used, got, keys = seconds(), _cpu(agent), 0, sorted(hashes)
        turn = 0
        while seconds() - begun < duration:
            if way != "idle":
                key = keys[turn % len(keys)]
                body = await child.ask(key)
                if hashlib.sha256(body).hexdigest() != hashes[key]:
                    raise SystemExit("wrong bytes")
                got += len(body)
            turn += 1
            await asyncio.sleep(max(0.0, begun + turn * SEGMENT_SECONDS - seconds()))
        passed = seconds() - begun
        return {"percent": 100 * (_cpu(agent) - used) / passed, "mbps": got * 8 / 1e6 / passed}


async def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    settings = {"origin_hosts": {HOST: "127.0.0.1"}, "share_after_watching_s": 3_600.0, "lan_discovery": False}
    plan = Plan(viewers=1, mbps=0, settings=settings)
    async with Stage(plan) as stage, Strange.open(pki.make(stage.directory / "pki")) as strange:
        (agent,) = stage.agents
        stream, hashes = await _fill(stage, strange, arguments.mbps)
        join = stage.join
        identity = await enrol(
            join["coordinator"], join["tenant_root_sha256"], join["token"], stage.directory / "child", "bench"
        )
        child = Child(identity, Contact(agent.status["device"], (agent.address,), PEER_PORT), stream)
        child.coordinator.start()
        rounds: dict[Way, list[dict[str, float]]] = {way: [] for way in WAYS}
        try:
            for _ in range(arguments.rounds):
                for way, runs in rounds.items():
                    runs.append(await _measure(child, agent, way, hashes, arguments.seconds))
        finally:
            await child.coordinator.close()
    idle = statistics.median(run["percent"] for run in rounds["idle"])
    return {
        way: {
            "percent_of_a_core": round(percent := statistics.median(run["percent"] for run in runs), 2),
            "more_than_idle": round(percent - idle, 2),
            "mbps": round(statistics.median(run["mbps"] for run in runs), 2),
            "percent_each": [round(run["percent"], 2) for run in runs],
        }
        for way, runs in rounds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench child", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--mbps", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result: dict[str, Any] = {"mbps": arguments.mbps, "seconds": arguments.seconds, "rounds": arguments.rounds}
        result |= runner.run(_run(arguments))
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
