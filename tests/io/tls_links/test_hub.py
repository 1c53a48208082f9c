import asyncio
from collections.abc import Callable

import pytest

from ecdn_proxy.io.tls_links import hub as link
from ecdn_proxy.wire.codec import encode
from ecdn_proxy.wire.integrity import PIECE_BYTES
from ecdn_proxy.wire.peer import Bye, Cancel, Hello, PeerMessage, Piece, Watching
from tests.io.agents import Agent, Start, by_hand, hello_of, messages_of, served_by_hand
from tests.io.material import Root, root

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]
STREAM = "ab" * 16


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


async def test_an_agent_does_not_dial_itself(start: Start) -> None:
    a = await start("a", "127.0.0.2")
    a.hub.dial(a.contact)
    assert (await a.record.first("closed"))[0] == "a"


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


async def test_a_renewed_certificate_serves_new_links(start: Start, tenant_root: Root) -> None:
    """Seen by what others say of it: a certificate of another root is refused, whichever end shows it."""
    a, b, c = await start("a", "127.0.0.2"), await start("b", "127.0.0.3"), await start("c", "127.0.0.4")
    a.hub.dial(b.contact)
    await b.record.first("opened")
    a.hub.set_contexts(root("Tenant Root").contexts("a", trusts=tenant_root))
    a.hub.dial(c.contact)
    assert (await a.record.first("closed"))[0] == "c"
    c.hub.dial(a.contact)
    await c.record.until(lambda: c.record.all("closed"))
    a.hub.set_contexts(tenant_root.contexts("a"))
    a.hub.dial(c.contact)
    await c.record.first("opened")
    await a.record.until(lambda: set(a.hub.stats()) == {"b", "c"})  # the link from before stays


async def _next(reader: asyncio.StreamReader, kind: type[PeerMessage]) -> PeerMessage:
    async for message in messages_of(reader):
        if isinstance(message, kind):
            return message
    raise AssertionError(f"no {kind.__name__}")


@pytest.mark.parametrize("survives", [True, False])
async def test_a_bye_on_the_loser_may_come_before_the_winners_hello(
    start: Start, tenant_root: Root, survives: bool
) -> None:
    contexts = tenant_root.contexts("a")
    b = await start("b", "127.0.0.3")
    async with served_by_hand(contexts) as (contact, accepted):
        b.hub.dial(contact)
        _, loser = await accepted.get()
        loser.write(hello_of("a"))
        await b.record.first("opened")
        async with by_hand(b, contexts.client) as (reader, winner):
            await _next(reader, Hello)
            loser.write(encode(Bye(link.DUPLICATE)))
            await b.record.until(lambda: not b.hub.stats())
            b.hub.send("a", Cancel(1))
            assert not b.hub.is_full("a")
            if survives:
                winner.write(hello_of("a"))
                assert await _next(reader, Cancel) == Cancel(1)
                assert not b.record.all("closed")
            else:
                winner.transport.abort()
                assert (await b.record.first("closed"))[0] == "a"
    await b.record.first("closed")
    assert len(b.record.all("opened")) == len(b.record.all("closed")) == 1


async def test_a_link_that_moves_can_be_hung_up_and_holds_a_bounded_amount(
    start: Start, tenant_root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_PENDING_MAX", 2)
    contexts = tenant_root.contexts("a")
    b = await start("b", "127.0.0.3")
    for why in ("enough", "the link was lost while it moved"):
        b.record.told.clear()
        async with served_by_hand(contexts) as (contact, accepted):
            b.hub.dial(contact)
            _, loser = await accepted.get()
            loser.write(hello_of("a"))
            await b.record.first("opened")
            async with by_hand(b, contexts.client) as (reader, _):
                await _next(reader, Hello)
                loser.write(encode(Bye(link.DUPLICATE)))
                await b.record.until(lambda: not b.hub.stats())
                if why == "enough":
                    b.hub.hang_up("a", why)
                else:
                    for number in range(3):
                        b.hub.send("a", Cancel(number))
                assert await b.record.first("closed") == ("a", why, False)


async def test_a_dialled_agent_that_misbehaves(start: Start, tenant_root: Root) -> None:
    b = await start("b", "127.0.0.3")
    async with served_by_hand(tenant_root.contexts("a")) as (contact, accepted):
        b.hub.dial(contact)
        _, writer = await accepted.get()
        writer.write(hello_of("c"))
        assert await b.record.first("closed") == ("a", "a Hello in the name of another device", True)


async def test_a_dialled_agent_that_misbehaves_on_a_second_link(start: Start, tenant_root: Root) -> None:
    b = await start("b", "127.0.0.3")
    context = tenant_root.contexts("a").client
    async with by_hand(b, context, hello_of("a")):
        await b.record.first("opened")
        async with by_hand(b, context, hello_of("c")):
            assert (await b.record.first("closed"))[::2] == ("a", True)
    assert not b.hub.stats()
