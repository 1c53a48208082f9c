"""Agents with WebRTC hubs and a switchboard in this process, through which a test may lie.

async with exchange(tenant) as made:  a = made("a");  a.hub.dial(b.contact);  made.tamper = lambda message: ...
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from pathlib import Path

from coordinator.io.ca import Authority
from ecdn_proxy.io import clock
from ecdn_proxy.io.handshake import Ourselves
from ecdn_proxy.io.identity import Identity, new_keys_and_csr
from ecdn_proxy.io.tls_links.sockets import Networks
from ecdn_proxy.io.webrtc.engine import EngineName
from ecdn_proxy.io.webrtc.hub import WebrtcHub
from ecdn_proxy.wire.codec import pack
from ecdn_proxy.wire.enrolment import Enrolled
from ecdn_proxy.wire.peer import Contact
from ecdn_proxy.wire.signalling import Relayed
from ecdn_proxy.wire.tracker import read_from_coordinator
from tests.io.holding import Holder
from tests.io.waiting import Record

LOOPBACK = (ip_network("127.0.0.0/8"),)


def identity(authority: Authority, device: str, hours: int = 24) -> Identity:
    keys, csr = new_keys_and_csr()
    issued = authority.issue_device(csr, keys.signing_public(), device, utc=clock.utc(), hours=hours)
    given = Enrolled(device, authority.tenant, issued.pem, authority.root_pem, "ab" * 32, {})
    return Identity.given(given, keys, "https://127.0.0.1:8443")


def authority(folder: Path) -> Authority:
    return Authority.open(folder, clock.utc())


class RtcAgent(Holder):
    """A hub and what it told."""

    def __init__(
        self,
        made: "Exchange",
        who: Identity,
        address: str,
        networks: Networks,
        stun: tuple[str, ...] = (),
        engine: EngineName = "aiortc",
    ) -> None:
        super().__init__(Record(), dial=lambda contact: self.hub.dial(contact))
        self.device, self.address = who.device, address
        self.utc_shift = 0.0
        self.connected = True
        self.ourselves = Ourselves(who.device, who.tenant, "test", (address,), port=7688)
        self.hub = WebrtcHub(
            self.ourselves,
            who,
            networks,
            self,
            self,
            lambda message: self.connected and made.relay(message),
            lambda: clock.utc() + self.utc_shift,
            stun,
            engine,
        )

    @property
    def contact(self) -> Contact:
        return Contact(self.device, (self.address,), 7688)


class Exchange:
    """The switchboard: passes on everything, as `tamper` says it."""

    def __init__(self, tenant: Authority) -> None:
        self.tenant = tenant
        self.agents: dict[str, RtcAgent] = {}
        self.relayed: list[Relayed] = []
        self.tamper: Callable[[Relayed], Relayed | None] = lambda message: message

    def __call__(
        self,
        device: str,
        address: str = "127.0.0.1",
        networks: Networks = LOOPBACK,
        who: Identity | None = None,
        stun: tuple[str, ...] = (),
        engine: EngineName = "aiortc",
    ) -> RtcAgent:
        agent = RtcAgent(self, who or identity(self.tenant, device), address, networks, stun, engine)
        self.agents[device] = agent
        return agent

    def relay(self, message: Relayed) -> bool:
        self.relayed.append(message)
        changed = self.tamper(message)
        other = None if changed is None else self.agents.get(changed.to)
        if changed is not None and other is not None:
            heard = read_from_coordinator(pack(changed))  # as the socket would bring it
            asyncio.get_running_loop().call_soon(other.hub.heard, heard)  # type: ignore[arg-type]  # it is one of them
        return True


@contextlib.asynccontextmanager
async def exchange(tenant: Authority) -> AsyncIterator[Exchange]:
    made = Exchange(tenant)
    try:
        yield made
    finally:
        await asyncio.gather(*(agent.hub.close() for agent in made.agents.values()))


async def linked(a: RtcAgent, b: RtcAgent) -> None:
    a.hub.dial(b.contact)
    await a.record.first("opened")
    await b.record.first("opened")
