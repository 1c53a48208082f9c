"""The driver of one machine on an event loop: it feeds events, performs effects in order, and sets the timer.

    feed(event)   the machine's `handle`, then every effect that it returned
    the timer     the machine's `wake` at `wake_at()`; there is never more than one
    close()       no more of either

An effect may feed further events while it is performed. They wait until all effects before them are done, so the
machine is never entered a second time while it works.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from ecdn_proxy.sansio.machine import Instant, Machine, Story


class Driver[Event, Effect]:
    """One machine on one event loop. Only that loop's thread may call it.

    Args:
        machine: takes events and returns effects.
        perform: does what one effect says.
        failed: is told of an exception that the machine or an effect raised; what happens then is the owner's decision.
        story: is told every event and wake before the machine is; without one a plain `Story` is made.
    """

    def __init__(
        self,
        machine: Machine[Event, Effect],
        perform: Callable[[Effect], None],
        failed: Callable[[Exception], None],
        story: Story | None = None,
    ) -> None:
        self._machine = machine
        self._perform = perform
        self._failed = failed
        self.story = Story() if story is None else story
        """The machine's last events: told before each is handled, read when one of them failed."""
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Event] = deque()
        self._busy = False
        self._timer: asyncio.Handle | None = None
        self._rings_at: Instant | None = None
        self._closed = False

    def now(self) -> Instant:
        """Seconds on the event loop's clock, which is the machine's clock too."""
        return self._loop.time()

    def feed(self, event: Event) -> None:
        """Hand the machine an event and perform the effects that it returns."""
        self._waiting.append(event)
        if not self._busy and not self._closed:
            self._run(woken=False)

    def close(self) -> None:
        """Stop the timer and drop every event that comes later."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self, *, woken: bool) -> None:
        self._busy = True
        try:
            if woken:
                now = self._loop.time()
                self.story.tell(now, "wake")
                self._perform_all(self._machine.wake(now))
            while self._waiting:
                event, now = self._waiting.popleft(), self._loop.time()
                self.story.tell(now, event)
                self._perform_all(self._machine.handle(event, now))
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
