"""The driver performs in order, never enters a machine twice, and keeps exactly one wake."""

import asyncio

import pytest

from ecdn_proxy.sansio.driver import Driver
from ecdn_proxy.sansio.machine import Impossible, impossible


class Echo:
    """Answers each event with itself; `feeds` lets performing an effect feed another event."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.due: float | None = None
        self.entered = 0

    def handle(self, event: str, now: float) -> list[str]:
        assert self.entered == 0
        self.entered += 1
        self.seen.append(event)
        self.entered -= 1
        if event == "break":
            impossible("broken on purpose")
        return [event + "!"]

    def wake(self, now: float) -> list[str]:
        self.due = None
        return ["woken"]

    def wake_at(self) -> float | None:
        return self.due


@pytest.mark.asyncio
async def test_events_fed_while_performing_wait_their_turn() -> None:
    machine, done = Echo(), list[str]()

    def perform(effect: str) -> None:
        done.append(effect)
        if effect == "a!":
            driver.feed("c")

    driver: Driver[str, str] = Driver(machine, perform, lambda error: None)
    driver.feed("a")
    driver.feed("b")
    assert machine.seen == ["a", "c", "b"]
    assert done == ["a!", "c!", "b!"]


@pytest.mark.asyncio
async def test_a_wake_comes_when_it_is_due() -> None:
    machine, woken = Echo(), asyncio.Event()
    driver: Driver[str, str] = Driver(machine, lambda effect: woken.set() if effect == "woken" else None, print)
    machine.due = driver.now() + 0.01
    driver.feed("a")
    await asyncio.wait_for(woken.wait(), 20)
    assert machine.due is None


@pytest.mark.asyncio
async def test_there_is_one_timer_and_it_follows_the_machine() -> None:
    machine, woken = Echo(), asyncio.Event()
    driver: Driver[str, str] = Driver(machine, lambda effect: woken.set() if effect == "woken" else None, print)
    machine.due = driver.now() + 3_600
    driver.feed("later")
    driver.feed("still later")
    machine.due = driver.now()
    driver.feed("now")
    await asyncio.wait_for(woken.wait(), 20)
    machine.due = driver.now() + 3_600
    driver.feed("later")
    machine.due = None
    driver.feed("never")
    driver.close()
    driver.close()


@pytest.mark.asyncio
async def test_a_machine_that_fails_while_it_is_closed_sets_no_timer() -> None:
    machine = Echo()
    driver: Driver[str, str] = Driver(machine, lambda effect: None, lambda error: driver.close())
    machine.due = driver.now()
    driver.feed("break")
    driver._wake()
    await asyncio.sleep(0)
    assert machine.due is not None


@pytest.mark.asyncio
async def test_a_closed_driver_does_nothing_more() -> None:
    machine = Echo()
    driver: Driver[str, str] = Driver(machine, lambda effect: None, print)
    machine.due = driver.now() + 60
    driver.feed("a")
    driver.close()
    driver.feed("b")
    assert machine.seen == ["a"]


@pytest.mark.asyncio
async def test_a_fault_of_ours_reaches_the_owner() -> None:
    faults: list[Exception] = []
    driver: Driver[str, str] = Driver(Echo(), lambda effect: None, faults.append)
    driver.feed("break")
    assert isinstance(faults[0], Impossible)
