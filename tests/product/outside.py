"""What these tests look at, all of it from outside the agent.

Map:
    until              a state that must come, within a bound
    through            an HTTP client behind one desk's agent, or past all of them
    leaf               the certificate that a host shows through a proxy
    settled            viewers that play
    Copies, per_segment  what the origin sends from a moment on
    stalls, missed, wrong   what the viewers' own books say
"""

import asyncio
import contextlib
import hashlib
import socket
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from inspect import isawaitable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.demo.clock import seconds
from tests.demo.parts import PROXY_PORT, Agent, Watched
from tests.demo.stage import Stage

WITHIN_SECONDS = 30.0
"""Long enough for a busy machine; nothing that passes waits this long."""
_LOOK_SECONDS = 0.1


async def until(holds: Callable[[], Awaitable[object] | object], what: str, within: float = WITHIN_SECONDS) -> Any:
    """Looks again and again until `holds` is true, and returns what it said."""
    limit = seconds() + within
    while True:
        said = holds()
        if isawaitable(said):
            said = await said
        if said:
            return said
        if seconds() > limit:
            raise AssertionError(f"in vain for {within:.0f} s: {what}")
        await asyncio.sleep(_LOOK_SECONDS)


class _Here(AbstractResolver):
    """Every name is this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        return


@contextlib.asynccontextmanager
async def through(
    agent: Agent | None, *roots: Path, names: bool = True, **options: Any
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that trusts `roots` (else the agent's own root alone) and sends all through `agent`.

    Without an agent it goes straight to 127.0.0.1, whatever the name. `names=False` does not compare host names.
    """
    trusted = roots or ((agent.ca,) if agent else ())
    context = ssl.create_default_context(cafile=trusted[0])
    for root in trusted[1:]:
        context.load_verify_locations(cafile=root)
    context.check_hostname = names
    connector = aiohttp.TCPConnector(resolver=_Here(), ssl=context)
    timeout = aiohttp.ClientTimeout(total=60, sock_connect=5)
    proxy = agent.proxy_url if agent else None
    options.setdefault("auto_decompress", False)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, proxy=proxy, **options) as session:
        yield session


async def leaf(host: str, port: int, proxy: Agent | None) -> str:
    """SHA-256 of the certificate that answers for `host`, through `proxy` by CONNECT or on 127.0.0.1 itself."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if proxy is None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    else:
        reader, writer = await asyncio.open_connection(proxy.address, PROXY_PORT)
        writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head.splitlines()[0], head
    await writer.start_tls(context, server_hostname=host)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return hashlib.sha256(shown).hexdigest()


async def settled(viewers: Iterable[Watched], segments: int = 4) -> None:
    """Until each of these viewers plays and has this many segments more than now."""
    goals = [(viewer, viewer.latest.get("segments", 0) + segments) for viewer in viewers]
    await until(
        lambda: all(
            viewer.latest.get("startup_ms") is not None and viewer.latest["segments"] >= goal for viewer, goal in goals
        ),
        f"{[(viewer.child.name, goal, viewer.latest) for viewer, goal in goals]}",
    )


def stalls(viewers: Iterable[Watched]) -> list[int]:
    """Each viewer's interruptions so far, by its own buffer; a busy machine makes some too (`quiet_machine`)."""
    return [int(viewer.latest.get("stalls", 0)) for viewer in viewers]


def missed(viewers: Iterable[Watched]) -> list[dict[str, int]]:
    """Each viewer's requests so far that brought nothing, by their reason, and the segments that it gave up."""
    return [
        dict(viewer.latest.get("errors", {}))
        | ({"skipped": viewer.latest["skipped"]} if viewer.latest.get("skipped") else {})
        for viewer in viewers
    ]


def wrong(viewers: Iterable[Watched]) -> list[str]:
    """Bodies that were not the origin's."""
    return [path for viewer in viewers for path in viewer.latest.get("mismatched", [])]


class Copies:
    """Segments' copies that the origin sends from a moment on: those that nobody asked for before it."""

    def __init__(self, stage: Stage, known: set[str], since: int) -> None:
        self._stage, self._known, self._since = stage, known, since

    @classmethod
    async def from_now(cls, stage: Stage) -> "Copies":
        """Counts from here on."""
        log = await stage.origin.log()
        return cls(stage, {entry["path"] for entry in log if entry["kind"] == "segment"}, len(log))

    async def by_path(self, containing: str = "") -> dict[str, float]:
        """New segments, and how often each was sent; parts count as parts."""
        found: dict[str, float] = defaultdict(float)
        for entry in await self._stage.origin.log(self._since):
            if entry["kind"] == "segment" and entry["path"] not in self._known and containing in entry["path"]:
                found[entry["path"]] += entry["bytes"] / entry["size"] if entry["size"] else 0.0
        return dict(found)


def per_segment(copies: dict[str, float]) -> float:
    """Mean of `Copies.by_path`."""
    assert copies, "the origin was asked for no new segment"
    return sum(copies.values()) / len(copies)
