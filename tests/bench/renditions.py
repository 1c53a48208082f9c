"""Players that choose among renditions, three behind a line that cannot carry the best one for each.

    python -m tests.bench renditions [--json F] [--players hls dash shaka] [--mbps 2 3 4] [--seconds 60] [--stagger 1.3]

A player takes the speed of its last segments for its line's. What comes from a neighbour says nothing of the line, and
a player that believes it asks for more than the line can bring: it would stand still, go down, and up again. So what
counts is beside direct viewing, and beside one viewer who has the line alone: changes, stalls, and for how much of the
time the best rendition was shown. Headless Chromium on hosts of an office of network namespaces (tests/lab; root), 360p
at 0.9 and 720p at 2.7 Mbit/s on the wire, 2 s segments. Players say what they showed; the origin counts segments.

Map:
    Seen, watch    one player, one way, one line
    main
"""

import argparse
import asyncio
import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tests.demo import browser
from tests.demo.clock import wall
from tests.demo.origin import NODE_MODULES, SCRIPTS
from tests.demo.parts import Player, Stream
from tests.lab import shell
from tests.lab.findings import copies, fetches
from tests.lab.net import NetPlan, SitePlan
from tests.lab.office import Office, OfficePlan

type Way = Literal["alone", "direct", "ours"]
WAYS: tuple[Way, ...] = get_args(Way.__value__)
STREAMS: dict[Player, Stream] = {"hls": "hls", "dash": "dash", "shaka": "dash"}
VIEWERS = 3
BEST = 720
RTT_MS = 20
STAGGER_SECONDS = 1.3
"""No multiple of a segment: one comes for what another has half of, the third for what is there."""
PREPARE_SECONDS = 25.0
"""Until three browsers have loaded their players over a line of 2 Mbit/s."""


@dataclass
class Seen:
    """One player, one way, one line. `best_share`: of the time since the first picture, for each viewer."""

    player: Player
    way: Way
    mbps: float
    best_share: list[float]
    changes: list[int]
    stalls: int
    stall_seconds: float
    startup_ms: list[int | None]
    latency_seconds: list[float | None]
    copies: float
    players: list[dict[str, Any]]


def why_not() -> str | None:
    """Why nothing can be compared here, or None."""
    missing = not all((NODE_MODULES / script).exists() for script in SCRIPTS.values())
    return shell.why_not() or browser.available() or ("no players: npm ci in tests/npm" if missing else None)


def best_share(report: dict[str, Any]) -> float:
    """Of the time that a player showed anything."""
    shown = [*report["heights"], (report["wall_ms"], 0)]
    best: int = sum(then - at for (at, height), (then, _) in itertools.pairwise(shown) if height == BEST)
    watched: int = report["wall_ms"] - shown[0][0]
    return round(best / max(1, watched), 3)


async def watch(player: Player, way: Way, mbps: float, duration: float, stagger: float) -> Seen:
    """All viewers, `stagger` seconds apart."""
    net = NetPlan((SitePlan("a", VIEWERS),), isp_mbps=mbps, rtt_ms=RTT_MS)
    async with Office(OfficePlan(net, agents=way == "ours")) as office:
        begun, log_at = wall() + PREPARE_SECONDS, len(await office.origin.log())
        users = [
            office.browse(host, duration, STREAMS[player], page={"player": player}, at=begun + place * stagger)
            for place, host in enumerate(office.net.hosts_of()[: 1 if way == "alone" else VIEWERS])
        ]
        reports = await asyncio.gather(*users)
        asked = fetches(await office.origin.log(log_at))
    return Seen(
        player=player,
        way=way,
        mbps=mbps,
        best_share=[best_share(report) for report in reports],
        changes=[report["switches"] for report in reports],
        stalls=sum(report["stalls"] for report in reports),
        stall_seconds=sum(report["stall_ms"] for report in reports) / 1000,
        startup_ms=[report["startup_ms"] for report in reports],
        latency_seconds=[report["latency_seconds"] and round(report["latency_seconds"], 2) for report in reports],
        copies=copies(asked),
        players=list(reports),
    )


def table(rows: Sequence[Seen]) -> str:
    """For people."""
    lines = [
        f"{'player':6} {'line':>4} {'way':6} {'copies':>6} {'stalls':>12} changes, share of 720p, start-up, latency"
    ]
    for row in rows:
        stalls = f"{row.stalls} ({row.stall_seconds:.1f} s)"
        each = f"{row.changes}, {row.best_share}, {row.startup_ms} ms, {row.latency_seconds} s"
        lines.append(f"{row.player:6} {row.mbps:4g} {row.way:6} {row.copies:6.3f} {stalls:>12} {each}")
    return "\n".join(lines)


async def run(arguments: argparse.Namespace) -> list[Seen]:
    rows = []
    for player in arguments.players:
        for mbps in arguments.mbps:
            for way in arguments.ways:
                rows.append(await watch(player, way, mbps, arguments.seconds, arguments.stagger))
                print(table(rows[-1:]), flush=True)
    return rows


def main() -> None:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m tests.bench renditions", description=summary)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--players", nargs="+", choices=STREAMS, default=[*STREAMS])
    parser.add_argument("--mbps", type=float, nargs="+", default=[2, 3, 4])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--stagger", type=float, default=STAGGER_SECONDS, help="seconds between two starts")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    arguments = parser.parse_args()
    if (reason := why_not()) is not None:
        sys.exit(f"Nothing can be compared here: {reason}.")
    rows = asyncio.run(run(arguments))
    print(table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
