"""How often one source may ask: a token bucket for each source, which fills with time.

RateLimit(per_minute).wait_s(source, now)    0.0 when the source may ask now, else the seconds it should wait
network_of(address)                          the source that an address counts as: IPv6 by its /64
"""

import ipaddress
from collections import OrderedDict

from coordinator.core import limits
from ecdn_proxy.sansio.machine import Instant


class RateLimit:
    """Buckets that hold what one minute allows; of the last `SOURCES_MAX` sources, others begin with a full bucket."""

    def __init__(self, per_minute: int) -> None:
        self._burst = float(per_minute)
        self._per_second = per_minute / 60
        self._buckets: OrderedDict[str, tuple[float, Instant]] = OrderedDict()

    def wait_s(self, source: str, now: Instant) -> float:
        """Take one request from the bucket of `source`: 0.0, or the seconds until there is one to take."""
        left, at = self._buckets.pop(source, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._per_second)
        wait = 0.0 if left >= 1 else (1 - left) / self._per_second
        self._buckets[source] = (left - 1 if left >= 1 else left, now)
        while len(self._buckets) > limits.SOURCES_MAX:
            self._buckets.popitem(last=False)
        return wait


def network_of(text: str) -> str:
    """The source that an address counts as: an IPv4 address itself, an IPv6 address its /64, which one host may fill.

    Raises:
        ValueError: `text` is no literal address.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if address.version == 6 and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
