"""How often one source may ask: a bucket per address that fills with time. IPv6 sources count by their /64.

Throttle(per_minute).wait_s(address, now)   0 when it may, else how long it should wait
"""

import ipaddress
from collections import OrderedDict

from coordinator.core import limits
from ecdn_proxy.sansio.machine import Instant


class Throttle:
    """Remembers the last `SOURCES_MAX` sources; a forgotten one begins with a full bucket."""

    def __init__(self, per_minute: int) -> None:
        self._burst = float(per_minute)
        self._per_second = per_minute / 60
        self._buckets: OrderedDict[str, tuple[float, Instant]] = OrderedDict()

    def wait_s(self, source: str, now: Instant) -> float:
        """Take one from the bucket of `source`; the answer is 0, or the seconds until there is one."""
        key = _group(source)
        left, at = self._buckets.pop(key, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._per_second)
        wait = 0.0 if left >= 1 else (1 - left) / self._per_second
        self._buckets[key] = (left - 1 if left >= 1 else left, now)
        while len(self._buckets) > limits.SOURCES_MAX:
            self._buckets.popitem(last=False)
        return wait


def _group(source: str) -> str:
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return source
    if address.version == 6 and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
