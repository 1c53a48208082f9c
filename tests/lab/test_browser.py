"""Real players on hosts of the office: Chromium through the PAC, beside emulated viewers."""

import asyncio

import pytest

from tests.demo import browser
from tests.demo.origin import NODE_MODULES, SCRIPTS
from tests.demo.parts import Stream
from tests.lab.net import NetPlan, SitePlan
from tests.lab.office import Office

pytestmark = [pytest.mark.lab, pytest.mark.asyncio, pytest.mark.timeout(180)]


@pytest.mark.parametrize("stream", ["hls", "dash"])
async def test_chromium_plays_what_the_office_shares(stream: Stream) -> None:
    if (reason := browser.available()) is not None:
        pytest.skip(reason)
    if not all((NODE_MODULES / script).exists() for script in SCRIPTS.values()):
        pytest.skip("the players are missing: npm ci in tests/npm")
    async with Office(NetPlan((SitePlan("a", 3),), isp_mbps=50, rtt_ms=20)) as office:
        one, two, three = office.net.hosts_of()
        await office.watch([three], stream=stream)
        await asyncio.sleep(2)
        reports = await asyncio.gather(*(office.browse(host, 20, stream) for host in (one, two)))
        seen = await office.finish()
    for report in reports:
        assert report["played"], report
        assert report["stalls"] == 0
    assert (seen.stalls, seen.mismatches) == (0, 0)
    shared = sum(agent.bytes_from("lan") for agent in office.agents.values())
    assert shared > 2_000_000
