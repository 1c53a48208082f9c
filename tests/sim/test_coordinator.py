"""The coordinator as hosts see it: 20 ms to it and back, lists 50 ms after a swarm has changed."""

import pytest

from ecdn_proxy.core.events import TrackerSaid
from ecdn_proxy.sim.coordinator import SimulatedCoordinator
from ecdn_proxy.sim.host import Host
from ecdn_proxy.sim.tracker import SETTLE_S, SeniorityTracker
from ecdn_proxy.wire.tracker import COMMITTEE_MAX
from tests.sim.surroundings import STREAM, Surroundings

ONE_WAY_S = 0.02


class Office(Surroundings):
    def __init__(self, *devices: str) -> None:
        super().__init__(*devices)
        self.split: set[tuple[str, str]] = set()
        self.coordinator = SimulatedCoordinator(
            self.clock, self.lan.hosts, SeniorityTracker, one_way_s=ONE_WAY_S, hidden=self.hidden
        )

    def hidden(self, host: Host, device: str) -> bool:
        return (host.device, device) in self.split

    def watches(self, *devices: str) -> None:
        for device in devices:
            self.host(device).streams = (STREAM,)
            self.coordinator.announce(self.host(device))

    def lists(self, device: str) -> list[tuple[float, tuple[str, ...], list[str]]]:
        """Those that a device was sent: when, the committee, the neighbours."""
        return [
            (at, event.committee, [contact.device for contact, _ in event.contacts])
            for at, event in self.heard(device)
            if isinstance(event, TrackerSaid)
        ]


@pytest.fixture(name="office")
def _office() -> Office:
    return Office("ann", "bob", "carol")


def test_lists_come_when_the_swarm_has_settled_and_name_the_others(office: Office) -> None:
    office.watches("ann", "bob")
    due = round(ONE_WAY_S + SETTLE_S + ONE_WAY_S, 6)
    office.run(due - 0.001)
    assert office.lists("ann") == []
    office.run(due + 0.001)
    assert office.lists("ann") == [(due, ("ann", "bob"), ["bob"])]
    assert office.lists("bob") == [(due, ("ann", "bob"), ["ann"])]
    assert office.lists("carol") == []


def test_who_has_left_is_on_nobodys_list_unless_it_is_back_in_time(office: Office) -> None:
    office.watches("ann", "bob", "carol")
    office.run(1.0)
    for device in ("bob", "carol"):
        office.host(device).stop()
        office.coordinator.left(office.host(device), 1.0)
    office.host("carol").start(office.node(office.host("carol")))
    office.run(3.0)
    assert [near for _, _, near in office.lists("ann")] == [["bob", "carol"], ["carol"]]


def test_who_does_not_serve_or_is_isolated_keeps_ledgers_only_where_there_are_too_few_others() -> None:
    devices = [f"dev-{number}" for number in range(COMMITTEE_MAX + 2)]
    office = Office(*devices)
    office.host(devices[0]).isolated = True
    office.host(devices[1]).serves = False
    office.watches(*devices)
    office.run(1.0)
    ((_, committee, _),) = office.lists(devices[0])
    assert committee == tuple(devices[2:])


def test_split_views(office: Office) -> None:
    office.split.add(("ann", "bob"))
    office.watches("ann", "bob", "carol")
    office.run(1.0)
    assert [near for _, _, near in office.lists("ann")] == [["carol"]]
    assert [sorted(near) for _, _, near in office.lists("bob")] == [["ann", "carol"]]


def test_a_coordinator_that_is_away_hears_nothing_and_a_new_one_knows_nobody(office: Office) -> None:
    office.watches("ann", "bob")
    office.coordinator.connected = False
    office.run(1.0)
    assert office.lists("ann") == []
    office.watches("ann")
    office.run(2.0)
    office.coordinator.restart()
    office.watches("ann")
    office.run(3.0)
    assert [(committee, near) for _, committee, near in office.lists("ann")] == [(("ann",), [])]
    office.coordinator.hear(office.host("bob"), office.host("bob").life - 1)
    office.run(4.0)
    assert office.lists("bob") == []


@pytest.mark.parametrize("away_s", [ONE_WAY_S / 2, ONE_WAY_S + SETTLE_S / 2, ONE_WAY_S + SETTLE_S + ONE_WAY_S / 2])
def test_what_is_under_way_when_it_goes_away_is_lost(office: Office, away_s: float) -> None:
    office.watches("ann", "bob")
    office.run(away_s)
    office.coordinator.connected = False
    office.coordinator.left(office.host("bob"), 0.0)
    office.run(1.0)
    assert office.lists("ann") == []
