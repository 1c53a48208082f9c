"""Who is told of whom, and how often; timetables without a clock."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core import limits
from coordinator.core.sites import SiteMap, read_address, read_map, read_networks
from coordinator.core.tracker import (
    Arrived,
    BeatReceived,
    Close,
    DenyListChanged,
    Effect,
    Left,
    MapChanged,
    RecordSighting,
    Send,
    SettingsChanged,
    Tracker,
    Watched,
)
from ecdn_proxy.wire.codec import pack
from ecdn_proxy.wire.peer import LinkKind
from ecdn_proxy.wire.tracker import (
    COMMITTEE_MAX,
    NEIGHBOURS_MAX,
    Beat,
    Denied,
    FromCoordinator,
    Here,
    Neighbours,
    Network,
    Settings,
    Watch,
    Welcome,
)
from ecdn_proxy.wire.version import PROTOCOL

STREAM = "a" * 32
OTHER = "b" * 32


class TrackerRig:
    """A tracker and the agents around it; `heard` is what each was sent since it was last asked."""

    def __init__(self, sites: SiteMap | None = None, **options: Any) -> None:
        self.tracker = Tracker(sites, {"cache_memory_mb": 64}, **options)
        self.now = 0.0
        self.heard: dict[str, list[FromCoordinator]] = {}
        self.closed: dict[str, str] = {}
        self.sent = 0
        self._names: dict[int, str] = {}
        self._sessions: dict[str, int] = {}

    def come(
        self, name: str, address: str, *, link: LinkKind = "wired", serves: bool = True, protocol: int = PROTOCOL
    ) -> None:
        session = len(self._names) + 1
        self._names[session], self._sessions[name] = name, session
        here = Here(protocol, "1.0", (Network(address, 24, link),), 7688, serves)
        arrived = Arrived(session, name, read_address(address), read_networks(here.networks), here)
        self.take(self.tracker.handle(arrived, self.now))

    def watch(self, name: str, *streams: str, serves: bool = True, isolated: bool = False) -> None:
        self.take(self.tracker.handle(Watched(self._sessions[name], Watch(streams, serves, isolated)), self.now))

    def leave(self, name: str) -> None:
        self.take(self.tracker.handle(Left(self._sessions[name]), self.now))

    def event(self, event: Any) -> None:
        self.take(self.tracker.handle(event, self.now))

    def pass_to(self, now: float) -> None:
        while (due := self.tracker.wake_at()) is not None and due <= now:
            self.now = max(self.now, due)
            self.take(self.tracker.wake(self.now))
        self.now = now

    def take(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    pack(effect.message)
                    self.sent += 1
                    self.heard.setdefault(self._names[effect.session], []).append(effect.message)
                case Close():
                    self.closed[self._names[effect.session]] = effect.code
                case RecordSighting():
                    pass

    def lists(self, name: str) -> list[Neighbours]:
        """Lists that `name` got since the last question."""
        return [message for message in self.heard.pop(name, []) if isinstance(message, Neighbours)]


def known(message: Neighbours) -> list[str]:
    return [near.contact.device for near in message.near]


def test_two_agents_of_one_subnet_meet_when_the_swarm_has_settled() -> None:
    rig = TrackerRig()
    rig.come("a", "10.0.0.1")
    rig.come("b", "10.0.0.2", link="wifi")
    rig.watch("a", STREAM)
    rig.watch("b", STREAM)
    assert rig.tracker.wake_at() == limits.SETTLE_S
    rig.pass_to(0.04)
    assert rig.lists("a") == []
    rig.pass_to(0.06)
    (mine,) = rig.lists("b")
    assert (mine.committee, known(mine)) == (("a", "b"), ["a"])
    assert mine.near[0].contact.addresses == ("10.0.0.1",)
    assert mine.near[0].why == "keeps the ledger; same subnet 10.0.0.0/24, wired, serves"
    assert rig.tracker.wake_at() is None


def test_welcome_tells_site_reason_and_settings() -> None:
    rig = TrackerRig(denied=["x"])
    rig.come("a", "10.0.0.1")
    welcome, denied = rig.heard["a"]
    assert isinstance(welcome, Welcome)
    assert (welcome.site, welcome.p2p, welcome.settings) == ("10.0.0.0/24", "on", {"cache_memory_mb": 64})
    assert denied == Denied(("x",))


def test_alone_is_told_too() -> None:
    rig = TrackerRig()
    rig.come("a", "10.0.0.1")
    rig.watch("a", STREAM)
    rig.pass_to(1.0)
    assert rig.lists("a") == [Neighbours(STREAM, ("a",), ())]


def test_other_subnets_and_other_streams_do_not_meet() -> None:
    rig = TrackerRig()
    for name, address, stream in (("a", "10.0.0.1", STREAM), ("b", "10.0.1.1", STREAM), ("c", "10.0.0.3", OTHER)):
        rig.come(name, address)
        rig.watch(name, stream)
    rig.pass_to(5.0)
    for name in "abc":
        assert [known(message) for message in rig.lists(name)] == [[]]


def test_two_hundred_joins_within_a_second_cost_a_few_hundred_messages() -> None:
    rig = TrackerRig()
    for number in range(200):
        rig.pass_to(number / 200)
        rig.come(f"d{number}", f"10.0.0.{number + 1}")
        rig.watch(f"d{number}", STREAM)
    rig.sent = 0
    rig.pass_to(10.0)
    # each has its first list at once and one more when all have come
    assert rig.sent <= 200
    assert rig.tracker.totals.lists_sent <= 420
    (last,) = rig.lists("d199")
    assert len(last.near) == NEIGHBOURS_MAX
    assert last.committee == tuple(sorted(f"d{n}" for n in range(COMMITTEE_MAX)))


def test_one_more_join_changes_few_lists_and_no_seat() -> None:
    rig = TrackerRig()
    for number in range(100):
        rig.come(f"d{number}", f"10.0.0.{number + 1}")
        rig.watch(f"d{number}", STREAM)
    rig.pass_to(2.0)
    rig.sent = 0
    rig.come("late", "10.0.0.200")
    rig.watch("late", STREAM)
    rig.pass_to(4.0)
    assert rig.sent <= 2 + NEIGHBOURS_MAX + 1
    (mine,) = rig.lists("late")
    assert mine.committee == tuple(sorted(f"d{n}" for n in range(COMMITTEE_MAX)))


def test_the_committee_prefers_serving_then_wired_then_senior() -> None:
    rig = TrackerRig()
    for number in range(3):
        rig.come(f"wifi{number}", f"10.0.0.{number + 1}", link="wifi")
        rig.watch(f"wifi{number}", STREAM)
    rig.come("idle", "10.0.0.50", serves=False)
    rig.watch("idle", STREAM, serves=False)
    for number in range(9):
        rig.come(f"wired{number}", f"10.0.0.{number + 100}")
        rig.watch(f"wired{number}", STREAM)
    rig.pass_to(1.0)
    assert rig.lists("idle")[-1].committee == tuple(f"wired{n}" for n in range(7))


def test_who_is_kept_from_its_like_keeps_no_ledger_and_is_named_last() -> None:
    rig = TrackerRig()
    for number in range(9):
        rig.come(f"a{number}", f"10.0.0.{number + 1}")
        rig.watch(f"a{number}", STREAM)
    rig.pass_to(5.0)
    (list_of_a8,) = rig.lists("a8")
    assert list_of_a8.committee == tuple(f"a{number}" for number in range(7))
    rig.watch("a2", STREAM, isolated=True)
    rig.pass_to(10.0)
    (after,) = rig.lists("a8")
    assert after.committee == ("a0", "a1", "a3", "a4", "a5", "a6", "a7")
    assert known(after)[-1] == "a2"
    assert "kept from its like by its access point" in after.near[-1].why
    rig.watch("a2", STREAM)
    rig.pass_to(15.0)
    assert {it.committee for it in rig.lists("a8")} == {after.committee}, "who has a seat keeps it"


def test_members_keep_their_seats_and_a_lost_one_is_replaced() -> None:
    rig = TrackerRig()
    for number in range(3):
        rig.come(f"wifi{number}", f"10.0.0.{number + 1}", link="wifi")
        rig.watch(f"wifi{number}", STREAM)
    rig.pass_to(1.0)
    for number in range(9):
        rig.come(f"wired{number}", f"10.0.0.{number + 100}")
        rig.watch(f"wired{number}", STREAM)
    rig.pass_to(3.0)
    seats = ("wifi0", "wifi1", "wifi2", "wired0", "wired1", "wired2", "wired3")
    assert rig.lists("wired8")[-1].committee == seats
    rig.leave("wifi1")
    rig.watch("wired0", STREAM, serves=False)
    rig.pass_to(5.0)
    committee = rig.lists("wired8")[-1].committee
    assert committee == ("wifi0", "wifi2", "wired1", "wired2", "wired3", "wired4", "wired5")


def test_wired_and_the_same_subnet_come_first() -> None:
    sites = read_map("group,subnets,p2p,wan,label\nBerlin,10.0.0.0/8,on,no,\n", "m")
    rig = TrackerRig(sites)
    for number in range(40):
        rig.come(f"far{number}", f"10.9.0.{number + 1}")
        rig.watch(f"far{number}", STREAM)
    for number in range(10):
        rig.come(f"near{number}", f"10.0.0.{number + 1}")
        rig.watch(f"near{number}", STREAM)
        rig.come(f"wifi{number}", f"10.0.0.{number + 101}", link="wifi")
        rig.watch(f"wifi{number}", STREAM)
    rig.pass_to(1.0)
    mine = rig.lists("near0")[-1]
    kinds = [device.rstrip("0123456789") for device in known(mine)]
    assert kinds == ["far"] * 7 + ["near"] * 9 + ["wifi"] * 10 + ["far"] * 4, "committee, then nearness"
    assert mine.near[-1].why == "same site Berlin, subnet 10.9.0.0/24, wired, serves"


def test_a_leech_gets_a_list_and_stands_on_none() -> None:
    sites = read_map("group,subnets,p2p,wan,label\nB,10.0.0.0/24,on,no,\nB,10.0.1.0/24,leech,no,\n", "m")
    rig = TrackerRig(sites)
    for name, address in (("a", "10.0.0.1"), ("leech", "10.0.1.1"), ("b", "10.0.0.2")):
        rig.come(name, address)
        rig.watch(name, STREAM)
    rig.pass_to(1.0)
    assert sorted(known(rig.lists("leech")[0])) == ["a", "b"]
    assert known(rig.lists("a")[0]) == ["b"]


def test_leaving_takes_an_agent_off_the_lists() -> None:
    rig = TrackerRig()
    for name, address in (("a", "10.0.0.1"), ("b", "10.0.0.2")):
        rig.come(name, address)
        rig.watch(name, STREAM)
    rig.pass_to(1.0)
    rig.lists("a")
    rig.leave("b")
    rig.leave("b")
    rig.pass_to(2.0)
    assert rig.lists("a") == [Neighbours(STREAM, ("a",), ())]
    rig.watch("a")
    rig.pass_to(4.0)
    assert rig.lists("a") == []
    assert rig.tracker.swarms == 0


def test_lists_of_one_swarm_are_a_second_apart() -> None:
    rig = TrackerRig()
    rig.come("a", "10.0.0.1")
    rig.watch("a", STREAM)
    rig.pass_to(0.05)
    assert len(rig.lists("a")) == 1
    rig.come("b", "10.0.0.2")
    rig.watch("b", STREAM)
    rig.pass_to(1.04)
    assert rig.lists("a") == []
    rig.pass_to(1.06)
    assert len(rig.lists("a")) == 1


def test_a_second_socket_of_a_device_replaces_the_first() -> None:
    rig = TrackerRig()
    rig.come("a", "10.0.0.1")
    first = rig._sessions["a"]
    rig.come("b", "10.0.0.2")
    rig.come("a", "10.0.0.9")
    assert rig.closed == {"a": "replaced"}
    assert len(rig.tracker) == 2
    rig.event(Left(first))
    assert len(rig.tracker) == 2
    assert [agent.order for agent in rig.tracker.agents() if agent.device == "a"] == [1], "seniority is kept"


def test_here_again_on_the_same_socket_keeps_its_streams() -> None:
    rig = TrackerRig()
    rig.come("a", "10.0.0.1")
    rig.watch("a", STREAM)
    rig.pass_to(1.0)
    rig.lists("a")
    here = Here(PROTOCOL, "1.0", (Network("10.0.5.1", 24, "wired"),), 7688, True)
    rig.event(Arrived(rig._sessions["a"], "a", read_address("10.0.5.1"), read_networks(here.networks), here))
    rig.pass_to(2.0)
    assert rig.closed == {}
    assert rig.lists("a") == [Neighbours(STREAM, ("a",), ())]


def test_another_protocol_a_denied_device_and_a_full_house_are_turned_away() -> None:
    rig = TrackerRig(denied=["bad"], agents_max=1)
    rig.come("old", "10.0.0.1", protocol=PROTOCOL + 1)
    rig.come("bad", "10.0.0.2")
    rig.come("a", "10.0.0.3")
    rig.come("b", "10.0.0.4")
    assert rig.closed == {"old": "protocol", "bad": "denied", "b": "full"}


def test_denying_closes_and_tells_everyone_once() -> None:
    rig = TrackerRig()
    for name, address in (("a", "10.0.0.1"), ("b", "10.0.0.2")):
        rig.come(name, address)
        rig.watch(name, STREAM)
    rig.pass_to(1.0)
    rig.heard.clear()
    rig.event(DenyListChanged(("b",)))
    rig.event(DenyListChanged(("b",)))
    assert rig.closed == {"b": "denied"}
    assert rig.heard == {"a": [Denied(("b",))]}
    rig.pass_to(3.0)
    assert [known(message) for message in rig.lists("a")] == [[]]


def test_a_new_map_moves_agents_and_empties_the_lists_of_those_that_may_not_share() -> None:
    rig = TrackerRig()
    for name, address in (("a", "10.0.0.1"), ("b", "10.0.1.1"), ("c", "10.0.2.1")):
        rig.come(name, address)
        rig.watch(name, STREAM)
    rig.pass_to(1.0)
    rig.heard.clear()
    sites = read_map("group,subnets,p2p,wan,label\nBerlin,10.0.0.0/23,on,no,\nLab,10.0.2.0/24,off,no,\n", "m")
    rig.event(MapChanged(sites))
    rig.event(MapChanged(sites))
    assert rig.tracker.sites is sites
    rig.pass_to(3.0)
    welcome = rig.heard["a"][0]
    assert isinstance(welcome, Welcome)
    assert welcome.site == "Berlin"
    assert [known(message) for message in rig.lists("a")] == [["b"]]
    assert rig.lists("c") == [Neighbours(STREAM, (), ())]


def test_an_agent_that_may_not_share_changes_nothing_for_others() -> None:
    sites = read_map("group,subnets,p2p,wan,label\nLab,10.0.0.0/24,off,no,\n", "m")
    rig = TrackerRig(sites)
    rig.come("a", "10.0.0.1")
    rig.watch("a", STREAM)
    rig.watch("a", STREAM, serves=False)
    rig.leave("a")
    assert rig.tracker.wake_at() is None
    assert rig.lists("a") == []


def test_settings_reach_everyone() -> None:
    rig = TrackerRig()
    rig.come("a", "10.0.0.1")
    rig.heard.clear()
    rig.event(SettingsChanged({"upload_mbps_max": 5}))
    assert rig.heard == {"a": [Settings({"upload_mbps_max": 5})]}


def test_usage_is_counted_once_per_sequence() -> None:
    rig = TrackerRig()
    rig.come("a", "10.0.0.1")
    beat = Beat(1, 10, 20, 30, 40, 5, ("clock-wrong",), 3, 2, 15, 25)
    for session in (1, 1, 99):
        rig.event(BeatReceived(session, beat))
    rig.event(Watched(99, Watch((), True)))
    usage = rig.tracker.totals.usage
    (agent,) = rig.tracker.agents()
    assert (agent.links_tls, agent.links_webrtc) == (3, 2)
    assert (usage.bytes_webrtc, usage.bytes_up_webrtc) == (15, 25)
    assert (usage.bytes_cache, usage.bytes_lan, usage.bytes_origin, usage.bytes_up, usage.segments) == (
        10,
        20,
        30,
        40,
        5,
    )
    assert [agent.conditions for agent in rig.tracker.agents()] == [("clock-wrong",)]


def beat(sequence: int, bytes_lan: int) -> Beat:
    return Beat(sequence, 0, bytes_lan, 0, 0, 1, ())


def test_a_beat_that_is_repeated_on_the_next_socket_is_counted_once() -> None:
    """Its answer was lost with the socket: once the first socket has ended, once it stands when the second comes."""
    rig = TrackerRig()
    rig.come("a", "10.0.0.1")
    rig.event(BeatReceived(1, beat(7, 100)))
    rig.leave("a")
    rig.come("a", "10.0.0.1")
    rig.event(BeatReceived(2, beat(7, 100)))
    assert rig.tracker.totals.usage.bytes_lan == 100
    rig.event(BeatReceived(2, beat(8, 20)))
    rig.come("a", "10.0.0.1")
    rig.event(BeatReceived(2, beat(8, 20)))
    rig.event(BeatReceived(3, beat(8, 20)))
    rig.event(BeatReceived(3, beat(9, 3)))
    assert rig.tracker.totals.usage.bytes_lan == 123


def test_a_device_that_begins_to_count_anew_is_counted() -> None:
    """Agents of earlier releases begin with 1 at each start."""
    rig = TrackerRig()
    for session, numbers in ((1, (1, 2, 3)), (2, (1, 2, 3))):
        rig.come("a", "10.0.0.1")
        for number in numbers:
            rig.event(BeatReceived(session, beat(number, 10)))
        rig.leave("a")
    assert rig.tracker.totals.usage.bytes_lan == 60


def test_numbers_of_those_who_left_are_kept_for_as_many_as_may_be_there() -> None:
    rig = TrackerRig(agents_max=2)
    for session, name in enumerate(("a", "b", "c", "b", "a"), 1):
        rig.come(name, "10.0.0.1")
        rig.event(BeatReceived(session, beat(7, 1)))
        rig.leave(name)
    assert rig.tracker.totals.usage.bytes_lan == 4


agents = st.lists(
    st.tuples(
        st.integers(0, 3),  # subnet
        st.sampled_from([(STREAM,), (OTHER,), (STREAM, OTHER), ()]),
        st.sampled_from(["wired", "wifi"]),
        st.booleans(),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(agents, st.sets(st.integers(0, 59)), st.booleans())
def test_laws(people: list[tuple[int, tuple[str, ...], LinkKind, bool]], leaving: set[int], mapped: bool) -> None:
    sites = read_map("group,subnets,p2p,wan,label\nX,10.0.0.0/23,on,no,\nY,10.0.2.0/23,on,yes,\n", "m")
    rig = TrackerRig(sites if mapped else None)
    for number, (subnet, streams, link, serves) in enumerate(people):
        rig.come(f"d{number}", f"10.0.{subnet}.{number + 1}", link=link, serves=serves)
        rig.watch(f"d{number}", *streams, serves=serves)
    rig.pass_to(2.0)
    for number in leaving:
        if number < len(people):
            rig.leave(f"d{number}")
    rig.pass_to(5.0)
    present = {agent.device: agent for agent in rig.tracker.agents()}
    for name, agent in present.items():
        latest = {message.stream: message for message in rig.lists(name)}
        assert set(latest) == agent.streams
        for stream, message in latest.items():
            told = known(message)
            assert len(told) == len(set(told)) <= NEIGHBOURS_MAX
            assert len(message.committee) <= COMMITTEE_MAX
            assert set(message.committee) <= {*told, name}
            assert name not in told
            standing = [device for device in told if device in present]
            for device in standing:
                assert present[device].placement.site == agent.placement.site
                assert stream in present[device].streams
            crowd = [a for a in present.values() if a.placement.site == agent.placement.site and stream in a.streams]
            assert min(len(crowd) - 1, limits.NEIGHBOURS_ENOUGH) <= len(standing) <= NEIGHBOURS_MAX
            assert len(standing) == len(told) or len(standing) >= limits.NEIGHBOURS_ENOUGH
            assert len(message.committee) == min(len(crowd), COMMITTEE_MAX)
