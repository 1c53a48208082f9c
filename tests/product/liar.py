"""A neighbour that lies: an enrolled device that gets itself leases, so that others are told to read from it.

It is quicker than every player, so it is granted the lease of most new segments, says that its fetch makes progress and
is complete, and then answers whoever comes to read:

    silent     nothing at all
    flipped    with true, signed hashes and head, and one bit of one piece turned
    swapped    with another segment's bytes under this segment's hashes, and a head that is not the origin's
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

from yarl import URL

from ecdn_proxy.io import clock
from ecdn_proxy.io.identity import Identity
from ecdn_proxy.wire.integrity import BATCH_PIECES_MAX, PIECE_BYTES, SegmentHead, Voucher
from ecdn_proxy.wire.peer import (
    Ask,
    End,
    Finished,
    Follow,
    Get,
    GoAlone,
    Granted,
    Hello,
    Piece,
    Progress,
    Redirect,
    Vouched,
)
from tests.demo.stage import Stage
from tests.product.peer import Peer, Watcher, enrolled

type Manner = Literal["silent", "flipped", "swapped"]
_ANSWERS = (Granted, Follow, Redirect, GoAlone)


@dataclass
class Liar:
    """One device with a link to each agent."""

    stage: Stage
    identity: Identity
    manner: Manner
    links: list[Peer]
    watcher: Watcher
    held: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    asked_of_it: int = 0
    """How often somebody came to read a segment that it said it has."""
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    @classmethod
    @contextlib.asynccontextmanager
    async def at_work(cls, stage: Stage, manner: Manner) -> AsyncIterator["Liar"]:
        """In the swarm of the stage's HLS stream until the end of the block."""
        identity = await enrolled(stage, f"liar-{manner}")
        async with Peer.dial(identity, stage.agents[0]) as one, Peer.dial(identity, stage.agents[1]) as two:
            liar = cls(stage, identity, manner, [one, two], Watcher(identity))
            stream = await liar._look("master.m3u8")
            for link in liar.links:
                link.hello((stream,))
                await link.next(Hello)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(liar._be_first())]
                yield liar
                for task in tasks:
                    task.cancel()

    @property
    def banned(self) -> bool:
        """Whether an agent has hung up on it."""
        return any(link.ended.is_set() for link in self.links)

    async def _look(self, path: str) -> str:
        url = f"{self.stage.origin.url}/live/hls/{path}"
        async with self.stage.session.get(url) as answer:
            self._text = await answer.text()
        stream = await self.watcher.manifest(url, "application/vnd.apple.mpegurl", self._text.encode())
        assert stream
        return stream

    async def _be_first(self) -> None:
        seen: set[str] = set()
        serving = [self._serve(link) for link in self.links]
        async with asyncio.TaskGroup() as group:
            for service in serving:
                group.create_task(service)
            while True:
                await self._look("720/index.m3u8")
                names = [line for line in self._text.splitlines() if line.endswith(".ts")]
                for name in names if seen else ():
                    if name not in seen:
                        group.create_task(self._take(str(URL(f"{self.stage.origin.url}/live/hls/720/") / name)))
                seen |= set(names)
                await asyncio.sleep(0.05)

    async def _take(self, url: str) -> None:
        match = self.watcher.match(url)
        assert match is not None
        async with self.stage.session.get(url) as answer:
            body, etag = await answer.read(), answer.headers["ETag"]
        key, stream = match.listed.key, match.listed.stream
        self.held[key], self.etags[key] = body, etag
        for link in self.links:
            if link.ended.is_set():
                continue
            request = next(self._numbers)
            before = len(link.heard)
            link.say(Ask(request, key, stream, "first"))
            answer_ = await self._answer(link, before, request)
            if isinstance(answer_, Granted):
                for part in (1, 2, 3):
                    link.say(Progress(key, answer_.lease, len(body) * part // 3))
                    await asyncio.sleep(0.05)
                link.say(Finished(key, answer_.lease, "complete", 200, ""))
            if isinstance(answer_, Granted | Follow):
                return

    @staticmethod
    async def _answer(link: Peer, before: int, request: int) -> object:
        for _ in range(100):
            for message in link.heard[before:]:
                if isinstance(message, _ANSWERS) and message.request == request:
                    return message
            await asyncio.sleep(0.01)
        return None

    async def _serve(self, link: Peer) -> None:
        while True:
            get = await link.next(Get, within=600)
            assert isinstance(get, Get)
            if get.key in self.held:
                self.asked_of_it += 1
                if self.manner != "silent":
                    self._send(link, get)

    def _send(self, link: Peer, get: Get) -> None:
        body = self.held[get.key]
        pieces = [body[at : at + PIECE_BYTES] for at in range(0, len(body), PIECE_BYTES)]
        for first in range(0, len(pieces), BATCH_PIECES_MAX):
            batch = pieces[first : first + BATCH_PIECES_MAX]
            last = first + len(batch) == len(pieces)
            link.say(Vouched(get.request, self._voucher(get.key, first, batch, len(body) if last else None)))
            for index, piece in enumerate(batch, first):
                if index >= get.first:
                    link.say(Piece(get.request, index, self._lie(get.key, index, piece)))
        link.say(End(get.request))

    def _lie(self, key: str, index: int, piece: bytes) -> bytes:
        if self.manner == "flipped":
            return piece if index != 3 else piece[:-1] + bytes([piece[-1] ^ 1])
        other = next((body for name, body in self.held.items() if name != key), bytes(len(piece)))
        return other[index * PIECE_BYTES : index * PIECE_BYTES + len(piece)].ljust(len(piece), b"\0")

    def _voucher(self, key: str, first: int, batch: list[bytes], total: int | None) -> Voucher:
        size = len(self.held[key])
        etag = self.etags[key] if self.manner == "flipped" else None
        head = SegmentHead(size, "video/mp2t", etag, None, clock.utc(), 60.0, "any") if not first else None
        hashes = b"".join(hashlib.sha256(piece).digest() for piece in batch)
        certificate = self.identity.certificate_der
        bare = Voucher(self.identity.device, key, "1", first, hashes, total, head, bytes(64), certificate)
        signature = self.identity.sign(bare.signed_bytes(self.identity.tenant))
        return Voucher(self.identity.device, key, "1", first, hashes, total, head, signature, certificate)
