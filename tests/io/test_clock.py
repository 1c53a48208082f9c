from datetime import UTC, datetime

from ecdn_proxy.io import clock


def test_utc_is_seconds_since_1970() -> None:
    assert datetime.fromtimestamp(clock.utc(), UTC).year >= 2025


def test_monotonic_never_goes_back() -> None:
    assert clock.monotonic() <= clock.monotonic()
