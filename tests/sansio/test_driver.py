"""The driver performs in order, never enters a machine twice, and keeps exactly one wake."""

import asyncio
from collections.abc import Callable

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


class Timers:
    """The running loop's timers: those that are set, and neither cancelled nor over."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._set: list[tuple[float, asyncio.TimerHandle]] = []
        self.time = self._loop.time

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        self._set.append((when, self._loop.call_at(when, callback)))
        return self._set[-1][1]

    def ever(self) -> list[float]:
        return [when for when, _ in self._set]

    def standing(self) -> list[float]:
        now = self.time()
        return [when for when, handle in self._set if not handle.cancelled() and when > now]


@pytest.mark.asyncio
async def test_there_is_one_timer_and_it_follows_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, woken, effects = Echo(), asyncio.Event(), list[str]()

    def perform(effect: str) -> None:
        effects.append(effect)
        if effect == "woken":
            woken.set()

    driver: Driver[str, str] = Driver(machine, perform, print)
    timers = Timers()
    monkeypatch.setattr(driver, "_loop", timers)
    machine.due = later = driver.now() + 3_600
    driver.feed("later")
    driver.feed("still later")
    assert timers.ever() == timers.standing() == [later], "set once"
    machine.due = driver.now()
    driver.feed("now")
    assert timers.standing() == [], "the later one is cancelled"
    await asyncio.wait_for(woken.wait(), 20)
    assert effects == ["later!", "still later!", "now!", "woken"]
    machine.due = later
    driver.feed("later")
    assert timers.standing() == [later]
    machine.due = None
    driver.feed("never")
    assert timers.standing() == []
    machine.due = later
    driver.feed("later")
    driver.close()
    driver.close()
    assert timers.standing() == []


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
    driver.feed("before")
    driver.feed("break")
    assert isinstance(faults[0], Impossible)
    assert [what for _, what in driver.story.told] == ["before", "break"], "the story ends with what it failed at"


@pytest.mark.asyncio
async def test_a_wake_is_told_too() -> None:
    driver: Driver[str, str] = Driver(Echo(), lambda effect: None, print)
    driver._wake()
    assert [what for _, what in driver.story.told] == ["wake"]
