"""What a link between two agents costs: CPU-seconds per GB, ours beside plain asyncio TLS streams.

    python -m tests.bench.links [--json F] [--mb 256] [--rounds 5] [--loop asyncio|uvloop] [--hash]

Each round runs every case once, two fresh processes each over loopback, so that a slow minute of the machine falls on
all of them; the table shows medians. 32 KiB pieces. `--hash` adds the receiver's SHA-256 of each piece to every case.
"""

import argparse
import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import uvloop

from ecdn_proxy.agent.links import Links
from ecdn_proxy.io.handshake import Ourselves
from ecdn_proxy.io.tls_links.connection import WRITE_LOW_BYTES
from ecdn_proxy.io.tls_links.contexts import Contexts, client_context, server_context
from ecdn_proxy.wire.integrity import PIECE_BYTES
from ecdn_proxy.wire.peer import Contact, Get, PeerMessage, Piece
from tests.bench.idle import Idle
from tests.io.material import TENANT, root

CASES = ("link", "streams")
KEY, STREAM = "ab" * 32, "cd" * 16


def _contexts(material: dict[str, str]) -> Contexts:
    pem = (material["certificate"], material["key"], material["root"])
    return Contexts(server_context(*pem), client_context(*pem))


class Side(Idle):
    """One of the two processes; `mine` is its device."""

    def __init__(self, arguments: argparse.Namespace, material: dict[str, str]) -> None:
        self.pieces = int(arguments.mb * 1e6) // PIECE_BYTES
        self.hash = arguments.hash
        self.mine = material["device"]
        self.contexts = _contexts(material)
        self.done = asyncio.Event()
        self.wake = asyncio.Event()
        self.asked = asyncio.Event()
        self.seen = self.sent = 0

    def take(self, data: bytes) -> None:
        if self.hash:
            hashlib.sha256(data).digest()
        self.seen += 1
        if self.seen == self.pieces:
            self.done.set()

    # ---- what links tell (a LinkConsumer)

    def link_opened(self, *_: object) -> None:
        self.wake.set()

    def link_received(self, device: str, message: PeerMessage) -> None:
        if isinstance(message, Piece):
            self.take(message.data)
        elif isinstance(message, Get):
            self.asked.set()

    def link_closed(self, device: str, why: str, misbehaved: bool) -> None:
        if self.pieces not in {self.sent, self.seen}:
            print(f"the link ended early: {why}", file=sys.stderr, flush=True)
            os._exit(1)
        self.done.set()

    def link_ready(self, device: str) -> None:
        self.wake.set()

    def links(self) -> Links:
        ourselves = Ourselves(self.mine, TENANT, "bench", ("127.0.0.1",))
        return Links(ourselves, ("127.0.0.1", 0), self.contexts, [ip_network("127.0.0.0/8")], self, None)


async def link_send(side: Side) -> float:
    links = side.links()
    await links.start()
    print(links.port, flush=True)
    await side.asked.wait()
    begun = time.process_time()
    data = os.urandom(PIECE_BYTES)
    for index in range(side.pieces):
        links.send("b", Piece(1, index % 64, data))
        side.sent += 1
        if links.is_full("b"):
            side.wake.clear()
            await side.wake.wait()
    await side.done.wait()
    used = time.process_time() - begun
    await links.close()
    return used


async def link_receive(side: Side, port: int) -> float:
    links = side.links()
    await links.start()
    links.dial(Contact("a", ("127.0.0.1",), port))
    await side.wake.wait()
    begun = time.process_time()
    links.send("a", Get(1, KEY, STREAM, 0))
    await side.done.wait()
    used = time.process_time() - begun
    await links.close()
    return used


async def streams_send(side: Side) -> float:
    used = 0.0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal used
        writer.transport.set_write_buffer_limits(high=1 << 20, low=WRITE_LOW_BYTES)
        await reader.readexactly(1)
        begun = time.process_time()
        data = os.urandom(PIECE_BYTES)
        for _ in range(side.pieces):
            writer.write(data)
            await writer.drain()
        await reader.read(1)
        used = time.process_time() - begun
        writer.close()
        side.done.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=side.contexts.server)
    print(server.sockets[0].getsockname()[1], flush=True)
    await side.done.wait()
    server.close()
    return used


async def streams_receive(side: Side, port: int) -> float:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=side.contexts.client, server_hostname="", limit=1 << 20
    )
    begun = time.process_time()
    writer.write(b"g")
    for _ in range(side.pieces):
        side.take(await reader.readexactly(PIECE_BYTES))
    used = time.process_time() - begun
    writer.write(b"e")
    writer.close()
    return used


async def _side(arguments: argparse.Namespace, material: dict[str, str]) -> float:
    side = Side(arguments, material)
    if arguments.case == "link":
        return await (link_receive(side, arguments.port) if arguments.port else link_send(side))
    return await (streams_receive(side, arguments.port) if arguments.port else streams_send(side))


def _child(arguments: argparse.Namespace) -> None:
    material = json.loads(sys.stdin.readline())
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
        "asyncio": asyncio.new_event_loop,
        "uvloop": uvloop.new_event_loop,
    }
    with asyncio.Runner(loop_factory=factories[arguments.loop]) as runner:
        used = runner.run(_side(arguments, material))
    print(json.dumps(used / (arguments.mb / 1e3)), flush=True)


def _once(case: str, arguments: argparse.Namespace, materials: list[dict[str, str]]) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.links", "--case", case]
    command += ["--mb", str(arguments.mb), "--loop", arguments.loop, *(["--hash"] if arguments.hash else [])]

    def start(material: dict[str, str], *more: str) -> subprocess.Popen[str]:
        child = subprocess.Popen([*command, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert child.stdin is not None
        child.stdin.write(json.dumps(material) + "\n")
        child.stdin.flush()
        return child

    sender = start(materials[0])
    assert sender.stdout is not None
    port = sender.stdout.readline().strip()
    begun = time.perf_counter()
    receiver = start(materials[1], "--port", port)
    received = json.loads(receiver.communicate(timeout=120)[0])
    sent = json.loads(sender.communicate(timeout=120)[0])
    return {"send": sent, "receive": received, "seconds": time.perf_counter() - begun}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--mb", type=float, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--hash", action="store_true")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        _child(arguments)
        return
    tenant = root()
    materials = []
    for device in ("a", "b"):
        certificate, key = tenant.device(device)
        materials.append({"device": device, "certificate": certificate, "key": key, "root": tenant.pem})
    rounds: dict[str, list[dict[str, float]]] = {case: [] for case in CASES}
    for _ in range(arguments.rounds):
        for case in CASES:
            rounds[case].append(_once(case, arguments, materials))
    table: dict[str, Any] = {
        case: {what: round(statistics.median(each[what] for each in runs), 3) for what in ("send", "receive")}
        for case, runs in rounds.items()
    }
    about = {"loop": arguments.loop, "mb": arguments.mb, "rounds": arguments.rounds, "hash": arguments.hash}
    result = {"unit": "CPU-seconds per GB", **about, **table}
    print(json.dumps(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
