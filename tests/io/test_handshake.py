"""The talk of one link, message by message and at instants that the test names; no socket is there."""

import pytest

from ecdn_proxy.io.handshake import OWN, Handshake, LinkEnd
from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.peer import Bye, Cancel, Contact, Hello, PeerMessage, Ping, Pong
from ecdn_proxy.wire.version import PROTOCOL

TENANT = "tenant-1"


def hello(
    device: str = "b", *, listens: str = "b", tenant: str = TENANT, protocol: int = PROTOCOL, version: str = "1.0"
) -> Hello:
    return Hello(protocol, device, tenant, version, Contact(listens, ("10.1.0.12",), 7688), (), True)


def greeted() -> Handshake:
    talk = Handshake(TENANT, "b")
    assert talk.take(hello(), 0.0) == hello()
    return talk


def test_a_good_hello_opens() -> None:
    talk = Handshake(TENANT, "b")
    assert (talk.heard, talk.version) == (None, "")
    assert talk.take(hello(version="2.0"), 0.0) == hello(version="2.0")
    assert (talk.heard, talk.version) == (hello(version="2.0"), "2.0")


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
    talk = Handshake(TENANT, "b")
    with pytest.raises(PeerMisbehaved, match=why):
        talk.take(message, 0.0)
    assert talk.heard is None


def test_nobody_is_proven_yet() -> None:
    with pytest.raises(PeerMisbehaved, match="another device"):
        Handshake(TENANT).take(hello(), 0.0)


def test_another_protocol_is_nobodys_fault() -> None:
    talk = Handshake(TENANT, "b")
    assert talk.take(hello(protocol=99), 0.0) == LinkEnd(f"it speaks protocol 99, this agent {PROTOCOL}")
    assert talk.heard is None


@pytest.mark.parametrize("talk", [Handshake(TENANT, "b"), greeted()], ids=["before Hello", "after it"])
def test_bye_ends_it_at_any_time(talk: Handshake) -> None:
    assert talk.take(Bye("all links taken"), 0.0) == LinkEnd("all links taken")
    assert talk.take(Bye(""), 0.0) == LinkEnd("the other end said Bye")


def test_a_ping_is_answered_and_a_second_hello_is_one_too_many() -> None:
    talk = greeted()
    assert talk.take(Ping(7), 0.0) == Pong(7)
    with pytest.raises(PeerMisbehaved, match="a second Hello"):
        talk.take(hello(), 0.0)


def test_the_first_round_trip_counts_whole_and_each_further_one_a_quarter() -> None:
    talk = greeted()
    assert talk.ping(10.0) == Ping(1)
    assert talk.take(Pong(1), 10.020) is None
    assert talk.rtt_ms == pytest.approx(20.0)
    assert talk.ping(12.0) == Ping(2)
    talk.take(Pong(2), 12.060)
    assert talk.rtt_ms == pytest.approx(30.0)


def test_an_answer_to_no_ping_or_an_old_one_measures_nothing_but_shows_life() -> None:
    talk = greeted()
    talk.take(Pong(0), 1.0)
    talk.ping(2.0)
    talk.ping(4.0)
    assert talk.unanswered == 2
    talk.take(Pong(1), 5.0)
    assert (talk.unanswered, talk.rtt_ms) == (0, 1.0)
    talk.take(Pong(2), 5.0)
    talk.take(Pong(2), 9.0)
    assert talk.rtt_ms == pytest.approx(1_000.0)


def test_what_is_passed_over_is_told_once_and_counted() -> None:
    talk = greeted()
    assert [talk.passes_over() for _ in range(3)] == [True, False, False]
    assert talk.passed_over == 3


def test_the_links_own_messages() -> None:
    assert {Hello, Ping, Pong, Bye} == OWN
