"""Does a viewer's cost grow with its office? Control messages and the node's own CPU, by viewers of one office.

    python -m tests.bench.flat [--json F] [--viewers 10,50,100,200] [--segments 30] [--segment-s 2.0] [--together]

The shipped node under virtual time, at full size (3 Mbit/s, 2 s, pieces of 32 KiB), players at their own cadence;
counted from the moment on at which everybody has started. `--segment-s 0.5 --together` is an event of low latency:
parts of half a second, for which everybody asks at the moment when they appear. CPU is what passes inside the node:
decisions, hashing of pieces received, signing by a hash in place of Ed25519. Sockets, TLS and the proxy come on top: by
byte, not by office.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from ecdn_proxy.core import events
from ecdn_proxy.core.node import Node
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.sim.office import Office
from ecdn_proxy.sim.scenario import read
from ecdn_proxy.sim.virtual_clock import BEGINS

STARTED_S = 10.0


class Timed(Node):
    """The shipped node with a stop watch."""

    spent: ClassVar[dict[str, float]] = {}

    def handle(self, event: events.Event, now: Instant) -> list[events.Effect]:
        began = time.thread_time()
        effects = super().handle(event, now)
        self._note(time.thread_time() - began, now)
        return effects

    def wake(self, now: Instant) -> list[events.Effect]:
        began = time.thread_time()
        effects = super().wake(now)
        self._note(time.thread_time() - began, now)
        return effects

    def _note(self, seconds: float, now: Instant) -> None:
        if now >= BEGINS + STARTED_S:
            Timed.spent[self.device] = Timed.spent.get(self.device, 0.0) + seconds


def _office(viewers: int, segments: int, segment_s: float, together: bool) -> dict[str, Any]:
    text = f"[stream]\nsegments = {segments}\nsegment_s = {segment_s}\n[viewers]\nwithin_s = {STARTED_S}\n"
    text += f'reload = "{"together" if together else "own"}"\n[[sites]]\nviewers = {viewers}\n'
    scenario = read(text, f"flat-{viewers}")
    Timed.spent = {}
    it = Office(scenario.offices()[0], scenario, new_node=Timed)
    before: dict[str, int] = {}
    control_before = 0

    def started() -> None:
        nonlocal control_before
        before.update(it.lan.frames)
        control_before = it.lan.control_bytes

    it.clock.at(BEGINS + STARTED_S, started)
    figures = it.run()
    watched_s = viewers * segments * scenario.stream.segment_s
    messages = {kind: count - before.get(kind, 0) for kind, count in figures.frames.items() if kind != "Piece"}
    spent = sorted(Timed.spent.values())
    seconds = segments * scenario.stream.segment_s
    return {
        "viewers": viewers,
        "control_per_viewer_s": round(sum(messages.values()) / watched_s, 2),
        "control_kbit_per_viewer_s": round((figures.control_bytes - control_before) * 8e-3 / watched_s, 2),
        "node_us_per_viewer_s": round(1e6 * sum(spent) / watched_s),
        "node_us_per_s_busiest": round(1e6 * spent[-1] / seconds),
        "copies": round(figures.steady_copies, 3),
        "messages": {kind: round(count / watched_s, 3) for kind, count in sorted(messages.items())},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--viewers", default="10,50,100,200")
    parser.add_argument("--segments", type=int, default=30)
    parser.add_argument("--segment-s", type=float, default=2.0)
    parser.add_argument("--together", action="store_true")
    given = parser.parse_args(arguments)
    rows = []
    for viewers in (int(it) for it in given.viewers.split(",")):
        rows.append(_office(viewers, given.segments, given.segment_s, given.together))
        print(json.dumps(rows[-1]), flush=True)
    if given.json:
        given.json.write_text(json.dumps({"offices": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
