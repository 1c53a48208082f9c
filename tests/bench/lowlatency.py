"""Low latency through offices of real agents: parts of LL-HLS and chunks of LL-DASH, beside a viewer without an agent.

    python -m tests.bench lowlatency [--viewers 1,3,10] [--kbps 96,2000] [--segments 10] [--runs 1] [--json F]

Agents are processes on this machine, with a coordinator; each viewer reads through its own proxy by TLS, and one goes
straight to the origin in the same run. Parts of LL-HLS are asked for once a blocking reload has listed them, or (hint)
as soon as a playlist hints at them; chunks of LL-DASH are those of segments asked for when their first chunk begins to
be made. Told are: how long after its making a part was whole at the viewers and at the direct one, and how much later
than at the direct one (p50, p95, worst), copies that went to agents, and answers that were broken or wrong.
"""

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from tests.field.low_latency import Came, Chunks, Event, Parts, watch
from tests.field.office import Office, desks

PART_S, CHUNK_S = 0.33, 0.5


def quantile(values: list[float], share: float) -> float:
    """The value below which this share of all lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def _ms(values: list[float]) -> dict[str, float]:
    return {
        name: round(1000 * quantile(values, share), 1) for name, share in (("p50", 0.5), ("p95", 0.95), ("worst", 1.0))
    }


async def measure(office: Office, event: Parts | Chunks, segments: int, ahead: bool) -> dict[str, Any]:
    """One event, seen at every desk and by a direct viewer."""
    await office.meet(event.meeting)
    event.begin(segments)
    seats: list[int | None] = [None, *range(len(office.agents))]
    came: list[list[Came]] = await asyncio.gather(*(watch(office, event, desk, ahead) for desk in seats))
    direct, ours = came[0], came[1:]
    later = [own.late_s - it.late_s for each in ours for own, it in zip(each, direct, strict=True)]
    copies = event.copies()
    return {
        "copies": round(sum(copies) / len(copies), 3),
        "broken": sum(not it.right for each in ours for it in each),
        "answers": sum(len(each) for each in ours),
        "direct ms": _ms([it.late_s for it in direct]),
        "ours ms": _ms([it.late_s for each in ours for it in each]),
        "later ms": _ms(later),
    }


def _events(office: Office, kbps: list[int], run: int) -> list[tuple[str, Event, bool]]:
    found: list[tuple[str, Event, bool]] = []
    for speed in kbps:
        for kind, ranged, ahead in (("listed", False, False), ("hinted", False, True), ("ranged", True, False)):
            event = Parts(office.origin, f"/{run}-{speed}-{kind}", part_s=PART_S, parts=6, kbit=speed, ranged=ranged)
            found.append((f"LL-HLS {kind} {speed} kbit/s", event, ahead))
        found.append((f"LL-DASH {speed} kbit/s", Chunks(office.origin, f"/{run}-{speed}-dash", kbit=speed), True))
    return found


async def _offices(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for viewers in map(int, options.viewers.split(",")):
        settings = {"cache_disk_mb": 0, "share_low_latency_parts": not options.off}
        async with desks(viewers, settings=settings) as office:
            for run in range(options.runs):
                for name, event, ahead in _events(office, [int(it) for it in options.kbps.split(",")], run):
                    assert isinstance(event, Parts | Chunks)
                    row = {"viewers": viewers, "what": name}
                    row |= await measure(office, event, options.segments, ahead)
                    rows.append(row)
                    print(json.dumps(row), flush=True)
    return rows


def main() -> None:
    """Measure and print one line for each office and stream."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", default="1,3,10")
    parser.add_argument("--kbps", default="96,2000")
    parser.add_argument("--segments", type=int, default=10)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--off", action="store_true", help="with share_low_latency_parts = false")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = asyncio.run(_offices(options))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
