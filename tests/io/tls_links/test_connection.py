import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import pytest

from ecdn_proxy.io.tls_links import connection
from ecdn_proxy.io.tls_links import dialer as tls_dialer
from ecdn_proxy.wire.codec import encode
from ecdn_proxy.wire.integrity import PIECE_BYTES
from ecdn_proxy.wire.peer import Bye, Cancel, Hello, PeerMessage, Piece, Ping, Pong
from tests.io.agents import Agent, Start, by_hand, hello_of, messages_of
from tests.io.material import Root, root

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]

UNKNOWN = (4).to_bytes(4, "big") + b"\x92\xcc\xfa\x01"
"""A message with tag 250, which no release has."""
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
    async with by_hand(a.address, a.hub.port, tenant_root.contexts("b").client, sent) as (reader, _):
        device, _, misbehaved = await a.record.first("closed")
        assert (device, misbehaved) == ("b", True)
        assert [message async for message in messages_of(reader) if not isinstance(message, Hello)] == []
    assert not a.record.all("opened")


@pytest.mark.parametrize(
    "sent", [GARBAGE["no length"], GARBAGE["oversize"], GARBAGE["no message"], hello_of("b")], ids=str
)
async def test_misbehaviour_on_an_open_link_ends_it(start: Start, tenant_root: Root, sent: bytes) -> None:
    a = await start("a", "127.0.0.2")
    async with by_hand(a.address, a.hub.port, tenant_root.contexts("b").client, hello_of("b") + sent):
        device, _, misbehaved = await a.record.first("closed")
        assert (device, misbehaved) == ("b", True)


async def test_what_a_later_release_says_is_passed_over(start: Start, tenant_root: Root) -> None:
    a = await start("a", "127.0.0.2")
    sent = hello_of("b") + encode(Cancel(1)) + UNKNOWN + encode(Cancel(2)) + UNKNOWN + encode(Cancel(3))
    async with by_hand(a.address, a.hub.port, tenant_root.contexts("b").client, sent):
        await a.record.until(lambda: len(a.messages(Cancel)) == 3)
        assert a.messages(Cancel) == [Cancel(1), Cancel(2), Cancel(3)]
        assert a.record.all("passed_over") == [("b", "test", 250)], "told once, with whose it was and its tag"
        assert (a.stats()["b"].version, a.stats()["b"].passed_over) == ("test", 2)
        assert not a.record.all("closed")


async def test_before_hello_too(start: Start, tenant_root: Root) -> None:
    a = await start("a", "127.0.0.2")
    async with by_hand(a.address, a.hub.port, tenant_root.contexts("b").client, UNKNOWN + hello_of("b")):
        await a.record.first("opened")
        assert a.record.all("passed_over") == [("b", "", 250)]


async def test_another_protocol_is_no_misbehaviour(start: Start, tenant_root: Root) -> None:
    a = await start("a", "127.0.0.2")
    async with by_hand(a.address, a.hub.port, tenant_root.contexts("b").client, hello_of("b", protocol=99)):
        assert "protocol 99" in (await a.record.first("refused"))[1]
    assert not a.record.all("closed")


async def test_half_a_frame_then_nothing(start: Start, tenant_root: Root) -> None:
    a = await start("a", "127.0.0.2")
    half = encode(Piece(1, 0, bytes(1_000)))[:500]
    async with by_hand(a.address, a.hub.port, tenant_root.contexts("b").client, hello_of("b") + half) as (_, writer):
        await a.record.first("opened")
        writer.close()
        device, _, misbehaved = await a.record.first("closed")
        assert (device, misbehaved) == ("b", False)
    assert not a.record.all("received")


async def test_frames_cut_anywhere_are_put_together(start: Start, tenant_root: Root) -> None:
    a = await start("a", "127.0.0.2")
    stream = b"".join(encode(Piece(number, 0, bytes(number * 700))) for number in range(40))
    async with by_hand(a.address, a.hub.port, tenant_root.contexts("b").client, hello_of("b")) as (_, writer):
        for at in range(0, len(stream), 997):
            writer.write(stream[at : at + 997])
            await writer.drain()
        await a.record.until(lambda: len(a.messages(Piece)) == 40)
    assert a.messages(Piece) == [Piece(number, 0, bytes(number * 700)) for number in range(40)]


async def _is_refused(agent: Agent, context: ssl.SSLContext) -> None:
    with contextlib.suppress(OSError):
        async with by_hand(agent.address, agent.hub.port, context, hello_of("b")) as (reader, _):
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


async def test_silence_and_trickle_end_in_time(
    start: Start, tenant_root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HELLO_S", 0.2)
    monkeypatch.setattr(tls_dialer, "HELLO_S", 0.2)
    a = await start("a", "127.0.0.2")
    async with by_hand(a.address, a.hub.port, tenant_root.contexts("b").client):
        await a.record.until(lambda: len(a.record.all("refused")) == 1)
    async with by_hand(a.address, a.hub.port, tenant_root.contexts("b").client) as (_, writer):
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


async def test_three_pings_unanswered(start: Start, tenant_root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PING_S", 0.03)
    a = await start("a", "127.0.0.2")
    async with by_hand(a.address, a.hub.port, tenant_root.contexts("b").client, hello_of("b")) as (reader, _):
        assert await a.record.first("closed") == ("b", "3 pings unanswered", False)
        assert len([message async for message in messages_of(reader) if isinstance(message, Ping)]) == 3


async def test_answered_pings_keep_a_link_and_measure_it(
    start: Start, tenant_root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PING_S", 0.01)
    a = await start("a", "127.0.0.2")
    async with by_hand(a.address, a.hub.port, tenant_root.contexts("b").client, hello_of("b")) as (reader, writer):
        answered = 0
        async for message in messages_of(reader):
            if isinstance(message, Ping):
                writer.write(encode(Pong(message.number)))
                answered += 1
            if answered == 8:
                break
        assert not a.record.all("closed")
        assert a.stats()["b"].rtt_ms > 0
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
    async with by_hand(a.address, a.hub.port, tenant_root.contexts("b").client, hello_of("b")) as (reader, _):
        await a.record.first("opened")
        sent = 0
        while not a.is_full("b"):
            a.send("b", piece)
            sent += 1
            await asyncio.sleep(0)
            assert sent < 2_000
        seen = 0
        async for message in messages_of(reader):
            seen += isinstance(message, Piece)
            if seen == sent:
                break
        assert await a.record.first("ready") == ("b",)
        assert not a.is_full("b")


async def test_whoever_never_reads_is_hung_up_on(start: Start, tenant_root: Root) -> None:
    a = await start("a", "127.0.0.2")
    piece = Piece(1, 0, bytes(PIECE_BYTES))
    async with by_hand(a.address, a.hub.port, tenant_root.contexts("b").client, hello_of("b")) as (_, writer):
        await a.record.first("opened")
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a stream's transport can
        for _ in range(4_000):
            a.send("b", piece)
            if a.record.all("closed"):
                break
            await asyncio.sleep(0)
        assert await a.record.first("closed") == ("b", "it no longer reads what it is sent", False)


async def test_bye_before_hello(start: Start, tenant_root: Root) -> None:
    a = await start("a", "127.0.0.2")
    async with by_hand(a.address, a.hub.port, tenant_root.contexts("b").client, encode(Bye("changed my mind"))):
        assert (await a.record.first("refused"))[1] == "changed my mind"
