"""A whole office with people in it: the origin and the coordinator in the internet, an agent and a viewer on each host.

    async with Office(NetPlan((SitePlan("a", 6),))) as office:
        audience = await office.watch()
        await asyncio.sleep(20)
        findings = await office.finish()

Map:
    OfficePlan       settings of agents, how processes are started
    Audience         the viewers of one process, by what it wrote
    Office           starts everything, ends everything
      watch, finish                              the event, and its figures (`findings`)
      start_agent, kill_agent, kill_coordinator  trouble; the network's is `office.faults`
      refresh                                    asks agents for their status, and keeps what they said of segments
      browse                                     Chromium on a host
"""

import asyncio
import contextlib
import functools
import itertools
import json
import os
import shutil
import ssl
import sys
import tempfile
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import psutil

from tests.demo import content, pki
from tests.demo.browser import Act
from tests.demo.clock import seconds, wall
from tests.demo.enrolling import enrol
from tests.demo.parts import PAGE_PORT, PATHS, PEER_PORT, PROXY_PORT, Agent, OriginView, Stream, toml
from tests.demo.processes import Child, Processes, Whole, invitation
from tests.lab import shell
from tests.lab.audience import Seat, Seats
from tests.lab.faults import Faults
from tests.lab.findings import SETTLED_SECONDS, Findings, Reason, find
from tests.lab.inside import session
from tests.lab.net import COORDINATOR, HOSTS, ORIGIN, Host, Net, NetPlan

ORIGIN_URL = f"https://{pki.ORIGIN}"
PROXY_URL = f"http://127.0.0.1:{PROXY_PORT}"


@dataclass
class OfficePlan:
    """`agents`: off for people without the product. `settings` are added to each agent.toml, `coordinator` are its own.

    `site_map` is the CSV of IT that joins subnets to one site; without one each subnet is its own.
    """

    net: NetPlan
    agents: bool = True
    peers_listen_everywhere: bool = False
    site_map: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    coordinator: dict[str, Any] = field(default_factory=dict)
    start_within_seconds: float = 60.0


@dataclass
class Audience:
    """The viewers of one process."""

    child: Child
    seats: list[Seat]

    def lines(self) -> list[dict[str, Any]]:
        """Every second's line so far; the one being written is left out."""
        return [json.loads(line) for line in self.child.output.read_text().rpartition("\n")[0].splitlines()]

    @property
    def latest(self) -> dict[str, dict[str, Any]]:
        lines = self.lines()
        latest: dict[str, dict[str, Any]] = lines[-1]["viewers"] if lines else {}
        return latest


def origin_session(net: Net, directory: Path) -> aiohttp.ClientSession:
    """To the origin from beside it, over no counted line."""
    context = ssl.create_default_context(cafile=directory / "pki" / "origin-ca.pem")
    return session(net.internet, addresses=HOSTS, context=context)


class Office(Whole):
    """Everything of one run.

    Its files lie in `directory`. A temporary one is removed unless something did not start, or `keep`, or LAB_KEEP is
    set in the environment: then logs can be read beside the figures of a failed test.
    """

    def __init__(self, plan: OfficePlan | NetPlan, directory: Path | None = None, *, keep: bool = False) -> None:
        self.plan = OfficePlan(plan) if isinstance(plan, NetPlan) else plan
        self._temporary = directory is None and not keep and not os.environ.get("LAB_KEEP")
        self.directory = directory or Path(tempfile.mkdtemp(prefix="ecdn-lab-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        self.net = Net(self.plan.net, self.directory)
        self.faults = Faults(self.net)
        self.processes = Processes(self.directory)
        self.agents: dict[str, Agent] = {}
        self.audiences: list[Audience] = []
        self.coordinator: Child | None = None
        self.reasons: dict[tuple[str, str, str], Reason] = {}
        self._pki = pki.make(self.directory / "pki")
        self._pages: dict[str, aiohttp.ClientSession] = {}
        self._names = itertools.count(1)
        self._exits = contextlib.AsyncExitStack()
        self._cpu: dict[str, float] = {}
        self._began = self._ended = self._seated_at = 0.0
        self._log_at = 0
        self._lines: dict[str, Any] = {}

    async def start(self) -> None:
        await self._exits.enter_async_context(self.net)
        await self._start_origin()
        if self.plan.agents:
            await self._start_coordinator()
            await self._start_agents()

    def keep_files(self) -> None:
        self._temporary = False

    async def close(self) -> None:
        """Viewers first and the network last."""
        await self._end_audiences()
        await self.processes.end([agent.child for agent in self.agents.values() if agent.child is not None])
        for agent in self.agents.values():
            agent.child = None
        await self.processes.close()
        await self._exits.aclose()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    # Starting

    async def _start(self, host: str, name: str, *arguments: str) -> Child:
        """A Python module in a namespace."""
        return await self.processes.start(name, shell.inside(host, sys.executable, "-m", *arguments))

    async def _start_origin(self) -> None:
        ready = self.directory / "origin.ready"
        cache = await asyncio.to_thread(content.prepare)
        arguments = ["--content", str(cache.parent), "--pki", str(self._pki.ca.parent), "--ready-file", str(ready)]
        origin = await self._start(
            self.net.internet, "origin", "tests.demo.origin", "--listen", f"{ORIGIN}:443", *arguments
        )
        await origin.ready(ready, self.plan.start_within_seconds)
        self.session = await self._exits.enter_async_context(origin_session(self.net, self.directory))
        self.origin = OriginView(self.session, ORIGIN_URL)

    async def _start_coordinator(self) -> None:
        await self.start_coordinator()
        there = functools.partial(self._start, self.net.internet)
        self._join = await invitation(there, self.directory / "coordinator", self.plan.start_within_seconds)

    async def start_coordinator(self) -> None:
        """Also again after it was killed: same data, same address."""
        ready = self.directory / "coordinator.ready"
        ready.unlink(missing_ok=True)
        arguments = ["--data-dir", str(self.directory / "coordinator"), "--ready-file", str(ready)]
        listen = ["--listen", f"{COORDINATOR}:8443"]
        if self.plan.site_map:
            sites = self.directory / "sites.csv"
            sites.write_text(self.plan.site_map)
            listen += ["--sites", str(sites)]
        if self.plan.coordinator:
            config = self.directory / "coordinator.toml"
            config.write_text("".join(f"{name} = {toml(value)}\n" for name, value in self.plan.coordinator.items()))
            listen += ["--config", str(config)]
        self.coordinator = await self._start(
            self.net.internet, "coordinator", "coordinator", "run", *arguments, *listen
        )
        await self.coordinator.ready(ready, self.plan.start_within_seconds)

    async def _start_agents(self) -> None:
        for host in self.net.hosts_of():
            state, config = self.directory / host.name, self.directory / f"{host.name}.toml"
            config.write_text(self._settings(host))
            self.agents[host.name] = Agent(host.name, "127.0.0.1", state, config, state / "authority" / "ca.pem")
            timeout_session = session(host.namespace, addresses={"127.0.0.1": "127.0.0.1"}, total=3)
            self._pages[host.name] = await self._exits.enter_async_context(timeout_session)
        there = functools.partial(self._start, self.net.internet)
        states = [agent.state for agent in self.agents.values()]
        await enrol(there, self._join, states, self.plan.start_within_seconds)
        slots = asyncio.Semaphore(3)  # each start costs a second or two of a whole core

        async def start(name: str) -> None:
            async with slots:
                await self.start_agent(name)

        for outcome in await asyncio.gather(*map(start, self.agents), return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    def _settings(self, host: Host) -> str:
        settings: dict[str, Any] = {
            "listen": f"127.0.0.1:{PROXY_PORT}",
            "page_listen": f"127.0.0.1:{PAGE_PORT}",
            "peer_listen": f"{'0.0.0.0' if self.plan.peers_listen_everywhere else host.address}:{PEER_PORT}",
            "intercept_domains": [pki.DOMAIN],
            "origin_ca_file": str(self._pki.ca),
            "allow_local_origins": True,  # 203.0.113.0/24 is for documentation, and not public
            "cache_memory_mb": 64,
            "cache_disk_mb": 0,
        } | self.plan.settings
        return "".join(f"{name} = {toml(value)}\n" for name, value in settings.items())

    async def start_agent(self, name: str) -> None:
        """Also again after it was killed: same state, same address."""
        agent = self.agents[name]
        ready = self.directory / f"{name}.ready"
        ready.unlink(missing_ok=True)
        arguments = ["run", "--state-dir", str(agent.state), "--config", str(agent.config), "--ready-file", str(ready)]
        agent.child = await self._start(self.net.host(name).namespace, f"agent-{name}", "ecdn_proxy", *arguments)
        await agent.child.ready(ready, self.plan.start_within_seconds)

    async def kill_agent(self, name: str) -> None:
        """At once, like a machine that lost its power."""
        agent = self.agents[name]
        if agent.child is not None:
            await agent.child.kill()
            agent.child = None

    async def kill_coordinator(self) -> None:
        if self.coordinator is not None:
            await self.coordinator.kill()
            self.coordinator = None

    # The event

    async def watch(
        self,
        hosts: Iterable[Host] | None = None,
        *,
        stream: Stream = "hls",
        path: str = "",
        through_agents: bool = True,
        else_direct: bool = False,
        abr: bool = False,
        level: int | None = None,
        stagger_seconds: float = 0.1,
    ) -> Audience:
        """One viewer on each host, one shortly after the other, until `finish`."""
        if not self._began:
            self._cpu = self.cpu_seconds()
            self._log_at = len(await self.origin.log())
            self._lines = {site: self.net.line(site) for site in self.net.sites if not self.net.sites[site].on}
            self._began = seconds()
        number = next(self._names)
        chosen = list(self.net.hosts_of() if hosts is None else hosts)
        behind = self.plan.agents and through_agents
        seats = [
            Seat(
                name=host.name if number == 1 else f"{host.name}.{number}",
                namespace=host.namespace,
                url=f"{ORIGIN_URL}{path or PATHS[stream]}",
                proxy=PROXY_URL if behind else None,
                ca=str(self.agents[host.name].ca) if behind else None,
                else_direct=else_direct,
                abr=abr,
                level=level,
                after_seconds=place * stagger_seconds,
            )
            for place, host in enumerate(chosen)
        ]
        file = self.directory / f"seats-{number}.json"
        file.write_bytes(msgspec.json.encode(Seats(self.net.internet, str(self._pki.ca), HOSTS, seats)))
        child = await self.processes.python(f"audience-{number}", "tests.lab.audience", str(file))
        self._seated_at = wall() + len(seats) * stagger_seconds
        self.audiences.append(Audience(child, seats))
        return self.audiences[-1]

    async def browse(
        self,
        host: Host,
        duration: float,
        stream: Stream = "hls",
        *,
        page: Mapping[str, str] | None = None,
        at: float = 0.0,
        flags: Sequence[str] = (),
        acts: Sequence[Act] = (),
        through_agent: bool = True,
    ) -> dict[str, Any]:
        """Plays in Chromium on a host, through its agent's PAC and trusting its agent's root alone.

        `page` are more words for the player page; it starts its player `at` that wall time.
        """
        agent = self.agents.get(host.name) if through_agent else None
        words = urllib.parse.urlencode({"stream": stream, "at": at, **(page or {})})
        arguments = ["--url", f"{ORIGIN_URL}/player.html?{words}", "--seconds", str(duration), "--at", str(at)]
        arguments += ["--ca", str(agent.ca if agent else self._pki.ca)]
        arguments += ["--pac", f"http://127.0.0.1:{PAGE_PORT}/proxy.pac"] if agent else []
        arguments += [f"--flag={flag}" for flag in flags]
        arguments += [word for act in acts for word in ("--act", str(act.after_seconds), act.script)]
        name = f"browser-{host.name}-{next(self._names)}"
        child = await self._start(host.namespace, name, "tests.lab.browsing", *arguments)
        acting = sum(act.after_seconds for act in acts)
        await child.finished(duration + acting + max(0.0, at - wall()) + self.plan.start_within_seconds)
        report: dict[str, Any] = json.loads(child.output.read_text())
        return report

    async def _end_audiences(self) -> None:
        await self.processes.end([a.child for a in self.audiences if a.child.exit_code is None], grace=10)
        self._ended = self._ended or seconds()

    async def run(self, duration: float) -> None:
        """Lets time pass; asks agents often enough that no segment's reason is lost."""
        limit = seconds() + duration
        while (left := limit - seconds()) > 0:
            await asyncio.sleep(min(left, 10.0))
            await self.refresh()

    async def finish(self) -> Findings:
        """Ends the viewers and adds up."""
        await self.refresh()
        cpu = self.cpu_seconds()
        await self._end_audiences()
        lines = {site: self.net.line(site).since(before) for site, before in self._lines.items()}
        log = await self.origin.log(self._log_at)
        viewers = {name: line for audience in self.audiences for name, line in audience.latest.items()}
        return find(
            self.net,
            seconds_passed=self._ended - self._began,
            settled_at=self._seated_at + SETTLED_SECONDS,
            viewers=viewers,
            log=log,
            lines=lines,
            reasons=list(self.reasons.values()),
            cpu={name: cpu[name] - self._cpu.get(name, 0.0) for name in cpu},
            agents=list(self.agents.values()),
            between_sites=self.net.between_sites(),
        )

    async def metrics(self) -> dict[str, float]:
        """What the coordinator counts, by name and labels."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        async with (
            session(self.net.internet, addresses={COORDINATOR: COORDINATOR}, context=context) as door,
            door.get(f"https://{COORDINATOR}:8443/metrics") as answer,
        ):
            lines = [line.rpartition(" ") for line in (await answer.text()).splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    async def refresh(self, names: Sequence[str] | None = None) -> None:
        """Asks agents for their status; one that does not answer keeps its last."""

        async def ask(name: str) -> None:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):
                async with self._pages[name].get(f"http://127.0.0.1:{PAGE_PORT}/api/status") as answer:
                    if answer.status == 200:
                        self._learn(name, await answer.json())

        running = [name for name, agent in self.agents.items() if agent.child is not None]
        await asyncio.gather(*(ask(name) for name in names or running))

    def _learn(self, name: str, status: dict[str, Any]) -> None:
        self.agents[name].status = status
        for row in status.get("recent", []):
            known = {key: row[key] for key in ("key", "rendition", "number", "source", "why", "ms", "bytes")}
            self.reasons[name, row["key"], row["source"]] = Reason(host=name, **known)

    def cpu_seconds(self) -> dict[str, float]:
        """Of each running child with its workers, by name."""
        children = {a.name: a.child for a in self.agents.values() if a.child is not None}
        children |= {a.child.name: a.child for a in self.audiences if a.child.exit_code is None}
        children |= {"coordinator": self.coordinator} if self.coordinator is not None else {}
        used: dict[str, float] = {}
        for name, child in children.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(child.pid)
                family = [process, *process.children(recursive=True)]
                used[name] = sum(sum(member.cpu_times()[:2]) for member in family)
        return used
