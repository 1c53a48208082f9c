"""Both kinds of link behind one surface, over real sockets; moving a link: test_links_handover.py."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from coordinator.io.ca import Authority
from ecdn_proxy.core.connect import dialer
from ecdn_proxy.wire.peer import Cancel, Contact, Hello, Ping, Watching
from ecdn_proxy.wire.signalling import Undeliverable
from tests.agent.linked import CLOSED_PORT, LinkedOffice, contexts_of, linked_office
from tests.io.agents import by_hand, hello_of, messages_of
from tests.io.conftest import nothing_left
from tests.io.switching import authority, identity

__all__ = ["nothing_left"]
pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]
STREAM = "cd" * 16
UNKNOWN = b"\x92\xcc\xfa\x01"
"""A message with tag 250, which no release has."""


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("tenant"))


@pytest_asyncio.fixture
async def office(tenant: Authority) -> AsyncIterator[LinkedOffice]:
    async with linked_office(tenant) as made:
        yield made


async def test_tcp_that_answers_is_all_there_is(office: LinkedOffice) -> None:
    a, b = await office("a", "127.0.0.2"), await office("b", "127.0.0.3")
    a.links.dial(b.contact())
    await b.record.first("opened")
    await a.record.first("opened")
    await asyncio.sleep(dialer.HEAD_START_S + 0.2)
    assert a.kinds() == b.kinds() == ["lan"]
    assert not office.relayed
    stats = a.links.stats()["b"]
    assert (stats.kind, stats.why) == ("lan", "TCP and TLS")


@pytest.mark.parametrize("dials", ["a", "b"])
async def test_webrtc_where_tcp_does_not_answer(office: LinkedOffice, dials: str) -> None:
    a, b = await office("a", "127.0.0.2"), await office("b", "127.0.0.3")
    first, other = (a, b) if dials == "a" else (b, a)
    # the other one, if called, tries TCP to the real port, which here works: so it is told of a port that does not
    first.ourselves.port = CLOSED_PORT
    first.links.dial(other.contact(reachable=False))
    await first.record.first("opened")
    await other.record.first("opened")
    assert first.kinds() == other.kinds() == ["webrtc"]
    stats = first.links.stats()[other.device]
    assert (stats.kind, stats.address) == ("webrtc", other.address)
    assert stats.why == f"TCP {CLOSED_PORT} to {other.address}: Connection refused"
    first.links.send(other.device, Watching((STREAM,), True))
    await other.record.first("received")
    other.links.hang_up(first.device, "enough")
    assert await first.record.first("closed") == (other.device, "enough", False)
    assert other.record.all("closed") == [(first.device, "enough", False)]


@pytest.mark.parametrize("kind", ["lan", "webrtc"])
async def test_what_a_later_release_says_is_told_and_counted_on_either_kind(office: LinkedOffice, kind: str) -> None:
    a, b = await office("a", "127.0.0.2"), await office("b", "127.0.0.3")
    a.links.dial(b.contact(reachable=kind == "lan"))
    await a.record.first("opened")
    await b.record.first("opened")
    for _ in range(2):
        if kind == "lan":
            a.links._links["b"].carrier._transport.write((4).to_bytes(4, "big") + UNKNOWN)  # type: ignore[union-attr]
        else:
            a.links._links["b"].carrier._below.send(UNKNOWN)  # type: ignore[union-attr]
    a.links.send("b", Watching((STREAM,), True))
    await b.record.first("received")
    assert b.record.all("passed_over") == [("a", "test", 250)], "told once"
    assert (b.links.stats()["a"].kind, b.links.stats()["a"].passed_over) == (kind, 2)
    assert not b.record.all("closed")


async def test_tcp_is_found_again_by_itself(office: LinkedOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialer, "PROBE_FIRST_S", 0.2)
    a, b = await office("a", "127.0.0.2"), await office("b", "127.0.0.3")
    a.links.dial(b.contact(reachable=False))
    await a.record.first("opened")
    pair = a.links._dialling._pair("b")
    pair.contact, pair.probe_wait_s = b.contact(), 0.2
    pair.probe_at = asyncio.get_running_loop().time() + 0.2
    a.links._dialler._set_timer()
    await a.record.until(lambda: a.kinds() == ["webrtc", "lan"])
    await b.record.until(lambda: b.kinds() == ["webrtc", "lan"])


async def test_no_way_at_all_is_told_with_both_reasons(office: LinkedOffice) -> None:
    a = await office("a", "127.0.0.2")
    a.links.dial(Contact("b", ("127.0.0.3",), CLOSED_PORT))
    await a.record.until(lambda: office.relayed)
    unknown = "no such device is connected to the coordinator"
    a.links.heard(Undeliverable("b", office.relayed[0].attempt, "unknown-device", unknown))
    device, why, misbehaved = await a.record.first("closed")
    assert (device, misbehaved) == ("b", False)
    assert why.startswith(f"TCP {CLOSED_PORT} to 127.0.0.3: Connection refused; ")
    assert unknown in why
    assert a.record.all("no_way") == [("b", why)]


async def test_without_webrtc_or_coordinator_it_is_a_plain_hub(office: LinkedOffice) -> None:
    a = await office("a", "127.0.0.2", webrtc=False)
    b = await office("b", "127.0.0.3", connected=False)
    a.links.dial(b.contact(reachable=False))
    assert await a.record.first("closed") == ("b", f"TCP {CLOSED_PORT} to 127.0.0.3: Connection refused", False)
    b.links.dial(Contact("a", ("127.0.0.2",), CLOSED_PORT))
    assert "needs the coordinator" in (await b.record.first("closed"))[1]
    a.links.set_streams((STREAM,), True)
    b.links.set_streams((STREAM,), True)
    b.links.dial(a.contact())
    await a.record.first("opened")
    await b.record.first("opened")
    assert not a.links.is_full("b")
    a.links.send("nobody", Ping(1))
    a.links.hang_up("nobody", "")
    assert not a.links.is_full("nobody")


async def test_streams_are_told_to_open_links(office: LinkedOffice) -> None:
    a, b = await office("a", "127.0.0.2"), await office("b", "127.0.0.3")
    a.links.dial(b.contact())
    await a.record.first("opened")
    a.links.set_streams((STREAM,), True)
    a.links.set_streams((STREAM,), True)
    a.links.send("b", Cancel(1))
    await b.record.until(lambda: b.messages(Cancel))
    assert b.messages(Watching) == [Watching((STREAM,), True)]


async def test_streams_that_changed_after_hello_are_told_when_the_link_opens(office: LinkedOffice) -> None:
    b = await office("b", "127.0.0.3")
    who = identity(office.tenant, "a")
    async with by_hand(b.address, b.links.port, contexts_of(who).client) as (reader, writer):
        heard = messages_of(reader)
        assert isinstance(await anext(heard), Hello)
        b.links.set_streams((STREAM,), False)
        writer.write(hello_of("a", who.tenant))
        assert Watching((STREAM,), False) in (await anext(heard), await anext(heard)), "the other one is a Ping"


async def test_all_links_are_hung_up_on(office: LinkedOffice) -> None:
    a, b, c = [await office(name, f"127.0.0.{at}") for at, name in enumerate("abc", 2)]
    for other in (b, c):
        a.links.dial(other.contact())
        await other.record.first("opened")
    await a.record.until(lambda: a.links.standing() == (2, 0))
    a.links.hang_up_all("this agent mends a fault of its own")
    assert len(a.record.all("closed")) == 2
    for other in (b, c):
        assert await other.record.first("closed") == ("a", "this agent mends a fault of its own", False)


async def test_whoever_dials_this_agent_and_breaks_the_protocol_is_told_to_the_node(office: LinkedOffice) -> None:
    b = await office("b", "127.0.0.3")
    who = identity(office.tenant, "a")
    async with by_hand(b.address, b.links.port, contexts_of(who).client, hello_of("c", who.tenant)):
        assert await b.record.first("closed") == ("a", "a Hello in the name of another device", True)
    async with by_hand(b.address, b.links.port, contexts_of(who).client, hello_of("a", who.tenant, protocol=99)):
        assert await b.record.first("refused") == ("127.0.0.9", "it speaks protocol 99, this agent 1")
    assert not b.record.all("opened")
