"""Who may be whose parent, by what the ledger knows of a key and of the machines."""

from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.candidates import CANDIDATES_MAX, Candidates
from ecdn_proxy.core.swarm.key_record import KeyRecord
from ecdn_proxy.core.swarm.membership import Membership
from tests.core.makers import contact
from tests.core.world import STREAM


class Office:
    """A selection, machines on Wi-Fi and by cable that watch, and one key that `holders` have."""

    def __init__(self, *, wired: int, wifi: int) -> None:
        self.limits = Limits()
        self.membership = Membership(contact("me"), self.limits)
        self.selection = Candidates(self.membership, self.limits, lambda _one, _other: False)
        self.wired = [f"cable{at}" for at in range(wired)]
        self.wifi = [f"wifi{at:03d}" for at in range(wifi)]
        for device in self.wired:
            self.membership.linked(contact(device), (STREAM,), serves=True)
        for device in self.wifi:
            self.membership.linked(contact(device, "wifi"), (STREAM,), serves=True)
        self.record = KeyRecord(STREAM)

    def isolated(self, *devices: str) -> None:
        for device in devices:
            self.selection.note_isolated(device, isolated=True)

    def parents(self, device: str, *avoid: str, last: bool = False) -> tuple[str, ...]:
        choice = self.selection.choose(self.record, device, avoid, set(), 0.0, last=last)
        return () if choice is None else choice.parents


def test_who_has_it_gives_it_least_busy_first() -> None:
    office = Office(wired=3, wifi=0)
    office.record.holders |= set(office.wired)
    office.selection.note_given("cable0", 0.0)
    assert office.parents("wifi000") == ("cable1", "cable2", "cable0")
    assert office.parents("wifi000", "cable1") == ("cable2", "cable0")


def test_among_many_holders_of_the_same_kind_an_isolated_one_finds_whom_it_reaches() -> None:
    """All that serve least were looked at closely, none of whom it reached."""
    office = Office(wired=1, wifi=3 * CANDIDATES_MAX)
    office.isolated(*office.wifi)
    office.record.holders |= {*office.wifi[1:], "cable0"}
    office.record.follow("other", "cable0", 0.0)
    assert office.parents("wifi000")[0] == "cable0"


def test_of_very_many_those_that_were_told_to_serve_fewest_are_looked_at() -> None:
    office = Office(wired=CANDIDATES_MAX + 4, wifi=0)
    office.record.holders |= set(office.wired)
    for busy in sorted(office.wired)[:2]:
        office.record.follow(f"child of {busy}", busy, 0.0)
    assert office.parents("wifi000") == tuple(sorted(office.wired)[2:6])


def test_machines_by_cable_are_recruited_when_the_others_are_busy() -> None:
    office = Office(wired=3, wifi=6)
    office.isolated(*office.wifi)
    office.record.holders |= {"wifi000", "cable0"}
    for child in office.wifi[1 : 1 + office.limits.fan_out_wired]:
        assert office.parents(child)[0] == "cable0"
        office.record.follow(child, "cable0", 0.0)
    assert set(office.parents("wifi005")) == {"cable0", "cable1", "cable2", "me"}
    assert office.parents("wifi005")[-1] == "cable0", "it is at its fan-out"


def test_nobody_is_recruited_for_what_nobody_has_nor_for_one_that_reaches_everybody() -> None:
    office = Office(wired=2, wifi=2)
    assert office.parents("wifi000") == ()
    office.isolated("wifi000")
    assert office.parents("wifi000") == ()
    office.record.holders.add("wifi001")
    office.isolated("wifi001")
    assert office.parents("wifi000") != ()
    assert office.parents("cable0") == ("wifi001",)


def test_who_is_isolated_elsewhere_is_tried_at_last_and_who_is_so_beside_never() -> None:
    office = Office(wired=0, wifi=2)
    office.membership.serves = False
    office.isolated(*office.wifi, "far")
    office.membership.linked(contact("far"), (STREAM,), serves=True)
    office.record.holders |= {"wifi001", "far"}
    assert office.parents("wifi000") == ()
    assert office.parents("wifi000", last=True) == ("far",)


def test_the_isolated_are_remembered_up_to_a_bound() -> None:
    office = Office(wired=0, wifi=3)
    office.selection = Candidates(office.membership, Limits(neighbours_max=2), lambda _one, _other: False)
    office.membership.serves = False
    office.isolated("wifi000", "wifi001", "wifi002")
    office.record.holders.add("wifi000")
    assert office.parents("wifi001") == ("wifi000",), "the first is forgotten, and tried again"
