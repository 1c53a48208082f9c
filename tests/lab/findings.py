"""What an event in the office came to, by witnesses outside the product: the origin's log, the line, the viewers.

Map:
    Reason         what an agent said of one segment that it served
    Fetch          one segment asked of the origin, from the origin's log
    SiteFindings   one site: copies, fetches at once, bytes on its line
    Findings       everything, with the reasons of agents beside every segment that was fetched more than once
    find           adds up
    fetches, at_once, copies
"""

import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.demo.parts import Agent
from tests.lab.net import Net, Traffic

SETTLED_SECONDS = 4.0
"""Two segments: what is listed when the last viewer sits down has gone by."""


@dataclass(frozen=True)
class Reason:
    """From the agent's status page."""

    host: str
    key: str
    rendition: str
    number: int
    source: str
    why: str
    ms: float
    bytes: int


@dataclass(frozen=True)
class Fetch:
    """`at` is the origin's wall clock; a fetch without bytes was refused or given up."""

    at: float
    ends: float
    path: str
    client: str
    status: int
    bytes: int
    size: int
    range: str | None

    @property
    def number(self) -> int:
        return int("".join(filter(str.isdigit, self.path.rpartition("/")[2].partition(".")[0])) or -1)


def fetches(log: Iterable[Mapping[str, Any]]) -> list[Fetch]:
    """Segments only; also those that a fault struck before they had a kind."""
    return [
        Fetch(
            at=entry["at"],
            ends=entry["at"] + entry["ms"] / 1000,
            path=entry["path"],
            client=entry["client"],
            status=entry["status"],
            bytes=entry["bytes"],
            size=entry["size"],
            range=entry["range"],
        )
        for entry in log
        if entry["kind"] == "segment" or entry["path"].endswith((".ts", ".m4s"))
    ]


def at_once(of: Sequence[Fetch]) -> int:
    """The most fetches of one path that were under way together."""
    most = 0
    by_path: dict[str, list[Fetch]] = defaultdict(list)
    for fetch in of:
        by_path[fetch.path].append(fetch)
    for same in by_path.values():
        edges = sorted([(fetch.at, 1) for fetch in same] + [(fetch.ends, -1) for fetch in same])
        now = 0
        for _, step in edges:
            now += step
            most = max(most, now)
    return most


@dataclass
class SiteFindings:
    """One site's event.

    `copies`: bytes of segments that the origin wrote for this site, against one of each segment that it wanted.
    `copies_settled`: the same of segments first fetched when everybody had sat down for `SETTLED_SECONDS`.
    `bound`: the offload of a site that fetches each segment once.
    """

    site: str
    viewers: int
    segments: int
    copies: float
    bytes_origin: int
    bytes_distinct: int
    bytes_delivered: int
    offload: float
    bound: float
    copies_settled: float
    fetched_twice: int
    most_at_once: int
    line: Traffic
    line_copies: float


@dataclass
class Twice:
    """A segment that a site fetched more than once, and what its agents said of it."""

    site: str
    path: str
    fetches: list[Fetch]
    reasons: list[Reason]


@dataclass
class Findings:
    """Of one event."""

    seconds: float
    viewers: int
    segments: int
    stalls: int
    stall_seconds: float
    startup_ms_p50: float | None
    startup_ms_max: int | None
    not_started: int
    mismatches: int
    checked: int
    skipped: int
    errors: dict[str, int]
    latency_ms_p50: float
    latency_ms_p95: float
    sites: dict[str, SiteFindings]
    cpu_percent: dict[str, float]
    sources: dict[str, int]
    uploaded_most: float
    between_sites: int
    devices: dict[str, str]
    """Host by device."""
    twice: list[Twice] = field(default_factory=list)
    by_viewer: dict[str, dict[str, Any]] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        return asdict(self)

    def why(self) -> str:
        """For a person: every segment that a site fetched more than once, and what its agents said of it."""
        rows = []
        short = {device[:8]: host for device, host in self.devices.items()}
        for twice in self.twice:
            start = twice.fetches[0].at
            rows.append(f"\n{twice.path} site {twice.site}")
            for fetch in twice.fetches:
                took = f"+{fetch.at - start:.3f} s, took {fetch.ends - fetch.at:.3f} s"
                part = f" {fetch.range}" if fetch.range else ""
                rows.append(f"  origin -> {fetch.client}: {took}, {fetch.status}, {fetch.bytes} bytes{part}")
            for reason in sorted(twice.reasons, key=lambda reason: (reason.source != "origin", reason.ms)):
                why = re.sub(r"\b[0-9a-f]{8}\b", lambda found: short.get(found[0], found[0]), reason.why)
                rows.append(f"  {reason.host} {reason.source} {reason.ms:.0f} ms {reason.bytes} bytes: {why}")
        return "\n".join(rows)

    @property
    def agent_cpu(self) -> list[float]:
        return [share for name, share in self.cpu_percent.items() if name != "coordinator" and "audience" not in name]


def copies(of: Sequence[Fetch]) -> float:
    """Bytes written against one of each segment."""
    distinct = sum({fetch.path: fetch.size for fetch in of if fetch.bytes}.values())
    return round(sum(fetch.bytes for fetch in of) / distinct, 4) if distinct else 0.0


def _site(name: str, of: Sequence[Fetch], delivered: int, viewers: int, line: Traffic, settled: float) -> SiteFindings:
    sizes: dict[str, int] = {}
    times: dict[str, int] = defaultdict(int)
    first: dict[str, float] = {}
    for fetch in sorted(of, key=lambda fetch: fetch.at):
        first.setdefault(fetch.path, fetch.at)
        if fetch.bytes:
            sizes[fetch.path] = fetch.size
            times[fetch.path] += 1
    origin, distinct = sum(fetch.bytes for fetch in of), sum(sizes.values())
    return SiteFindings(
        site=name,
        viewers=viewers,
        segments=len(sizes),
        copies=copies(of),
        copies_settled=copies([fetch for fetch in of if first[fetch.path] >= settled]),
        bytes_origin=origin,
        bytes_distinct=distinct,
        bytes_delivered=delivered,
        offload=round(1 - origin / delivered, 4) if delivered else 0.0,
        bound=round(1 - distinct / delivered, 4) if delivered else 0.0,
        fetched_twice=sum(count > 1 for count in times.values()),
        most_at_once=at_once(of),
        line=line,
        line_copies=round(line.down / distinct, 4) if distinct else 0.0,
    )


def _twice(site: str, of: Sequence[Fetch], reasons: Sequence[Reason], hosts: set[str]) -> list[Twice]:
    by_path: dict[str, list[Fetch]] = defaultdict(list)
    for fetch in of:
        by_path[fetch.path].append(fetch)
    return [
        Twice(site, path, same, [r for r in reasons if r.number == same[0].number and r.host in hosts])
        for path, same in by_path.items()
        if len(same) > 1
    ]


def find(
    net: Net,
    *,
    seconds_passed: float,
    settled_at: float,
    viewers: Mapping[str, dict[str, Any]],
    log: Sequence[Mapping[str, Any]],
    lines: Mapping[str, Traffic],
    reasons: Sequence[Reason],
    cpu: Mapping[str, float],
    agents: Sequence[Agent],
    between_sites: int,
) -> Findings:
    """`viewers` are their last lines, by seat; a seat's name begins with its host's."""
    of_site: dict[str, list[Fetch]] = defaultdict(list)
    for fetch in fetches(log):
        of_site[net.site_at(fetch.client)].append(fetch)
    hosts = {host.name: net.main_site(host.site) for host in net.hosts_of()}
    shows = {name: (hosts[name.partition(".")[0]], line) for name, line in viewers.items()}
    last = [line for _, line in shows.values()]
    started = [line["startup_ms"] for line in last if line.get("startup_ms") is not None]
    errors: dict[str, int] = defaultdict(int)
    for line in last:
        for name, count in line.get("errors", {}).items():
            errors[name] += count
    sites, twice = {}, []
    for site, carried in lines.items():
        here = [one for at, one in shows.values() if at == site]
        delivered = sum(one.get("bytes", 0) for one in here)
        sites[site] = _site(site, of_site[site], delivered, len(here), carried, settled_at)
        twice += _twice(site, of_site[site], reasons, {name for name, at in hosts.items() if at == site})
    sources: dict[str, int] = defaultdict(int)
    for agent in agents:
        for name, count in agent.status.get("segments", {}).items():
            sources[name] += count
    uploaded = [agent.bytes_from("uploaded") for agent in agents]
    return Findings(
        seconds=round(seconds_passed, 1),
        viewers=len(last),
        segments=sum(line.get("segments", 0) for line in last),
        stalls=sum(line.get("stalls", 0) for line in last),
        stall_seconds=round(sum(line.get("stall_seconds", 0.0) for line in last), 2),
        startup_ms_p50=statistics.median(started) if started else None,
        startup_ms_max=max(started, default=None),
        not_started=len(last) - len(started),
        mismatches=sum(line.get("sha256_mismatches", 0) for line in last),
        checked=sum(line.get("sha256_checked", 0) for line in last),
        skipped=sum(line.get("skipped", 0) for line in last),
        errors=dict(errors),
        latency_ms_p50=statistics.median([line.get("latency_ms_p50", 0.0) for line in last] or [0.0]),
        latency_ms_p95=max((line.get("latency_ms_p95", 0.0) for line in last), default=0.0),
        sites=sites,
        cpu_percent={name: round(used / max(0.1, seconds_passed) * 100, 1) for name, used in cpu.items()},
        sources=dict(sources),
        uploaded_most=round(max(uploaded) / max(1, sum(uploaded)), 3) if uploaded else 0.0,
        between_sites=between_sites,
        devices={agent.status.get("device", ""): agent.name for agent in agents},
        twice=twice,
        by_viewer={name: line for name, (_, line) in shows.items()},
    )
