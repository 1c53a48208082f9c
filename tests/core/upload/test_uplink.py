"""An uplink that does not carry one video is found out by those who leave, and nothing else is taken for it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecdn_proxy.core.upload.uplink import (
    DOUBT_PIECES,
    HOLD_FIRST_S,
    HOLD_MOST_S,
    PROOF_PIECES,
    WINDOW_S,
    Uplink,
    fair_share,
)
from ecdn_proxy.wire.integrity import PIECE_BYTES


def uplink() -> Uplink:
    """Of a machine that plays ten pieces a second."""
    found = Uplink()
    found.plays(20 * PIECE_BYTES, 2.0)
    return found


# ---- what would have arrived


def test_one_transfer_has_the_uplink_to_itself() -> None:
    assert fair_share([[(0.0, 23)]], 0, 10.0, 1.0) == pytest.approx(10.0)
    assert fair_share([[(0.0, 5)]], 0, 10.0, 1.0) == pytest.approx(5.0)
    assert fair_share([[(0.0, 5), (0.9, 8)]], 0, 10.0, 1.0) == pytest.approx(6.0)
    assert fair_share([[(2.0, 5)]], 0, 10.0, 1.0) == 0.0
    assert fair_share([[]], 0, 10.0, 1.0) == 0.0


def test_two_share_it_and_what_is_left_of_a_third_takes_its_part() -> None:
    assert fair_share([[(0.0, 23)], [(0.0, 23)]], 1, 10.0, 1.0) == pytest.approx(5.0)
    assert fair_share([[(0.0, 23)], [(0.0, 2)]], 0, 10.0, 1.0) == pytest.approx(8.0)
    stale = [(-3.0, 23)]  # of which 3 are left when the other begins, two seconds later
    assert fair_share([stale, [(-1.0, 10)]], 1, 10.0, 0.0) == pytest.approx(7.0)


@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 9)), max_size=6), min_size=1, max_size=5),
    st.floats(0.5, 50),
    st.floats(0, 4),
)
def test_no_more_arrives_than_was_sent_or_than_it_carries(
    given_away: list[list[tuple[float, int]]], pieces_per_s: float, until: float
) -> None:
    transfers = []
    for parts in given_away:
        total, sent = 0, []
        for when, count in sorted(parts):
            total += count
            sent.append((when, total))
        transfers.append(sent)
    arrived = [fair_share(transfers, which, pieces_per_s, until) for which in range(len(transfers))]
    for sent, share in zip(transfers, arrived, strict=True):
        assert share <= max((count for when, count in sent if when < until), default=0) + 1e-6
    assert sum(arrived) <= pieces_per_s * until + 1e-6


# ---- who is believed


def test_two_who_had_less_than_their_share_are_believed() -> None:
    found = uplink()
    assert found.needs_pieces_per_s == pytest.approx(10.0)
    assert not found.complained("ann", 5.0, 0, 100.0)
    assert found.complained("bob", 5.0, 0, 101.0)
    assert found.is_slow(101.0 + HOLD_FIRST_S - 0.1)
    assert not found.complained("cat", 5.0, 0, 102.0)  # that is known
    assert not found.is_slow(101.0 + HOLD_FIRST_S)


def test_one_is_believed_the_third_time() -> None:
    found = uplink()
    assert [found.complained("ann", 5.0, 0, 100.0 + at) for at in range(3)] == [False, False, True]


def test_what_was_said_long_ago_is_forgotten() -> None:
    found = uplink()
    assert not found.complained("ann", 5.0, 0, 100.0)
    assert not found.complained("bob", 5.0, 0, 100.1 + WINDOW_S)


def test_a_machine_that_serves_others_well_is_not_slow() -> None:
    found = uplink()
    assert not found.complained("ann", 5.0, 2, 100.0)
    assert not found.complained("bob", 5.0, 2, 101.0)
    assert found.complained("cat", 5.0, 2, 102.0)


def test_a_machine_that_was_asked_for_too_much_is_not_slow() -> None:
    """Everybody had what is fair of one video's rate, or nearly: it may carry that and more."""
    found = uplink()
    assert not any(found.complained(f"dev{at}", 0.9, 0, 100.0 + at / 10) for at in range(30))
    nearly = DOUBT_PIECES + 0.4 * PROOF_PIECES
    assert not found.complained("ann", nearly, 0, 150.0)
    assert not found.complained("bob", nearly, 0, 150.0)
    assert found.complained("cat", nearly, 0, 150.0)


def test_each_time_in_a_row_lasts_longer() -> None:
    found, now, lasts = uplink(), 100.0, []
    for _ in range(7):
        found.complained("ann", 5.0, 0, now)
        assert found.complained("bob", 5.0, 0, now)
        lasts.append(found.slow_until - now)
        now = found.slow_until + 1.0
    assert lasts[:3] == [HOLD_FIRST_S, 2 * HOLD_FIRST_S, 4 * HOLD_FIRST_S]
    assert lasts[-1] == HOLD_MOST_S
    now += 2 * HOLD_MOST_S
    found.complained("ann", 5.0, 0, now)
    assert found.complained("bob", 5.0, 0, now)
    assert found.slow_until - now == HOLD_FIRST_S


def test_the_fattest_track_is_the_measure_and_fades() -> None:
    found = uplink()
    found.plays(PIECE_BYTES, 2.0)  # its sound
    assert found.needs_pieces_per_s == pytest.approx(9.0)
