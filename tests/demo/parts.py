"""What stands on the stage, seen from outside: an agent, a viewer, the origin.

Map:
    Plan        what to start
    Agent       one desk's agent: its addresses, its files, its status
    Watched     one desk's viewer: what it wrote
    OriginView  the origin: counts, log, faults
    free_port, free_addresses, toml
"""

import contextlib
import json
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import aiohttp

from tests.demo.processes import Child, CouldNotStart

type Stream = Literal[
    "hls", "aes", "cmaf", "ll", "dash", "lldash", "timeline", "clearkey", "smooth", "vod-hls", "vod-dash"
]
type Player = Literal["hls", "dash", "shaka", "videojs", "p2pml"]
type Through = Literal["agents", "mitmdump", "nothing"]

PATHS: dict[str, str] = {
    "hls": "/live/hls/master.m3u8",
    "aes": "/live/aes/master.m3u8",
    "cmaf": "/live/cmaf/master.m3u8",
    "ll": "/live/ll/master.m3u8",
    "dash": "/live/dash/manifest.mpd",
    "lldash": "/live/lldash/manifest.mpd",
    "timeline": "/live/dash/timeline.mpd",
    "clearkey": "/live/clearkey/manifest.mpd",
    "smooth": "/live/smooth/live.ism/Manifest",
    "vod-hls": "/vod/hls/master.m3u8",
    "vod-dash": "/vod/dash/manifest.mpd",
}
PROXY_PORT, PAGE_PORT, PEER_PORT = 3128, 8688, 7688


@dataclass
class Plan:
    """What to put on the stage. `settings` are added to each agent's agent.toml."""

    viewers: int = 4
    stream: Stream = "hls"
    player: Player | None = None
    height: int | None = None
    """The one rendition that hls.js keeps to; None: as it chooses."""
    mbps: float = 50.0
    through: Through = "agents"
    abr: bool = False
    else_direct: bool = False
    stagger_seconds: float = 0.25
    settings: dict[str, Any] = field(default_factory=dict)
    own: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Settings of single desks, by their number from 0 on."""
    start_within_seconds: float = 40.0
    record: bool = False
    """Each agent records what it decides, beside its configuration, as `agent-1.recording`."""


@dataclass
class Agent:
    """One desk's agent."""

    name: str
    address: str
    state: Path
    config: Path
    ca: Path
    child: Child | None = None
    status: dict[str, Any] = field(default_factory=dict)

    @property
    def proxy_url(self) -> str:
        return f"http://{self.address}:{PROXY_PORT}"

    @property
    def page_url(self) -> str:
        return f"http://{self.address}:{PAGE_PORT}/"

    def bytes_from(self, *sources: str) -> int:
        """Bytes by source as its status page says; 0 for what it does not say."""
        told = self.status.get("bytes", {})
        return sum(int(told.get(source, 0)) for source in sources)


@dataclass
class Watched:
    """One desk's viewer, by what it wrote last."""

    child: Child
    agent: Agent | None = None

    def lines(self) -> list[dict[str, Any]]:
        """Every line so far; the one being written is left out."""
        return [json.loads(line) for line in self._complete()]

    @property
    def latest(self) -> dict[str, Any]:
        lines = self._complete()
        latest: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        return latest

    def _complete(self) -> list[str]:
        return self.child.output.read_text().rpartition("\n")[0].splitlines()


class OriginView:
    """The origin as the demo reads it: over a connection of its own that no agent sees."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self.url = session, url

    async def _get(self, path: str, **query: str | float) -> Any:
        async with self._session.get(f"{self.url}/_demo/{path}", params=query) as answer:
            return await answer.json()

    async def counts(self) -> dict[str, dict[str, dict[str, int]]]:
        counts: dict[str, dict[str, dict[str, int]]] = await self._get("counts")
        return counts

    async def log(self, since: int = 0) -> list[dict[str, Any]]:
        log: list[dict[str, Any]] = await self._get("log", since=since)
        return log

    async def fault(self, **query: str | float) -> None:
        """Trouble on demand: match, status, delay_ms, truncate, percent, times; clear=1 ends it."""
        await self._get("fault", **query)


def toml(value: object) -> str:
    """One value as TOML, which for these types is JSON but for tables, also those in a list."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value)


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


_TAKEN: dict[int, socket.socket] = {}


def _ours(block: int) -> bool:
    """Takes a block of addresses for this process, against others that look at the same moment."""
    if block not in _TAKEN:
        mark = socket.socket(socket.AF_UNIX)
        try:
            mark.bind(f"\0ecdn-demo-{block}")
        except OSError:
            mark.close()
            return False
        _TAKEN[block] = mark
    return True


def free_addresses(count: int) -> list[str]:
    """Loopback addresses where the ports of an agent are free: 127.0.1.1 and on, or the next block like it."""

    def free(address: str) -> bool:
        with contextlib.ExitStack() as stack:
            try:
                for port in (PROXY_PORT, PAGE_PORT, PEER_PORT):
                    probe = stack.enter_context(socket.socket())
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((address, port))
            except OSError:
                return False
        return True

    for block in range(1, 200):
        addresses = [f"127.0.{block + i // 250}.{i % 250 + 1}" for i in range(count)]
        if all(_ours(block + more) for more in range(-(-count // 250))) and all(map(free, addresses)):
            return addresses
    raise CouldNotStart(f"no free loopback addresses for {count} agents on port {PROXY_PORT}")
