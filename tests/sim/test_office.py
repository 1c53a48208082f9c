"""What holds in every simulated office, and that the same seed gives the same event."""

import os
import subprocess
import sys

import msgspec
import pytest

from ecdn_proxy.sim.company import simulate
from ecdn_proxy.sim.figures import SiteFigures
from ecdn_proxy.sim.office import Office
from ecdn_proxy.sim.scenario import Scenario, load_shipped, read
from ecdn_proxy.sim.tracker import SeniorityTracker
from tests.sim.registry import Registry


def small(more: str = "", *, viewers: int = 12, segments: int = 5, reload: str = "own") -> Scenario:
    return read(
        f"""
        {more}
        [stream]
        segments = {segments}
        manifest_bytes = 0
        [viewers]
        within_s = 1.0
        reload = "{reload}"
        [[sites]]
        viewers = {viewers}
        """,
        "small",
    )


def run(scenario: Scenario, number: int = 0, **plugs: object) -> SiteFigures:
    return Office(scenario.offices()[number], scenario, number, **plugs).run()  # type: ignore[arg-type]


def laws(it: SiteFigures) -> None:
    """Of every event: nobody got wrong bytes (the host checks each), nothing is better than the bound."""
    assert it.offload <= it.bound + 1e-9
    assert it.outcomes > 0
    assert it.unfinished == 0
    assert it.copies >= 1 - 1e-9


def test_the_same_seed_gives_the_same_event() -> None:
    scenario = small("[faults]\npeers_failing_percent = 5.0", segments=4)
    once, again = run(scenario), run(scenario)
    assert once.digest == again.digest
    assert run(msgspec.structs.replace(scenario, seed=2)).digest != once.digest


def test_the_order_of_sets_does_not_matter() -> None:
    """Another process hashes strings otherwise."""
    program = (
        "from tests.sim.test_office import run, small; "
        "print(run(small('[faults]\\npeers_failing_percent = 5.0', segments=4)).digest)"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_one_copy_feeds_a_small_office() -> None:
    it = run(small(reload="together"), checked=True)
    laws(it)
    assert it.steady_copies == pytest.approx(1.0)
    assert it.stalls == 0
    assert it.added.percentile(99) < 0.5
    assert it.control_per_viewer_s < 10


def test_alone_everybody_takes_a_copy() -> None:
    it = run(small("[agent]\nsharing = false", viewers=4))
    laws(it)
    assert it.copies == pytest.approx(4.0)
    assert it.offload == pytest.approx(0.0)
    assert it.frames == {}


def test_the_coordinators_own_tracker_gives_the_same_figures() -> None:
    scenario = small()
    built_in, real = run(scenario, tracker=SeniorityTracker), run(scenario, tracker=Registry)
    laws(real)
    assert real.steady_copies == pytest.approx(built_in.steady_copies)
    assert real.stalls == built_in.stalls == 0
    assert real.added.percentile(99) < built_in.added.percentile(99) + 0.1


@pytest.mark.parametrize(
    "fault",
    [
        "peers_failing_percent = 5.0",
        "peers_failing_percent = 5.0\nfailure = 'silent'",
        "fetcher_dies_every = 2",
        "home_crashes_at_s = [3.0, 6.0]",
        "split_percent = 20.0",
        "polluters = 1",
        "coordinator_out_s = [2.0, 6.0]",
        "lan_loss_percent = 2.0",
    ],
)
def test_whatever_goes_wrong_everybody_gets_every_segment(fault: str) -> None:
    it = run(small(f"[faults]\n{fault}"), checked=True)
    laws(it)
    assert it.late_rate < 0.1


def test_an_access_point_that_keeps_its_clients_apart_costs_no_copies() -> None:
    """Their agents sent each other to one another: 5.4 copies, 163 stalls."""
    it = run(load_shipped("isolated-wifi"))
    laws(it)
    assert it.steady_copies <= 1.05
    assert it.stalls == 0
    assert it.took.percentile(99) < 2.0
    assert it.conditions["client-isolation"] > 0


@pytest.mark.parametrize("seed", range(1, 4))
def test_clients_kept_apart_for_a_while_are_fed_by_those_whom_they_reach(seed: int) -> None:
    """Two networks, each with isolated ports, as of a sudden: 2.9 copies once, and a segment took up to 5 s."""
    scenario = small("[faults]\nisolation_s = [10.0, 30.0]", viewers=8, segments=16)
    site = msgspec.structs.replace(scenario.sites[0], isolated_percent=(75.0, 25.0), wan_mbps=50.0)
    it = run(msgspec.structs.replace(scenario, sites=(site,), seed=seed), checked=True)
    laws(it)
    assert it.stalls == 0
    assert it.steady_copies <= 1.6
    assert it.took.percentile(95) < 1.0


def test_where_all_are_kept_apart_each_has_its_own_copy_and_plays() -> None:
    scenario = small(viewers=6)
    site = msgspec.structs.replace(scenario.sites[0], isolated_percent=(100.0,), wan_mbps=100.0)
    it = run(msgspec.structs.replace(scenario, sites=(site,)))
    laws(it)
    assert it.stalls == 0
    assert it.steady_copies == pytest.approx(6.0)


def test_a_polluter_is_banned() -> None:
    it = run(small("[faults]\npolluters = 1", segments=8))
    assert it.conditions.get("peer-misbehaved", 0) > 0
    assert it.stalls == 0


def test_agents_find_each_other_without_a_coordinator() -> None:
    it = run(small("[agent]\nlan_discovery = true\n[faults]\ncoordinator_out_s = [0.0, 600.0]"))
    laws(it)
    assert it.steady_copies < 1.2


def test_who_joins_while_the_coordinator_is_away_asks_the_same_homes_as_the_rest() -> None:
    """By mDNS alone newcomers named other homes: 1.5 copies of each segment."""
    it = run(load_shipped("coordinator-away"))
    laws(it)
    assert it.steady_copies <= 1.2


def test_renditions_lower_the_bound() -> None:
    scenario = small(viewers=12)
    scenario = msgspec.structs.replace(
        scenario, stream=msgspec.structs.replace(scenario.stream, bitrates_mbps=(1.0, 3.0))
    )
    it = run(scenario)
    laws(it)
    assert it.bound < 1 - 1 / 12
    assert it.steady_copies < 1.1


def test_players_that_measure_leave_a_rendition_that_does_not_come_in_time() -> None:
    text = """
    [stream]
    segments = 10
    bitrates_mbps = [0.5, 8.0]
    abr = true
    shares_percent = [0.0, 100.0]
    [[sites]]
    viewers = 1
    wan_mbps = 4.0
    """
    scenario = read(text, "abr")
    office = Office(scenario.offices()[0], scenario)
    it = office.run()
    last = office.live_stream.segments()[-1]
    assert it.outcomes > 5
    assert last.rendition == "v0"


def test_players_that_choose_are_not_led_on_by_what_their_neighbours_have() -> None:
    """Each saw segments come at the LAN's speed and asked for more than the line brings: 180 stalls, of 20 minutes."""
    it = run(load_shipped("ladder"))
    laws(it)
    assert it.steady_copies <= 1.03
    assert it.stalls <= 2
    assert it.unfinished == 0


def test_scaling_keeps_the_figures() -> None:
    scenario = small(viewers=30)
    fine, coarse = run(scenario), run(msgspec.structs.replace(scenario, scale=4.0))
    assert coarse.viewer_bytes == pytest.approx(fine.viewer_bytes, rel=0.05)
    assert coarse.offload == pytest.approx(fine.offload, abs=0.02)
    assert coarse.took.percentile(50) == pytest.approx(fine.took.percentile(50), abs=0.15)


def test_two_hundred_all_starting_within_a_second() -> None:
    """The promise of the design at its hardest: one copy, nobody late, 0.64 s at the 99th percentile."""
    shipped = load_shipped("office-200")
    scenario = msgspec.structs.replace(shipped, scale=2.0, stream=msgspec.structs.replace(shipped.stream, segments=4))
    it = run(scenario)
    laws(it)
    assert it.steady_copies <= 1.03
    assert it.offload >= 0.99 * it.bound
    assert it.late_rate == 0
    assert it.took.percentile(99) < 1.0
    assert it.startup.percentile(99) < 2.0


def test_machines_that_cannot_send_a_video_cost_no_second_copies() -> None:
    """Two of those who ask first can send 0.3 of the bitrate; it took three copies of each segment."""
    it = run(msgspec.structs.replace(load_shipped("slow-peers"), seed=5))
    laws(it)
    assert it.steady_copies <= 1.05
    assert it.stalls == 0


def test_more_viewers_than_a_home_had_links_for() -> None:
    """With 512 links each, whoever came later fetched alone, and filled the line for everybody."""
    text = """
    scale = 8.0
    [stream]
    segments = 2
    [viewers]
    within_s = 20.0
    [[sites]]
    viewers = 600
    wan_mbps = 50.0
    """
    it = run(read(text, "large"))
    laws(it)
    assert it.links_most > 512
    assert it.no_room == 0
    assert it.copies < 1.1
    assert it.late_rate == 0


def test_a_company_is_the_same_on_one_core_and_on_two() -> None:
    scenario = read(
        """
        scale = 4.0
        [stream]
        segments = 3
        [viewers]
        within_s = 2.0
        [company]
        viewers = 60
        sites = 12
        """,
        "company",
    )
    done: list[int] = []
    one = simulate(scenario, progress=done.append)
    two = simulate(scenario, processes=2)
    assert one.digest == two.digest
    assert sum(done) == one.total.viewers == 60
    assert len(one.sites) == 12
    assert one.total.unique_bytes == sum(site.unique_bytes for site in one.sites)
