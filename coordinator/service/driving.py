"""The kernel's driver on uvloop, whose timers that are due within half a millisecond do not know when they are due."""

from ecdn_proxy.sansio.driver import Driver
from ecdn_proxy.sansio.machine import Instant


class AnyLoopDriver[Event, Effect](Driver[Event, Effect]):
    """A driver that remembers for itself when its timer rings."""

    _rings_at: Instant | None = None

    def _set_timer(self) -> None:
        when = None if self._closed else self._machine.wake_at()
        if self._timer is not None:
            if when == self._rings_at:
                return
            self._timer.cancel()
            self._timer = None
        if when is not None:
            self._timer = self._loop.call_at(when, self._wake)
            self._rings_at = when
