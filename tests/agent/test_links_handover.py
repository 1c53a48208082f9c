"""Links that move from one connection to another, over real sockets: races of two dials, and WebRTC to TLS.

Every order that the two ends may see is tried without sockets in tests/core/connect/test_handover_laws.py.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from coordinator.io.ca import Authority
from ecdn_proxy.core.connect import handover
from ecdn_proxy.io.tls_links.contexts import Contexts
from ecdn_proxy.wire.codec import encode
from ecdn_proxy.wire.integrity import PIECE_BYTES
from ecdn_proxy.wire.peer import PARTING_TLS, Bye, Cancel, Hello, PeerMessage, Piece
from tests.agent.linked import LinkedAgent, LinkedOffice, contexts_of, linked_office
from tests.io.agents import by_hand, hello_of, messages_of, served_by_hand
from tests.io.conftest import nothing_left
from tests.io.switching import authority, identity

__all__ = ["nothing_left"]
pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("tenant"))


@pytest_asyncio.fixture
async def office(tenant: Authority) -> AsyncIterator[LinkedOffice]:
    async with linked_office(tenant) as made:
        yield made


def _contexts(office: LinkedOffice, device: str) -> Contexts:
    return contexts_of(identity(office.tenant, device))


def _only_tls(*agents: LinkedAgent) -> bool:
    """Whether nothing of WebRTC is left."""
    hubs = [agent.links._webrtc_hub for agent in agents]
    return not any(hub._attempts for hub in hubs if hub is not None)


# ---- WebRTC to TLS


async def test_a_link_moves_to_tls_and_no_message_is_lost(office: LinkedOffice) -> None:
    a, b = await office("a", "127.0.0.2"), await office("b", "127.0.0.3")
    a.links.dial(b.contact(reachable=False))
    await a.record.first("opened")
    await b.record.first("opened")
    data = os.urandom(32_768)
    sent = 0
    for step in range(400):
        for one, other in ((a, b), (b, a)):
            one.links.send(other.device, Piece(1, step, data))
        sent += 1
        if step == 150:
            b.links._tls_hub.dial(a.contact())
        await asyncio.sleep(0.002)
    await a.record.until(lambda: len(a.pieces()) == sent)
    await b.record.until(lambda: len(b.pieces()) == sent)
    assert a.pieces() == b.pieces() == list(range(sent))
    assert a.kinds() == b.kinds() == ["webrtc", "lan"]
    assert not a.record.all("closed")
    assert a.links.stats()["b"].kind == b.links.stats()["a"].kind == "lan"
    assert a.links.stats()["b"].why == "TCP and TLS"
    await a.record.until(lambda: _only_tls(a, b))


async def test_both_stand_at_once_and_tls_stays(office: LinkedOffice) -> None:
    a, b = await office("a", "127.0.0.2"), await office("b", "127.0.0.3")
    a.links._start_attempt(b.contact(), "webrtc")
    a.links._start_attempt(b.contact(), "lan")
    await a.record.first("opened")
    await b.record.first("opened")
    await a.record.until(lambda: a.links.stats()["b"].kind == "lan")
    await b.record.until(lambda: b.links.stats()["a"].kind == "lan")
    await a.record.until(lambda: _only_tls(a, b))
    for index in range(20):
        a.links.send("b", Piece(1, index, b"piece"))
    await b.record.until(lambda: len(b.pieces()) == 20)
    assert not a.record.all("closed")
    assert not b.record.all("closed")


# ---- two dials at once


@pytest.mark.parametrize("round_", range(6))
async def test_two_dials_at_once_leave_one_link_and_every_message(office: LinkedOffice, round_: int) -> None:
    a, b = await office("a", "127.0.0.2"), await office("b", "127.0.0.3")
    sizes = [PIECE_BYTES if number % 3 else 10 for number in range(60)]

    def send_all(agent: LinkedAgent) -> Callable[[str], None]:
        def send(device: str) -> None:
            for number, size in enumerate(sizes):
                agent.links.send(device, Piece(number, 0, bytes(size)))

        return send

    async def heard_all(agent: LinkedAgent, other: LinkedAgent) -> None:
        await agent.record.until(lambda: len(agent.messages(Piece)) == len(sizes))
        other.links.send(agent.device, Cancel(1))
        await agent.record.until(lambda: agent.messages(Cancel))
        numbers = [message.request for message in agent.messages(Piece) if isinstance(message, Piece)]
        assert numbers == list(range(len(sizes)))
        assert len(agent.record.all("opened")) == 1
        assert agent.record.all("closed") == []

    a.on_opened, b.on_opened = send_all(a), send_all(b)
    a.links.dial(b.contact())
    b.links.dial(a.contact())
    await heard_all(a, b)
    await heard_all(b, a)
    await a.record.until(lambda: a.links.stats()["b"].dialled)
    assert not b.links.stats()["a"].dialled


async def test_an_agent_that_started_anew_replaces_its_link(office: LinkedOffice) -> None:
    a = await office("a", "127.0.0.2")
    context = _contexts(office, "b").client
    async with by_hand(a.address, a.links.port, context, hello_of("b", office.tenant.tenant)):
        await a.record.first("opened")
        async with by_hand(a.address, a.links.port, context, hello_of("b", office.tenant.tenant)):
            await a.record.until(lambda: len(a.record.all("opened")) == 2)
            assert a.record.all("closed") == [("b", "replaced by a newer link", False)]
            assert len(a.links.stats()) == 1
    await a.record.until(lambda: not a.links.stats())


async def _next(reader: asyncio.StreamReader, kind: type[PeerMessage]) -> PeerMessage:
    async for message in messages_of(reader):
        if isinstance(message, kind):
            return message
    raise AssertionError(f"no {kind.__name__}")


@pytest.mark.parametrize("survives", [True, False])
async def test_a_bye_on_the_loser_may_come_before_the_winners_hello(office: LinkedOffice, survives: bool) -> None:
    contexts = _contexts(office, "a")
    b = await office("b", "127.0.0.3")
    async with served_by_hand(contexts) as (contact, accepted):
        b.links.dial(contact)
        _, loser = await accepted.get()
        loser.write(hello_of("a", office.tenant.tenant))
        await b.record.first("opened")
        async with by_hand(b.address, b.links.port, contexts.client) as (reader, winner):
            await _next(reader, Hello)
            loser.write(encode(Bye(PARTING_TLS)))
            await b.record.until(lambda: not b.links.stats())
            b.links.send("a", Cancel(1))
            assert not b.links.is_full("a")
            if survives:
                winner.write(hello_of("a", office.tenant.tenant))
                assert await _next(reader, Cancel) == Cancel(1)
                assert not b.record.all("closed")
            else:
                winner.transport.abort()
                assert (await b.record.first("closed"))[0] == "a"
    await b.record.first("closed")
    assert len(b.record.all("opened")) == len(b.record.all("closed")) == 1


async def test_a_link_that_moves_can_be_hung_up_and_holds_a_bounded_amount(
    office: LinkedOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "HELD_MAX", 2)
    contexts = _contexts(office, "a")
    b = await office("b", "127.0.0.3")
    for why in ("enough", "the link was lost while it moved"):
        b.record.told.clear()
        async with served_by_hand(contexts) as (contact, accepted):
            b.links.dial(contact)
            _, loser = await accepted.get()
            loser.write(hello_of("a", office.tenant.tenant))
            await b.record.first("opened")
            async with by_hand(b.address, b.links.port, contexts.client) as (reader, _):
                await _next(reader, Hello)
                loser.write(encode(Bye(PARTING_TLS)))
                await b.record.until(lambda: not b.links.stats())
                if why == "enough":
                    b.links.hang_up("a", why)
                else:
                    for number in range(3):
                        b.links.send("a", Cancel(number))
                assert await b.record.first("closed") == ("a", why, False)


async def test_a_dialled_agent_that_misbehaves_on_a_second_link(office: LinkedOffice) -> None:
    b = await office("b", "127.0.0.3")
    context = _contexts(office, "a").client
    async with by_hand(b.address, b.links.port, context, hello_of("a", office.tenant.tenant)):
        await b.record.first("opened")
        async with by_hand(b.address, b.links.port, context, hello_of("c", office.tenant.tenant)):
            assert (await b.record.first("closed"))[::2] == ("a", True)
    assert not b.links.stats()
