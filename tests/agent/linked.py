"""Agents with all their links, each on a loopback address of its own, and the switchboard between them.

async with linked_office(tenant) as office:  a = await office("a", "127.0.0.2");  a.links.dial(b.contact())
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from coordinator.io.ca import Authority
from ecdn_proxy.agent.links import Links, Webrtc
from ecdn_proxy.io import clock
from ecdn_proxy.io.handshake import Ourselves
from ecdn_proxy.io.identity import Identity
from ecdn_proxy.io.link_connection import ConnectionKind
from ecdn_proxy.io.tls_links.contexts import Contexts, client_context, server_context
from ecdn_proxy.wire.peer import Contact, PeerMessage, Piece
from ecdn_proxy.wire.signalling import Relayed
from tests.io.switching import LOOPBACK, identity
from tests.io.waiting import Record

CLOSED_PORT = 9
"""Nobody listens there: TCP is refused at once."""


class LinkRecorder:
    """Records all that links tell (a `LinkConsumer`)."""

    def __init__(self) -> None:
        self.record = Record()
        self.on_opened: Callable[[str], None] = lambda device: None
        """What the node does when it is told of a link."""

    def link_opened(
        self, contact: Contact, kind: ConnectionKind, streams: tuple[str, ...], serves: bool, rtt_ms: float
    ) -> None:
        self.record.tell("opened")(contact, kind, streams, serves, rtt_ms)
        self.on_opened(contact.device)

    def link_closed(self, device: str, why: str, misbehaved: bool) -> None:
        self.record.tell("closed")(device, why, misbehaved)

    def link_received(self, device: str, message: PeerMessage) -> None:
        self.record.tell("received")(device, message)

    def link_ready(self, device: str) -> None:
        self.record.tell("ready")(device)

    def link_passed_over(self, device: str, version: str, tag: int) -> None:
        self.record.tell("passed_over")(device, version, tag)

    def connection_refused(self, address: str, why: str) -> None:
        self.record.tell("refused")(address, why)

    def offer_forged(self, device: str, why: str) -> None:
        self.record.tell("forged")(device, why)

    def out_of_reach(self, device: str, why: str) -> None:
        self.record.tell("no_way")(device, why)


def contexts_of(who: Identity) -> Contexts:
    """TLS in both directions for one device."""
    pem = (who.certificate_pem, who.keys.tls, who.tenant_root_pem)
    return Contexts(server_context(*pem), client_context(*pem))


class LinkedAgent(LinkRecorder):
    """Links on an own loopback address, and what they told."""

    def __init__(self, office: "LinkedOffice", device: str, address: str, *, webrtc: bool = True) -> None:
        super().__init__()
        self.device, self.address = device, address
        who = identity(office.tenant, device)
        self.ourselves = Ourselves(device, who.tenant, "test", (address,))
        self.links = Links(
            self.ourselves,
            (address, 0),
            contexts_of(who),
            LOOPBACK,
            self,
            Webrtc(who, office.relay, clock.utc) if webrtc else None,
        )

    def contact(self, *, reachable: bool = True) -> Contact:
        return Contact(self.device, (self.address,), self.links.port if reachable else CLOSED_PORT)

    def messages(self, kind: type[PeerMessage]) -> list[PeerMessage]:
        return [message for _, message in self.record.all("received") if isinstance(message, kind)]

    def pieces(self) -> list[int]:
        """Which pieces have come, by their indexes."""
        return [message.index for _, message in self.record.all("received") if isinstance(message, Piece)]

    def kinds(self) -> list[str]:
        return [kind for _, kind, *_ in self.record.all("opened")]


class LinkedOffice:
    """Agents and the switchboard between them."""

    def __init__(self, tenant: Authority) -> None:
        self.tenant = tenant
        self.agents: dict[str, LinkedAgent] = {}
        self.relayed: list[Relayed] = []

    async def __call__(self, device: str, address: str, *, webrtc: bool = True, connected: bool = True) -> LinkedAgent:
        agent = self.agents[device] = LinkedAgent(self, device, address, webrtc=webrtc)
        await agent.links.start()
        agent.links.switchboard(connected)
        return agent

    def relay(self, message: Relayed) -> bool:
        self.relayed.append(message)
        if (other := self.agents.get(message.to)) is not None:
            asyncio.get_running_loop().call_soon(other.links.heard, message)
        return True


@contextlib.asynccontextmanager
async def linked_office(tenant: Authority) -> AsyncIterator[LinkedOffice]:
    office = LinkedOffice(tenant)
    yield office
    await asyncio.gather(*(agent.links.close() for agent in office.agents.values()))
