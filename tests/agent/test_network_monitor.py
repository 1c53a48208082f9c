"""A machine that moves: what its links, mDNS, node and coordinator are told."""

import sys
from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest
import pytest_asyncio

from coordinator.io.ca import Authority
from ecdn_proxy.agent import network_monitor as module
from ecdn_proxy.agent.addresses import Place
from ecdn_proxy.agent.links import Links
from ecdn_proxy.agent.network_monitor import NetworkMonitor
from ecdn_proxy.core import events
from ecdn_proxy.io.handshake import Ourselves
from ecdn_proxy.io.tls_links.contexts import Contexts, client_context, server_context
from ecdn_proxy.wire.faults import Unavailable
from ecdn_proxy.wire.peer import Contact
from ecdn_proxy.wire.tracker import Network
from tests.agent.linked import LinkRecorder
from tests.io.conftest import nothing_left
from tests.io.switching import authority, identity

__all__ = ["nothing_left"]
pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]
TAG, STREAM = "0123456789abcdef", "ab" * 16


def place(address: str, network: str = "127.0.0.0/16") -> Place:
    own = [ip_network(network)]
    reported = (Network(address, own[0].prefixlen, "wired", vpn=False),)
    return Place(("0.0.0.0", 0), (address,), list(own), reported, "wired", tuple(own))


class Machine:
    """One agent's links and network; `now` is what a look at its interfaces finds."""

    def __init__(self, tenant: Authority, device: str, address: str) -> None:
        recorder = LinkRecorder()
        self.record = recorder.record
        self.looks = 0
        self.now: Place | None = place(address)
        who = identity(tenant, device)
        pem = (who.certificate_pem, who.keys.tls, who.tenant_root_pem)
        here = place(address)
        ourselves = Ourselves(device, who.tenant, "test", here.addresses)
        contexts = Contexts(server_context(*pem), client_context(*pem))
        self.links = Links(ourselves, (address, 0), contexts, here.allowed, recorder, None)
        self.monitor = NetworkMonitor(
            here, self._look, self.links, device, TAG, node=self, follower=self, conditions=self
        )

    def feed(self, event: events.Event) -> None:
        self.record.tell("feed")(event)

    def moved(self, networks: tuple[Network, ...]) -> None:
        self.record.tell("moved")(networks)

    def raise_condition(self, code: str, text: str) -> None:
        self.record.tell("raise")(code, text)

    def clear_condition(self, code: str) -> None:
        self.record.tell("clear")(code)

    def _look(self) -> tuple[Place, frozenset[str]]:
        self.looks += 1
        if self.now is None:
            raise Unavailable("the system does not list its interfaces")
        return self.now, frozenset(self.now.addresses)

    async def has_looked(self) -> None:
        """Until it has looked once more, and done what follows from it."""
        before = self.looks
        await self.record.until(lambda: self.looks > before + 1)

    def fed(self, kind: type[events.Event]) -> list[events.Event]:
        return [event for (event,) in self.record.all("feed") if isinstance(event, kind)]


@pytest_asyncio.fixture
async def machine(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Machine, Machine]]:
    monkeypatch.setattr(module, "LOOK_S", 0.05)
    tenant = authority(tmp_path_factory.mktemp("tenant"))
    both = Machine(tenant, "a", "127.0.0.2"), Machine(tenant, "b", "127.0.0.3")
    for one in both:
        await one.links.start()
        await one.monitor.open()
    yield both
    for one in both:
        await one.monitor.close()
        await one.links.close()


async def test_a_new_address_is_told_to_everybody(machine: tuple[Machine, Machine]) -> None:
    mine, other = machine
    mine.monitor.announce((STREAM,), True)
    await other.record.until(lambda: "a" in other.monitor.seen)
    mine.now = None
    await mine.has_looked()
    assert not mine.fed(events.Moved), "a look that fails is no move"
    mine.now = place("127.0.0.4")
    await mine.record.until(lambda: mine.record.all("moved"))
    assert mine.fed(events.Moved) == [events.Moved(Contact("a", ("127.0.0.4",), mine.links.port))]
    assert mine.record.all("moved") == [(mine.now.networks,)]
    await other.record.until(lambda: other.monitor.seen.get("a", _NOBODY).contact.addresses == ("127.0.0.4",))
    await other.record.until(lambda: other.monitor.seen.get("a", _NOBODY).tags == (STREAM[:8],))
    await mine.record.until(lambda: "b" in mine.monitor.seen)
    other.links.dial(Contact("a", ("127.0.0.2",), mine.links.port))  # the test's machine still has it
    contact, *_ = await other.record.first("opened")
    assert contact.addresses == ("127.0.0.2", "127.0.0.4"), "Hello says the new one"


_NOBODY = events.LanSeen(Contact("nobody", (), 1), (), False)


async def test_links_outside_the_networks_of_the_site_end(machine: tuple[Machine, Machine]) -> None:
    mine, other = machine
    mine.now = place("127.0.0.2", "127.0.0.2/32")
    await mine.record.until(lambda: mine.record.all("moved"))
    mine.monitor.allow_site_networks(("127.0.0.0/24", "127.0.0.2/32"))
    assert mine.monitor.place.allowed == [ip_network("127.0.0.2/32"), ip_network("127.0.0.0/24")]
    mine.links.dial(Contact("b", ("127.0.0.3",), other.links.port))
    await mine.record.first("opened")
    mine.monitor.allow_site_networks(())
    assert mine.monitor.place.allowed == [ip_network("127.0.0.2/32")]
    device, why, misbehaved = await mine.record.first("closed")
    assert (device, misbehaved) == ("b", False)
    assert "127.0.0.3 is no longer in a network" in why


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone keeps such connections")
async def test_connections_from_an_address_that_is_gone_end_at_once(machine: tuple[Machine, Machine]) -> None:
    mine, other = machine
    mine.links.dial(Contact("b", ("127.0.0.3",), other.links.port))
    await mine.record.first("opened")
    await other.record.first("opened")
    await mine.has_looked()
    mine.now = place("127.0.0.4")
    assert (await mine.record.first("closed"))[0] == "b"
    assert (await other.record.first("closed"))[0] == "a"


async def test_without_any_address_mdns_rests_until_there_is_one(machine: tuple[Machine, Machine]) -> None:
    mine, other = machine
    mine.now = Place(("0.0.0.0", 0), (), [], (), "wired")
    await mine.record.until(lambda: mine.record.all("moved"))
    await other.record.until(lambda: "a" not in other.monitor.seen)
    mine.now = place("127.0.0.5")
    await other.record.until(lambda: "a" in other.monitor.seen)


async def test_mdns_that_cannot_be_used_is_a_condition(machine: tuple[Machine, Machine]) -> None:
    mine, _ = machine
    mine.now = place("203.0.113.7", "203.0.113.0/24")
    await mine.record.until(lambda: mine.record.all("raise"))
    assert mine.record.all("raise")[0][0] == "mdns-unavailable"
    mine.now = place("127.0.0.2")
    await mine.record.until(lambda: len(mine.record.all("clear")) > 1)
