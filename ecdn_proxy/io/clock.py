"""The only place of the agent that reads a clock; everything else is told the time.

utc()         seconds since 1970, for certificates, freshness and logs: this clock may jump
monotonic()   seconds on a clock that never jumps; only differences of two values mean something
"""

import time

from ecdn_proxy.sansio.machine import Instant


def utc() -> float:
    """Seconds since 1970."""
    return time.time()  # noqa: TID251 - this is the one place


def monotonic() -> Instant:
    """Seconds on a clock that never jumps."""
    return time.monotonic()  # noqa: TID251 - this is the one place
