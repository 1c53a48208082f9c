"""What is said at the beginning of a connection and to keep it up, at instants that the test names; no socket."""

import pytest

from ecdn_proxy.io.handshake import ADDRESSES_MAX, OWN, Handshake, LinkEnd, Ourselves
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.peer import PARTING_TLS, PARTING_WEBRTC, Bye, Cancel, Contact, Hello, PeerMessage, Ping, Pong
from ecdn_proxy.wire.version import PROTOCOL

TENANT = "tenant-1"


def hello(
    device: str = "b", *, listens: str = "b", tenant: str = TENANT, protocol: int = PROTOCOL, version: str = "1.0"
) -> Hello:
    return Hello(protocol, device, tenant, version, Contact(listens, ("10.1.0.12",), 7688), (), True)


def greeted() -> Handshake:
    handshake = Handshake(TENANT, "b")
    assert handshake.judge(hello(), 0.0) == hello()
    return handshake


def test_a_good_hello_opens() -> None:
    handshake = Handshake(TENANT, "b")
    assert (handshake.heard, handshake.version) == (None, "")
    assert handshake.judge(hello(version="2.0"), 0.0) == hello(version="2.0")
    assert (handshake.heard, handshake.version) == (hello(version="2.0"), "2.0")


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (Cancel(1), "a Cancel before Hello"),
        (Ping(1), "a Ping before Hello"),
        (Pong(1), "a Pong before Hello"),
        (hello("c", listens="c"), "a Hello in the name of another device"),
        (hello(listens="c"), "a Hello in the name of another device"),
        (hello(tenant="other"), "a Hello in the name of another tenant"),
        (hello(tenant="other", protocol=99), "a Hello in the name of another tenant"),
    ],
)
def test_what_is_no_beginning(message: PeerMessage, why: str) -> None:
    handshake = Handshake(TENANT, "b")
    with pytest.raises(PeerMisbehaved, match=why):
        handshake.judge(message, 0.0)
    assert handshake.heard is None


def test_nobody_is_proven_yet() -> None:
    with pytest.raises(PeerMisbehaved, match="another device"):
        Handshake(TENANT).judge(hello(), 0.0)


def test_another_protocol_is_nobodys_fault() -> None:
    handshake = Handshake(TENANT, "b")
    assert handshake.judge(hello(protocol=99), 0.0) == LinkEnd(f"it speaks protocol 99, this agent {PROTOCOL}")
    assert handshake.heard is None


@pytest.mark.parametrize("handshake", [Handshake(TENANT, "b"), greeted()], ids=["before Hello", "after it"])
def test_bye_ends_it_at_any_time(handshake: Handshake) -> None:
    assert handshake.judge(Bye("all links taken"), 0.0) == LinkEnd("all links taken", last_word="bye")
    assert handshake.judge(Bye(""), 0.0) == LinkEnd("the other end said Bye", last_word="bye")


def test_the_parting_bye_is_known_by_its_reason() -> None:
    handshake = Handshake(TENANT, "b", PARTING_TLS)
    assert handshake.judge(Bye(PARTING_TLS), 0.0) == LinkEnd(PARTING_TLS, last_word="parting")
    assert handshake.judge(Bye(PARTING_WEBRTC), 0.0) == LinkEnd(PARTING_WEBRTC, last_word="bye")
    assert handshake.judge(Bye("enough"), 0.0) == LinkEnd("enough", last_word="bye")


def test_what_this_agent_says_of_itself_is_what_it_is_now() -> None:
    us = Ourselves("a", TENANT, "1.0", ("10.1.0.11",), "wifi", 7688)
    contact = Contact("a", ("10.1.0.11",), 7688, "wifi")
    assert us.hello() == Hello(PROTOCOL, "a", TENANT, "1.0", contact, (), True)
    us.streams, us.serves, us.addresses = ("ab" * 16,), False, tuple(f"10.1.0.{at}" for at in range(20))
    assert us.contact().addresses == us.addresses[:ADDRESSES_MAX]
    assert us.hello() == Hello(PROTOCOL, "a", TENANT, "1.0", us.contact(), ("ab" * 16,), False)


def test_a_ping_is_answered_and_a_second_hello_is_one_too_many() -> None:
    handshake = greeted()
    assert handshake.judge(Ping(7), 0.0) == Pong(7)
    with pytest.raises(PeerMisbehaved, match="a second Hello"):
        handshake.judge(hello(), 0.0)


def test_the_first_round_trip_counts_whole_and_each_further_one_a_quarter() -> None:
    handshake = greeted()
    assert handshake.ping(10.0) == Ping(1)
    assert handshake.judge(Pong(1), 10.020) is None
    assert handshake.rtt_ms == pytest.approx(20.0)
    assert handshake.ping(12.0) == Ping(2)
    handshake.judge(Pong(2), 12.060)
    assert handshake.rtt_ms == pytest.approx(30.0)


def test_an_answer_to_no_ping_or_an_old_one_measures_nothing_but_shows_life() -> None:
    handshake = greeted()
    handshake.judge(Pong(0), 1.0)
    handshake.ping(2.0)
    handshake.ping(4.0)
    assert handshake.unanswered == 2
    handshake.judge(Pong(1), 5.0)
    assert (handshake.unanswered, handshake.rtt_ms) == (0, 1.0)
    handshake.judge(Pong(2), 5.0)
    handshake.judge(Pong(2), 9.0)
    assert handshake.rtt_ms == pytest.approx(1_000.0)


def test_what_is_passed_over_is_told_once_and_counted() -> None:
    handshake = greeted()
    assert [handshake.count_passed_over() for _ in range(3)] == [True, False, False]
    assert handshake.passed_over == 3


def test_the_links_own_messages() -> None:
    assert {Hello, Ping, Pong, Bye} == OWN
