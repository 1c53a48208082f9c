"""Which addresses are offered and tried, and what is said when none leads anywhere."""

from ipaddress import ip_network

import pytest

from coordinator.io.ca import Authority
from ecdn_proxy.io.webrtc import hub as webrtc_hub
from tests.io.switching import exchange

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]


async def test_no_way_is_found_out(tenant: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc_hub, "OPEN_S", 1.0)
    async with exchange(tenant) as made:
        a, b = made("a", "127.0.0.1"), made("b", "127.0.0.2")
        monkeypatch.setattr("aioice.ice.StunProtocol.send_stun", lambda *_: None)
        a.hub.dial(b.contact)
        assert "no way" in (await a.record.first("closed"))[1]
        await b.record.until(lambda: not b.hub._attempts)


async def test_candidates_outside_the_networks_are_not_tried(tenant: Authority) -> None:
    async with exchange(tenant) as made:
        a, b = made("a"), made("b", "127.0.0.2", networks=())
        a.hub.dial(b.contact)
        assert "none of its addresses" in (await a.record.first("closed"))[1]


async def test_an_agents_own_networks_outrank_who_the_coordinator_lets_meet(tenant: Authority) -> None:
    async with exchange(tenant) as made:
        a, b = made("a", "127.0.0.2"), made("b", "127.0.0.3", networks=(ip_network("127.0.0.3/32"),))
        for one, other in ((a, b), (b, a)):
            one.hub.dial(other.contact)
            assert "in a network that this agent shares in" in (await one.record.first("closed"))[1]
        assert not a.record.all("opened")
        assert not b.record.all("opened")
