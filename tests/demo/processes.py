"""Child processes that are always ended: each in a group of its own, known to a guard that outlives us.

Map:
    Child        one process with its output in files; started, waited for, ended by its process id
    Processes    all of them; `close()` ends them in reverse
    ahead        processes that go before the machine's other work
    Whole        something made of processes that comes up as a whole or not at all
    invitation   what a machine needs to enrol, from the coordinator's own command
    CouldNotStart  says which process failed and what its log said last
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.demo.clock import seconds

REPOSITORY = Path(__file__).resolve().parents[2]
_POLL_SECONDS = 0.05


_AHEAD_NICE = -10


def ahead(*pids: int) -> None:
    """These before the machine's other work, if we may: a stall shall be a player's, not a neighbour's compiler's.

    Said in both ways: where the kernel groups by session, nice counts inside a session only (sched(7), autogroup).
    """
    for pid in pids:
        with contextlib.suppress(OSError):  # only root may; or it has ended
            if os.getsid(pid) != os.getsid(0):  # never whoever runs the tests, with all else in that terminal
                os.setpriority(os.PRIO_PROCESS, pid, _AHEAD_NICE)
                Path(f"/proc/{pid}/autogroup").write_text(str(_AHEAD_NICE))  # last: not every kernel has such groups


class CouldNotStart(Exception):
    """Something did not come up. The message is for a person: what, and the last lines of its log."""


def _written(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


class Child:
    """One process. `output` is its standard output, `log` its standard error."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, output: Path, log: Path) -> None:
        self.name, self.output, self.log, self._process = name, output, log, process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    def last_words(self, lines: int = 12) -> str:
        """The end of the log, or of the output if the log is empty."""
        for path in (self.log, self.output):
            if text := path.read_text(errors="replace").strip():
                return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
        return "    (it wrote nothing)"

    def failed(self, what: str) -> CouldNotStart:
        return CouldNotStart(f"{self.name} {what}. Its log ({self.log}) ends:\n{self.last_words()}")

    async def ready(self, file: Path, within: float) -> None:
        """Waits for the file that the process writes when it answers."""
        limit = seconds() + within
        while not _written(file):
            if self.exit_code is not None:
                raise self.failed(f"ended with code {self.exit_code} before it was ready")
            if seconds() > limit:
                raise self.failed(f"was not ready after {within:.0f} s")
            await asyncio.sleep(_POLL_SECONDS)

    async def listening(self, address: str, port: int, within: float) -> None:
        """Waits until the process accepts connections; for processes that write no ready file."""
        limit = seconds() + within
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(address, port)
                writer.close()
                return
            if self.exit_code is not None:
                raise self.failed(f"ended with code {self.exit_code} before it was ready")
            if seconds() > limit:
                raise self.failed(f"did not listen on {address}:{port} after {within:.0f} s")
            await asyncio.sleep(_POLL_SECONDS)

    async def finished(self, within: float) -> None:
        """Waits for the end of a command; any code but 0 is a failure."""
        try:
            async with asyncio.timeout(within):
                code = await self._process.wait()
        except TimeoutError:
            raise self.failed(f"did not finish within {within:.0f} s") from None
        if code:
            raise self.failed(f"ended with code {code}")

    def signal(self, number: signal.Signals) -> None:
        """To the whole group, so that no worker of the process is left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def end(self, grace: float) -> None:
        """Asks, waits, insists. Workers that outlive their leader are ended too."""
        if self.exit_code is None:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._process.wait()
        self.signal(signal.SIGKILL)
        await self._process.wait()

    async def kill(self) -> None:
        """At once and without a word, like a machine that lost its power."""
        self.signal(signal.SIGKILL)
        await self._process.wait()


class Processes:
    """The children of one stage and the guard over them. Logs lie in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: list[Child] = []
        self._guard: asyncio.subprocess.Process | None = None

    async def _tell_guard(self, line: str) -> None:
        if self._guard is None:
            self._guard = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.demo.guard", stdin=asyncio.subprocess.PIPE, cwd=REPOSITORY,
                start_new_session=True,
            )  # fmt: skip
        if self._guard.stdin is not None:
            with contextlib.suppress(ConnectionError):
                self._guard.stdin.write(f"{line}\n".encode())
                await self._guard.stdin.drain()

    async def start(self, name: str, command: Sequence[str]) -> Child:
        """Starts a command in a process group of its own."""
        output, log = self._directory / f"{name}.out", self._directory / f"{name}.log"
        with output.open("ab") as stdout, log.open("ab") as stderr:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command, stdin=asyncio.subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=REPOSITORY,
                    start_new_session=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )  # fmt: skip
            except OSError as error:
                raise CouldNotStart(f"{name} could not be run: {error}") from error
        child = Child(name, process, output, log)
        ahead(child.pid)
        self._children.append(child)
        await self._tell_guard(f"add {child.pid}")
        return child

    async def python(self, name: str, *arguments: str) -> Child:
        return await self.start(name, [sys.executable, "-m", *arguments])

    async def end(self, children: Sequence[Child], grace: float = 5.0) -> None:
        await asyncio.gather(*(child.end(grace) for child in children))
        for child in children:
            self._children.remove(child)
            await self._tell_guard(f"del {child.pid}")

    async def close(self) -> None:
        """Ends everything, the last started first."""
        await self.end([*reversed(self._children)])
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            await self._guard.wait()
            self._guard = None


class Whole:
    """Comes up as a whole or not at all; then its files are kept, for the message points at them."""

    async def start(self) -> None:
        """All of it, in order."""
        raise NotImplementedError

    async def close(self) -> None:
        """All of it, also what is half started."""
        raise NotImplementedError

    def keep_files(self) -> None:
        """Somebody wants to read the logs."""

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException as error:
            if isinstance(error, CouldNotStart):
                self.keep_files()
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def invitation(start: Callable[..., Awaitable[Child]], data: Path, within: float) -> dict[str, str]:
    """coordinator, tenant_root_sha256, token. `start` runs a Python module where the coordinator stands."""
    maker = await start(
        "token", "coordinator", "token", "create", "--data-dir", str(data), "--max-uses", "1000", "--json"
    )
    await maker.finished(within)
    try:
        join: dict[str, str] = json.loads(maker.output.read_text())
        return {name: join[name] for name in ("coordinator", "tenant_root_sha256", "token")}
    except (ValueError, KeyError) as error:
        raise maker.failed(f"printed no token ({error!r}): {maker.output.read_text()[:200]}") from error
