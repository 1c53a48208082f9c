"""Virtual time: what happens next, in an order that depends on nothing but who asked for it first.

    VirtualClock.at(when, what, *args)   call `what` later
    VirtualClock.run(until)              let time pass

Nothing here reads a clock or rolls dice; calls that are due at one instant are made in the order in which they were
asked for.
"""

import heapq
from collections.abc import Callable
from typing import Any

from ecdn_proxy.sansio.machine import Instant

BEGINS: Instant = 100.0
"""Virtual time does not begin at 0: nothing may take 0 for "never"."""
UTC_MINUS_NOW = 1_800_000_000.0
"""Seconds of UTC at the virtual instant 0."""


class VirtualClock:
    """A clock that jumps from one call that is due to the next."""

    def __init__(self) -> None:
        self.now: Instant = BEGINS
        self.events = 0
        """Calls made so far."""
        self._heap: list[tuple[Instant, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when: Instant, what: Callable[..., None], *args: Any) -> None:
        """Call `what` at `when`, or now if that has passed."""
        self._count += 1
        now = self.now
        heapq.heappush(self._heap, (max(now, when), self._count, what, args))

    def run(self, until: Instant) -> None:
        """Make all calls that are due by then; afterwards it is `until`."""
        heap = self._heap
        pop = heapq.heappop
        events = 0
        while heap and heap[0][0] <= until:
            self.now, _, what, args = pop(heap)
            what(*args)
            events += 1
        self.events += events
        self.now = until

    def clear(self) -> None:
        """Forget all calls that are not due yet."""
        self._heap.clear()
