"""More people, and lines that direct viewing overloads. Figures of each event lie in build/lab/scale-*.json."""

import pytest

from tests.lab.findings import Findings
from tests.lab.net import NetPlan, SitePlan
from tests.lab.office import Office, OfficePlan
from tests.lab.results import record

pytestmark = [pytest.mark.lab_scale, pytest.mark.asyncio, pytest.mark.timeout(300)]

SECONDS = 40
RTT_MS = 20


async def event(
    name: str,
    viewers: int,
    isp_mbps: float,
    *,
    agents: bool = True,
    seconds: float = SECONDS,
    stagger_seconds: float | None = None,
) -> Findings:
    """Everybody on one site, within three seconds of each other, at the best rendition (2.7 Mbit/s on the wire)."""
    net = NetPlan((SitePlan("a", viewers),), isp_mbps=isp_mbps, rtt_ms=RTT_MS)
    async with Office(OfficePlan(net, agents=agents)) as office:
        await office.watch(stagger_seconds=min(0.25, 3 / viewers) if stagger_seconds is None else stagger_seconds)
        await office.run(seconds)
        findings = await office.finish()
    record(f"scale-{name}", findings.json())
    assert findings.mismatches == 0
    return findings


@pytest.mark.parametrize("viewers", [3, 10, 30])
async def test_one_copy_for_so_many(viewers: int) -> None:
    seen = await event(f"{viewers}", viewers, 50)
    site = seen.sites["a"]
    assert (seen.stalls, seen.not_started, seen.skipped) == (0, 0, 0), seen.why()
    assert seen.startup_ms_max is not None
    assert seen.startup_ms_max <= 2000
    assert site.copies_settled <= 1.03, seen.why()
    assert site.most_at_once <= 2, seen.why()
    assert site.copies <= 1.1, seen.why()


async def test_nobody_starts_later_than_directly_on_an_idle_line() -> None:
    """Direct viewers far enough apart that each has the line to itself; ours as fast as two cores start them.

    Thirty within three seconds are bound by the processor that they share here: 6.6 CPU-seconds of agents alone.
    """
    direct = await event("start-direct", 3, 50, agents=False, seconds=14, stagger_seconds=4.0)
    ours = {
        viewers: await event(f"start-{viewers}", viewers, 50, seconds=viewers / 4 + 5, stagger_seconds=0.25)
        for viewers in (3, 10, 30)
    }
    figures = {viewers: (seen.startup_ms_p50, seen.startup_ms_max) for viewers, seen in ours.items()}
    record("start", {"direct": (direct.startup_ms_p50, direct.startup_ms_max), **figures})
    assert direct.startup_ms_p50 is not None
    for viewers, (median, _) in figures.items():
        assert median is not None, figures
        assert median <= 1.05 * direct.startup_ms_p50, (viewers, direct.startup_ms_p50, figures)


@pytest.mark.parametrize(("viewers", "isp_mbps"), [(12, 12), (30, 20)])
async def test_a_line_too_small_for_direct_viewing(viewers: int, isp_mbps: float) -> None:
    direct = await event(f"tight-{viewers}-direct", viewers, isp_mbps, agents=False, seconds=25)
    assert direct.stalls + direct.not_started >= viewers, "the line is not tight"
    ours = await event(f"tight-{viewers}", viewers, isp_mbps)
    assert (ours.stalls, ours.not_started) == (0, 0), ours.why()
    assert ours.startup_ms_max is not None
    assert ours.startup_ms_max <= 2000
    assert ours.sites["a"].copies_settled <= 1.03, ours.why()


async def test_two_renditions_cost_one_copy_of_each() -> None:
    net = NetPlan((SitePlan("a", 8),), isp_mbps=50, rtt_ms=RTT_MS)
    async with Office(net) as office:
        hosts = office.net.hosts_of()
        await office.watch(hosts[::2], level=1)
        await office.watch(hosts[1::2], level=0)
        await office.run(30)
        seen = await office.finish()
    record("scale-renditions", seen.json())
    assert (seen.stalls, seen.not_started, seen.mismatches) == (0, 0, 0)
    assert seen.sites["a"].segments >= 26  # of both
    assert seen.sites["a"].copies_settled <= 1.03, seen.why()


async def test_players_that_choose_stay_with_what_the_line_carries() -> None:
    """Most of them are given what a neighbour has: taken for the line's speed, it would have them ask for too much."""
    net = NetPlan((SitePlan("a", 6),), isp_mbps=2.4, rtt_ms=RTT_MS)
    async with Office(net) as office:
        await office.watch(level=0, abr=True, stagger_seconds=1.3)
        await office.run(SECONDS)
        seen = await office.finish()
    record("scale-choice", seen.json())
    assert (seen.stalls, seen.not_started, seen.mismatches) == (0, 0, 0), seen.why()
    assert seen.sites["a"].copies_settled <= 1.03, seen.why()
