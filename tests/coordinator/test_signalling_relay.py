"""Who may say what to whom through the signalling relay; timetables without a clock."""

import msgspec
import pytest

from coordinator.core.signalling_relay import PAIR_PER_MINUTE, SIGNALS_PER_MINUTE, Audit, SignallingRelay
from coordinator.core.sites import SiteMap, read_map
from coordinator.core.tracker import Effect, Send, Signalled
from ecdn_proxy.wire.codec import pack
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.signalling import SDP_CHARACTERS_MAX, Bye, Offer, Undeliverable
from ecdn_proxy.wire.tracker import read_from_agent
from tests.coordinator.test_tracker import OTHER, STREAM, TrackerRig, known

ATTEMPT = "ab" * 8


def bye(sender: str, to: str) -> Bye:
    return Bye(to, sender, ATTEMPT, "no longer needed")


def offer(sender: str, to: str, sdp: str = "v=0") -> Offer:
    return Offer(to, sender, ATTEMPT, sdp, bytes(16), 30.0, bytes(64), b"certificate")


class Exchange(TrackerRig):
    """Agents that speak to each other."""

    def says(self, name: str, message: Bye | Offer) -> list[Effect]:
        return list(self.tracker.handle(Signalled(self._sessions[name], message), self.now))


def two(first: str = "10.1.0.1", second: str = "10.1.0.2") -> Exchange:
    rig = Exchange()
    rig.come("a", first)
    rig.come("b", second)
    rig.watch("a", STREAM)
    rig.watch("b", STREAM)
    return rig


def refusal(effects: list[Effect]) -> str:
    back, audit = effects
    assert isinstance(back, Send)
    assert isinstance(back.message, Undeliverable)
    assert isinstance(audit, Audit)
    assert back.message.code == audit.code
    return audit.code


def test_an_offer_reaches_the_other_one_unchanged() -> None:
    rig = two()
    assert rig.says("a", offer("a", "b")) == [Send(2, offer("a", "b"))]
    assert rig.tracker.signalling_relay.counts.relayed == 1


def test_who_is_not_connected_cannot_be_reached() -> None:
    rig = two()
    assert refusal(rig.says("a", bye("a", "c"))) == "unknown-device"
    assert refusal(rig.says("a", bye("a", "a"))) == "unknown-device"
    rig.leave("b")
    assert refusal(rig.says("a", bye("a", "b"))) == "unknown-device"
    assert rig.tracker.signalling_relay.counts.refused == 3


def test_nobody_speaks_in_the_name_of_another() -> None:
    assert refusal(two().says("a", bye("c", "b"))) == "not-you"


def test_sites_are_kept_apart() -> None:
    assert refusal(two("10.1.0.1", "10.2.0.1").says("a", bye("a", "b"))) == "other-site"


def test_routed_subnets_of_one_site_may_meet() -> None:
    sites = read_map("group,subnets,p2p,wan,label\nbern,10.1.0.0/24 10.2.0.0/24,on,no,Bern\n", "map.csv")
    rig = Exchange(sites)
    rig.come("a", "10.1.0.1")
    rig.come("b", "10.2.0.1")
    rig.watch("a", STREAM)
    rig.watch("b", STREAM)
    assert rig.says("b", bye("b", "a")) == [Send(1, bye("b", "a"))]


def test_two_sites_meet_only_where_it_said_so() -> None:
    plain = read_map("group,subnets,p2p,wan,label\nbern,10.1.0.0/24,on,no,\nrom,10.2.0.0/24,on,no,\n", "map.csv")
    for rules, meet in (((), False), ((("bern", "rom"),), True)):
        rig = Exchange(SiteMap(plain.rows, rules))
        rig.come("a", "10.1.0.1")
        rig.come("b", "10.2.0.1")
        rig.watch("a", STREAM)
        rig.watch("b", STREAM)
        rig.pass_to(1.0)
        lists = rig.lists("a")
        assert [known(it) for it in lists][-1:] == ([["b"]] if meet else [[]])
        if meet:
            assert rig.says("a", bye("a", "b")) == [Send(2, bye("a", "b"))]
        else:
            assert refusal(rig.says("a", bye("a", "b"))) == "other-site"


def test_at_a_site_that_does_not_share_nothing_is_relayed() -> None:
    sites = read_map("group,subnets,p2p,wan,label\nbern,10.1.0.0/24,off,no,Bern\n", "map.csv")
    rig = Exchange(sites)
    rig.come("a", "10.1.0.1")
    rig.come("b", "10.1.0.2")
    assert refusal(rig.says("a", bye("a", "b"))) == "sharing-off"


def test_a_common_stream_is_what_they_meet_for() -> None:
    rig = two()
    rig.watch("b", OTHER)
    assert refusal(rig.says("a", bye("a", "b"))) == "no-common-stream"
    rig.watch("b", OTHER, STREAM)
    assert rig.says("a", bye("a", "b")) == [Send(2, bye("a", "b"))]


def test_one_pair_says_only_so_much_and_others_are_not_held_up() -> None:
    rig = two()
    rig.come("c", "10.1.0.3")
    rig.watch("c", STREAM)
    for _ in range(PAIR_PER_MINUTE):
        assert rig.says("a", bye("a", "b")) == [Send(2, bye("a", "b"))]
    assert refusal(rig.says("a", bye("a", "b"))) == "too-many"
    assert rig.says("a", bye("a", "c")) == [Send(3, bye("a", "c"))]
    assert rig.says("b", bye("b", "a")) == [Send(1, bye("b", "a"))]
    rig.pass_to(60.0 / PAIR_PER_MINUTE + 0.1)
    assert rig.says("a", bye("a", "b")) == [Send(2, bye("a", "b"))]


def test_one_agent_says_only_so_much_in_all() -> None:
    rig = two()
    for number in range(SIGNALS_PER_MINUTE):
        rig.says("a", bye("a", f"device-{number}"))
    assert refusal(rig.says("a", bye("a", "b"))) == "too-many"


def test_who_is_not_there_says_nothing() -> None:
    assert SignallingRelay(lambda _: None).relay("a", bye("a", "b"), 0.0) == []


def test_sessions_that_have_ended_say_nothing() -> None:
    rig = two()
    rig.leave("a")
    assert rig.says("a", bye("a", "b")) == []


def test_a_description_beyond_its_limit_does_not_decode() -> None:
    assert read_from_agent(pack(offer("a", "b", "v" * SDP_CHARACTERS_MAX))) is not None
    with pytest.raises(PeerMisbehaved):
        read_from_agent(msgspec.msgpack.encode(offer("a", "b", "v" * (SDP_CHARACTERS_MAX + 1))))
