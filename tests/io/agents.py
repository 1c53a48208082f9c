"""Agents for the tests: a hub on its own loopback address and what it told, and peers whose bytes a test writes.

Agent(device, address, contexts)    by_hand(address, port, context, hello)    served_by_hand(contexts)
hello_of(device)    messages_of(reader)
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_network

from ecdn_proxy.io.handshake import Ourselves
from ecdn_proxy.io.tls_links.contexts import Contexts
from ecdn_proxy.io.tls_links.hub import TlsHub
from ecdn_proxy.io.tls_links.sockets import Networks
from ecdn_proxy.wire.codec import encode
from ecdn_proxy.wire.peer import Contact, Hello, PeerMessage, read_peer_message
from ecdn_proxy.wire.version import PROTOCOL
from tests.io.holding import Holder
from tests.io.material import TENANT
from tests.io.waiting import DEADLINE_S, Record

LOOPBACK = (ip_network("127.0.0.0/8"),)


class Agent(Holder):
    """A hub on its own loopback address, and what it told."""

    def __init__(self, device: str, address: str, contexts: Contexts, networks: Networks = LOOPBACK) -> None:
        super().__init__(Record())
        self.device, self.address = device, address
        self.ourselves = Ourselves(device, TENANT, "test", (address,))
        self.hub = TlsHub(self.ourselves, (address, 0), contexts, networks, self, self)

    @property
    def contact(self) -> Contact:
        return Contact(self.device, (self.address,), self.hub.port)


Start = Callable[..., Awaitable[Agent]]


@contextlib.asynccontextmanager
async def by_hand(
    address: str, port: int, context: ssl.SSLContext, hello: bytes = b""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A peer whose bytes the test writes."""
    reader, writer = await asyncio.open_connection(
        address, port, ssl=context, server_hostname="", local_addr=("127.0.0.9", 0)
    )
    try:
        writer.write(hello)
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def served_by_hand(contexts: Contexts | None) -> AsyncIterator[tuple[Contact, asyncio.Queue[Streams]]]:
    """Agent "a" as a listener whose bytes the test writes; without contexts it does not even speak TLS."""
    accepted: asyncio.Queue[Streams] = asyncio.Queue()
    writers = []

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        accepted.put_nowait((reader, writer))

    server = await asyncio.start_server(take, "127.0.0.9", 0, ssl=contexts.server if contexts else None)
    async with server:
        try:
            yield Contact("a", ("127.0.0.9",), server.sockets[0].getsockname()[1]), accepted
        finally:
            for writer in writers:
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()


def hello_of(device: str, tenant: str = TENANT, protocol: int = PROTOCOL) -> bytes:
    return encode(Hello(protocol, device, tenant, "test", Contact(device, ("127.0.0.9",), 7688), (), True))


async def messages_of(reader: asyncio.StreamReader) -> AsyncIterator[PeerMessage]:
    async with asyncio.timeout(DEADLINE_S):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                length = int.from_bytes(await reader.readexactly(4), "big")
                yield read_peer_message(await reader.readexactly(length))
