"""The load of the coordinator's benchmark: one process that holds thousands of agents' WebSockets as cheaply as it can.

    python -m tests.bench.visitors KIND HOST PORT PATH --folder DIR --first N --step N --agents N --seconds S

The measured server has to be the busier side. So this speaks wsproto over a bare protocol on uvloop, makes every TLS
context before the clock runs, lets the kernel choose its ports late, and leaves the garbage collector off. It prints a
line of JSON when it is prepared, when all have joined and when it has asked, and waits for a line before each step.

Map: `Visitor` (one agent) · `Crowd` (this process's share of them) · `main`
"""

import argparse
import asyncio
import contextlib
import gc
import json
import os
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import uvloop
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.events import Event as Said

from ecdn_proxy.sansio.descriptors import raise_descriptor_limit
from ecdn_proxy.wire.codec import pack
from ecdn_proxy.wire.tracker import Alive, Beat, Here, Network, Watch
from ecdn_proxy.wire.version import PROTOCOL
from tests.demo.clock import seconds

PER_SITE = 200
BEAT_S, WATCH_EVERY = 15.0, 4
PROBES = 300
FILES_WANTED = 65_536
JOIN_WITHIN_S = 60.0
IP_BIND_ADDRESS_NO_PORT = 24
"""Of <linux/in.h>: without it a process has 28,000 ports for all its addresses together."""


class Visitor(asyncio.Protocol):
    """One agent as its server sees it; both servers are spoken to by the same code."""

    def __init__(self, number: int, arguments: argparse.Namespace, context: ssl.SSLContext) -> None:
        self.number = number
        self.ours = arguments.kind == "ours"
        self.lost = False
        """The server has ended the socket."""
        self.joined_ms = 0.0
        self._to = arguments
        self._sites = -(-arguments.agents // PER_SITE)
        """All of them fill at the same time, as they do when a company's event begins."""
        self._context = context
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[None] | None = None

    async def join(self) -> None:
        """Connect and say what an agent says first.

        Raises:
            OSError, TimeoutError: it could not, or was turned away.
        """
        loop = asyncio.get_running_loop()
        begun = seconds()
        plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        plain.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        plain.bind((f"127.0.0.{2 + self._to.first}", 0))
        self._answered = loop.create_future()
        async with asyncio.timeout(JOIN_WITHIN_S):
            await loop.sock_connect(plain, (self._to.host, self._to.port))
            await loop.create_connection(
                lambda: self, sock=plain, ssl=self._context, server_hostname=self._to.host, ssl_handshake_timeout=60
            )
            await self._answered
        self.joined_ms = (seconds() - begun) * 1e3

    async def ask(self) -> float:
        """Milliseconds until an answer."""
        self._answered = asyncio.get_running_loop().create_future()
        begun = seconds()
        self._say([pack(Alive()) if self.ours else self._announce("update")])
        await self._answered
        return (seconds() - begun) * 1e3

    def beat(self, number: int) -> None:
        """What an agent says while it watches."""
        if self.ours:
            said = [pack(Beat(number, 1, 1, 1, 1, 7, ()))]
            self._say([*said, self._watch()] if number % WATCH_EVERY == 0 else said)
        elif number % 8 == 0:  # WebTorrent's interval is two minutes
            self._say([self._announce("update")])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._transport.write(self._ws.send(Request(host=f"{self._to.host}:{self._to.port}", target=self._to.path)))

    def data_received(self, data: bytes) -> None:
        self._ws.receive_data(data)
        for event in self._ws.events():
            self._hear(event)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionError(f"visitor {self.number} was turned away: {exc}"))

    def _hear(self, event: Said) -> None:
        assert self._transport is not None
        match event:
            case AcceptConnection():
                self._say(self._begin())
            case Ping():
                self._transport.write(self._ws.send(event.response()))
            case BytesMessage() | TextMessage():
                # Welcome is the first message; afterwards Alive is one of two bytes
                wanted = not self.ours or not self.joined_ms or len(event.data) <= 2
                if wanted and self._answered is not None and not self._answered.done():
                    self._answered.set_result(None)
            case CloseConnection() | RejectConnection():
                self._transport.close()
            case Pong():
                pass
            case _:
                raise ValueError(f"the server said {event!r}")

    def _say(self, messages: Sequence[bytes | str]) -> None:
        if self._transport is None or self.lost:
            return
        for message in messages:
            framed = TextMessage(message) if isinstance(message, str) else BytesMessage(message)
            self._transport.write(self._ws.send(framed))

    def _begin(self) -> Sequence[bytes | str]:
        if not self.ours:
            return [self._announce("started")]
        place, site = divmod(self.number, self._sites)
        network = Network(f"10.{site // 256}.{site % 256}.{place + 1}", 24, "wired")
        return [pack(Here(PROTOCOL, "bench", (network,), 7688, serves=True)), self._watch()]

    def _watch(self) -> bytes:
        return pack(Watch((f"{self.number % self._sites:032x}",), serves=True))

    def _announce(self, event: str) -> str:
        swarm, me = f"{self.number % self._sites:020d}", f"-XX0001-{self.number:012d}"
        fields = {"action": "announce", "info_hash": swarm, "peer_id": me, "numwant": 0, "event": event}
        return json.dumps(fields | {"uploaded": 0, "downloaded": 0, "left": 1})


class Crowd:
    """This process's share of the visitors."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._to = arguments
        mine = range(arguments.first, arguments.agents, arguments.step)
        self._wanted = [Visitor(number, arguments, self._context(number)) for number in mine]
        self._here: list[Visitor] = []
        self._failures: list[str] = []

    def _context(self, number: int) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self._to.folder / "root.pem")
        if self._to.kind == "ours":
            context.load_cert_chain(self._to.folder / "chains" / f"{number}.pem")
        return context

    async def join(self) -> dict[str, Any]:
        """All of them, evenly over the time that they have."""
        begun = seconds()

        async def visit(visitor: Visitor) -> None:
            await asyncio.sleep(max(0.0, begun + self._to.seconds * visitor.number / self._to.agents - seconds()))
            try:
                await visitor.join()
            except (OSError, TimeoutError) as error:
                self._failures.append(f"{type(error).__name__}: {error}"[:100])
                return
            self._here.append(visitor)

        async with asyncio.TaskGroup() as group:
            for visitor in self._wanted:
                group.create_task(visit(visitor))
        joined = sorted(visitor.joined_ms for visitor in self._here)
        failed = {"failed": len(self._failures), "failures": self._failures[:3]}
        return {"joined": joined, "took_s": seconds() - begun} | failed

    async def live(self) -> None:
        """Everybody beats every 15 s, evenly spread."""
        beats = 0
        while True:
            for place, visitor in enumerate(self._here):
                visitor.beat(beats)
                if place % 20 == 19:
                    await asyncio.sleep(BEAT_S * 20 / len(self._here))
            beats += 1
            await asyncio.sleep(0.1)

    async def ask(self) -> dict[str, Any]:
        """Time some hundred answers."""
        answers = []
        for visitor in self._here[:: max(1, len(self._here) // PROBES)]:
            if not visitor.lost:
                answers.append(await visitor.ask())
                await asyncio.sleep(0.02)
        return {"answers": answers, "lost": sum(each.lost for each in self._here)}


async def _play(arguments: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()

    async def told() -> None:
        if not await loop.run_in_executor(None, sys.stdin.readline):
            os._exit(1)  # whoever started this is gone

    def say(line: dict[str, Any]) -> None:
        print(json.dumps(line), flush=True)

    crowd = Crowd(arguments)
    say({"prepared": True})
    await told()
    say(await crowd.join())
    living = loop.create_task(crowd.live())
    await told()
    say(await crowd.ask())
    await told()
    living.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await living
    os._exit(0)  # closing thousands of sockets one by one is nobody's figure


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.visitors", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=("ours", "reference"))
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--step", type=int, required=True)
    parser.add_argument("--agents", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    raise_descriptor_limit(FILES_WANTED)
    gc.disable()
    uvloop.run(_play(arguments))


if __name__ == "__main__":
    main()
