"""Offices of real agents in this process: their nodes, links by TLS on loopback, and fetches from a small origin.

async with real_office(tenant, 3) as office:  viewer = office.agents[0].watch(1);  await viewer.ended
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hashlib import sha256

from coordinator.io.ca import Authority
from ecdn_proxy.agent.api import OwnHead, RefusedHead, SharedHead, ViewerRequest
from ecdn_proxy.agent.condition_log import ConditionLog
from ecdn_proxy.agent.links import Links
from ecdn_proxy.agent.node_runner import NodeRunner
from ecdn_proxy.agent.performer import Surroundings
from ecdn_proxy.agent.signer import DeviceSeal
from ecdn_proxy.core import events, values
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.recording import FORMAT, Born
from ecdn_proxy.core.report.meter import Meter
from ecdn_proxy.io import clock
from ecdn_proxy.io.handshake import Ourselves
from ecdn_proxy.io.origin import OriginClient
from ecdn_proxy.wire.faults import Unavailable
from ecdn_proxy.wire.peer import Contact
from tests.agent.linked import contexts_of
from tests.agent.origins import Origin, serving
from tests.core.world import STREAM
from tests.io.switching import LOOPBACK, identity


@dataclass
class Watched:
    """What one viewer got of one segment, and when."""

    asked_at: float
    head: SharedHead | OwnHead | RefusedHead | None = None
    parts: list[tuple[float, bytes]] = field(default_factory=list)
    fault: str = ""
    took_s: float = 0.0

    @property
    def body(self) -> bytes:
        return b"".join(data for _, data in self.parts)

    def at(self, through_byte: int) -> float:
        """When so many bytes of the body were there, in seconds on the office's clock."""
        have = 0
        for when, data in self.parts:
            have += len(data)
            if have >= through_byte:
                return when
        raise AssertionError(f"only {have} bytes came: {self.fault}")


class OfficeAgent:
    """One agent: a node with its driver and performer, links, and a client of the origin."""

    def __init__(self, tenant: Authority, number: int, origin: Origin) -> None:
        who = identity(tenant, f"desk{number:02d}")
        self.device, self.address = who.device, f"127.0.0.{number + 2}"
        self._origin = origin
        self._number = number
        self._viewers = 0
        self._client = OriginClient("", {"origin.test": "127.0.0.1"}, allow_local=True)
        self.runner = NodeRunner()
        self.meter = Meter(50)
        self.links = Links(
            Ourselves(who.device, who.tenant, "test", (self.address,)),
            (self.address, 0),
            contexts_of(who),
            LOOPBACK,
            self.runner,
            None,
        )
        self._seal = DeviceSeal(who, clock.utc)

    async def start(self) -> None:
        await self.links.start()
        born = Born(
            format=FORMAT,
            version="test",
            me=self.contact(),
            tenant=self._seal.tenant,
            limits=Limits(),
            memory_bytes=64_000_000,
            disk_bytes=0,
            upload_mbps=1_000.0,
            share_after_watching_s=60.0,
        )
        surroundings = Surroundings(self._client, self.links, None, None, ConditionLog(), self.meter, clock.utc)
        self.runner.start(born, self._seal, surroundings)

    def contact(self) -> Contact:
        return Contact(self.device, (self.address,), self.links.port, "wired")

    def knows(self, others: list["OfficeAgent"]) -> None:
        """The stream is open here, and these watch it too."""
        self.runner.feed(events.StreamOpened(STREAM))
        for other in others:
            if other is not self:
                self.runner.feed(events.LanSeen(other.contact(), (STREAM[:8],), serves=True))

    async def watch(self, path: str, *, duration_s: float = 2.0, rendition: str = "v1", number: int = 1) -> Watched:
        """A viewer asks for a segment and reads it to its end."""
        self._viewers += 1
        request = ViewerRequest("GET", self._origin.url(path), (("cookie", f"user={self.device}"),))
        wanted = events.Wanted(
            viewer=self._viewers,
            stream=STREAM,
            rendition=rendition,
            key=sha256(path.encode()).hexdigest(),
            number=number,
            duration_s=duration_s,
            live=True,
            resource_range=None,
            origin=values.OriginRequest(request.url, request.headers),
            utc=clock.utc(),
        )
        got = Watched(clock.monotonic())
        response = self.runner.open_response(request, wanted)
        try:
            got.head = await response.head()
            async for part in response.body():
                got.parts.append((clock.monotonic(), bytes(part)))
        except Unavailable as fault:
            got.fault = fault.why
        finally:
            await response.release()
        got.took_s = clock.monotonic() - got.asked_at
        return got

    async def close(self) -> None:
        self.runner.close()
        await self.links.close()
        await self._client.close()


class RealOffice:
    """Agents of one office and their origin."""

    def __init__(self, origin: Origin, agents: list[OfficeAgent]) -> None:
        self.origin, self.agents = origin, agents

    async def all_watch(self, path: str, *, apart_s: float = 0.0, number: int = 1) -> list[Watched]:
        """A viewer at each agent asks for the same segment, one after the other."""

        async def later(agent: OfficeAgent, wait_s: float) -> Watched:
            await asyncio.sleep(wait_s)
            return await agent.watch(path, number=number)

        return list(await asyncio.gather(*(later(it, at * apart_s) for at, it in enumerate(self.agents))))


@contextlib.asynccontextmanager
async def real_office(tenant: Authority, count: int) -> AsyncIterator[RealOffice]:
    async with serving() as origin, contextlib.AsyncExitStack() as stack:
        agents = [OfficeAgent(tenant, number, origin) for number in range(count)]
        for agent in agents:
            await agent.start()
            stack.push_async_callback(agent.close)
        for agent in agents:
            agent.knows(agents)
        yield RealOffice(origin, agents)
