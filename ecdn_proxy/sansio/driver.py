"""Drives one machine from an event loop: feeds events, performs effects in order, keeps the next wake.

Effects may feed further events while they are performed; these wait their turn, so the machine is never entered twice.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from ecdn_proxy.sansio.machine import Instant, Machine


class Driver[Event, Effect]:
    """One machine on one event loop; not safe from other threads."""

    def __init__(
        self,
        machine: Machine[Event, Effect],
        perform: Callable[[Effect], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._machine = machine
        self._perform = perform
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Event] = deque()
        self._busy = False
        self._timer: asyncio.Handle | None = None
        self._rings_at: Instant | None = None
        self._closed = False

    def now(self) -> Instant:
        """The loop's own clock, the machine's `now`."""
        return self._loop.time()

    def feed(self, event: Event) -> None:
        """Hand the machine an event and perform what it answers."""
        self._waiting.append(event)
        if not self._busy and not self._closed:
            self._run(woken=False)

    def close(self) -> None:
        """No more wakes; later events are dropped."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self, *, woken: bool) -> None:
        self._busy = True
        try:
            if woken:
                self._perform_all(self._machine.wake(self.now()))
            while self._waiting:
                self._perform_all(self._machine.handle(self._waiting.popleft(), self.now()))
        except Exception as error:  # the owner decides: restart the machine, send viewers to the origin
            self._failed(error)
        finally:
            self._busy = False
        self._set_timer()

    def _perform_all(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            self._perform(effect)

    def _wake(self) -> None:
        self._timer = None
        if not self._closed:
            self._run(woken=True)

    def _set_timer(self) -> None:
        if self._closed:
            return
        when = self._machine.wake_at()
        if self._timer is not None:
            if when == self._rings_at:
                return
            self._timer.cancel()
            self._timer = None
        if when is not None:
            # uvloop returns a handle without `when()` for a time that is due at once, so the driver remembers it
            self._timer, self._rings_at = self._loop.call_at(when, self._wake), when
