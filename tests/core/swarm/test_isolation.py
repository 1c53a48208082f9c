"""Client isolation, told from neighbours that are merely gone."""

import pytest

from ecdn_proxy.core.swarm.isolation import MUTE_S, Isolation, is_beside
from ecdn_proxy.wire.peer import Contact

NOW = 100.0


def among(*devices: str, heard: bool = True) -> Isolation:
    made = Isolation()
    for device in devices:
        made.met(device)
    if heard:
        made.heard(devices[0])
    return made


def test_of_neighbours_that_answered_before_two_must_be_missed() -> None:
    here = among("ann", "bob", "cat")
    here.missed("ann")
    here.missed("ann")
    assert not here.holds(NOW)
    here.missed("bob")
    assert here.holds(NOW)
    assert here.is_sure(NOW)
    assert here.keeps_apart("cat", NOW), "it was not tried, and is of their kind"


def test_any_word_of_one_of_them_ends_it() -> None:
    here = among("ann", "bob", "cat")
    for device in ("ann", "bob"):
        here.missed(device)
    here.heard("far")
    assert here.holds(NOW)
    here.heard("cat")
    assert not here.holds(NOW)
    assert not here.is_sure(NOW)
    assert not here.keeps_apart("ann", NOW)


def test_a_question_without_an_answer_counts_after_a_while() -> None:
    here = among("ann", "bob", "cat")
    here.unanswered("ann", NOW)
    here.unanswered("bob", NOW)
    here.unanswered("bob", NOW + 0.3)
    here.unanswered("far", NOW)
    assert not here.holds(NOW + MUTE_S - 0.01)
    assert here.holds(NOW + MUTE_S)
    assert here.is_sure(NOW + MUTE_S)
    here.missed("ann")
    assert here.holds(NOW + MUTE_S), "ann counts once"
    here.heard("ann")
    assert not here.holds(NOW + 9.0)


def test_where_nobody_was_ever_heard_one_is_enough_to_act_on_but_not_to_tell_people() -> None:
    here = among("ann", "bob", heard=False)
    assert not here.holds(NOW)
    here.missed("ann")
    assert here.holds(NOW)
    assert not here.is_sure(NOW)
    here.missed("bob")
    assert here.is_sure(NOW)


def test_an_only_neighbour_that_is_gone_is_all_there_is() -> None:
    here = among("ann")
    here.missed("ann")
    assert here.holds(NOW)
    assert not here.is_sure(NOW)


def test_those_elsewhere_do_not_count() -> None:
    here = among("ann", "bob")
    here.missed("far")
    here.missed("farther")
    assert not here.holds(NOW)
    assert not here.keeps_apart("far", NOW)
    here.missed("ann")
    here.forgotten("ann")
    here.missed("bob")
    assert here.holds(NOW), "bob is the only one left beside this machine"


def test_elsewhere_all_begins_anew() -> None:
    here = among("ann", "bob")
    for device in ("ann", "bob"):
        here.missed(device)
    here.moved()
    assert not here.holds(NOW)
    here.met("cat")
    here.missed("cat")
    assert here.holds(NOW)


@pytest.mark.parametrize(
    ("addresses", "link", "beside"),
    [
        (("10.1.2.99",), "wifi", True),
        (("192.168.7.1", "10.1.2.99"), "wifi", True),
        (("10.1.3.5",), "wifi", False),
        (("10.1.2.99",), "wired", False),
        (("fd00:1:2:3::99",), "wifi", True),
        (("fd00:1:2:4::99",), "wifi", False),
        (("fe80::99",), "wifi", False),
        (("127.0.0.1",), "wifi", False),
        (("not an address",), "wifi", False),
        ((), "wifi", False),
    ],
)
def test_beside_is_on_the_same_network_by_the_same_kind_of_link(
    addresses: tuple[str, ...], link: str, beside: bool
) -> None:
    me = Contact("me", ("10.1.2.3", "fd00:1:2:3::3", "fe80::3", "127.0.0.1"), 7688, "wifi")
    assert is_beside(me, Contact("ann", addresses, 7688, link)) is beside  # type: ignore[arg-type]
