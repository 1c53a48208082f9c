"""Both kinds of link behind one surface: which is taken, and that nothing is lost when a link moves."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from coordinator.io.ca import Authority
from ecdn_proxy.agent.links import Links, Webrtc
from ecdn_proxy.core.connect import dialer
from ecdn_proxy.io import clock
from ecdn_proxy.io.tls_links.contexts import Contexts, client_context, server_context
from ecdn_proxy.io.tls_links.hub import LinkEvents, Ourselves
from ecdn_proxy.wire.peer import Contact, Piece, Ping, Watching
from ecdn_proxy.wire.signalling import Relayed, Undeliverable
from tests.io.conftest import nothing_left
from tests.io.switching import LOOPBACK, authority, identity
from tests.io.waiting import Record

__all__ = ["nothing_left"]
pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]
STREAM = "cd" * 16
UNKNOWN = b"\x92\xcc\xfa\x01"
"""A message with tag 250, which no release has."""
CLOSED_PORT = 9
"""Nobody listens there: TCP is refused at once."""


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("tenant"))


class Agent:
    """Links on an own loopback address, and what they told."""

    def __init__(self, office: "Office", device: str, address: str, *, webrtc: bool = True) -> None:
        self.device, self.address, self.office = device, address, office
        self.record = Record()
        self.heard: list[int] = []
        who = identity(office.tenant, device)
        pem = (who.certificate_pem, who.keys.tls, who.tenant_root_pem)
        told = LinkEvents(
            opened=self.record.tell("opened"),
            closed=self.record.tell("closed"),
            received=self._received,
            ready=self.record.tell("ready"),
            passed_over=self.record.tell("passed_over"),
        )
        self.links = Links(
            Ourselves(device, who.tenant, "test", (address,)),
            (address, 0),
            Contexts(server_context(*pem), client_context(*pem)),
            LOOPBACK,
            told,
            Webrtc(who, office.relay, clock.utc, forged=self.record.tell("forged"), no_way=self.record.tell("no_way"))
            if webrtc
            else None,
        )

    def _received(self, device: str, message: object) -> None:
        if isinstance(message, Piece):
            self.heard.append(message.index)
        self.record.tell("received")(device, message)

    def contact(self, *, reachable: bool = True) -> Contact:
        return Contact(self.device, (self.address,), self.links.port if reachable else CLOSED_PORT)

    def kinds(self) -> list[str]:
        return [kind for _, kind, *_ in self.record.all("opened")]


class Office:
    """Agents and the switchboard between them."""

    def __init__(self, tenant: Authority) -> None:
        self.tenant = tenant
        self.agents: dict[str, Agent] = {}
        self.relayed: list[Relayed] = []

    async def __call__(self, device: str, address: str, *, webrtc: bool = True, connected: bool = True) -> Agent:
        agent = self.agents[device] = Agent(self, device, address, webrtc=webrtc)
        await agent.links.start()
        agent.links.switchboard(connected)
        return agent

    def relay(self, message: Relayed) -> bool:
        self.relayed.append(message)
        if (other := self.agents.get(message.to)) is not None:
            asyncio.get_running_loop().call_soon(other.links.heard, message)
        return True


@pytest_asyncio.fixture
async def office(tenant: Authority) -> AsyncIterator[Office]:
    made = Office(tenant)
    yield made
    await asyncio.gather(*(agent.links.close() for agent in made.agents.values()))


async def test_tcp_that_answers_is_all_there_is(office: Office) -> None:
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
async def test_webrtc_where_tcp_does_not_answer(office: Office, dials: str) -> None:
    a, b = await office("a", "127.0.0.2"), await office("b", "127.0.0.3")
    first, other = (a, b) if dials == "a" else (b, a)
    # the other one, if called, tries TCP to the real port, which here works: so it is told of a port that does not
    first.links._tcp._reach.port = CLOSED_PORT
    first.links._hub("webrtc")._port = CLOSED_PORT  # type: ignore[union-attr]  # it is the one for WebRTC
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
async def test_what_a_later_release_says_is_counted_and_told_on_either_kind_of_link(office: Office, kind: str) -> None:
    a, b = await office("a", "127.0.0.2"), await office("b", "127.0.0.3")
    a.links.dial(b.contact(reachable=kind == "lan"))
    await a.record.first("opened")
    await b.record.first("opened")
    for _ in range(2):
        if kind == "lan":
            transport = a.links._tcp._links["b"].current._transport  # type: ignore[union-attr]
            transport.write((4).to_bytes(4, "big") + UNKNOWN)  # type: ignore[union-attr]
        else:
            a.links._rtc._links["b"]._carrier.send(UNKNOWN)  # type: ignore[union-attr]
    a.links.send("b", Watching((STREAM,), True))
    await b.record.first("received")
    assert b.record.all("passed_over") == [("a", "test", 250)], "told once"
    assert (b.links.stats()["a"].kind, b.links.stats()["a"].passed_over) == (kind, 2)
    assert not b.record.all("closed")


async def test_a_link_moves_to_tls_and_no_message_is_lost(office: Office) -> None:
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
            b.links._tcp.dial(a.contact())
        await asyncio.sleep(0.002)
    await a.record.until(lambda: len(a.heard) == sent)
    await b.record.until(lambda: len(b.heard) == sent)
    assert a.heard == b.heard == list(range(sent))
    assert a.kinds() == b.kinds() == ["webrtc", "lan"]
    assert not a.record.all("closed")
    assert a.links.stats()["b"].kind == b.links.stats()["a"].kind == "lan"
    assert a.links.stats()["b"].why == "TCP and TLS"
    await a.record.until(lambda: not a.links._rtc._attempts and not b.links._rtc._attempts)  # type: ignore[union-attr]


async def test_both_stand_at_once_and_tls_stays(office: Office) -> None:
    a, b = await office("a", "127.0.0.2"), await office("b", "127.0.0.3")
    a.links._driver.feed(dialer.SignallingChanged(True))
    a.links._hub("webrtc").dial(b.contact())
    a.links._tcp.dial(b.contact())
    await a.record.first("opened")
    await b.record.first("opened")
    await a.record.until(lambda: a.links.stats()["b"].kind == "lan")
    await b.record.until(lambda: b.links.stats()["a"].kind == "lan")
    await a.record.until(lambda: not a.links._rtc._attempts and not b.links._rtc._attempts)  # type: ignore[union-attr]
    for index in range(20):
        a.links.send("b", Piece(1, index, b"piece"))
    await b.record.until(lambda: len(b.heard) == 20)
    assert not a.record.all("closed")
    assert not b.record.all("closed")


async def test_tcp_is_found_again_by_itself(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialer, "PROBE_FIRST_S", 0.2)
    a, b = await office("a", "127.0.0.2"), await office("b", "127.0.0.3")
    a.links.dial(b.contact(reachable=False))
    await a.record.first("opened")
    pair = a.links._dialling._pair("b")
    pair.contact, pair.probe_wait_s = b.contact(), 0.2
    pair.probe_at = asyncio.get_running_loop().time() + 0.2
    a.links._driver._set_timer()
    await a.record.until(lambda: a.kinds() == ["webrtc", "lan"])
    await b.record.until(lambda: b.kinds() == ["webrtc", "lan"])


async def test_no_way_at_all_is_told_with_both_reasons(office: Office) -> None:
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


async def test_without_webrtc_or_coordinator_it_is_a_plain_hub(office: Office) -> None:
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
