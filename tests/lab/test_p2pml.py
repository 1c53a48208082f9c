"""The same three viewers with p2p-media-loader and with our agents, on a line that carries one copy and a half.

Figures lie in build/lab/p2pml.json; `python -m tests.bench p2pml` has more ways and more lines.
"""

from dataclasses import asdict

import pytest

from tests.bench.p2pml import watch, why_not
from tests.lab.results import record

pytestmark = [pytest.mark.lab_scale, pytest.mark.asyncio, pytest.mark.timeout(400)]

MBPS = 4
SECONDS = 40


async def test_three_viewers_beside_p2p_media_loader() -> None:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    alone = await watch("alone", MBPS, 10)
    theirs = await watch("tuned", MBPS, SECONDS)
    ours = await watch("ours", MBPS, SECONDS)
    record("p2pml", [asdict(seen) for seen in (alone, theirs, ours)])
    assert all(ours.played), ours
    assert ours.stalls == 0, ours
    assert ours.copies_settled <= 1.03, ours
    assert ours.from_peers > theirs.from_peers, (ours, theirs)
    assert ours.from_peers >= 0.99 * ours.bound, ours
    started, lone = [ms for ms in ours.startup_ms if ms is not None], alone.startup_ms[0]
    assert lone is not None
    assert len(started) == len(ours.startup_ms)
    assert max(started) <= 1.05 * lone, (ours, alone)
    # hls.js stays where it started: three segments, and its start, behind the edge.
    lone_latency = alone.latency_seconds[0]
    assert lone_latency is not None
    assert max(behind or 99 for behind in ours.latency_seconds) <= 1.05 * lone_latency, (ours, alone)
