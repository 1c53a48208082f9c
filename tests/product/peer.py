"""An enrolled device that is no agent of ours: it speaks TLS and frames by hand, and says what it likes.

Map:
    Peer           one link: hello, say, raw, hear
    enrolled       a device identity from the stage's coordinator
    Watcher        what this device can know of a stream: keys of its segments, as every enrolled device can
"""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from typing import Self

import msgspec

from ecdn_proxy.agent.api import ViewerRequest
from ecdn_proxy.agent.classifier import Classifier, SegmentMatch
from ecdn_proxy.core.catalog.providers import Profiles
from ecdn_proxy.io import clock
from ecdn_proxy.io import coordinator_client as coordinator
from ecdn_proxy.io.identity import Identity
from ecdn_proxy.io.tls_links.contexts import client_context
from ecdn_proxy.wire.codec import encode
from ecdn_proxy.wire.peer import Contact, Hello, PeerMessage, Ping, Pong, read_peer_message
from ecdn_proxy.wire.version import PROTOCOL
from tests.demo.parts import PEER_PORT, Agent
from tests.demo.stage import Stage
from tests.product.outside import WITHIN_SECONDS


async def enrolled(stage: Stage, name: str) -> Identity:
    """One more device of the stage's tenant."""
    asked = stage.invitation
    return await coordinator.enrol(
        asked["coordinator"], asked["tenant_root_sha256"], asked["token"], stage.directory / name, "by hand"
    )


class Peer:
    """One link to an agent. Everything that comes is kept in `heard`; `ended` says why nothing more will come."""

    def __init__(self, identity: Identity, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.identity = identity
        self.heard: list[PeerMessage] = []
        self.bytes_heard = bytearray()
        self.ended = asyncio.Event()
        self.news: asyncio.Queue[PeerMessage] = asyncio.Queue()
        self.answers_pings = True
        self._reader, self._writer = reader, writer
        self._listening: asyncio.Future[None] | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def dial(cls, identity: Identity, agent: Agent) -> AsyncIterator[Self]:
        """TLS to an agent's peer port with this device's certificate; no Hello yet."""
        context = client_context(*identity.chain)
        reader, writer = await asyncio.open_connection(agent.address, PEER_PORT, ssl=context, server_hostname="")
        peer = cls(identity, reader, writer)
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(peer._listen())
            try:
                yield peer
            finally:
                listening.cancel()
                writer.transport.abort()

    def hello(self, streams: tuple[str, ...] = ()) -> None:
        """The Hello of a well-behaved agent that nobody can dial."""
        me = Contact(self.identity.device, ("127.0.0.1",), 1)
        self.say(Hello(PROTOCOL, self.identity.device, self.identity.tenant, "by hand", me, streams, serves=True))

    def say(self, message: msgspec.Struct) -> None:
        self.raw(encode(message))

    def raw(self, data: bytes) -> None:
        if not self.ended.is_set():
            self._writer.write(data)

    async def drain(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def next(self, *kinds: type[msgspec.Struct], within: float = WITHIN_SECONDS) -> PeerMessage:
        """The next message of one of these kinds; others are left out."""
        async with asyncio.timeout(within):
            while True:
                message = await self.news.get()
                if isinstance(message, kinds):
                    return message

    async def _listen(self) -> None:
        try:
            while True:
                (length,) = struct.unpack(">I", await self._reader.readexactly(4))
                body = await self._reader.readexactly(length)
                self.bytes_heard += body
                message = read_peer_message(body)
                self.heard.append(message)
                if isinstance(message, Ping) and self.answers_pings:
                    self.say(Pong(message.number))
                self.news.put_nowait(message)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.ended.set()


class Watcher:
    """Reads manifests as an agent does and so knows the keys; the salt is every enrolled device's."""

    def __init__(self, identity: Identity) -> None:
        salt = bytes.fromhex(identity.salt)
        self._classifier = Classifier(
            salt=salt,
            profiles=Profiles.load(()),
            window_s=300.0,
            allow_local=True,
            share_parts=True,
            find_rule=lambda _: None,
        )

    async def manifest(self, url: str, content_type: str, body: bytes) -> str:
        """The stream of a manifest; "" if it has none."""
        found = await self._classifier.manifest_arrived(
            ViewerRequest("GET", url, ()), (("content-type", content_type),), body, clock.utc()
        )
        return next(iter(found), "")

    def match(self, url: str) -> SegmentMatch | None:
        """The segment at `url`, if a manifest lists it."""
        found = self._classifier.classify(ViewerRequest("GET", url, ()), clock.utc())
        return found if isinstance(found, SegmentMatch) else None
