"""Eight people in two offices watch for a while: each site takes one copy, everybody sees every byte right, in time."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.lab.findings import Findings
from tests.lab.net import NetPlan, SitePlan
from tests.lab.office import Office

pytestmark = pytest.mark.office

SECONDS = 20
SEGMENTS = 9
"""What each viewer has had at the end; on a quiet machine ten or more in this time."""
STAGGER_SECONDS = 0.5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen() -> AsyncIterator[Findings]:
    """One event for all tests of this file; its figures are in the file that is named when a test fails."""
    plan = NetPlan((SitePlan("a", 5), SitePlan("b", 3)), isp_mbps=50)
    async with Office(plan) as office:
        hosts = office.net.hosts_of()
        turns = [host for pair in zip(hosts[:3], hosts[5:], strict=True) for host in pair] + hosts[3:5]
        audience = await office.watch(turns, stagger_seconds=STAGGER_SECONDS)
        await office.run(SECONDS)
        while [host for host in hosts if audience.latest.get(host.name, {}).get("segments", 0) < SEGMENTS]:
            await office.run(1)
        findings = await office.finish()
    yield findings


def test_everybody_plays_without_a_stall_and_starts_soon(seen: Findings, quiet_machine: bool) -> None:
    assert seen.viewers == 8
    assert (seen.not_started, seen.skipped) == (0, 0)
    assert seen.startup_ms_max is not None
    assert seen.errors == {}
    if quiet_machine:
        assert seen.stalls == 0
        assert seen.startup_ms_max < 2000


def test_every_byte_is_the_origins(seen: Findings) -> None:
    assert seen.checked >= seen.segments >= 8 * SEGMENTS
    assert seen.mismatches == 0


@pytest.mark.parametrize("site", ["a", "b"])
def test_a_site_takes_one_copy(seen: Findings, site: str) -> None:
    found = seen.sites[site]
    assert found.segments >= 9
    assert found.copies_settled <= 1.03, seen.why()
    assert found.copies <= 1.25, seen.why()
    assert found.most_at_once <= 2, seen.why()
    # Headers of TCP and TLS are 5 %; manifests and the coordinator are small.
    assert found.line.down < 1.1 * found.bytes_origin + 300_000


def test_nothing_goes_from_site_to_site(seen: Findings) -> None:
    assert seen.between_sites == 0
