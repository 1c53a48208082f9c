"""Virtual time: what happens next, in an order that depends on the seed only.

VirtualClock.at(when, what, *args)   call later
VirtualClock.run(until)              let time pass
VirtualClock.reading(text, …)        every outcome goes into one digest: same seed, same log

Nothing here reads a clock or rolls dice; events of one instant happen in the order in which they were asked for.
"""

import heapq
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from ecdn_proxy.sansio.machine import Instant

BEGINS: Instant = 100.0
"""Virtual time does not begin at 0: nothing may take 0 for "never"."""


class VirtualClock:
    """A clock that jumps from event to event."""

    def __init__(self) -> None:
        self.now: Instant = BEGINS
        self.events = 0
        self._heap: list[tuple[Instant, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self._digest = blake2b(digest_size=16)

    def at(self, when: Instant, what: Callable[..., None], *args: Any) -> None:
        """Call `what` at `when`, or now if that has passed."""
        self._count += 1
        now = self.now
        heapq.heappush(self._heap, (max(now, when), self._count, what, args))

    def run(self, until: Instant) -> None:
        """Let time pass."""
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
        """Nothing more will happen."""
        self._heap.clear()

    def log(self, *said: object) -> None:
        """Note an outcome with its time."""
        self._digest.update(f"{self.now!r} {said!r}\n".encode())

    @property
    def digest(self) -> str:
        """Of everything noted so far."""
        return self._digest.hexdigest()
