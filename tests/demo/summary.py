"""Adds up one run: what viewers got, what the origin gave, and what lies between.

Map:
    Result       the figures, in the order in which they are written as JSON
    summarise    viewers' last lines, agents' status, the origin's sums by kind -> Result
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.demo.parts import Agent


@dataclass
class Result:
    """One run. Bytes are of segments' bodies; `offload` stands beside its bound, (N - 1) / N for N viewers."""

    viewers: int
    seconds: float
    segments: int
    bytes_delivered: int
    bytes_origin: int
    bytes_peers: int
    bytes_cache: int
    offload: float
    bound: float
    copies_per_segment: float
    stalls: int
    stall_seconds: float
    startup_ms_p50: float | None
    startup_ms_max: int | None
    sha256_mismatches: int
    manifests_from_origin: int
    manifests_total: int

    def json(self) -> dict[str, Any]:
        return asdict(self)


def summarise(
    passed: float,
    lines: Sequence[Mapping[str, Any]],
    agents: Sequence[Agent],
    kinds: Mapping[str, Mapping[str, int]],
) -> Result:
    """`lines` are the viewers' last; a viewer that never started playing has no start-up time."""
    segment, manifest = kinds.get("segment", {}), kinds.get("manifest", {})
    delivered = sum(line.get("bytes", 0) for line in lines)
    origin = segment.get("bytes", 0)
    started = [line["startup_ms"] for line in lines if line.get("startup_ms") is not None]
    count = len(lines)
    return Result(
        viewers=count,
        seconds=round(passed, 1),
        segments=sum(line.get("segments", 0) for line in lines),
        bytes_delivered=delivered,
        bytes_origin=origin,
        bytes_peers=sum(agent.bytes_from("lan", "webrtc") for agent in agents),
        bytes_cache=sum(agent.bytes_from("cache") for agent in agents),
        offload=round(1 - origin / delivered, 4) if delivered else 0.0,
        bound=round((count - 1) / count, 4) if count else 0.0,
        copies_per_segment=round(origin / segment["distinct_bytes"], 3) if segment.get("distinct_bytes") else 0.0,
        stalls=sum(line.get("stalls", 0) for line in lines),
        stall_seconds=round(sum(line.get("stall_seconds", 0.0) for line in lines), 2),
        startup_ms_p50=statistics.median(started) if started else None,
        startup_ms_max=max(started) if len(started) == count and started else None,
        sha256_mismatches=sum(line.get("sha256_mismatches", 0) for line in lines),
        manifests_from_origin=manifest.get("requests", 0),
        manifests_total=sum(line.get("manifests", 0) for line in lines),
    )
