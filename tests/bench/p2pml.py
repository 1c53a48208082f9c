"""Three viewers behind one ISP line: direct, with p2p-media-loader, through our agents.

    python -m tests.bench p2pml [--json F] [--mbps 4 6] [--seconds 40] [--stagger 3] [--ways alone direct …]

Headless Chromium with hls.js on three hosts of an office of network namespaces (tests/lab; root), at the live edge of
the best rendition: 2 s segments, 2.7 Mbit/s on the wire. `alone` is one direct viewer, for the start-up. Segments are
counted at the origin and bytes on the line; what a player was handed, how often it stood and how far behind it is, it
says itself.

Map:
    WAYS           what a page is told, by way; p2p-media-loader's tracker stands in the internet, beside the origin
    Seen, watch    one way on one line
    main
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tests.demo import browser
from tests.demo.clock import wall
from tests.demo.origin import NODE_MODULES
from tests.lab import shell
from tests.lab.findings import SETTLED_SECONDS, copies, fetches
from tests.lab.net import COORDINATOR, TRACKER, NetPlan, SitePlan, Traffic
from tests.lab.office import Office, OfficePlan

type Way = Literal["alone", "direct", "defaults", "tuned", "ours"]
WAYS: tuple[Way, ...] = get_args(Way.__value__)
VIEWERS = 3
HEIGHT = 720
RTT_MS = 20
STAGGER_SECONDS = 3.0
"""Between two viewers' starts. Of what one has asked for before the next came nothing can be shared any more."""
PREPARE_SECONDS = 15.0
"""Until three browsers stand and have loaded their players, on two cores and over the narrow line."""
PORT = 8000
_SWARM: dict[str, Any] = {"announceTrackers": [f"wss://{TRACKER}:{PORT}"], "rtcConfig": {"iceServers": []}}
P2P: dict[Way, dict[str, Any]] = {
    "defaults": _SWARM,
    # Its window of high demand covers all of a live buffer; only outside of it may a segment come from a peer alone.
    "tuned": _SWARM | {"highDemandTimeWindow": 2, "simultaneousHttpDownloads": 1},
}
# Addresses of an office are no secret in it: without them a page offers names that only multicast could resolve.
_FLAGS = ("--disable-features=WebRtcHideLocalIpsWithMdns",)


@dataclass
class Seen:
    """One way on one line. `from_peers` is what players were handed and the origin did not send to this site."""

    way: Way
    mbps: float
    from_peers: float
    bound: float
    copies: float
    copies_settled: float
    stalls: int
    stall_seconds: float
    startup_ms: list[int | None]
    latency_seconds: list[float | None]
    played: list[bool]
    line_mbps: float
    players: list[dict[str, Any]]


def why_not() -> str | None:
    """Why nothing can be compared here, or None."""
    missing = [
        name
        for name in ("hls.js", "p2p-media-loader-hlsjs", "bittorrent-tracker")
        if not (NODE_MODULES / name).is_dir()
    ]
    return (
        shell.why_not() or browser.available() or (f"no {', '.join(missing)}: npm ci in tests/npm" if missing else None)
    )


async def _tracker(office: Office) -> None:
    script = NODE_MODULES.parent / "tracker.mjs"
    pki = office.directory / "pki"
    command = ["node", str(script), COORDINATOR, str(PORT), str(pki / "origin.pem"), str(pki / "origin.key")]
    tracker = await office.processes.start("tracker", shell.inside(office.net.internet, *command))
    await tracker.ready(tracker.output, 20)


async def watch(
    way: Way,
    mbps: float,
    duration: float,
    *,
    p2p: dict[str, Any] | None = None,
    hls: dict[str, Any] | None = None,
    stagger: float = STAGGER_SECONDS,
) -> Seen:
    """All viewers, `stagger` seconds apart.

    `p2p` is another configuration of p2p-media-loader than the way's own, `hls` one of hls.js, whatever the way.
    """
    net = NetPlan((SitePlan("a", VIEWERS),), isp_mbps=mbps, rtt_ms=RTT_MS)
    player = (hls or {}) | ({"enableWorker": False} if way in P2P else {})
    page = {"height": str(HEIGHT)} | ({"hls": json.dumps(player)} if player else {})
    if way in P2P:
        page |= {"player": "p2pml", "p2p": json.dumps(P2P[way] | (p2p or {}))}
    async with Office(OfficePlan(net, agents=way == "ours")) as office:
        if way in P2P:
            await _tracker(office)
        begun, log_at = wall() + PREPARE_SECONDS, len(await office.origin.log())

        async def line_at_start() -> Traffic:
            await asyncio.sleep(begun - wall())
            return office.net.line("a")

        users = [
            office.browse(host, duration, page=page, at=begun + place * stagger, flags=_FLAGS)
            for place, host in enumerate(office.net.hosts_of()[: 1 if way == "alone" else VIEWERS])
        ]
        before, *reports = await asyncio.gather(line_at_start(), *users)
        passed, carried = wall() - begun, office.net.line("a").since(before)
        asked = fetches(await office.origin.log(log_at))
    received = sum(report["received"] for report in reports)
    distinct = sum({fetch.path: fetch.size for fetch in asked if fetch.bytes}.values())
    first = {fetch.path: fetch.at for fetch in sorted(asked, key=lambda fetch: -fetch.at)}
    settled = begun + (VIEWERS - 1) * stagger + SETTLED_SECONDS
    return Seen(
        way=way,
        mbps=mbps,
        from_peers=round(1 - sum(fetch.bytes for fetch in asked) / received, 4) if received else 0.0,
        bound=round(1 - distinct / received, 4) if received else 0.0,
        copies=copies(asked),
        copies_settled=copies([fetch for fetch in asked if first[fetch.path] >= settled]),
        stalls=sum(report["stalls"] for report in reports),
        stall_seconds=sum(report["stall_ms"] for report in reports) / 1000,
        startup_ms=[report["startup_ms"] for report in reports],
        latency_seconds=[report["latency_seconds"] and round(report["latency_seconds"], 2) for report in reports],
        played=[report["played"] for report in reports],
        line_mbps=round(carried.down * 8 / 1e6 / passed, 2),
        players=list(reports),
    )


def table(rows: Sequence[Seen]) -> str:
    """For people."""
    lines = [
        f"{'line':>4} {'way':9} {'peers':>6} {'bound':>6} {'copies':>6} {'settled':>7} {'stalls':>12} start-up, latency"
    ]
    for row in rows:
        shares = f"{row.from_peers:6.3f} {row.bound:6.3f} {row.copies:6.3f} {row.copies_settled:7.3f}"
        stalls = f"{row.stalls} ({row.stall_seconds:.1f} s)"
        lines.append(f"{row.mbps:4g} {row.way:9} {shares} {stalls:>12} {row.startup_ms} ms, {row.latency_seconds} s")
    return "\n".join(lines)


async def run(arguments: argparse.Namespace) -> list[Seen]:
    rows = []
    for mbps in arguments.mbps:
        for way in arguments.ways:
            others = {"p2p": json.loads(arguments.p2p), "hls": json.loads(arguments.hls)}
            rows.append(await watch(way, mbps, arguments.seconds, **others, stagger=arguments.stagger))
            print(table(rows[-1:]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench p2pml", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--mbps", type=float, nargs="+", default=[4, 6])
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--stagger", type=float, default=STAGGER_SECONDS, help="seconds between two starts")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--p2p", default="{}", help="other settings for p2p-media-loader, as JSON")
    parser.add_argument("--hls", default="{}", help="other settings for hls.js in every way, as JSON")
    arguments = parser.parse_args()
    if (reason := why_not()) is not None:
        sys.exit(f"Nothing can be compared here: {reason}.")
    rows = asyncio.run(run(arguments))
    print(table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
