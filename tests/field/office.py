"""An office for tests at the wire: real agents of one tenant on this machine, and an origin that the test writes.

    async with desks(3, settings={"cache_disk_mb": 64}) as office:
        office.origin.put("/a/1.ts", b"…", cache="no-cache", etag=True)
        office.origin.put("/a/index.m3u8", playlist("1.ts", probes="/a"))
        await office.meet("/a/index.m3u8")           # every desk has read it and has had a segment from a neighbour
        got = await office.get(1, "/a/1.ts", {"Origin": "https://page.example"})
        assert office.origin.bodies("/a/1.ts") == 1.0

The agents share by the coordinator's word and by mDNS, as in the product. Give each test a folder of its own: a stream
is known by its manifest's address.

Map:
    Got          an answer as a client got it, with its times
    Office       the agents, a client at each desk, the origin
      get, direct, learn, meet       what clients do
      restart, end, kill, start      what happens to agents
      status, why                    what an agent says of itself
    desks        the office as a context
"""

import contextlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy

from tests.demo import pki
from tests.demo.clock import seconds
from tests.demo.parts import Agent, Plan
from tests.demo.stage import Stage
from tests.field.origin import HOST, Origin, playlist
from tests.product.outside import through


@dataclass(frozen=True)
class Got:
    """An answer as a client got it. Times are seconds from the request on."""

    status: int
    fields: CIMultiDictProxy[str]
    body: bytes
    head_s: float
    first_byte_s: float
    """Of the body; for an empty body the same as `whole_s`."""
    whole_s: float
    arrivals: tuple[tuple[float, int], ...]
    """When how many bytes had come in all."""


async def _ask(client: aiohttp.ClientSession, method: str, url: str, fields: Mapping[str, str], data: Any) -> Got:
    began, arrivals, parts, size = seconds(), [], [], 0
    async with client.request(method, url, headers=fields, data=data, allow_redirects=False) as answer:
        head = seconds() - began
        async for part in answer.content.iter_any():
            size += len(part)
            parts.append(part)
            arrivals.append((seconds() - began, size))
        whole = seconds() - began
        first = arrivals[0][0] if arrivals else whole
        return Got(answer.status, answer.headers, b"".join(parts), head, first, whole, tuple(arrivals))


class Office:
    """Agents at desks 0, 1 and so on, a client at each of them, and the origin."""

    def __init__(self, stage: Stage, origin: Origin) -> None:
        self.stage, self.origin = stage, origin
        self._clients: dict[int | None, aiohttp.ClientSession] = {}
        self._open = contextlib.AsyncExitStack()

    @property
    def agents(self) -> list[Agent]:
        return self.stage.agents

    def url(self, path: str) -> str:
        """The address of a path at the origin, by https unless it is a whole address already."""
        return path if "://" in path else f"{self.origin.https}{path}"

    # What clients do

    async def _client(self, desk: int | None) -> aiohttp.ClientSession:
        if desk not in self._clients:
            files = pki.make(self.stage.directory / "pki")
            agent = None if desk is None else self.agents[desk]
            roots = [files.ca] if agent is None else [agent.ca]
            self._clients[desk] = await self._open.enter_async_context(
                through(agent, *roots, cookie_jar=aiohttp.DummyCookieJar())
            )
        return self._clients[desk]

    async def get(
        self,
        desk: int | None,
        path: str,
        fields: Mapping[str, str] | None = None,
        method: str = "GET",
        data: Any = None,
    ) -> Got:
        """What the client at this desk gets; None is one that goes straight to the origin."""
        return await _ask(await self._client(desk), method, self.url(path), fields or {}, data)

    async def learn(self, desk: int, manifest: str) -> Got:
        """The client at this desk reads a manifest, and so its agent does."""
        got = await self.get(desk, manifest)
        assert got.status == 200, (manifest, got)
        return got

    async def meet(self, manifest: str | Sequence[str], probes: Sequence[str] = ()) -> None:
        """Every desk reads the manifest, and has had one of its probes from a neighbour: they share this stream.

        Several manifests are one for each desk. `probes` are the probes' paths, where the manifest is none of
        `playlist(..., probes=…)`.
        """
        each = [manifest] * len(self.agents) if isinstance(manifest, str) else manifest
        got = [await self.learn(desk, name) for desk, name in enumerate(each)]
        free = [*(probes or re.findall(r"^(.*/probe-\d+\.ts)$", got[0].body.decode(), re.MULTILINE))]
        waiting = set(range(1, len(self.agents)))
        while waiting:
            assert free, f"desks {sorted(waiting)} had every probe of {manifest} from the origin: {await self.why()}"
            probe = free.pop(0)
            before = len(self.origin.requests(probe))
            await self.get(0, probe)
            for desk in sorted(waiting):
                asked = len(self.origin.requests(probe))
                await self.get(desk, probe)
                if len(self.origin.requests(probe)) == asked and asked > before:
                    waiting.discard(desk)

    # What happens to agents

    async def kill(self, desk: int) -> None:
        """The agent ends like a machine that lost its power."""
        await self._leave(desk)
        await self.stage.kill_agent(desk)

    async def end(self, desk: int) -> None:
        """The agent ends as it does when the machine is shut down."""
        await self._leave(desk)
        agent = self.agents[desk]
        if agent.child is not None:
            await self.stage.processes.end([agent.child])
            agent.child = None

    async def start(self, desk: int) -> None:
        """The agent starts again, with what is on its disk."""
        await self.stage.start_agent(desk)

    async def restart(self, desk: int) -> None:
        """The agent ends in order and starts again, with what is on its disk."""
        await self.end(desk)
        await self.start(desk)

    async def _leave(self, desk: int) -> None:
        if (client := self._clients.pop(desk, None)) is not None:
            await client.close()

    # What an agent says of itself

    async def status(self, desk: int) -> dict[str, Any]:
        await self.stage.refresh()
        return self.agents[desk].status

    async def why(self, last: int = 6) -> list[list[str]]:
        """For the message of a failed test: where each desk had its latest segments from, and why."""
        await self.stage.refresh()
        return [
            [f"{it['source']}: {it['why']}" for it in agent.status.get("recent", [])[:last]] for agent in self.agents
        ]

    async def close(self) -> None:
        await self._open.aclose()


@contextlib.asynccontextmanager
async def desks(
    count: int,
    settings: Mapping[str, Any] | None = None,
    own: Mapping[int, Mapping[str, Any]] | None = None,
    record: bool = False,
) -> AsyncIterator[Office]:
    """An office of so many desks, which share. `settings` go to each agent.toml, `own` to those of single desks."""
    common = {"origin_hosts": dict.fromkeys((pki.ORIGIN, HOST), "127.0.0.1")} | dict(settings or {})
    plan = Plan(viewers=count, settings=common, own={desk: dict(it) for desk, it in (own or {}).items()}, record=record)
    async with Stage(plan) as stage, Origin.open(pki.make(stage.directory / "pki")) as origin:
        office = Office(stage, origin)
        try:
            origin.put("/first/index.m3u8", playlist(probes="/first"))
            await office.meet("/first/index.m3u8")
            yield office
        finally:
            await office.close()
