"""mpv on a host of the office, without screen and sound: driven and asked over its own socket.

Map:
    why_not             why it cannot be driven here, or None
    Mpv                 one player: start, property, command, pick, stop
    watch               plays, pauses, goes on, and of a recording seeks and changes the rendition -> Watched
Stalls are its own `paused-for-cache`. Debian's FFmpeg, which it fetches with, takes the proxy from the environment, and
checks the CA for the manifest alone.
"""

import asyncio
import contextlib
import itertools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.demo.clock import seconds
from tests.demo.processes import Child, CouldNotStart
from tests.lab import shell
from tests.lab.net import Host
from tests.lab.office import ORIGIN_URL, PROXY_URL, Office

_START_SECONDS = 20.0
_LOOK_SECONDS = 0.1
_OPTIONS = ("--no-config", "--vo=null", "--ao=null", "--really-quiet", "--hls-bitrate=max", "--tls-verify=yes")


def why_not() -> str | None:
    return None if shutil.which("mpv") else "mpv is missing (apt install mpv)"


@dataclass
class Watched:
    """What one viewer saw. `advanced`: seconds of media in the last part, of `seconds` in which it played on."""

    startup_ms: int
    stalls: int
    advanced: float
    seconds: float
    position: float
    height: int
    frames_dropped: int


class Mpv:
    """One running player."""

    def __init__(self, child: Child, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._child, self._reader, self._writer = child, reader, writer
        self._numbers = itertools.count(1)

    @classmethod
    async def start(cls, office: Office, host: Host, path: str, *, through_agent: bool) -> "Mpv":
        socket = office.directory / f"mpv-{host.name}-{next(_TIMES)}.sock"
        root = office.agents[host.name].ca if through_agent else office.directory / "pki" / "origin-ca.pem"
        words = [*_OPTIONS, f"--input-ipc-server={socket}", f"--tls-ca-file={root}", f"{ORIGIN_URL}{path}"]
        proxy = ["env", f"http_proxy={PROXY_URL}"] if through_agent else []
        child = await office.processes.start(socket.stem, shell.inside(host.namespace, *proxy, "mpv", *words))
        reader, writer = await cls._open(child, socket)
        return cls(child, reader, writer)

    @staticmethod
    async def _open(child: Child, socket: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        limit = seconds() + _START_SECONDS
        while seconds() < limit and child.exit_code is None:
            with contextlib.suppress(OSError):
                return await asyncio.open_unix_connection(socket)
            await asyncio.sleep(0.02)
        raise child.failed("opened no socket")

    async def command(self, *words: object) -> Any:
        """The answer's data; None where there is none yet."""
        number = next(self._numbers)
        self._writer.write(json.dumps({"command": words, "request_id": number}).encode() + b"\n")
        await self._writer.drain()
        while line := await self._reader.readline():  # events come in between
            told = json.loads(line)
            if told.get("request_id") == number:
                return told.get("data")
        raise self._child.failed("ended")

    async def property(self, name: str) -> Any:
        return await self.command("get_property", name)

    async def pick(self, height: int) -> None:
        """Change to the rendition of that height."""
        tracks = await self.property("track-list")
        chosen = next(each["id"] for each in tracks if each["type"] == "video" and each.get("demux-h") == height)
        await self.command("set_property", "vid", chosen)

    async def stop(self, office: Office) -> None:
        self._writer.close()
        await office.processes.end([self._child])


_TIMES = itertools.count(1)


async def watch(
    office: Office,
    host: Host,
    path: str,
    duration: float,
    *,
    through_agent: bool,
    seek: float | None = None,
    height: int | None = None,
) -> Watched:
    """Plays for `duration` twice, with a pause in between, and after it goes to second `seek` and to another `height`.

    Not to another height of a live stream: mpv 0.35 then stands still, also with one that FFmpeg made (docs/lab.md).
    """
    begun = seconds()
    player = await Mpv.start(office, host, path, through_agent=through_agent)
    stalls = 0

    async def play(until: float) -> None:
        nonlocal stalls
        stood = False
        while seconds() < until:
            stands = bool(await player.property("paused-for-cache"))
            stalls += stands and not stood
            stood = stands
            await asyncio.sleep(_LOOK_SECONDS)

    try:
        while not (await player.property("time-pos") or 0) > 0:
            if seconds() - begun > _START_SECONDS:
                raise CouldNotStart(f"mpv on {host.name} played nothing for {_START_SECONDS:.0f} s")
            await asyncio.sleep(0.02)
        startup_ms = round((seconds() - begun) * 1000)
        await play(seconds() + duration)
        await player.command("set_property", "pause", True)
        await asyncio.sleep(1)
        await player.command("set_property", "pause", False)
        if seek is not None:
            await player.command("seek", seek, "absolute")
        if height is not None:
            await player.pick(height)
        stalls_before = stalls
        await play(seconds() + 2)
        if seek is not None:
            stalls = stalls_before  # it waits for what it sought
        first, at = float(await player.property("time-pos") or 0), seconds()
        await play(at + duration)
        position = float(await player.property("time-pos") or 0)
        shown = int(await player.property("height") or 0)
        dropped = int(await player.property("frame-drop-count") or 0)
        passed = seconds() - at
        return Watched(startup_ms, stalls, round(position - first, 2), round(passed, 2), position, shown, dropped)
    finally:
        await player.stop(office)
