"""Two routed subnets of one site with TCP 7688 dropped between them: WebRTC joins them, TLS serves within each."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.lab.findings import Findings
from tests.lab.net import NetPlan, SitePlan
from tests.lab.office import Office, OfficePlan

pytestmark = pytest.mark.office

SECONDS = 40
SITE_MAP = "group,subnets,p2p,wan,label\nhq,10.1.0.0/16 10.2.0.0/16,on,no,Headquarters\n"


@dataclass
class Seen:
    """One event and what its agents said of their links."""

    findings: Findings
    kinds: dict[str, set[tuple[str, str, str]]]
    """Host -> (other's address, kind, why) of each of its links."""
    cpu: dict[str, float]

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
        print(json.dumps({name: sorted(links) for name, links in kinds.items()}, indent=1))  # noqa: T201
        print(findings.sources, findings.cpu_percent, findings.sites["a"].copies, findings.sites["a"].copies_settled)  # noqa: T201
        print(findings.why())  # noqa: T201
        yield Seen(findings, kinds, findings.cpu_percent)


def _subnet(address: str) -> str:
    return ".".join(address.split(".")[:2])


def test_everybody_plays_every_byte_right(seen: Seen) -> None:
    found = seen.findings
    assert found.viewers == 8
    assert (found.not_started, found.stalls, found.skipped, found.mismatches) == (0, 0, 0, 0)


def test_the_site_takes_one_copy(seen: Seen) -> None:
    site = seen.findings.sites["a"]
    assert site.copies_settled <= 1.1, seen.findings.why()


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
