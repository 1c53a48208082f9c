"""Scenarios: what comes with the product can be read; every mistake says where it is."""

from pathlib import Path

import pytest

from coordinator.core import limits
from ecdn_proxy.io.tls_links import connection
from ecdn_proxy.io.tls_links import dialer as tls_dialer
from ecdn_proxy.io.tls_links import hub as tls_hub
from ecdn_proxy.sim import faults, lan, links
from ecdn_proxy.sim import tracker as sim_tracker
from ecdn_proxy.sim.scenario import AgentSpec, BadScenario, load, load_shipped, read, shipped

SITE = "[[sites]]\nviewers = 3\n"


@pytest.mark.parametrize("name", shipped())
def test_shipped_scenarios_are_whole(name: str) -> None:
    scenario = load_shipped(name)
    assert scenario.name == name
    assert scenario.about
    assert scenario.offices()


def test_what_the_design_speaks_of_is_shipped() -> None:
    assert {f"office-{n}" for n in (2, 10, 50, 100, 200)} | {"failing-peers", "company-10000", "company-100000"} <= set(
        shipped()
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it needs [[sites]] or [company]"),
        ("[[sites]\n", "is no TOML"),
        ("[[sites]]\nviewers = 0", "sites[0].viewers"),
        ("[[sites]]\nviewer = 3", "unknown field `viewer`"),
        (SITE + "[stream]\nsegment_s = 'long'", "stream.segment_s"),
        (SITE + "[stream]\nbitrates_mbps = [3.0, 1.0]", "from the lowest to the highest"),
        (SITE + "[stream]\nbitrates_mbps = [1.0, 3.0]\nshares_percent = [50.0]", "one share for each"),
        (SITE + "[stream]\nbitrates_mbps = [1.0, 3.0]\nshares_percent = [50.0, 40.0]", "add up to 90, not 100"),
        (SITE + "[faults]\ncoordinator_out_s = [9.0, 3.0]", "must end after it begins"),
        (SITE + "[faults]\nisolation_s = [9.0, 3.0]", "must end after it begins"),
        (SITE + "isolated_percent = [60.0, 50.0]", "more than all"),
        (SITE + "wifi_uplink_mbps = [10.0, 5.0]", "from the lower to the higher"),
        ("[company]\nviewers = 3\nsites = 4", "more sites than viewers"),
        ("scale = 64.0\n" + SITE + "[stream]\nbitrates_mbps = [0.1]", "too small to mean anything"),
    ],
)
def test_a_mistake_says_where_it_is(text: str, said: str) -> None:
    with pytest.raises(BadScenario) as caught:
        read(text, "mine.toml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("mine.toml")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadScenario, match="No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(BadScenario, match="there is no scenario 'none'"):
        load_shipped("none")


def test_a_file_has_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SITE)
    assert load(path).name == "mine"


def test_a_company_has_as_many_viewers_and_sites_as_it_says() -> None:
    sites = load_shipped("company-10000").offices()
    assert len(sites) == 267
    assert sum(site.viewers for site in sites) == 10_000
    assert sites[0].viewers > 5 * sites[133].viewers
    assert sites == load_shipped("company-10000").offices()


def test_sites_alike_are_counted_out() -> None:
    assert len(read("[[sites]]\nviewers = 3\ncount = 4", "x").offices()) == 4


def test_what_is_said_twice_is_the_same() -> None:
    """The simulator's floor may not import io and the coordinator; here their numbers are compared."""
    assert AgentSpec().links_max == tls_hub.LINKS_MAX
    assert (sim_tracker.SETTLE_S, sim_tracker.MEMBERS_PER_S) == (limits.SETTLE_S, limits.MEMBERS_PER_S)
    assert sim_tracker.SWARM_MEMBERS_MAX == limits.SWARM_MEMBERS_MAX
    assert sim_tracker.NEIGHBOURS_ENOUGH == limits.NEIGHBOURS_ENOUGH
    assert limits.Settings().spacing_s == sim_tracker.SPACING_S
    assert (links.BUFFER_HIGH_BYTES, links.BUFFER_LOW_BYTES) == (
        connection.WRITE_HIGH_BYTES,
        connection.WRITE_LOW_BYTES,
    )
    assert faults.UNHEARD_S == connection.PING_S * connection.UNANSWERED_MAX
    assert lan.CONNECT_S == tls_dialer.CONNECT_S
