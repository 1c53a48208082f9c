import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_network

import pytest
import pytest_asyncio

from ecdn_proxy.io import connection, link
from ecdn_proxy.io.link import Contexts, LinkHub, Ourselves, Told
from ecdn_proxy.io.tls import client_context
from ecdn_proxy.wire.codec import Splitter, encode
from ecdn_proxy.wire.faults import Unavailable
from ecdn_proxy.wire.integrity import PIECE_BYTES
from ecdn_proxy.wire.peer import (
    Bye,
    Cancel,
    Contact,
    Hello,
    PeerMessage,
    Piece,
    Ping,
    Pong,
    Watching,
    read_peer_message,
)
from ecdn_proxy.wire.version import PROTOCOL
from tests.io.material import TENANT, Root, root
from tests.io.waiting import DEADLINE_S, Record

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]
LOOPBACK = (ip_network("127.0.0.0/8"),)
STREAM = "ab" * 16


class Agent:
    """A hub on its own loopback address, and what it told."""

    def __init__(self, device: str, address: str, contexts: Contexts, networks: link.Networks = LOOPBACK) -> None:
        self.device, self.address = device, address
        self.record = Record()
        self.on_opened: Callable[[str], None] = lambda _: None
        told = Told(
            opened=self._opened,
            closed=self.record.tell("closed"),
            received=self.record.tell("received"),
            ready=self.record.tell("ready"),
            refused=self.record.tell("refused"),
        )
        ourselves = Ourselves(device, TENANT, "test", (address,))
        self.hub = LinkHub(ourselves, (address, 0), contexts, networks, told)

    def _opened(self, contact: Contact, kind: str, streams: tuple[str, ...], serves: bool, rtt_ms: float) -> None:
        self.record.tell("opened")(contact, kind, streams, serves, rtt_ms)
        self.on_opened(contact.device)

    @property
    def contact(self) -> Contact:
        return Contact(self.device, (self.address,), self.hub.port)

    def messages(self, kind: type[PeerMessage]) -> list[PeerMessage]:
        return [message for _, message in self.record.all("received") if isinstance(message, kind)]


Start = Callable[..., Awaitable[Agent]]


@pytest_asyncio.fixture
async def start(tenant_root: Root) -> AsyncIterator[Start]:
    """Start agents; all are closed afterwards."""
    started: list[Agent] = []

    async def make(device: str, address: str, networks: link.Networks = LOOPBACK) -> Agent:
        agent = Agent(device, address, tenant_root.contexts(device), networks)
        started.append(agent)
        await agent.hub.start()
        return agent

    yield make
    for agent in started:
        await agent.hub.close()


@contextlib.asynccontextmanager
async def by_hand(
    agent: Agent, context: ssl.SSLContext, hello: bytes = b""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A peer whose bytes the test writes."""
    reader, writer = await asyncio.open_connection(
        agent.address, agent.hub.port, ssl=context, server_hostname="", local_addr=("127.0.0.9", 0)
    )
    try:
        writer.write(hello)
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def hello_of(device: str, tenant: str = TENANT, protocol: int = PROTOCOL) -> bytes:
    return encode(Hello(protocol, device, tenant, "test", Contact(device, ("127.0.0.9",), 7688), (), True))


async def messages_of(reader: asyncio.StreamReader) -> AsyncIterator[PeerMessage]:
    splitter = Splitter(read_peer_message)
    async with asyncio.timeout(DEADLINE_S):
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                for message in splitter.feed(data):
                    yield message


async def test_two_agents_meet_and_talk(start: Start) -> None:
    a, b = await start("a", "127.0.0.2"), await start("b", "127.0.0.3")
    b.hub.set_streams((STREAM,), False)
    a.hub.dial(b.contact)
    contact, kind, streams, serves, rtt_ms = await a.record.first("opened")
    assert (contact, kind, streams, serves) == (b.contact, "lan", (STREAM,), False)
    assert rtt_ms > 0
    assert (await b.record.first("opened"))[0] == a.contact  # the dial came from a's own address
    piece = Piece(1, 2, bytes(PIECE_BYTES))
    a.hub.send("b", piece)
    assert await b.record.first("received") == ("a", piece)
    b.hub.send("a", Cancel(7))
    assert await a.record.first("received") == ("b", Cancel(7))
    stats = b.hub.stats()["a"]
    assert stats.address == "127.0.0.2"
    assert stats.bytes_in > PIECE_BYTES > stats.bytes_out > 0
    assert not stats.dialled
    assert not a.hub.is_full("b")


async def test_streams_are_told_to_open_links(start: Start) -> None:
    a, b = await start("a", "127.0.0.2"), await start("b", "127.0.0.3")
    a.hub.dial(b.contact)
    await a.record.first("opened")
    a.hub.set_streams((STREAM,), True)
    a.hub.set_streams((STREAM,), True)
    a.hub.send("b", Cancel(1))
    await b.record.until(lambda: b.messages(Cancel))
    assert b.messages(Watching) == [Watching((STREAM,), True)]


async def test_hang_up_is_heard_on_both_sides(start: Start) -> None:
    a, b = await start("a", "127.0.0.2"), await start("b", "127.0.0.3")
    a.hub.dial(b.contact)
    await a.record.first("opened")
    a.hub.hang_up("b", "no longer needed")
    assert await a.record.first("closed") == ("b", "no longer needed", False)
    assert await b.record.first("closed") == ("a", "no longer needed", False)
    assert not a.hub.stats()
    a.hub.send("b", Cancel(1))  # dropped
    a.hub.hang_up("b", "again")  # nothing to do


async def test_an_agent_that_stops_says_so(start: Start) -> None:
    a, b = await start("a", "127.0.0.2"), await start("b", "127.0.0.3")
    a.hub.dial(b.contact)
    await a.record.first("opened")
    await b.hub.close()
    assert await a.record.first("closed") == ("b", "the agent is stopping", False)


@pytest.mark.parametrize("round_", range(6))
async def test_two_dials_at_once_leave_one_link_and_every_message(start: Start, round_: int) -> None:
    a, b = await start("a", "127.0.0.2"), await start("b", "127.0.0.3")
    sizes = [PIECE_BYTES if number % 3 else 10 for number in range(60)]

    def send_all(agent: Agent) -> Callable[[str], None]:
        def send(device: str) -> None:
            for number, size in enumerate(sizes):
                agent.hub.send(device, Piece(number, 0, bytes(size)))

        return send

    async def heard_all(agent: Agent, other: Agent) -> None:
        await agent.record.until(lambda: len(agent.messages(Piece)) == len(sizes))
        other.hub.send(agent.device, Cancel(1))
        await agent.record.until(lambda: agent.messages(Cancel))
        numbers = [message.request for message in agent.messages(Piece) if isinstance(message, Piece)]
        assert numbers == list(range(len(sizes)))
        assert len(agent.record.all("opened")) == 1
        assert agent.record.all("closed") == []

    a.on_opened, b.on_opened = send_all(a), send_all(b)
    a.hub.dial(b.contact)
    b.hub.dial(a.contact)
    await heard_all(a, b)
    await heard_all(b, a)
    await a.record.until(lambda: a.hub.stats()["b"].dialled)
    assert not b.hub.stats()["a"].dialled


async def test_an_agent_that_started_anew_replaces_its_link(start: Start, tenant_root: Root) -> None:
    a = await start("a", "127.0.0.2")
    context = tenant_root.contexts("b").client
    async with by_hand(a, context, hello_of("b")):
        await a.record.first("opened")
        async with by_hand(a, context, hello_of("b")):
            await a.record.until(lambda: len(a.record.all("opened")) == 2)
            assert a.record.all("closed") == [("b", "replaced by a newer link", False)]
            assert len(a.hub.stats()) == 1
    await a.record.until(lambda: not a.hub.stats())


async def test_the_next_address_is_tried(start: Start) -> None:
    a, b = await start("a", "127.0.0.2"), await start("b", "127.0.0.3")
    a.hub.dial(Contact("b", ("192.0.2.9", "127.0.0.44", "127.0.0.3"), b.hub.port))
    assert (await a.record.first("opened"))[0].device == "b"


async def test_nobody_there(start: Start) -> None:
    a = await start("a", "127.0.0.2")
    a.hub.dial(Contact("b", ("127.0.0.44",), 1))
    device, why, misbehaved = await a.record.first("closed")
    assert (device, misbehaved) == ("b", False)
    assert "refused" in why


async def test_another_device_answers(start: Start) -> None:
    a, b = await start("a", "127.0.0.2"), await start("b", "127.0.0.3")
    a.hub.dial(Contact("c", (b.address,), b.hub.port))
    assert await a.record.first("closed") == ("c", "another device answers at 127.0.0.3", False)
    assert not a.record.all("opened")


async def test_a_dial_outside_the_networks_is_not_made(start: Start) -> None:
    a = await start("a", "127.0.0.2", networks=(ip_network("127.0.0.0/30"),))
    b = await start("b", "127.0.0.5")
    a.hub.dial(b.contact)
    device, why, _ = await a.record.first("closed")
    assert device == "b"
    assert "network" in why
    b.hub.dial(a.contact)
    assert "outside" in (await a.record.first("refused"))[1]
    await b.record.first("closed")


async def test_an_agent_does_not_dial_itself(start: Start) -> None:
    a = await start("a", "127.0.0.2")
    a.hub.dial(a.contact)
    assert (await a.record.first("closed"))[0] == "a"


GARBAGE = {
    "no length": b"\xff" * 40,
    "oversize": (65_537).to_bytes(4, "big"),
    "no message": (3).to_bytes(4, "big") + b"abc",
    "no MessagePack": (1).to_bytes(4, "big") + b"\xc1",
    "message before Hello": encode(Cancel(1)),
    "another device's Hello": hello_of("c"),
    "another tenant's Hello": hello_of("b", tenant="22222222-0000-4000-8000-000000000000"),
}


@pytest.mark.parametrize("sent", GARBAGE.values(), ids=GARBAGE.keys())
async def test_misbehaviour_before_hello_ends_the_connection(start: Start, tenant_root: Root, sent: bytes) -> None:
    a = await start("a", "127.0.0.2")
    async with by_hand(a, tenant_root.contexts("b").client, sent) as (reader, _):
        device, _, misbehaved = await a.record.first("closed")
        assert (device, misbehaved) == ("b", True)
        assert [message async for message in messages_of(reader) if not isinstance(message, Hello)] == []
    assert not a.record.all("opened")


@pytest.mark.parametrize(
    "sent", [GARBAGE["no length"], GARBAGE["oversize"], GARBAGE["no message"], hello_of("b")], ids=str
)
async def test_misbehaviour_on_an_open_link_ends_it(start: Start, tenant_root: Root, sent: bytes) -> None:
    a = await start("a", "127.0.0.2")
    async with by_hand(a, tenant_root.contexts("b").client, hello_of("b") + sent):
        device, _, misbehaved = await a.record.first("closed")
        assert (device, misbehaved) == ("b", True)


async def test_another_protocol_is_no_misbehaviour(start: Start, tenant_root: Root) -> None:
    a = await start("a", "127.0.0.2")
    async with by_hand(a, tenant_root.contexts("b").client, hello_of("b", protocol=99)):
        assert "protocol 99" in (await a.record.first("refused"))[1]
    assert not a.record.all("closed")


async def test_half_a_frame_then_nothing(start: Start, tenant_root: Root) -> None:
    a = await start("a", "127.0.0.2")
    half = encode(Piece(1, 0, bytes(1_000)))[:500]
    async with by_hand(a, tenant_root.contexts("b").client, hello_of("b") + half) as (_, writer):
        await a.record.first("opened")
        writer.close()
        device, _, misbehaved = await a.record.first("closed")
        assert (device, misbehaved) == ("b", False)
    assert not a.record.all("received")


async def test_frames_cut_anywhere_are_put_together(start: Start, tenant_root: Root) -> None:
    a = await start("a", "127.0.0.2")
    stream = b"".join(encode(Piece(number, 0, bytes(number * 700))) for number in range(40))
    async with by_hand(a, tenant_root.contexts("b").client, hello_of("b")) as (_, writer):
        for at in range(0, len(stream), 997):
            writer.write(stream[at : at + 997])
            await writer.drain()
        await a.record.until(lambda: len(a.messages(Piece)) == 40)
    assert a.messages(Piece) == [Piece(number, 0, bytes(number * 700)) for number in range(40)]


async def _is_refused(agent: Agent, context: ssl.SSLContext) -> None:
    with contextlib.suppress(OSError):
        async with by_hand(agent, context, hello_of("b")) as (reader, _):
            assert [message async for message in messages_of(reader) if not isinstance(message, Hello)] == []
    await agent.record.until(lambda: agent.record.all("refused") or agent.record.all("closed"))
    assert not agent.record.all("opened")


async def test_strangers_are_refused(start: Start, tenant_root: Root) -> None:
    other = root("Tenant Root")
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname = False
    bare.load_verify_locations(cadata=tenant_root.pem)
    old = tenant_root.contexts("b").client
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    silent = tenant_root.contexts("b").client
    silent.set_alpn_protocols(["h2"])
    tenant = "22222222-0000-4000-8000-000000000000"
    contexts = [
        other.contexts("b", trusts=tenant_root).client,  # a certificate of another CA
        tenant_root.contexts("b", tenant=tenant).client,  # of another tenant
        bare,  # none
        old,  # TLS 1.2
        silent,  # another application
    ]
    for number, context in enumerate(contexts):
        await _is_refused(await start("a", f"127.0.0.{20 + number}"), context)


async def test_a_server_of_another_ca_gets_no_hello(start: Start, tenant_root: Root) -> None:
    a = await start("a", "127.0.0.2")
    other = root("Tenant Root")
    certificate, key = other.device("b")
    context = link.Contexts(other.contexts("b").server, client_context(certificate, key, tenant_root.pem))
    impostor = Agent("b", "127.0.0.3", context)
    await impostor.hub.start()
    try:
        a.hub.dial(impostor.contact)
        device, why, misbehaved = await a.record.first("closed")
        assert (device, misbehaved) == ("b", False)
        assert "certificate" in why
        assert not impostor.record.all("opened")
    finally:
        await impostor.hub.close()


async def test_silence_and_trickle_end_in_time(
    start: Start, tenant_root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HELLO_S", 0.2)
    monkeypatch.setattr(link, "HELLO_S", 0.2)
    a = await start("a", "127.0.0.2")
    async with by_hand(a, tenant_root.contexts("b").client):
        await a.record.until(lambda: len(a.record.all("refused")) == 1)
    async with by_hand(a, tenant_root.contexts("b").client) as (_, writer):
        for byte in hello_of("b")[:-1]:
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        await a.record.until(lambda: len(a.record.all("refused")) == 2)
    _, writer = await asyncio.open_connection(a.address, a.hub.port)  # not even TLS
    await a.record.until(lambda: len(a.record.all("refused")) == 3)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    assert not a.record.all("opened")


async def test_strangers_are_counted(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "STRANGERS_MAX", 2)
    a = await start("a", "127.0.0.2")
    writers = [(await asyncio.open_connection(a.address, a.hub.port))[1] for _ in range(3)]
    assert "too many" in (await a.record.first("refused"))[1]
    for writer in writers:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_links_are_counted(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "LINKS_MAX", 1)
    a, b, c = [await start(name, f"127.0.0.{at}") for at, name in enumerate("abc", 2)]
    b.hub.dial(a.contact)
    await a.record.first("opened")
    c.hub.dial(a.contact)
    await c.record.first("closed")
    assert len(a.record.all("opened")) == 1
    a.hub.dial(c.contact)
    assert (await a.record.first("closed"))[0] == "c"


async def test_three_pings_unanswered(start: Start, tenant_root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PING_S", 0.03)
    a = await start("a", "127.0.0.2")
    async with by_hand(a, tenant_root.contexts("b").client, hello_of("b")) as (reader, _):
        assert await a.record.first("closed") == ("b", "3 pings unanswered", False)
        assert len([message async for message in messages_of(reader) if isinstance(message, Ping)]) == 3


async def test_answered_pings_keep_a_link_and_measure_it(
    start: Start, tenant_root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PING_S", 0.01)
    a = await start("a", "127.0.0.2")
    async with by_hand(a, tenant_root.contexts("b").client, hello_of("b")) as (reader, writer):
        answered = 0
        async for message in messages_of(reader):
            if isinstance(message, Ping):
                writer.write(encode(Pong(message.number)))
                answered += 1
            if answered == 8:
                break
        assert not a.record.all("closed")
        assert a.hub.stats()["b"].rtt_ms > 0
        writer.write(encode(Ping(77)))
        assert Pong(77) in [message async for message in _up_to(reader, Pong)]


async def _up_to(reader: asyncio.StreamReader, kind: type[PeerMessage]) -> AsyncIterator[PeerMessage]:
    async for message in messages_of(reader):
        yield message
        if isinstance(message, kind):
            return


async def test_a_slow_reader_fills_the_link_and_drains_it(start: Start, tenant_root: Root) -> None:
    a = await start("a", "127.0.0.2")
    piece = Piece(1, 0, bytes(PIECE_BYTES))
    async with by_hand(a, tenant_root.contexts("b").client, hello_of("b")) as (reader, _):
        await a.record.first("opened")
        sent = 0
        while not a.hub.is_full("b"):
            a.hub.send("b", piece)
            sent += 1
            await asyncio.sleep(0)
            assert sent < 2_000
        seen = 0
        async for message in messages_of(reader):
            seen += isinstance(message, Piece)
            if seen == sent:
                break
        assert await a.record.first("ready") == ("b",)
        assert not a.hub.is_full("b")


async def test_whoever_never_reads_is_hung_up_on(start: Start, tenant_root: Root) -> None:
    a = await start("a", "127.0.0.2")
    piece = Piece(1, 0, bytes(PIECE_BYTES))
    async with by_hand(a, tenant_root.contexts("b").client, hello_of("b")) as (_, writer):
        await a.record.first("opened")
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a stream's transport can
        for _ in range(4_000):
            a.hub.send("b", piece)
            if a.record.all("closed"):
                break
            await asyncio.sleep(0)
        assert await a.record.first("closed") == ("b", "it no longer reads what it is sent", False)


async def test_a_renewed_certificate_serves_new_links(start: Start, tenant_root: Root) -> None:
    a, b = await start("a", "127.0.0.2"), await start("b", "127.0.0.3")
    a.hub.set_contexts(tenant_root.contexts("a"))
    a.hub.dial(b.contact)
    await b.record.first("opened")


async def test_a_taken_port_is_said(start: Start, tenant_root: Root) -> None:
    a = await start("a", "127.0.0.2")
    told = Told(*(a.record.tell(name) for name in ("opened", "closed", "received", "ready")))
    second = LinkHub(
        Ourselves("b", TENANT, "test", ()), (a.address, a.hub.port), tenant_root.contexts("b"), LOOPBACK, told
    )
    with pytest.raises(Unavailable, match="cannot listen"):
        await second.start()
    await second.close()


async def test_bye_before_hello(start: Start, tenant_root: Root) -> None:
    a = await start("a", "127.0.0.2")
    async with by_hand(a, tenant_root.contexts("b").client, encode(Bye("changed my mind"))):
        assert (await a.record.first("refused"))[1] == "changed my mind"
