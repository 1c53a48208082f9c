"""Messages reach a neighbour now, once a link stands, or not at all, and the sender knows which."""

import pytest

from ecdn_proxy.core.events import Dial, HangUp, Send
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.context import WAITING_MAX
from ecdn_proxy.core.swarm.membership import LINK_WAIT_S
from ecdn_proxy.wire.peer import Cancel, Contact
from tests.core.makers import contact, context, linked
from tests.core.world import STREAM


def test_on_a_link_it_goes_at_once_and_without_one_nowhere() -> None:
    here = context()
    linked(here, "ann")
    here.send("ann", Cancel(1))
    here.send("bob", Cancel(2))
    assert here.out == [Send("ann", Cancel(1))]
    assert here.reach("ann", Cancel(3), 0.0)
    assert here.out[1:] == [Send("ann", Cancel(3))]


def test_a_link_is_opened_once_and_what_waited_goes_out_in_order() -> None:
    here = context()
    here.membership.met(contact("ann"), "so")
    assert here.reach("ann", Cancel(1), 0.0)
    assert here.reach("ann", Cancel(2), 0.0)
    assert here.out == [Dial(contact("ann"))]
    here.link_opened(contact("ann"), "lan", 1.0)
    assert here.out[1:] == [Send("ann", Cancel(1)), Send("ann", Cancel(2))]
    assert here.dial("ann", 0.0)
    assert len(here.out) == 3


def test_what_waits_for_a_link_is_bounded() -> None:
    here = context()
    here.membership.met(contact("ann"), "so")
    for number in range(WAITING_MAX + 5):
        assert here.reach("ann", Cancel(number), 0.0)
    here.link_opened(contact("ann"), "lan", 1.0)
    assert here.out[1:] == [Send("ann", Cancel(number)) for number in range(WAITING_MAX)]


def test_who_cannot_be_reached_is_told_so_at_once() -> None:
    here = context()
    for device in ("ann", "bob"):
        here.membership.met(contact(device), "so")
    here.membership.denied(frozenset({"ann"}))
    here.membership.unlinked("bob", 0.0)
    assert not here.reach("ann", Cancel(1), 0.0)
    assert not here.reach("bob", Cancel(1), 4.0)
    assert not here.reach("me", Cancel(1), 4.0)
    assert not here.reach("nobody", Cancel(1), 4.0)
    assert here.out == []
    assert here.reach("bob", Cancel(1), 5.0)


def test_a_dial_that_failed_forgets_what_waited() -> None:
    here = context()
    here.membership.met(contact("ann"), "so")
    assert here.reach("ann", Cancel(1), 0.0)
    assert not here.link_closed("ann")
    here.link_opened(contact("ann"), "lan", 1.0)
    assert here.out == [Dial(contact("ann"))]
    assert here.link_closed("ann")


def test_hanging_up_needs_a_link_and_a_short_reason() -> None:
    here = context()
    linked(here, "ann")
    here.hang_up("bob", "so")
    here.hang_up("ann", "x" * 500)
    (hung_up,) = here.out
    assert isinstance(hung_up, HangUp)
    assert (hung_up.device, len(hung_up.why) <= 300) == ("ann", True)


def test_the_wait_for_a_home_follows_how_fast_homes_answer() -> None:
    limits = Limits()
    here = context(limits=limits)
    for _ in range(50):
        here.home_answered_in(0.001)
    assert here.answer_wait_s() == limits.home_answer_s
    for _ in range(50):
        here.home_answered_in(0.1)
    assert here.answer_wait_s() == pytest.approx(0.1, rel=0.1)
    for _ in range(20):
        here.home_answered_in(9.0)
    assert here.answer_wait_s() == limits.home_answer_max_s


def test_no_number_comes_twice_and_each_fits_a_message() -> None:
    here = context()
    assert len({here.number() for _ in range(100)}) == 100
    here._number = 2**32 - 1  # four thousand million requests later
    assert here.number() == 0


def test_the_time_outside() -> None:
    here = context()
    here.set_utc(1_800_000_000.0, 100.0)
    assert here.utc(160.0) == 1_800_000_060.0


def test_a_node_begins_sharing_and_without_neighbours() -> None:
    here = context()
    assert here.sharing
    assert here.membership.members(STREAM, 0.0) == ["me"]


def test_whoever_is_missed_beside_this_machine_isolates_it() -> None:
    here = context()
    here.membership.met(contact("ann"), "so")
    here.membership.met(Contact("eve", ("10.9.0.1",), 7688), "so")
    assert here.is_beside("ann")
    assert not here.is_beside("eve")
    here.missed("eve")
    assert not here.is_isolated(0.0)
    here.missed("ann")
    assert here.is_isolated(0.0)


def test_a_dial_that_takes_too_long_is_not_waited_for() -> None:
    here = context()
    here.membership.met(contact("ann"), "so")
    assert here.dial("ann", 0.0)
    assert here.dial("ann", LINK_WAIT_S - 0.001)
    assert not here.is_isolated(LINK_WAIT_S - 0.001)
    assert not here.dial("ann", LINK_WAIT_S)
    assert here.is_isolated(LINK_WAIT_S), "it is the only machine beside this one"
    assert here.out == [Dial(contact("ann"))]
