"""How often one source may enrol."""

import pytest

from coordinator.core import limits
from coordinator.core.rate_limit import RateLimit, network_of


def test_a_burst_then_one_at_a_time() -> None:
    limit = RateLimit(60)
    assert [limit.wait_s("10.0.0.1", 0.0) for _ in range(60)] == [0.0] * 60
    assert limit.wait_s("10.0.0.1", 0.0) == pytest.approx(1.0)
    assert limit.wait_s("10.0.0.2", 0.0) == 0.0
    assert limit.wait_s("10.0.0.1", 0.5) == pytest.approx(0.5)
    assert limit.wait_s("10.0.0.1", 1.1) == 0.0


def test_one_ipv6_host_has_one_bucket() -> None:
    limit = RateLimit(1)
    assert limit.wait_s(network_of("2001:db8::1"), 0.0) == 0.0
    assert limit.wait_s(network_of("2001:db8::2"), 0.0) > 0
    assert limit.wait_s(network_of("2001:db8:0:1::2"), 0.0) == 0.0
    assert limit.wait_s(network_of("::ffff:10.0.0.1"), 0.0) == 0.0
    assert limit.wait_s(network_of("::ffff:10.0.0.2"), 0.0) == 0.0


def test_memory_is_bounded() -> None:
    limit = RateLimit(1)
    assert limit.wait_s("first", 0.0) == 0.0
    for number in range(limits.SOURCES_MAX):
        limit.wait_s(f"source {number}", 0.0)
    assert limit.wait_s("first", 0.0) == 0.0, "forgotten, so it begins anew"
