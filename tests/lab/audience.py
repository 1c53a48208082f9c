"""Many emulated viewers in one process, each with its sockets in its own host: thirty cost a third of a core.

    python -m tests.lab.audience SEATS.json

Once a second it prints {"at": wall time, "viewers": {name: line}}, each line as `tests.demo.viewer` prints it, with
`playing`. Hashes are compared over connections inside the internet: they cross no counted line.

Map:
    Seat      one viewer: where, what, through which proxy, from when
    Seats     all of them, as the JSON file says
    watch     plays them until a signal
"""

import argparse
import asyncio
import contextlib
import json
import signal
import ssl
from pathlib import Path

import msgspec
from yarl import URL

from tests.demo.buffer import Playout
from tests.demo.clock import seconds, wall
from tests.demo.viewer import Checker, Figures, Viewer
from tests.lab.inside import session


class Seat(msgspec.Struct):
    """One viewer. Without a proxy it trusts the origin's root, behind one the agent's alone."""

    name: str
    namespace: str
    url: str
    proxy: str | None = None
    ca: str | None = None
    else_direct: bool = False
    abr: bool = False
    level: int | None = None
    after_seconds: float = 0.0


class Seats(msgspec.Struct):
    """`internet` is the namespace in which the origin stands, `addresses` the hosts file."""

    internet: str
    origin_ca: str
    addresses: dict[str, str]
    seats: list[Seat]


class Show:
    """One viewer and what it measured; before it sat down there is no line."""

    def __init__(self, all_seats: Seats, seat: Seat, ended: asyncio.Event) -> None:
        self._all, self.seat, self._ended = all_seats, seat, ended
        self._figures = Figures()
        self._viewer: Viewer | None = None
        self._checker: Checker | None = None

    async def play(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.seat.after_seconds):
                await self._ended.wait()
                return
        roots = [self.seat.ca or self._all.origin_ca, *([self._all.origin_ca] if self.seat.else_direct else [])]
        context = ssl.create_default_context(cafile=roots[0])
        for root in roots[1:]:
            context.load_verify_locations(cafile=root)
        beside = ssl.create_default_context(cafile=self._all.origin_ca)
        async with (
            session(self.seat.namespace, addresses=self._all.addresses, context=context) as through,
            session(self._all.internet, addresses=self._all.addresses, context=beside) as direct,
        ):
            self._checker = Checker(direct, str(URL(self.seat.url).origin()), self._figures)
            self._viewer = Viewer(through, self._checker, self._figures, self.seat.url)
            self._viewer.proxy, self._viewer.abr, self._viewer.level = self.seat.proxy, self.seat.abr, self.seat.level
            self._viewer.else_direct, self._viewer.ended = self.seat.else_direct, self._ended
            await self._viewer.play()
            await self._checker.check()

    async def check(self) -> None:
        if self._checker is not None:
            await self._checker.check()

    def line(self, event: str) -> dict[str, object]:
        if self._viewer is None:
            return {"event": "waiting"}
        playout: Playout = self._viewer.playout
        line = self._figures.line(event, playout, seconds())
        return line | {"playing": playout.started_at is not None and playout.stalled_at is None}


async def watch(all_seats: Seats) -> None:
    """Until SIGTERM; the last line holds the viewers' sums with every hash compared."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    shows = [Show(all_seats, seat, ended) for seat in all_seats.seats]

    def say(event: str) -> None:
        print(  # noqa: T201  # to whoever started us
            json.dumps({"at": wall(), "viewers": {show.seat.name: show.line(event) for show in shows}}), flush=True
        )

    async def report() -> None:
        while not ended.is_set():
            for show in shows:
                await show.check()
            say("progress")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await ended.wait()

    async with asyncio.TaskGroup() as group:
        for show in shows:
            group.create_task(show.play())
        group.create_task(report())
    say("done")


def main() -> None:
    parser = argparse.ArgumentParser(description="Emulated viewers in many hosts.")
    parser.add_argument("seats", type=Path)
    asyncio.run(watch(msgspec.json.decode(parser.parse_args().seats.read_bytes(), type=Seats)))


if __name__ == "__main__":
    main()
