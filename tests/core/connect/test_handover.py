"""One link over several connections, as timetables; in every order that two ends may see: test_handover_laws.py.

The machine is the agent's `a`, the other one is `b`. X is a WebRTC connection, L the TLS connection that b dialled, W
the one that a dialled: they rank in this order.
"""

import pytest

from ecdn_proxy.core.connect import handover as h
from ecdn_proxy.core.connect.dialer import Transport
from ecdn_proxy.sansio.machine import Impossible
from ecdn_proxy.wire.peer import Cancel

X, L, W, AGAIN = 1, 2, 3, 4
"""AGAIN is another connection of the same kind as one of them."""
LEFT_LOST = "the link was lost while it moved: the connection was lost"


class Table:
    """A machine whose effects are gathered; checked after every step."""

    def __init__(self, device: str = "a") -> None:
        self.machine = h.Handover(device)
        self.other = "ab"[device == "a"]

    def at(self, now: float, event: h.HandoverEvent | None = None) -> list[h.HandoverEffect]:
        """Pass time to `now`, then let something happen; everything that came of it."""
        effects: list[h.HandoverEffect] = []
        while (due := self.machine.wake_at()) is not None and due <= now:
            effects += self.machine.wake(due)
            self.machine.check()
        if event is not None:
            effects += self.machine.handle(event, now)
            self.machine.check()
        return effects

    def begun(
        self, now: float, number: int, transport: Transport = "lan", *, dialled: bool = False
    ) -> list[h.HandoverEffect]:
        return self.at(now, h.ConnectionBegun(number, self.other, transport, dialled))

    def begins(self, now: float, *numbers: int) -> None:
        """X, L or W begin, and nothing comes of that."""
        for number in numbers:
            transport: Transport = "webrtc" if number == X else "lan"
            assert self.begun(now, number, transport, dialled=number == W) == []

    def greeted(self, now: float, number: int) -> list[h.HandoverEffect]:
        return self.at(now, h.ConnectionGreeted(number))

    def ended(
        self, now: float, number: int, last_word: h.LastWord = "none", *, heard: bool = False, misbehaved: bool = False
    ) -> list[h.HandoverEffect]:
        why = "the connection was lost"
        return self.at(now, h.ConnectionEnded(number, why, misbehaved, last_word, heard))


def carried_by(*numbers: int) -> Table:
    """A link, carried by the first that opened and moved to each of the others: all has settled at 1.0."""
    table = Table()
    for number in numbers:
        table.begins(0.0, number)
        table.greeted(0.0, number)
        if number != numbers[0]:
            table.ended(0.5, numbers[numbers.index(number) - 1], "parting")
    return table


def test_one_connection_is_all_there_is() -> None:
    table = Table()
    table.begins(0.0, W)
    assert table.greeted(0.01, W) == [h.OpenLink("b", W)]
    assert table.at(1_000.0) == []
    assert table.ended(1_000.0, W) == [h.CloseLink("b", "the connection was lost")]
    assert table.machine.wake_at() is None


def test_a_connection_that_is_never_greeted_makes_no_link() -> None:
    table = Table()
    table.begins(0.0, L)
    assert table.ended(3.0, L) == []
    assert table.at(13.0) == []
    assert table.machine.wake_at() is None


# ---- both dialled at once


def test_the_winner_is_greeted_second() -> None:
    table = Table()
    table.begins(0.0, L, W)
    assert table.greeted(0.010, L) == [h.OpenLink("b", L)]
    assert table.greeted(0.012, W) == [h.SayParting(L), h.MoveLink("b", W), h.HoldReading(W)]
    assert table.ended(0.014, L, "parting", heard=True) == [h.ResumeReading(W)]
    assert table.at(100.0) == []


def test_the_winner_is_greeted_first_and_not_read_before_the_loser() -> None:
    table = Table()
    table.begins(0.0, W, L)
    assert table.greeted(0.010, W) == [h.OpenLink("b", W), h.HoldReading(W)], "b may have said something on L"
    assert table.greeted(0.012, L) == [h.SayParting(L)]
    assert table.ended(0.014, L, "parting", heard=True) == [h.ResumeReading(W)]


def test_the_loser_begins_when_the_winner_is_open() -> None:
    table = Table()
    table.begins(0.0, W)
    table.greeted(0.010, W)
    assert table.begun(0.011, L) == [h.HoldReading(W)]
    assert table.ended(0.012, L) == [h.ResumeReading(W)], "it came to nothing"


def test_the_loser_says_nothing_for_three_seconds() -> None:
    table = Table()
    table.begins(0.0, W, L)
    table.greeted(0.010, W)
    assert table.at(3.009) == []
    assert table.at(3.011) == [h.CloseConnection(L, "no Hello within 3 s"), h.ResumeReading(W)]
    assert table.ended(3.011, L) == []


def test_both_ends_agree_on_the_winner() -> None:
    table = Table("b")
    table.begun(0.0, L, dialled=True)
    table.begun(0.0, W)
    table.greeted(0.010, L)
    assert table.greeted(0.012, W) == [h.SayParting(L), h.MoveLink("a", W), h.HoldReading(W)]


def test_the_other_end_parts_before_the_winner_is_greeted_here() -> None:
    table = Table()
    table.begins(0.0, L, W)
    table.greeted(0.010, L)
    assert table.ended(0.012, L, "parting") == [h.HoldMessages("b")]
    assert table.at(0.013, h.MessageHeld("b", Cancel(1))) == []
    assert table.at(0.014, h.MessageHeld("b", Cancel(2))) == []
    assert table.greeted(0.015, W) == [h.MoveLink("b", W, (Cancel(1), Cancel(2)))]
    assert table.at(100.0) == []


def test_a_message_that_is_held_too_late_is_said() -> None:
    table = carried_by(L)
    assert table.at(1.0, h.MessageHeld("b", Cancel(1))) == [h.MoveLink("b", L, (Cancel(1),))]
    assert table.at(1.0, h.MessageHeld("nobody", Cancel(1))) == []


def test_a_carrier_that_is_left_for_nothing_ends_the_link() -> None:
    table = carried_by(L)
    assert table.ended(1.0, L, "parting") == [h.CloseLink("b", "the connection was lost")]


def test_the_winner_never_comes() -> None:
    table = Table()
    table.begins(0.0, L, W)
    table.greeted(0.010, L)
    table.ended(0.012, L, "parting")
    assert table.ended(0.015, W) == [h.CloseLink("b", LEFT_LOST)]


def test_the_winner_is_waited_for_three_seconds() -> None:
    table = Table()
    table.begins(0.0, L, W)
    table.greeted(0.010, L)
    table.ended(0.012, L, "parting")
    assert table.at(3.011) == []
    assert table.at(3.013) == [h.CloseConnection(W, h.LOST), h.CloseLink("b", h.LOST)]


def test_no_more_than_so_many_messages_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h, "HELD_MAX", 2)
    table = Table()
    table.begins(0.0, L, W)
    table.greeted(0.010, L)
    table.ended(0.012, L, "parting")
    for number in range(2):
        assert table.at(0.013, h.MessageHeld("b", Cancel(number))) == []
    lost = [h.CloseConnection(W, h.LOST), h.CloseLink("b", h.LOST)]
    assert table.at(0.014, h.MessageHeld("b", Cancel(2))) == lost


def test_a_connection_of_lower_rank_does_not_take_the_winners_place() -> None:
    table = Table()
    table.begins(0.0, L, W, X)
    table.greeted(0.010, L)
    table.ended(0.012, L, "parting")
    assert table.greeted(0.013, X) == [h.SayParting(X)]
    assert table.greeted(0.014, W) == [h.MoveLink("b", W), h.HoldReading(W)]


# ---- TCP gets through where WebRTC was needed


def test_webrtc_is_left_for_tls_however_long_it_has_stood() -> None:
    table = carried_by(X)
    table.begins(10_000.0, L)
    assert table.greeted(10_000.1, L) == [h.SayParting(X), h.MoveLink("b", L), h.HoldReading(L)]
    assert table.ended(10_000.2, X, "parting", heard=True) == [h.ResumeReading(L)]


def test_webrtc_that_stands_a_moment_later_is_left_at_once() -> None:
    table = Table()
    table.begins(0.0, X, W)
    assert table.greeted(0.300, W) == [h.OpenLink("b", W), h.HoldReading(W)]
    assert table.greeted(0.301, X) == [h.SayParting(X)]
    unused = table.ended(0.302, X, "bye")
    assert unused == [h.ResumeReading(W)], "b gave up its attempt; nobody has said anything there"


def test_webrtc_and_both_dials() -> None:
    table = Table()
    table.begins(0.0, X, L, W)
    table.greeted(0.0, X)
    assert table.greeted(0.1, L) == [h.SayParting(X), h.MoveLink("b", L), h.HoldReading(L)]
    assert table.greeted(0.2, W) == [h.SayParting(L), h.MoveLink("b", W), h.HoldReading(W)]
    assert table.ended(0.3, L, "parting") == [], "X is read before either"
    assert table.ended(0.4, X, "parting") == [h.ResumeReading(W)]


# ---- a word may be lost


@pytest.mark.parametrize(
    ("last_word", "heard", "carried"),
    [("none", False, False), ("none", True, True), ("bye", True, False), ("bye", False, True)],
)
def test_what_was_left_and_does_not_end_as_it_should_ends_the_link(
    last_word: h.LastWord, heard: bool, carried: bool
) -> None:
    table = Table()
    table.begins(0.0, L, W)
    for number in (L, W) if carried else (W, L):
        table.greeted(0.01, number)
    lost = [h.CloseConnection(W, LEFT_LOST), h.CloseLink("b", LEFT_LOST)]
    assert table.ended(0.02, L, last_word, heard=heard) == lost
    assert table.ended(0.02, W) == []


def test_what_was_left_is_not_read_for_ever() -> None:
    table = Table()
    table.begins(0.0, X, W)
    table.greeted(0.0, X)
    table.greeted(1.0, W)
    assert table.at(3.9) == []
    why = "the link was lost while it moved: the other end did not part within 3 s"
    assert table.at(4.1) == [h.CloseConnection(X, why), h.CloseConnection(W, why), h.CloseLink("b", why)]


def test_whoever_misbehaves_on_any_connection_loses_the_link() -> None:
    table = carried_by(L)
    table.begins(1.0, W)
    why = "the connection was lost"
    assert table.ended(1.1, W, misbehaved=True) == [
        h.CloseConnection(L, why, misbehaved=True),
        h.CloseLink("b", why, misbehaved=True),
    ]


def test_a_link_is_hung_up_with_all_its_connections() -> None:
    table = Table()
    table.begins(0.0, L, W)
    table.greeted(0.0, L)
    closed = [h.CloseConnection(L, "enough"), h.CloseConnection(W, "enough"), h.CloseLink("b", "enough")]
    assert table.at(0.1, h.HangUpWanted("b", "enough")) == closed
    assert table.at(0.2, h.HangUpWanted("b", "enough")) == []
    assert table.greeted(0.2, W) == []
    assert table.begun(0.3, AGAIN) == []
    assert table.greeted(0.4, AGAIN) == [h.OpenLink("b", AGAIN)]


def test_after_a_move_that_failed_nobody_takes_a_new_connection_for_its_end() -> None:
    table = carried_by(X)
    table.begins(1.0, L)
    table.greeted(1.0, L)
    table.at(1.1, h.HangUpWanted("b", "enough"))
    assert table.begun(4.9, W, dialled=True) == [h.CloseConnection(W, h.LOST)], "b may still be on its way from X"
    assert table.begun(5.1, AGAIN, dialled=True) == []
    assert table.greeted(5.2, AGAIN) == [h.OpenLink("b", AGAIN)]


def test_after_a_connection_that_died_unheard_nobody_knows_where_the_other_end_has_moved() -> None:
    table = carried_by(X)
    table.begins(1.0, L, W)
    assert table.ended(1.1, W) == [], "b may have moved there and said something"
    lost = "the connection was lost"
    assert table.ended(1.2, X, "parting") == [h.CloseConnection(L, lost), h.CloseLink("b", lost)]

    later = carried_by(X)
    later.begins(1.0, W)
    later.ended(1.1, W)
    later.begun(11.2, AGAIN, dialled=True)
    assert later.ended(11.3, X, "parting") == [h.HoldMessages("b")], "whatever had died is known to both by now"


def test_nor_after_a_connection_that_was_given_up() -> None:
    table = Table()
    table.begins(0.0, W, L)
    table.greeted(0.0, W)
    assert table.at(3.1) == [h.CloseConnection(L, "no Hello within 3 s"), h.ResumeReading(W)]
    assert table.machine.wake_at() == pytest.approx(13.0, abs=0.2)
    assert table.at(14.0) == []
    assert table.machine.wake_at() is None


# ---- the other agent has started anew


def test_a_second_connection_of_the_same_rank_makes_a_new_link() -> None:
    table = carried_by(L)
    table.begun(0.1, AGAIN)
    renewed = [h.CloseConnection(L, h.REPLACED), h.CloseLink("b", h.REPLACED), h.OpenLink("b", AGAIN)]
    assert table.greeted(0.2, AGAIN) == renewed
    assert table.ended(0.3, L) == []


@pytest.mark.parametrize("newcomer", [X, W])
def test_a_second_connection_after_five_seconds_makes_a_new_link(newcomer: int) -> None:
    table = carried_by(L)
    table.begins(5.1, newcomer)
    renewed = [h.CloseConnection(L, h.REPLACED), h.CloseLink("b", h.REPLACED), h.OpenLink("b", newcomer)]
    assert table.greeted(5.2, newcomer) == renewed


def test_in_the_middle_of_a_move_a_new_agent_gets_no_link_at_once() -> None:
    table = carried_by(X)
    table.begins(1.0, L)
    table.greeted(1.0, L)
    table.begun(1.1, AGAIN)
    closed = [h.CloseConnection(number, h.REPLACED) for number in (X, L, AGAIN)]
    assert table.greeted(1.2, AGAIN) == [*closed, h.CloseLink("b", h.REPLACED)]


# ---- the machine itself


def test_events_of_connections_that_it_does_not_know_change_nothing() -> None:
    table = Table()
    assert table.greeted(0.0, 77) == table.ended(0.0, 77) == []


def test_a_fault_of_its_own_is_noticed() -> None:
    table = carried_by(W)
    table.machine._links["b"].stands = False
    with pytest.raises(Impossible, match="what is open belongs to a link"):
        table.machine.check()
