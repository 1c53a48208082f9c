"""Who may say what to whom through the switchboard; timetables without a clock."""

import msgspec
import pytest

from coordinator.core.signalling_relay import PAIR_PER_MINUTE, SIGNALS_PER_MINUTE, Audit, SignallingRelay
from coordinator.core.sites import SiteMap, read_map
from coordinator.core.tracker import Effect, Send, Signalled
from ecdn_proxy.wire.codec import pack
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.signalling import SDP_CHARACTERS_MAX, Bye, Offer, Undeliverable
from ecdn_proxy.wire.tracker import read_from_agent
from tests.coordinator.test_tracker import OTHER, STREAM, Town, known

ATTEMPT = "ab" * 8


def bye(sender: str, to: str) -> Bye:
    return Bye(to, sender, ATTEMPT, "no longer needed")


def offer(sender: str, to: str, sdp: str = "v=0") -> Offer:
    return Offer(to, sender, ATTEMPT, sdp, bytes(16), 30.0, bytes(64), b"certificate")


class Exchange(Town):
    """A town whose people speak to each other."""

    def says(self, name: str, message: Bye | Offer) -> list[Effect]:
        return list(self.tracker.handle(Signalled(self._sessions[name], message), self.now))


def two(first: str = "10.1.0.1", second: str = "10.1.0.2") -> Exchange:
    town = Exchange()
    town.come("a", first)
    town.come("b", second)
    town.watch("a", STREAM)
    town.watch("b", STREAM)
    return town


def refusal(effects: list[Effect]) -> str:
    back, audit = effects
    assert isinstance(back, Send)
    assert isinstance(back.message, Undeliverable)
    assert isinstance(audit, Audit)
    assert back.message.code == audit.code
    return audit.code


def test_an_offer_reaches_the_other_one_unchanged() -> None:
    town = two()
    assert town.says("a", offer("a", "b")) == [Send(2, offer("a", "b"))]
    assert town.tracker.switchboard.counts.relayed == 1


def test_who_is_not_connected_cannot_be_reached() -> None:
    town = two()
    assert refusal(town.says("a", bye("a", "c"))) == "unknown-device"
    assert refusal(town.says("a", bye("a", "a"))) == "unknown-device"
    town.leave("b")
    assert refusal(town.says("a", bye("a", "b"))) == "unknown-device"
    assert town.tracker.switchboard.counts.refused == 3


def test_nobody_speaks_in_the_name_of_another() -> None:
    assert refusal(two().says("a", bye("c", "b"))) == "not-you"


def test_sites_are_kept_apart() -> None:
    assert refusal(two("10.1.0.1", "10.2.0.1").says("a", bye("a", "b"))) == "other-site"


def test_routed_subnets_of_one_site_may_meet() -> None:
    sites = read_map("group,subnets,p2p,wan,label\nbern,10.1.0.0/24 10.2.0.0/24,on,no,Bern\n", "map.csv")
    town = Exchange(sites)
    town.come("a", "10.1.0.1")
    town.come("b", "10.2.0.1")
    town.watch("a", STREAM)
    town.watch("b", STREAM)
    assert town.says("b", bye("b", "a")) == [Send(1, bye("b", "a"))]


def test_two_sites_meet_only_where_it_said_so() -> None:
    plain = read_map("group,subnets,p2p,wan,label\nbern,10.1.0.0/24,on,no,\nrom,10.2.0.0/24,on,no,\n", "map.csv")
    for rules, meet in (((), False), ((("bern", "rom"),), True)):
        town = Exchange(SiteMap(plain.rows, rules))
        town.come("a", "10.1.0.1")
        town.come("b", "10.2.0.1")
        town.watch("a", STREAM)
        town.watch("b", STREAM)
        town.pass_to(1.0)
        lists = town.lists("a")
        assert [known(it) for it in lists][-1:] == ([["b"]] if meet else [[]])
        if meet:
            assert town.says("a", bye("a", "b")) == [Send(2, bye("a", "b"))]
        else:
            assert refusal(town.says("a", bye("a", "b"))) == "other-site"


def test_a_site_that_does_not_share_has_no_switchboard() -> None:
    sites = read_map("group,subnets,p2p,wan,label\nbern,10.1.0.0/24,off,no,Bern\n", "map.csv")
    town = Exchange(sites)
    town.come("a", "10.1.0.1")
    town.come("b", "10.1.0.2")
    assert refusal(town.says("a", bye("a", "b"))) == "sharing-off"


def test_a_common_stream_is_what_they_meet_for() -> None:
    town = two()
    town.watch("b", OTHER)
    assert refusal(town.says("a", bye("a", "b"))) == "no-common-stream"
    town.watch("b", OTHER, STREAM)
    assert town.says("a", bye("a", "b")) == [Send(2, bye("a", "b"))]


def test_one_pair_says_only_so_much_and_others_are_not_held_up() -> None:
    town = two()
    town.come("c", "10.1.0.3")
    town.watch("c", STREAM)
    for _ in range(PAIR_PER_MINUTE):
        assert town.says("a", bye("a", "b")) == [Send(2, bye("a", "b"))]
    assert refusal(town.says("a", bye("a", "b"))) == "too-many"
    assert town.says("a", bye("a", "c")) == [Send(3, bye("a", "c"))]
    assert town.says("b", bye("b", "a")) == [Send(1, bye("b", "a"))]
    town.pass_to(60.0 / PAIR_PER_MINUTE + 0.1)
    assert town.says("a", bye("a", "b")) == [Send(2, bye("a", "b"))]


def test_one_agent_says_only_so_much_in_all() -> None:
    town = two()
    for number in range(SIGNALS_PER_MINUTE):
        town.says("a", bye("a", f"device-{number}"))
    assert refusal(town.says("a", bye("a", "b"))) == "too-many"


def test_who_is_not_there_says_nothing() -> None:
    assert SignallingRelay(lambda _: None).relay("a", bye("a", "b"), 0.0) == []


def test_sessions_that_have_ended_say_nothing() -> None:
    town = two()
    town.leave("a")
    assert town.says("a", bye("a", "b")) == []


def test_a_description_beyond_its_limit_does_not_decode() -> None:
    assert read_from_agent(pack(offer("a", "b", "v" * SDP_CHARACTERS_MAX))) is not None
    with pytest.raises(PeerMisbehaved):
        read_from_agent(msgspec.msgpack.encode(offer("a", "b", "v" * (SDP_CHARACTERS_MAX + 1))))
