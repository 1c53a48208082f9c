"""Two routed subnets of one site with TCP 7688 dropped between them: WebRTC joins them, TLS serves within each."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.demo.clock import seconds
from tests.lab.findings import Findings
from tests.lab.net import NetPlan, SitePlan
from tests.lab.office import Office, OfficePlan

pytestmark = [pytest.mark.office, pytest.mark.lab]

SECONDS = 40
SITE_MAP = "group,subnets,p2p,wan,label\nhq,10.1.0.0/16 10.2.0.0/16,on,no,Headquarters\n"


@dataclass
class Seen:
    """One event and what its agents said of their links."""

    findings: Findings
    kinds: dict[str, set[tuple[str, str, str]]]
    """Host -> (other's address, kind, why) of each of its links."""

    def received(self, source: str) -> int:
        return self.findings.sources.get(source, 0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen() -> AsyncIterator[Seen]:
    net = NetPlan((SitePlan("a", 4), SitePlan("b", 4, on="a")), isp_mbps=50)
    plan = OfficePlan(net, site_map=SITE_MAP, settings={"peer_networks": ["10.0.0.0/8"]})
    async with Office(plan) as office:
        office.faults.peer_port(blocked=True)
        hosts = office.net.hosts_of()
        turns = [host for pair in zip(hosts[:4], hosts[4:], strict=True) for host in pair]
        await office.watch(turns, stagger_seconds=0.5)
        await office.run(SECONDS)
        kinds = {
            name: {(peer["address"], peer["kind"], peer["why"]) for peer in agent.status.get("peers", [])}
            for name, agent in office.agents.items()
        }
        findings = await office.finish()
        yield Seen(findings, kinds)


def _subnet(address: str) -> str:
    return ".".join(address.split(".")[:2])


def test_everybody_plays_every_byte_right(seen: Seen) -> None:
    found = seen.findings
    assert found.viewers == 8
    assert (found.not_started, found.stalls, found.skipped, found.mismatches) == (0, 0, 0, 0)


def test_the_site_takes_one_copy(seen: Seen) -> None:
    site = seen.findings.sites["a"]
    assert site.copies_settled <= 1.1, seen.findings.why()
    total = sum(amount for source, amount in seen.findings.sources.items() if source != "passed")
    bound = 7 / 8
    assert (total - seen.received("origin")) / total >= 0.95 * bound, seen.findings.sources


def test_tls_within_a_subnet_and_webrtc_between_them(seen: Seen) -> None:
    crossing = 0
    for host, links in seen.kinds.items():
        for address, kind, why in links:
            here = "10.1" if host.startswith("a") else "10.2"
            assert kind == ("lan" if _subnet(address) == here else "webrtc"), (host, address, why)
            if kind == "webrtc":
                crossing += 1
                assert "TCP 7688 to" in why
    assert crossing >= 2
    assert seen.received("webrtc") > 0
    assert seen.received("lan") > 0


@pytest.mark.asyncio
async def test_an_agent_killed_while_it_feeds_the_other_subnet_is_missed_by_nobody() -> None:
    net = NetPlan((SitePlan("a", 2), SitePlan("b", 2, on="a")), isp_mbps=50)
    plan = OfficePlan(net, site_map=SITE_MAP, settings={"peer_networks": ["10.0.0.0/8"]})
    async with Office(plan) as office:
        office.faults.peer_port(blocked=True)
        watching = [office.net.host(name) for name in ("a2", "b1", "b2")]
        await office.watch([office.net.host("a1")])
        await asyncio.sleep(2)
        audience = await office.watch(watching, stagger_seconds=0.3)
        await office.run(12)
        links = {peer["id"]: peer for peer in office.agents["b1"].status["peers"]}
        lost = office.agents["a1"].status["device"]
        assert links[lost]["kind"] == "webrtc"
        assert await _noticed(office, "a1", lost, ("b1", "b2")) <= 3.0
        await office.run(8)
        for name, line in audience.latest.items():
            assert line["stalls"] == 0, name
            assert (line["sha256_mismatches"], line["skipped"]) == (0, 0), name


async def _noticed(office: Office, host: str, lost: str, by: tuple[str, ...]) -> float:
    """Seconds from the end of a killed process until nobody's status shows a link to it."""
    await office.kill_agent(host)
    died = seconds()
    while any(lost in {peer["id"] for peer in office.agents[name].status["peers"]} for name in by):
        assert seconds() - died < 20, "it was never missed"
        await asyncio.sleep(0.05)
        await office.refresh(by)
    return seconds() - died
