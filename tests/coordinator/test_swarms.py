"""When lists are sent, without the sockets behind them; `test_tracker` has the whole."""

import random

import msgspec
import pytest

from coordinator.core import limits
from coordinator.core.limits import Settings
from coordinator.core.neighbours import ConnectedAgent
from coordinator.core.sites import P2P, place, read_address, read_networks
from coordinator.core.swarms import Swarms
from ecdn_proxy.wire.peer import Contact
from ecdn_proxy.wire.tracker import COMMITTEE_MAX, NEIGHBOURS_MAX, Neighbours, Network

STREAM, OTHER = "a" * 32, "b" * 32
SPACING_S = 1.0


def member(number: int, *streams: str, p2p: P2P = "on") -> ConnectedAgent:
    name, address = f"d{number}", f"10.0.{number // 250}.{number % 250 + 1}"
    interfaces = read_networks((Network(address, 16, "wired"),))
    placement = place(None, interfaces, read_address(address))
    return ConnectedAgent(
        session=number,
        device=name,
        remote=read_address(address),
        interfaces=interfaces,
        version="1.0",
        peer_port=7688,
        since=0.0,
        order=number,
        ring=number.to_bytes(8),
        placement=msgspec.structs.replace(placement, p2p=p2p),
        serves=True,
        streams=frozenset(streams),
        contact=Contact(name, (address,), 7688, "wired"),
    )


class Lists:
    """Swarms, and who was sent what when."""

    def __init__(self) -> None:
        self.swarms = Swarms(SPACING_S)
        self.sent: list[tuple[float, str, Neighbours]] = []

    def pass_to(self, now: float) -> None:
        while (due := self.swarms.wake_at()) is not None and due <= now:
            self.sent += [(due, agent.device, message) for agent, message in self.swarms.settled(due)]

    def times(self, device: str) -> list[float]:
        return [at for at, name, _ in self.sent if name == device]


def test_a_swarm_is_told_when_it_has_settled_and_then_at_most_once_a_second() -> None:
    lists = Lists()
    lists.swarms.join(member(0, STREAM), STREAM, 10.0)
    assert lists.swarms.wake_at() == 10.0 + limits.SETTLE_S
    lists.pass_to(10.5)
    lists.swarms.join(member(1, STREAM), STREAM, 10.5)
    lists.pass_to(20.0)
    settled = 10.0 + limits.SETTLE_S
    assert lists.times("d0") == [settled, settled + SPACING_S]
    # whoever is new does not wait for everybody's turn
    assert lists.times("d1") == [10.5 + limits.SETTLE_S]
    assert lists.swarms.wake_at() is None


def test_who_would_be_told_the_same_again_is_told_nothing() -> None:
    lists = Lists()
    agent = member(0, STREAM)
    lists.swarms.join(agent, STREAM, 0.0)
    lists.pass_to(5.0)
    lists.swarms.changed(agent, 5.0)
    lists.pass_to(10.0)
    assert len(lists.sent) == 1


def test_a_large_swarm_is_told_less_often() -> None:
    lists = Lists()
    lists.swarms = Swarms(0.1)
    many = limits.SWARM_MEMBERS_MAX
    agents = [member(number, STREAM) for number in range(many)]
    for agent in agents:
        lists.swarms.join(agent, STREAM, 0.0)
    lists.pass_to(0.2)
    lists.swarms.leave(agents[0], STREAM, 0.2)
    assert lists.swarms.wake_at() == pytest.approx(limits.SETTLE_S + (many - 1) / limits.MEMBERS_PER_S)


def test_a_site_with_more_viewers_than_a_machine_holds_links_has_a_second_swarm() -> None:
    """Without it whoever came later found no room at any home, and a thousand of them filled the line."""
    lists = Lists()
    most = limits.SWARM_MEMBERS_MAX
    agents = [member(number, STREAM) for number in range(most + 100)]
    for agent in agents:
        lists.swarms.join(agent, STREAM, 0.0)
    lists.pass_to(5.0)
    committees = {name: message.committee for _, name, message in lists.sent}
    first, second = committees["d0"], committees[f"d{most}"]
    assert len(first) == len(second) == COMMITTEE_MAX
    assert not {*first} & {*second}
    assert {committees[f"d{number}"] for number in range(most)} == {first}
    assert {committees[f"d{number}"] for number in range(most, most + 100)} == {second}
    for _, name, message in lists.sent:
        assert {int(near.contact.device[1:]) >= most for near in message.near} == {int(name[1:]) >= most}
    # a place that becomes free in the first is taken before one in the second
    lists.swarms.leave(agents[1000], STREAM, 10.0)
    lists.swarms.join(member(5000, STREAM), STREAM, 10.0)
    lists.pass_to(15.0)
    assert {name: message.committee for _, name, message in lists.sent}["d5000"] == first
    for agent in agents[most:]:
        lists.swarms.leave(agent, STREAM, 20.0)
    lists.pass_to(25.0)
    assert len(lists.swarms) == 1


def test_streams_and_sites_apart_and_the_empty_forgotten() -> None:
    lists = Lists()
    agents = [member(0, STREAM, OTHER), member(1, OTHER)]
    for agent in agents:
        for stream in sorted(agent.streams):
            lists.swarms.join(agent, stream, 0.0)
    assert len(lists.swarms) == 2
    lists.pass_to(1.0)
    told = {(name, message.stream): len(message.near) for _, name, message in lists.sent}
    assert told == {("d0", STREAM): 0, ("d0", OTHER): 1, ("d1", OTHER): 1}
    for agent in agents:
        for stream in agent.streams:
            lists.swarms.leave(agent, stream, 1.0)
    lists.pass_to(5.0)
    assert len(lists.swarms) == 0


def test_who_may_not_share_is_in_no_swarm() -> None:
    lists = Lists()
    agent = member(0, STREAM, p2p="off")
    lists.swarms.join(agent, STREAM, 0.0)
    lists.swarms.changed(agent, 0.0)
    lists.swarms.leave(agent, STREAM, 0.0)
    assert (len(lists.swarms), lists.swarms.wake_at()) == (0, None)


def hundred(lists: Lists) -> list[ConnectedAgent]:
    agents = [member(number, STREAM) for number in range(100)]
    for agent in agents:
        lists.swarms.join(agent, STREAM, 0.0)
    lists.pass_to(5.0)
    lists.sent.clear()
    return agents


def test_a_list_is_left_alone_while_enough_of_it_stand() -> None:
    lists = Lists()
    agents = hundred(lists)
    lists.swarms.join(member(100, STREAM), STREAM, 10.0)
    lists.pass_to(15.0)
    assert [name for _, name, _ in lists.sent] == ["d100"], "whoever comes later knows the others"
    # d50 was told of the committee, d0 to d6, and of the next 23 on the ring
    spare = NEIGHBOURS_MAX - limits.NEIGHBOURS_ENOUGH
    for number in range(51, 51 + spare):
        lists.swarms.leave(agents[number], STREAM, 20.0)
    lists.pass_to(25.0)
    assert lists.times("d50") == []
    lists.swarms.leave(agents[51 + spare], STREAM, 30.0)
    lists.pass_to(35.0)
    (anew,) = [message for _, name, message in lists.sent if name == "d50"]
    assert len(anew.near) == NEIGHBOURS_MAX
    assert not {f"d{number}" for number in range(51, 52 + spare)} & {it.contact.device for it in anew.near}


def test_everybody_is_told_of_another_committee_and_of_a_keepers_new_address() -> None:
    lists = Lists()
    agents = hundred(lists)
    lists.swarms.leave(agents[3], STREAM, 10.0)
    lists.pass_to(15.0)
    assert len(lists.sent) == 99
    lists.sent.clear()
    agents[4].contact, agents[4].near = Contact("d4", ("10.0.9.9",), 7688, "wired"), {}
    lists.swarms.changed(agents[4], 20.0)
    lists.pass_to(25.0)
    assert len(lists.sent) == 98, "all but d4 itself"
    told = {
        near.contact.addresses for _, _, message in lists.sent for near in message.near if near.contact.device == "d4"
    }
    assert told == {("10.0.9.9",)}


def test_who_has_moved_to_another_site_is_taken_off_every_list() -> None:
    lists = Lists()
    agents = hundred(lists)
    lists.swarms.leave(agents[70], STREAM, 10.0, moved=True)
    lists.pass_to(15.0)
    assert len(lists.sent) == 99
    assert not [message for _, _, message in lists.sent for near in message.near if near.contact.device == "d70"]


def test_an_agent_that_joins_while_a_hundred_sites_fill_costs_a_few_lists() -> None:
    """20,000 within a minute, 200 to a site, all sites at once: every list anew took 23 for each."""
    lists = Lists()
    lists.swarms = Swarms(Settings().spacing_s)
    sites, each, joins_per_s = 10, 200, 33.3
    for number in range(sites * each):
        agent = member(number, STREAM)
        agent.placement = msgspec.structs.replace(agent.placement, site=f"site {number % sites}")
        agent.ring = random.Random(number).randbytes(8)
        now = number / joins_per_s
        lists.pass_to(now)
        lists.swarms.join(agent, STREAM, now)
    lists.pass_to(100.0)
    assert len(lists.sent) <= 3 * sites * each
    last = {name: message for _, name, message in lists.sent}
    assert all(len(message.near) >= limits.NEIGHBOURS_ENOUGH for message in last.values())
    assert len({message.committee for message in last.values()}) == sites


class Counted(ConnectedAgent):
    """A member that counts how often it is looked at."""

    looks: int = 0

    @property
    def listable(self) -> bool:
        self.looks += 1
        return super().listable


def test_a_newcomer_costs_the_same_however_many_are_there() -> None:
    """A ring of all members put in order at every arrival took a seventh of what joining costs."""

    def looks(crowd: int) -> int:
        lists = Lists()
        members = [Counted(**msgspec.structs.asdict(member(number, STREAM))) for number in range(crowd + 1)]
        for agent in members[:-1]:
            lists.swarms.join(agent, STREAM, 0.0)
        lists.pass_to(5.0)
        for agent in members:
            agent.looks = 0
        lists.swarms.join(members[-1], STREAM, 10.0)
        lists.pass_to(15.0)
        return sum(agent.looks for agent in members)

    assert looks(1_000) == looks(100) <= 3 * COMMITTEE_MAX
