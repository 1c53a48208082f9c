"""Links of one office as timetables: one way takes 1 ms, a handshake 4 ms."""

import pytest

from ecdn_proxy.core import events
from ecdn_proxy.sim.lan import CONNECT_S
from ecdn_proxy.wire.peer import Piece, Watching
from tests.sim.surroundings import STREAM, Surroundings


def links_of(office: Surroundings, device: str) -> list[tuple[float, str, str]]:
    """What a node was told of its links: when, what, of whom."""
    found = []
    for at, event in office.heard(device):
        match event:
            case events.LinkOpened(contact):
                found.append((at, "opened", contact.device))
            case events.LinkClosed(other, why):
                found.append((at, why, other))
            case _:
                pass
    return found


def test_a_link_opens_after_three_round_trips_and_a_handshake_at_both_ends() -> None:
    office = Surroundings("ann", "bob")
    office.host("bob").streams, office.host("bob").serves = (STREAM,), False
    office.lan.dial(office.host("ann"), "bob")
    office.lan.dial(office.host("ann"), "bob")
    office.run(0.0099)
    assert not office.host("ann").wires
    office.run(0.0101)
    assert links_of(office, "ann") == [(0.01, "opened", "bob")]
    assert links_of(office, "bob") == [(0.01, "opened", "ann")]
    assert office.heard("ann")[0][1] == events.LinkOpened(
        office.host("bob").contact, "lan", (STREAM,), serves=False, rtt_ms=2.0
    )


def test_two_that_dial_each_other_have_one_link() -> None:
    office = Surroundings("ann", "bob")
    office.lan.dial(office.host("ann"), "bob")
    office.lan.dial(office.host("bob"), "ann")
    office.run(1.0)
    assert links_of(office, "ann") == [(0.01, "opened", "bob")]
    assert links_of(office, "bob") == [(0.01, "opened", "ann")]


@pytest.mark.parametrize(
    ("why", "at"), [("off", 0.01), ("silent", CONNECT_S), ("apart", CONNECT_S), ("unknown", CONNECT_S)]
)
def test_a_dial_that_comes_to_nothing(why: str, at: float) -> None:
    office = Surroundings("ann", "bob")
    if why == "apart":
        office.cut.add(frozenset(("ann", "bob")))
    elif why != "unknown":
        office.host("bob").stop(reachable=why == "off")
    device = "nobody" if why == "unknown" else "bob"
    office.lan.dial(office.host("ann"), device)
    office.run(3.0)
    assert links_of(office, "ann") == [(at, "it could not be reached", device)]


def test_a_dial_of_a_machine_that_stopped_meanwhile_opens_nothing() -> None:
    office = Surroundings("ann", "bob")
    ann = office.host("ann")
    office.lan.dial(ann, "bob")
    ann.stop()
    ann.start(office.node(ann))
    office.run(3.0)
    assert not office.host("bob").wires


def test_a_host_has_so_many_links_and_no_more() -> None:
    office = Surroundings("ann", "bob", "carol", links_max=1)
    office.lan.dial(office.host("ann"), "bob")
    office.run(0.1)
    office.lan.dial(office.host("carol"), "ann")
    office.run(0.2)
    assert links_of(office, "carol") == [(0.11, "there are links enough", "ann")]
    assert (office.lan.no_room, office.lan.links_most) == (1, 1)


def linked() -> Surroundings:
    office = Surroundings("ann", "bob")
    office.lan.dial(office.host("ann"), "bob")
    office.run(1.0)
    return office


def test_who_hangs_up_knows_at_once_and_the_other_after_one_way() -> None:
    office = linked()
    office.lan.hang_up(office.host("ann"), "bob")
    office.run(2.0)
    assert links_of(office, "ann")[1:] == [(1.0, "it hung up", "bob")]
    assert links_of(office, "bob")[1:] == [(1.001, "it hung up", "ann")]
    office.lan.hang_up(office.host("ann"), "bob")
    office.run(3.0)
    assert len(links_of(office, "ann")) == 2


def test_a_link_that_fell_silent_at_one_end_is_replaced_by_a_newer_one() -> None:
    office = linked()
    office.lan.silence(office.host("ann"), "bob", 5.0)
    office.run(2.0)
    office.lan.dial(office.host("ann"), "bob")
    office.run(10.0)
    replaced = [(2.01, "replaced by a newer link"), (2.01, "opened")]
    assert [(at, what) for at, what, _ in links_of(office, "ann")[1:]] == replaced
    assert [(at, what) for at, what, _ in links_of(office, "bob")[1:]] == replaced


def test_the_others_notice_a_machine_that_went_away() -> None:
    office = linked()
    ann = office.host("ann")
    ann.perform(events.Send("bob", Piece(1, 0, b"abc")))
    ann.stop()
    office.lan.unplug(ann, 6.0)
    office.run(6.9)
    assert len(office.heard("bob")) == 1, "nor is what was under way heard"
    office.run(7.1)
    assert links_of(office, "bob")[1:] == [(7.0, "it went away", "ann")]


def test_everybody_hears_what_a_host_watches() -> None:
    office = linked()
    office.host("ann").streams = (STREAM,)
    office.lan.announce(office.host("ann"))
    office.run(2.0)
    assert office.heard("bob")[1:] == [(1.001, events.Received("ann", Watching((STREAM,), serves=True)))]


def test_a_link_that_holds_too_much_says_so_to_its_node() -> None:
    office = linked()
    ann = office.host("ann")
    ann.uplink.up_bytes_per_s = 10_000_000.0
    for index in range(40):
        ann.perform(events.Send("bob", Piece(1, index, bytes(32_768))))
    office.run(3.0)
    told = [event for _, event in office.heard("ann")][1:]
    assert told == [events.LinkFull("bob"), events.LinkReady("bob")]
