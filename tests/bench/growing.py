"""Segments that are made while they are sent (LL-DASH, chunked CMAF), through offices of real agents in one process.

    python -m tests.bench growing [--viewers 3,10] [--kbps 96,2000] [--segments 10] [--chunk-s 0.5] [--json F]

An aiohttp origin sends each segment of two seconds chunk by chunk, without length and without ETag. Every agent has its
own node, links by TLS on loopback and one viewer; all viewers ask as soon as the segment begins. Told are, over all
chunks and viewers: how much later a chunk reached a viewer than the viewer at the machine that fetched it (p50, p95,
the worst), how much later than the origin wrote it, copies sent by the origin, and answers that were broken or wrong.
"""

import argparse
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import uvloop

from tests.agent.offices import RealOffice, real_office
from tests.agent.origins import Origin
from tests.io.switching import authority

SEGMENT_S = 2.0


def quantile(values: list[float], share: float) -> float:
    """The value below which this share of all lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def _segment(office: RealOffice, number: int, kbps: int, chunk_s: float, found: dict[str, Any]) -> None:
    """One segment; what came of it is added to `found`."""
    chunk_bytes, path = round(kbps * 125 * chunk_s), f"/{number}.m4s"
    body = random.Random(number).randbytes(chunk_bytes * round(SEGMENT_S / chunk_s))
    written: list[float] = []
    office.origin.answers[path] = Origin.growing(body, chunk_bytes, chunk_s, written)
    office.origin.asked.clear()
    got = await office.all_watch(path, number=number)
    found["segments"] += 1
    found["copies"] += len(office.origin.asked)
    found["broken"] += sum(it.body != body for it in got)
    fetcher = next(
        (
            it
            for it, agent in zip(got, office.agents, strict=True)
            if agent.device in office.origin.asked[0].headers["cookie"]
        )
    )
    for at, wrote_at in enumerate(written):
        through = (at + 1) * chunk_bytes
        for it in got:
            if it.body == body:
                found["after_origin"].append(it.at(through) - wrote_at)
                if it is not fetcher:
                    found["after_fetcher"].append(it.at(through) - fetcher.at(through))


async def measure(viewers: int, kbps: int, segments: int, chunk_s: float) -> dict[str, Any]:
    """One office, one segment after the other."""
    found: dict[str, Any] = {"segments": 0, "copies": 0, "broken": 0, "after_origin": [], "after_fetcher": []}
    with tempfile.TemporaryDirectory() as folder:
        async with real_office(authority(Path(folder)), viewers) as office:
            for number in range(segments):
                await _segment(office, number, kbps, chunk_s, found)
    ms = {
        f"{what} {name}": round(1000 * quantile(found[what], share), 1)
        for what in ("after_fetcher", "after_origin")
        for name, share in (("p50", 0.5), ("p95", 0.95), ("worst", 1.0))
    }
    return {
        "viewers": viewers,
        "kbps": kbps,
        "segments": found["segments"],
        "copies": found["copies"] / found["segments"],
        "broken": found["broken"],
        "ms": ms,
    }


def main() -> None:
    """Measure and print one line for each office."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", default="3,10")
    parser.add_argument("--kbps", default="96,2000")
    parser.add_argument("--segments", type=int, default=10)
    parser.add_argument("--chunk-s", type=float, default=0.5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for viewers in map(int, options.viewers.split(",")):
        for kbps in map(int, options.kbps.split(",")):
            rows.append(uvloop.run(measure(viewers, kbps, options.segments, options.chunk_s)))
            print(json.dumps(rows[-1]), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
