"""The driver on both event loops."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from coordinator.service.driving import AnyLoopDriver


class Due:
    """A machine with one thing due, at once or later."""

    def __init__(self) -> None:
        self.at: float | None = None
        self.woken = 0

    def handle(self, event: float | None, _now: float) -> list[str]:
        self.at = event
        return []

    def wake(self, now: float) -> list[str]:
        if self.at is not None and self.at <= now:
            self.at = None
            self.woken += 1
        return []

    def wake_at(self) -> float | None:
        return self.at


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_what_is_due_at_once_may_be_put_off_and_taken_back(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def play() -> None:
        machine = Due()
        failures: list[Exception] = []
        driver: AnyLoopDriver[float | None, str] = AnyLoopDriver(machine, lambda _: None, failures.append)
        now = driver.now()
        for event in (now, now, now - 1, None, now + 3_600, now, None):
            driver.feed(event)
        await asyncio.sleep(0)
        assert machine.woken == 0
        driver.feed(now)
        async with asyncio.timeout(10):
            while not machine.woken:  # noqa: ASYNC110  # the machine has no event
                await asyncio.sleep(0)
        driver.feed(driver.now())
        driver.close()
        driver.feed(driver.now())
        await asyncio.sleep(0)
        assert machine.woken == 1
        assert failures == []

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(play())
