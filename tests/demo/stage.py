"""The whole product on one machine, as processes: origin, coordinator, one agent and one viewer per desk.

    async with Stage(Plan(viewers=3)) as stage:
        await stage.start_viewers()
        await asyncio.sleep(20)
        await stage.kill_agent(0)
        result = await stage.finish()

Map:
    Stage        starts all of it and ends all of it, whatever happens
      start_viewers, finish                      the event
      kill_agent, start_agent, kill_coordinator  trouble
      refresh, result                            figures so far
      browse                                     a real browser at one desk
"""

import asyncio
import base64
import contextlib
import functools
import itertools
import json
import shutil
import ssl
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from tests.demo import browser, content, pki
from tests.demo.clock import seconds
from tests.demo.enrolling import enrol
from tests.demo.parts import (
    PAGE_PORT,
    PATHS,
    PEER_PORT,
    PROXY_PORT,
    Agent,
    OriginView,
    Plan,
    Watched,
    free_addresses,
    free_port,
    toml,
)
from tests.demo.processes import Child, Processes, Whole, invitation
from tests.demo.summary import Result, summarise
from tests.demo.viewer import FixedResolver


class Stage(Whole):
    """Everything of one run. Its files lie in `directory`; a temporary one is removed unless `keep`."""

    def __init__(self, plan: Plan, directory: Path | None = None, keep: bool = False) -> None:
        self.plan = plan
        self._temporary = directory is None and not keep
        self.directory = directory or Path(tempfile.mkdtemp(prefix="ecdn-demo-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        self.processes = Processes(self.directory)
        self.agents: list[Agent] = []
        self.viewers: list[Watched] = []
        self.coordinator: Child | None = None
        self.coordinator_url: str | None = None
        self.coordinator_config = self.directory / "coordinator.toml"
        """Empty; what a test writes there is in force after SIGHUP."""
        self._pki = pki.make(self.directory / "pki")
        self.join: dict[str, str] = {}
        self._names = itertools.count(1)
        self._sessions = contextlib.AsyncExitStack()
        self._began = self._ended = 0.0

    async def start(self) -> None:
        await self._start_origin()
        if self.plan.through == "agents":
            await self._start_coordinator()
        if self.plan.through != "nothing":
            await self._start_agents()

    def keep_files(self) -> None:
        self._temporary = False

    async def close(self) -> None:
        """Viewers first and the origin last, so that nobody logs the loss of a neighbour that we ended."""
        await self._end_viewers()
        await self.processes.end([agent.child for agent in self.agents if agent.child is not None])
        for agent in self.agents:
            agent.child = None
        await self.processes.close()
        await self._sessions.aclose()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    # Starting

    async def _start_origin(self) -> None:
        ready = self.directory / "origin.ready"
        cache = await asyncio.to_thread(content.prepare)
        arguments = ["--content", str(cache.parent), "--pki", str(self.directory / "pki"), "--ready-file", str(ready)]
        child = await self.processes.python("origin", "tests.demo.origin", *arguments, "--mbps", str(self.plan.mbps))
        await child.ready(ready, self.plan.start_within_seconds)
        told = json.loads(ready.read_text())
        self.origin_port: int = told["port"]
        context = ssl.create_default_context(cafile=self._pki.ca)
        resolver = FixedResolver({pki.ORIGIN: "127.0.0.1"})
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=resolver, ssl=context))
        self.session = await self._sessions.enter_async_context(session)
        self.origin = OriginView(self.session, told["url"])
        timeout = aiohttp.ClientTimeout(total=2)
        self._pages = await self._sessions.enter_async_context(aiohttp.ClientSession(timeout=timeout))

    async def _start_coordinator(self) -> None:
        data, ready = self.directory / "coordinator", self.directory / "coordinator.ready"
        self.coordinator_config.touch()
        listen = f"127.0.0.1:{free_port()}"
        common = ["--data-dir", str(data)]
        arguments = ["run", *common, "--listen", listen, "--ready-file", str(ready)]
        arguments += ["--config", str(self.coordinator_config)]
        self.coordinator = await self.processes.python("coordinator", "coordinator", *arguments)
        await self.coordinator.ready(ready, self.plan.start_within_seconds)
        self.join = await invitation(self.processes.python, data, self.plan.start_within_seconds)
        self.coordinator_url = self.join["coordinator"]

    async def _start_agents(self) -> None:
        for number, address in enumerate(free_addresses(self.plan.viewers), 1):
            name = f"agent-{number}"
            state, config = self.directory / name, self.directory / f"{name}.toml"
            plain = self.plan.through == "mitmdump"
            ca = state / "mitmproxy-ca-cert.pem" if plain else state / "authority" / "ca.pem"
            config.write_text(self._settings(number - 1, address))
            self.agents.append(Agent(name, address, state, config, ca))
        if self.plan.through == "agents":
            states = [agent.state for agent in self.agents]
            await enrol(self.processes.python, self.join, states, self.plan.start_within_seconds)
        slots = asyncio.Semaphore(4)  # each start costs a second or two of a whole core

        async def start(index: int) -> None:
            async with slots:
                await self.start_agent(index)

        tasks = [start(index) for index in range(len(self.agents))]
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    def _settings(self, index: int, address: str) -> str:
        settings: dict[str, Any] = {
            "listen": f"{address}:{PROXY_PORT}",
            "page_listen": f"{address}:{PAGE_PORT}",
            "peer_listen": f"{address}:{PEER_PORT}",
            "intercept_domains": [pki.DOMAIN],
            "origin_ca_file": str(self._pki.ca),
            "origin_hosts": {pki.ORIGIN: "127.0.0.1"},
            "allow_local_origins": True,
            "peer_networks": ["127.0.0.0/8"],
            "lan_discovery": True,
            "cache_memory_mb": 128,
            "cache_disk_mb": 0,
        }
        settings |= self.plan.settings | self.plan.own.get(index, {})
        return "".join(f"{name} = {toml(value)}\n" for name, value in settings.items())

    async def start_agent(self, index: int) -> None:
        """Starts agent `index`, also again after it was killed: same state, same addresses."""
        agent, within = self.agents[index], self.plan.start_within_seconds
        if self.plan.through == "mitmdump":
            agent.child = await self._start_mitmdump(agent)
            await agent.child.listening(agent.address, PROXY_PORT, within)
            return
        ready = self.directory / f"{agent.name}.ready"
        ready.unlink(missing_ok=True)
        arguments = ["run", "--state-dir", str(agent.state), "--config", str(agent.config), "--ready-file", str(ready)]
        if self.plan.record:
            arguments += ["--record", str(agent.config.with_suffix(".recording"))]
        agent.child = await self.processes.python(agent.name, "ecdn_proxy", *arguments)
        await agent.child.ready(ready, within)
        if not agent.ca.exists():
            raise agent.child.failed(f"made no certificate authority at {agent.ca}")

    async def _start_mitmdump(self, agent: Agent) -> Child:
        """A plain intercepting proxy in the agent's place: what the same desk looks like without the product."""
        there, here = f"https://{pki.ORIGIN}:{self.origin_port}/", f"https://127.0.0.1:{self.origin_port}/"
        settings = [f"confdir={agent.state}", f"ssl_verify_upstream_trusted_ca={self._pki.ca}"]
        settings += ["connection_strategy=lazy", "http2=false"]
        beside = Path(sys.executable).with_name("mitmdump")
        command = [str(beside), "-q", "--listen-host", agent.address]
        command += ["-p", str(PROXY_PORT), "--map-remote", f"|{there}|{here}"]
        return await self.processes.start(agent.name, command + [a for s in settings for a in ("--set", s)])

    @property
    def invitation(self) -> dict[str, str]:
        """What one more machine needs to enrol: coordinator, tenant_root_sha256, token."""
        return dict(self.join)

    # The event

    async def start_viewers(self) -> None:
        """One viewer per desk, one shortly after the other."""
        self._began = seconds()
        for number in range(self.plan.viewers):
            await self.start_viewer(self.agents[number] if self.agents else None)
            await asyncio.sleep(self.plan.stagger_seconds)

    async def start_viewer(self, agent: Agent | None) -> Watched:
        """A viewer at the desk of `agent`, or without any."""
        arguments = ["--url", f"{self.origin.url}{PATHS[self.plan.stream]}", "--origin-ca", str(self._pki.ca)]
        arguments += ["--resolve", f"{pki.ORIGIN}=127.0.0.1"]
        arguments += ["--abr"] if self.plan.abr else []
        arguments += ["--else-direct"] if self.plan.else_direct else []
        arguments += ["--proxy", agent.proxy_url, "--ca", str(agent.ca)] if agent else []
        name = f"viewer-{next(self._names)}"
        watched = Watched(await self.processes.python(name, "tests.demo.viewer", *arguments), agent)
        self.viewers.append(watched)
        return watched

    async def _end_viewers(self) -> None:
        running = [viewer.child for viewer in self.viewers if viewer.child.exit_code is None]
        await self.processes.end(running)
        self._ended = self._ended or seconds()

    async def finish(self) -> Result:
        """Ends the viewers and adds up."""
        await self.refresh()
        await self._end_viewers()
        await self.refresh()
        return await self.result()

    async def refresh(self) -> None:
        """Asks every agent for its status; one that does not answer keeps its last."""

        async def ask(agent: Agent) -> None:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):
                async with self._pages.get(f"{agent.page_url}api/status") as answer:
                    if answer.status == 200:
                        agent.status = await answer.json()

        if self.plan.through == "agents":
            await asyncio.gather(*(ask(agent) for agent in self.agents if agent.child is not None))

    async def result(self) -> Result:
        """The sums as of now: bytes at the origin by the origin, bytes at the viewers by the viewers."""
        passed = (self._ended or seconds()) - self._began
        lines = [viewer.latest for viewer in self.viewers]
        return summarise(passed, lines, self.agents, (await self.origin.counts())["kinds"])

    # Trouble

    async def kill_agent(self, index: int) -> None:
        """Ends the agent and its workers at once, like a machine that lost its power."""
        agent = self.agents[index]
        if agent.child is not None:
            await agent.child.kill()
            agent.child = None

    async def kill_coordinator(self) -> None:
        if self.coordinator is not None:
            await self.coordinator.kill()
            self.coordinator = None

    # A real browser

    def page(self) -> str:
        """The player page of this stage's stream."""
        player = f"&player={self.plan.player}" if self.plan.player else ""
        height = f"&height={self.plan.height}" if self.plan.height else ""
        return f"{self.origin.url}/player.html?stream={self.plan.stream}{player}{height}"

    def pac_url(self, index: int) -> str:
        """The PAC file of the agent at desk `index`; mitmdump has none, so it gets one in the URL itself."""
        agent = self.agents[index]
        if self.plan.through == "agents":
            return f"{agent.page_url}proxy.pac"
        script = f"function FindProxyForURL(u, h) {{ return 'PROXY {agent.address}:{PROXY_PORT}'; }}"
        return f"data:application/x-ns-proxy-autoconfig;base64,{base64.b64encode(script.encode()).decode()}"

    async def browse(
        self,
        index: int | None,
        duration: float,
        screenshot: Path | None = None,
        acts: Sequence[browser.Act] = (),
        until: str = "",
    ) -> browser.PlayerReport:
        """Plays the stream in Chromium at desk `index`: through its agent's PAC, trusting its agent's root alone.

        Without a desk, or where nothing stands on them, the browser goes straight to the origin.
        """
        play = functools.partial(
            browser.play, self.page(), seconds=duration, screenshot=screenshot, acts=acts, until=until
        )
        if index is None or self.plan.through == "nothing":
            return await play(ca_files=[self._pki.ca], resolve={pki.ORIGIN: "127.0.0.1"})
        return await play(ca_files=[self.agents[index].ca], pac_url=self.pac_url(index))
