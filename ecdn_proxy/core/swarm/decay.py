"""Amounts by device that halve with time: what a home asked of it lately, who found it slow. Bounded."""

import math

from ecdn_proxy.sansio.machine import Instant


class Decay:
    """Amounts by device that halve with time; bounded."""

    def __init__(self, half_life_s: float, most: int) -> None:
        self._half_life_s = half_life_s
        self._most = most
        self._amounts: dict[str, tuple[float, Instant]] = {}

    def level(self, device: str, now: Instant) -> float:
        """What is left of a device's amount."""
        if (found := self._amounts.get(device)) is None:
            return 0.0
        amount, since = found
        return amount * math.pow(0.5, (now - since) / self._half_life_s)

    def add(self, device: str, now: Instant) -> None:
        """One more."""
        level = self.level(device, now) + 1.0
        self._amounts.pop(device, None)
        self._amounts[device] = (level, now)
        if len(self._amounts) > self._most:
            self._amounts.pop(next(iter(self._amounts)))
