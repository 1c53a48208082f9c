import pytest

from ecdn_proxy.io.tls_links import hub as tls_hub
from ecdn_proxy.wire.integrity import PIECE_BYTES
from ecdn_proxy.wire.peer import Cancel, Piece
from tests.io.agents import Start, hello_of, served_by_hand
from tests.io.material import Root, root

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]
STREAM = "ab" * 16


async def test_two_agents_meet_and_talk(start: Start) -> None:
    a, b = await start("a", "127.0.0.2"), await start("b", "127.0.0.3")
    b.ourselves.streams, b.ourselves.serves = (STREAM,), False
    a.hub.dial(b.contact)
    contact, kind, streams, serves, rtt_ms = await a.record.first("opened")
    assert (contact, kind, streams, serves) == (b.contact, "lan", (STREAM,), False)
    assert rtt_ms > 0
    assert (await b.record.first("opened"))[0] == a.contact  # the dial came from a's own address
    piece = Piece(1, 2, bytes(PIECE_BYTES))
    a.send("b", piece)
    assert await b.record.first("received") == ("a", piece)
    b.send("a", Cancel(7))
    assert await a.record.first("received") == ("b", Cancel(7))
    stats = b.stats()["a"]
    assert stats.address == "127.0.0.2"
    assert stats.bytes_in > PIECE_BYTES > stats.bytes_out > 0
    assert not stats.dialled
    assert not a.is_full("b")


async def test_hang_up_is_heard_on_both_sides(start: Start) -> None:
    a, b = await start("a", "127.0.0.2"), await start("b", "127.0.0.3")
    a.hub.dial(b.contact)
    await a.record.first("opened")
    a.hang_up("b", "no longer needed")
    assert await a.record.first("closed") == ("b", "no longer needed", False)
    assert await b.record.first("closed") == ("a", "no longer needed", False)
    assert not a.stats()
    a.send("b", Cancel(1))  # dropped
    a.hang_up("b", "again")  # nothing to do


async def test_an_agent_that_stops_says_so(start: Start) -> None:
    a, b = await start("a", "127.0.0.2"), await start("b", "127.0.0.3")
    a.hub.dial(b.contact)
    await a.record.first("opened")
    await b.hub.close()
    assert await a.record.first("closed") == ("b", "the agent is stopping", False)


async def test_an_agent_does_not_dial_itself(start: Start) -> None:
    a = await start("a", "127.0.0.2")
    a.hub.dial(a.contact)
    assert (await a.record.first("closed"))[0] == "a"


async def test_links_are_counted(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_hub, "LINKS_MAX", 1)
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
    await a.record.until(lambda: set(a.stats()) == {"b", "c"})  # the link from before stays


async def test_a_dialled_agent_that_misbehaves(start: Start, tenant_root: Root) -> None:
    b = await start("b", "127.0.0.3")
    async with served_by_hand(tenant_root.contexts("a")) as (contact, accepted):
        b.hub.dial(contact)
        _, writer = await accepted.get()
        writer.write(hello_of("c"))
        assert await b.record.first("closed") == ("a", "a Hello in the name of another device", True)
