"""What a WebRTC link costs: CPU-seconds per GB, set-up, and how late other work in the process becomes.

    python -m tests.bench rtc [--json F] [--mb 64] [--rounds 3] [--cases stock,ours,apart] [--mbps 0] [--profile DIR]

Each round runs every case once, two fresh processes each over loopback, so that a slow minute of the machine falls on
all of them; the table shows medians.

    stock       aiortc as it comes, on asyncio, 16 KiB messages
    settings    our links (32 KiB pieces, our watermarks) without the patches, on uvloop
    asyncio     our links with the patches, on asyncio
    ours        with the patches, on uvloop, as an agent runs
    apart       what sends is two processes, an agent's and one for WebRTC; pieces cross a socket between them, CPU is
                of both, lateness the agent's
    wrtc        like `ours` over libwebrtc (setting webrtc_engine), by this machine's own address instead of loopback,
                which libwebrtc leaves out
"""

import argparse
import asyncio
import base64
import cProfile
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from coordinator.io.ca import Authority
from ecdn_proxy.io import clock
from ecdn_proxy.io.handshake import LinkEnd, Ourselves
from ecdn_proxy.io.identity import Identity
from ecdn_proxy.io.interfaces import interfaces
from ecdn_proxy.io.link_connection import ConnectionKind, LinkConnection
from ecdn_proxy.io.webrtc import aiortc_patches
from ecdn_proxy.io.webrtc.aiortc_engine import only_from
from ecdn_proxy.io.webrtc.engine import EngineName
from ecdn_proxy.io.webrtc.hub import WebrtcHub
from ecdn_proxy.sansio.tasks import Tasks
from ecdn_proxy.wire.codec import pack
from ecdn_proxy.wire.integrity import PIECE_BYTES
from ecdn_proxy.wire.peer import Contact, Get, Hello, PeerMessage, Piece
from ecdn_proxy.wire.signalling import Relayed
from ecdn_proxy.wire.tracker import read_from_coordinator
from tests.io.holding import Holder
from tests.io.switching import identity
from tests.io.waiting import Record

CASES = ("stock", "settings", "asyncio", "ours", "apart", "wrtc")
BURST_S = 2.0
"""With `--mbps` so much is given at once: a segment's duration."""
KEY, STREAM = "ab" * 32, "cd" * 16
TICK_S = 0.01


class Wire:
    """Lines to and from the other process, through the parent."""

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=1 << 20)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        self._reader = reader

    async def read(self) -> str:
        return (await self._reader.readline()).decode().strip()

    @staticmethod
    def say(kind: str, text: str) -> None:
        print(kind, text, flush=True)


class Lateness:
    """How late a 10 ms ticker is; nothing else in the process may be later."""

    def __init__(self) -> None:
        self._late: list[float] = []
        self._task = asyncio.get_running_loop().create_task(self._tick())

    async def _tick(self) -> None:
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(TICK_S)
            self._late.append(time.perf_counter() - begun - TICK_S)

    def stop(self) -> tuple[float, float]:
        self._task.cancel()
        late = sorted(self._late) or [0.0]
        return late[int(len(late) * 0.99)] * 1_000, late[-1] * 1_000


async def measured(work: Callable[[], Awaitable[None]], profile: Path | None) -> dict[str, float]:
    profiler = cProfile.Profile() if profile is not None else None
    lateness = Lateness()
    begun, wall = time.process_time(), time.perf_counter()
    if profiler is not None:
        profiler.enable()
    await work()
    if profiler is not None and profile is not None:
        profiler.disable()
        profiler.dump_stats(profile)
    cpu, wall = time.process_time() - begun, time.perf_counter() - wall
    p99, worst = lateness.stop()
    return {"cpu_s": cpu, "wall_s": wall, "late_ms_p99": p99, "late_ms_max": worst}


# ---- aiortc as it comes


async def stock(arguments: argparse.Namespace, wire: Wire) -> dict[str, float]:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    opened, done, low = asyncio.Event(), asyncio.Event(), asyncio.Event()
    total = int(arguments.mb * 1e6)
    got = 0
    size, high, low_mark = 16_384, 1_048_576, 262_144

    def message(data: bytes) -> None:
        nonlocal got
        got += len(data)
        if arguments.side == "a" or got >= total:
            done.set()

    begun = time.perf_counter()
    with only_from(("127.0.0.1",)):
        if arguments.side == "a":
            channel = peer.createDataChannel("bench")
            channel.on("open", opened.set)
            if channel.readyState == "open":
                opened.set()
            await peer.setLocalDescription(await peer.createOffer())
            wire.say("S", json.dumps(peer.localDescription.sdp))
            await peer.setRemoteDescription(RTCSessionDescription(json.loads(await wire.read()), "answer"))
        else:
            came = asyncio.get_running_loop().create_future()

            def take(it: Any) -> None:
                it.on("message", message)
                came.set_result(it)

            peer.on("datachannel", take)
            await peer.setRemoteDescription(RTCSessionDescription(json.loads(await wire.read()), "offer"))
            await peer.setLocalDescription(await peer.createAnswer())
            wire.say("S", json.dumps(peer.localDescription.sdp))
            channel = await came
            opened.set()
    await opened.wait()
    setup = time.perf_counter() - begun

    async def send() -> None:
        channel.on("message", message)
        channel.on("bufferedamountlow", low.set)
        channel.bufferedAmountLowThreshold = low_mark
        data = os.urandom(size)
        sent = 0
        while sent < total:
            channel.send(data)
            sent += len(data)
            if channel.bufferedAmount > high:
                low.clear()
                if channel.bufferedAmount > low_mark:
                    await low.wait()
        await done.wait()

    async def receive() -> None:
        await done.wait()
        channel.send(b"done")

    result = await measured(send if arguments.side == "a" else receive, _profile(arguments))
    await asyncio.sleep(0.3)
    await peer.close()
    return {"setup_ms": setup * 1_000, **result}


# ---- our links


class Ours(Holder):
    """One of the two processes, with our hub."""

    def __init__(self, arguments: argparse.Namespace, wire: Wire, who: Identity) -> None:
        super().__init__(Record())
        self.arguments, self.wire, self.who = arguments, wire, who
        self.pieces = int(arguments.mb * 1e6) // PIECE_BYTES
        self.other = "b" if who.device == "a" else "a"
        self.opened, self.asked, self.done, self.ready = (asyncio.Event() for _ in range(4))
        self.seen = 0

    def link_received(self, _: str, message: PeerMessage) -> None:
        if isinstance(message, Piece):
            self.seen += 1
            if self.seen == self.pieces:
                self.done.set()
        elif isinstance(message, Get):  # the first asks for the pieces, the second says that they have come
            (self.done if self.asked.is_set() else self.asked).set()

    def greeted(self, connection: LinkConnection, contact: Contact, hello: Hello) -> None:
        super().greeted(connection, contact, hello)
        self.opened.set()

    def drained(self, connection: LinkConnection) -> None:
        self.ready.set()

    def ended(self, connection: LinkConnection, end: LinkEnd) -> None:
        self.dial_failed("webrtc", connection.device, end.why, end.misbehaved)

    def dial_failed(self, _: ConnectionKind, device: str, why: str, misbehaved: bool) -> None:
        if not self.done.is_set():
            print(f"the link ended early: {why}", file=sys.stderr, flush=True)
            os._exit(1)

    def say(self, message: Relayed) -> bool:
        self.wire.say("S", base64.b64encode(pack(message)).decode())
        return True

    async def listen(self, hub: WebrtcHub) -> None:
        while line := await self.wire.read():
            hub.heard(read_from_coordinator(base64.b64decode(line)))  # type: ignore[arg-type]  # what the parent relays

    async def run(self) -> dict[str, float]:
        at = self.arguments.address
        ourselves = Ourselves(self.who.device, self.who.tenant, "bench", (at,), port=7688)
        engine: EngineName = "wrtc" if self.arguments.case == "wrtc" else "aiortc"
        hub = WebrtcHub(ourselves, self.who, [ip_network(at)], self, self, self.say, clock.utc, (), engine)
        tasks = Tasks(lambda name, error: print(name, repr(error), file=sys.stderr, flush=True))
        tasks.start(self.listen(hub), "switchboard")
        begun = time.perf_counter()
        if self.who.device == "a":
            hub.dial(Contact("b", (at,), 7688))
        await self.opened.wait()
        setup = time.perf_counter() - begun
        work = self.send_pieces if self.who.device == "a" else self.receive_pieces
        result = await measured(work, _profile(self.arguments))
        await asyncio.sleep(0.3)
        await tasks.close()
        await hub.close()
        return {"setup_ms": setup * 1_000, **result}

    async def send_pieces(self) -> None:
        await self.asked.wait()
        data = os.urandom(PIECE_BYTES)
        pace = Pace(self.arguments.mbps)
        for index in range(self.pieces):
            await self.give(index, data)
            await pace.passed(PIECE_BYTES)
        await self.done.wait()

    async def give(self, index: int, data: bytes) -> None:
        self.send(self.other, Piece(1, index % 64, data))
        if self.is_full(self.other):
            self.ready.clear()
            await self.ready.wait()

    async def receive_pieces(self) -> None:
        self.send(self.other, Get(1, KEY, STREAM, 0))
        await self.done.wait()
        self.send(self.other, Get(2, KEY, STREAM, 0))


class Pace:
    """A segment at once, and the next when its time has come."""

    def __init__(self, mbps: float) -> None:
        self._burst_bytes = mbps * 1e6 / 8 * BURST_S
        self._given = 0
        self._begun = time.perf_counter()

    async def passed(self, size: int) -> None:
        before, self._given = self._given, self._given + size
        if self._burst_bytes and before // self._burst_bytes != self._given // self._burst_bytes:
            due = self._begun + self._given // self._burst_bytes * BURST_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))


# ---- WebRTC in a process of its own


class Apart(Ours):
    """The process that has the hub: what it sends comes through a socket, from the process that plays the agent."""

    async def send_pieces(self) -> None:
        reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=self.arguments.door))
        await self.asked.wait()
        writer.write(b"asked\n")
        begun = time.process_time()
        for index in range(self.pieces):
            await self.give(index, await reader.readexactly(PIECE_BYTES))
        await self.done.wait()
        writer.write(f"{time.process_time() - begun}\n".encode())
        await writer.drain()


async def agent_apart(arguments: argparse.Namespace) -> dict[str, float]:
    """The process that plays the agent; the one with the hub has this one's standard input and output."""
    here, there = socket.socketpair()
    begun = time.perf_counter()
    command = [*sys.argv, "--door", str(there.fileno())]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench", "rtc", *command[1:], pass_fds=[there.fileno()]
    )
    there.close()
    reader, writer = await asyncio.open_connection(sock=here)
    writer.transport.set_write_buffer_limits(high=1_048_576, low=262_144)
    await reader.readline()
    setup = time.perf_counter() - begun
    theirs = 0.0

    async def send() -> None:
        nonlocal theirs
        data, pace = os.urandom(PIECE_BYTES), Pace(arguments.mbps)
        for _ in range(int(arguments.mb * 1e6) // PIECE_BYTES):
            writer.write(data)
            await writer.drain()
            await pace.passed(PIECE_BYTES)
        theirs = float(await reader.readline())

    result = await measured(send, None)
    writer.close()
    await child.wait()
    return {"setup_ms": setup * 1_000, **result, "cpu_s": result["cpu_s"] + theirs}


# ---- processes


def _own_address() -> str:
    found = (it for it in interfaces() if ":" not in it.address and not ip_address(it.address).is_loopback)
    return next(found).address


def _profile(arguments: argparse.Namespace) -> Path | None:
    return Path(arguments.profile) / f"{arguments.case}-{arguments.side}.prof" if arguments.profile else None


async def _side(arguments: argparse.Namespace) -> None:
    if arguments.case == "apart" and arguments.side == "a" and arguments.door < 0:
        Wire.say("R", json.dumps(await agent_apart(arguments)))
        return
    wire = Wire()
    await wire.start()
    who = msgspec.json.decode(await wire.read(), type=Identity)
    if arguments.case == "settings":
        aiortc_patches.apply = lambda: False
    plain = arguments.case == "stock"
    ours = Ours if arguments.door < 0 else Apart
    result = await (stock(arguments, wire) if plain else ours(arguments, wire, who).run())
    if arguments.door < 0:
        wire.say("R", json.dumps(result))


async def _once(case: str, arguments: argparse.Namespace, identities: list[Identity]) -> dict[str, Any]:
    children = []
    for side, who in zip("ab", identities, strict=True):
        command = [sys.executable, "-m", "tests.bench", "rtc", "--side", side, "--case", case]
        command += ["--mbps", str(arguments.mbps)]
        command += ["--address", _own_address() if case == "wrtc" else "127.0.0.1"]
        command += ["--mb", str(arguments.mb), *(["--profile", arguments.profile] if arguments.profile else [])]
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=1 << 20)
        assert child.stdin is not None
        child.stdin.write(msgspec.json.encode(who) + b"\n")
        children.append(child)

    async def relay(one: asyncio.subprocess.Process, other: asyncio.subprocess.Process) -> dict[str, float]:
        assert one.stdout is not None
        assert other.stdin is not None
        while line := (await one.stdout.readline()).decode():
            kind, _, text = line.partition(" ")
            if kind == "R":
                result: dict[str, float] = json.loads(text)
                return result
            other.stdin.write(text.encode())
        raise SystemExit(f"{case}: a side ended without a result")

    a, b = children
    async with asyncio.timeout(180):
        sent, received = await asyncio.gather(relay(a, b), relay(b, a))
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
        await child.wait()
    return {"send": sent, "receive": received}


def _table(rounds: dict[str, list[dict[str, Any]]], mb: float) -> dict[str, Any]:
    def median(runs: list[dict[str, Any]], side: str, what: str, per: float = 1.0) -> float:
        return round(float(statistics.median(run[side][what] for run in runs)) / per, 2)

    return {
        case: {
            "cpu_s_per_gb_send": median(runs, "send", "cpu_s", mb / 1e3),
            "cpu_s_per_gb_receive": median(runs, "receive", "cpu_s", mb / 1e3),
            "setup_ms": median(runs, "send", "setup_ms"),
            "mb_per_s": round(mb / median(runs, "send", "wall_s"), 1),
            "late_ms_p99_send": median(runs, "send", "late_ms_p99"),
            "late_ms_p99_receive": median(runs, "receive", "late_ms_p99"),
            "late_ms_max_send": median(runs, "send", "late_ms_max"),
        }
        for case, runs in rounds.items()
    }


async def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        tenant = Authority.open(Path(folder), clock.utc())
        identities = [identity(tenant, device) for device in "ab"]
    rounds: dict[str, list[dict[str, Any]]] = {case: [] for case in arguments.cases.split(",")}
    for _ in range(arguments.rounds):
        for case, runs in rounds.items():
            runs.append(await _once(case, arguments, identities))
    return _table(rounds, arguments.mb)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--mb", type=float, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mbps", type=float, default=0, help="a rate instead of as fast as it goes (not for stock)")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--profile", default="", help="a directory for cProfile files of both sides")
    parser.add_argument("--side", choices=("a", "b"), help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--door", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--address", default="127.0.0.1", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        factory = asyncio.new_event_loop if arguments.case in {"stock", "asyncio"} else uvloop.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_side(arguments))
        return
    result = {"unit": "CPU-seconds per GB", "mb": arguments.mb, "rounds": arguments.rounds}
    result |= asyncio.run(_run(arguments))
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
