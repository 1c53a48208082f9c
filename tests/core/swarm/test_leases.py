"""A lease lives on progress: how long without a word, and what its silence teaches."""

import pytest

from ecdn_proxy.core.swarm.key_record import KeyRecord, LeaseState
from ecdn_proxy.core.swarm.leases import FIRST_BYTE_MAX_S, LATE_COUNTS_S, SHADOW_LIVES_S, STREAMS_MAX, Leases
from tests.core.swarm.book import FIRST_BYTE_ENDS, LIMITS
from tests.core.world import STREAM


def granted(device: str = "ann") -> tuple[Leases, KeyRecord, LeaseState]:
    leases, record = Leases(LIMITS), KeyRecord(STREAM)
    return leases, record, leases.grant(record, device, 0.0)


def test_whoever_is_granted_a_lease_reads_from_nobody() -> None:
    leases, record, _ = granted()
    record.follow("bob", "ann", 0.0)
    assert leases.grant(record, "bob", 0.1).number == 2
    assert record.parents == {}


def test_a_lease_is_live_until_its_first_byte_is_overdue() -> None:
    leases, record, lease = granted()
    assert leases.is_live(record, lease, FIRST_BYTE_ENDS)
    assert not leases.is_live(record, lease, FIRST_BYTE_ENDS + 0.001)


def test_a_lease_that_receives_is_live_until_it_is_silent() -> None:
    leases, record, lease = granted()
    lease.received_bytes, lease.heard_at = 1, 5.0
    assert leases.is_live(record, lease, 5.0 + LIMITS.silence_s)
    assert not leases.is_live(record, lease, 5.001 + LIMITS.silence_s)


def test_a_shadow_lives_longer_except_where_it_must_not() -> None:
    leases, record = Leases(LIMITS), KeyRecord(STREAM)
    shadow = LeaseState(0, "ann", 0.0, 0.0, shadow=True)
    record.leases.append(shadow)
    ends = FIRST_BYTE_ENDS + SHADOW_LIVES_S
    assert leases.is_live(record, shadow, ends)
    assert not leases.is_live_here(record, shadow, FIRST_BYTE_ENDS + 0.001)
    assert not leases.waits_for_first_byte(record, 0.0), "nobody would tell this ledger of its first byte"
    leases.end_silent_leases(record, ends + 0.001)
    assert record.at_origin() == []
    assert leases.usual_first_byte_s(STREAM) == LIMITS.first_byte_unknown_s


def test_a_silent_lease_is_late_then_forgotten_and_the_next_is_given_twice_the_time() -> None:
    leases, record, lease = granted()
    leases.end_silent_leases(record, FIRST_BYTE_ENDS + 0.001)
    assert (record.leases, record.late) == ([], [lease])
    assert not leases.is_live(record, lease, 0.0)
    assert leases.usual_first_byte_s(STREAM) == 2 * LIMITS.first_byte_unknown_s
    leases.end_silent_leases(record, LATE_COUNTS_S + 0.001)
    assert record.at_origin() == []


def test_no_origin_is_given_more_than_five_seconds() -> None:
    leases, record = Leases(LIMITS), KeyRecord(STREAM)
    leases.learn_first_byte(STREAM, 4.0)
    leases.grant(record, "ann", 0.0)
    leases.end_silent_leases(record, 10.0)
    assert leases.usual_first_byte_s(STREAM) == FIRST_BYTE_MAX_S


def test_while_somebody_has_the_segment_nobody_waits_for_its_first_byte() -> None:
    leases, record, lease = granted()
    assert leases.waits_for_first_byte(record, 0.1)
    record.holders.add("bob")
    assert not leases.waits_for_first_byte(record, 0.1)
    record.holders.clear()
    lease.received_bytes = 1
    assert not leases.waits_for_first_byte(record, 0.1)


def test_slowness_is_learnt_faster_than_speed_and_of_so_many_streams_only() -> None:
    leases = Leases(LIMITS)
    leases.learn_first_byte(STREAM, 0.1)
    leases.learn_first_byte(STREAM, 0.3)
    assert leases.usual_first_byte_s(STREAM) == pytest.approx(0.2)
    leases.learn_first_byte(STREAM, 0.1)
    assert leases.usual_first_byte_s(STREAM) == pytest.approx(0.18)
    for number in range(STREAMS_MAX):
        leases.learn_first_byte(f"{number:032x}", 0.1)
    assert leases.usual_first_byte_s(STREAM) == LIMITS.first_byte_unknown_s
