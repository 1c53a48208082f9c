"""An enrolled machine: what its coordinator, its links and its node say of sharing, and what comes of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from ecdn_proxy.agent.api import FromMemory, OwnHead, SharedHead
from ecdn_proxy.agent.sharing import Sharing
from ecdn_proxy.core import events
from ecdn_proxy.core.connect import dialer
from ecdn_proxy.io.identity import load_identity
from ecdn_proxy.wire.peer import Bye
from ecdn_proxy.wire.signalling import Call
from ecdn_proxy.wire.tracker import Welcome
from tests.agent.origins import BODY
from tests.agent.systems import Agent, started
from tests.core.makers import contact
from tests.core.world import STREAM
from tests.io.switching import authority, identity
from tests.io.waiting import Record

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]


@asynccontextmanager
async def enrolled(directory: Path, **flags: object) -> AsyncIterator[tuple[Agent, Sharing]]:
    """An agent whose coordinator does not answer."""
    state = directory / "state"
    state.mkdir()
    me = msgspec.structs.replace(identity(authority(directory / "tenant"), "me"), coordinator="https://127.0.0.1:1")
    me.save(state)
    async with started(state, None, lan_discovery=False, **flags) as agent:
        sharing = agent.system._sharing
        assert sharing is not None
        yield agent, sharing


def policies(agent: Agent) -> list[events.Event]:
    story = agent.system._runner._driver.story.told
    return [what for _, what in story if isinstance(what, events.PolicyChanged)]


async def test_an_enrolled_machine_shares_until_its_site_says_otherwise(tmp_path: Path) -> None:
    async with enrolled(tmp_path) as (agent, sharing):
        assert "not-enrolled" not in agent.codes()
        for p2p in ("leech", "off", "on"):
            sharing.placed(Welcome("Zürich", "hq", p2p, f"the site map says {p2p}", {}))
            assert ("sharing-off" in agent.codes()) is (p2p == "off")
            assert agent.system.status().coordinator.p2p == p2p
        assert policies(agent) == [
            events.PolicyChanged(sharing=True, uploads=True, why="settings"),
            events.PolicyChanged(sharing=True, uploads=False, why="the site map says leech"),
            events.PolicyChanged(sharing=False, uploads=False, why="the site map says off"),
            events.PolicyChanged(sharing=True, uploads=True, why="the site map says on"),
        ]


@pytest.mark.parametrize(("setting", "shares"), [("sharing", False), ("uploads", True)])
async def test_settings_may_forbid_what_the_site_allows(tmp_path: Path, setting: str, shares: bool) -> None:
    async with enrolled(tmp_path, **{setting: False}) as (agent, _):
        assert policies(agent) == [events.PolicyChanged(sharing=shares, uploads=False, why="settings")]
        assert ("sharing-off" in agent.codes()) is not shares


async def test_the_sites_networks_are_allowed_where_it_set_none(tmp_path: Path) -> None:
    site = Welcome("s", "g", "on", "", {}, networks=("203.0.113.0/24",))
    async with enrolled(tmp_path) as (_, sharing):
        sharing.placed(site)
        assert ip_network("203.0.113.0/24") in sharing._place.allowed
    second = tmp_path / "second"
    second.mkdir()
    async with enrolled(second, peer_networks=["127.0.0.0/8"]) as (_, sharing):
        sharing.placed(site)
        assert sharing._place.allowed == [ip_network("127.0.0.0/8")]


async def test_settings_of_the_coordinator_are_kept_for_the_next_start(tmp_path: Path) -> None:
    def kept() -> dict[str, Any]:
        found = load_identity(tmp_path / "state")
        return {} if found is None else found.settings

    async with enrolled(tmp_path) as (_, sharing):
        sharing.settings_changed({"cache_memory_mb": 100})
        await Record().until(lambda: kept() == {"cache_memory_mb": 100})


async def test_rules_of_the_coordinator_count_at_once(tmp_path: Path) -> None:
    rule = {"name": "hall", "hosts": ["127.0.0.1"], "ignore_no_store": True, "fresh_s": 60}
    async with enrolled(tmp_path) as (agent, sharing):
        for name in ("1.ts", "2.ts"):
            agent.origin.answers[f"/live/{name}"] = agent.origin.plain(headers={"Cache-Control": "no-store"})
        await agent.watch()
        assert isinstance((await agent.play("1.ts"))[0], OwnHead)
        sharing.settings_changed({"sharing_rules": [rule]})
        head, body = await agent.play("2.ts")
        assert isinstance(head, SharedHead), "the rendition is not private for ten minutes because it was before"
        assert "shared although the origin said Cache-Control: no-store" in agent.system.status().recent[0].why
        assert "(rule hall of the coordinator)" in agent.system.status().recent[0].why
        assert [it.name for it in agent.system.status().sharing_rules] == ["hall"]
        assert body == BODY
        assert isinstance(agent.system.router.route(agent.get("2.ts")), FromMemory)
        await Record().until(lambda: (it := load_identity(tmp_path / "state")) is not None and bool(it.settings))
    (tmp_path / "again").mkdir()
    known = load_identity(tmp_path / "state")
    assert known is not None
    known.save(tmp_path / "again")
    async with started(tmp_path / "again", None, lan_discovery=False) as agent:
        assert [it.source for it in agent.system.status().sharing_rules] == ["the coordinator"]


async def test_a_renewed_certificate_is_used_at_once(tmp_path: Path) -> None:
    async with enrolled(tmp_path) as (agent, sharing):
        renewed = identity(authority(tmp_path / "tenant"), "me")
        sharing.renewed(renewed)
        assert sharing._seal.certificate() == renewed.certificate_der
        assert agent.system.status().device == "me"
        assert sharing.identity is renewed


async def test_without_a_coordinator_nothing_can_be_signalled(tmp_path: Path) -> None:
    async with enrolled(tmp_path) as (_, sharing):
        assert sharing._signal(Call("ann", "me", "ab" * 8, contact("me"))) is False


async def test_what_links_cannot_do_becomes_a_condition(tmp_path: Path) -> None:
    async with enrolled(tmp_path) as (agent, sharing):
        sharing.links.offer_forged("a" * 40, "it was changed")
        sharing.links._perform_dialling(dialer.Unreachable("b" * 40, "nobody answers", False, True))
        with capture_logs() as lines:
            sharing.links.refused("10.1.0.9", "no Hello within 3 s")
        assert [(it["log_level"], it["address"], it["why"]) for it in lines] == [
            ("debug", "10.1.0.9", "no Hello within 3 s")
        ]
        texts = {it.code: it.text for it in agent.system.status().conditions}
        assert texts["offer-refused"] == "aaaaaaaa: it was changed"
        assert texts["peers-out-of-reach"] == "bbbbbbbb: nobody answers"


async def test_after_a_fault_of_the_node_links_end_and_the_policy_holds(tmp_path: Path) -> None:
    async with enrolled(tmp_path) as (agent, sharing):
        sharing.placed(Welcome("s", "g", "leech", "leech only", {}))
        runner = agent.system._runner
        runner.link_opened(contact("ann"), "lan", (STREAM,), True, 1.0)
        runner.link_received("ann", Bye("this never reaches a node"))
        assert "restarted-within" in agent.codes()
        assert policies(agent) == [events.PolicyChanged(sharing=True, uploads=False, why="leech only")]


async def test_a_port_that_is_taken_costs_only_sharing(tmp_path: Path) -> None:
    async with enrolled(tmp_path) as (_, sharing):
        second = tmp_path / "second"
        second.mkdir()
        me = identity(authority(tmp_path / "tenant"), "other")
        me.save(second)
        async with started(second, peer_listen=f"127.0.0.1:{sharing.links.port}") as agent:
            assert "peers-cannot-connect" in agent.codes()
            assert agent.system._sharing is None
            assert policies(agent) == [events.PolicyChanged(sharing=False, uploads=False, why="settings")]
            assert agent.system.status().enrolled
            await agent.watch()
            assert (await agent.play("1.ts"))[1]
