"""Amounts by device that halve with time: how much a home asked of a device lately, how many found it slow."""

import math

from ecdn_proxy.sansio.machine import Instant


class Decay:
    """Amounts by device that halve with time, of a bounded number of devices."""

    def __init__(self, half_life_s: float, most: int) -> None:
        """An amount halves every `half_life_s`; of more than `most` devices the one longest unchanged is forgotten."""
        self._half_life_s = half_life_s
        self._most = most
        self._amounts: dict[str, tuple[float, Instant]] = {}

    def level(self, device: str, now: Instant) -> float:
        """What is left of a device's amount now."""
        if (found := self._amounts.get(device)) is None:
            return 0.0
        amount, since = found
        return amount * math.pow(0.5, (now - since) / self._half_life_s)

    def add(self, device: str, now: Instant) -> None:
        """One more for a device."""
        level = self.level(device, now) + 1.0
        self._amounts.pop(device, None)
        self._amounts[device] = (level, now)
        if len(self._amounts) > self._most:
            self._amounts.pop(next(iter(self._amounts)))
