"""Tasks have an owner that hears of their failure and outlives them."""

import asyncio

import pytest

from ecdn_proxy.sansio.tasks import Tasks


@pytest.mark.asyncio
async def test_a_failure_is_reported_with_its_name() -> None:
    heard: list[tuple[str, BaseException]] = []
    tasks = Tasks(lambda name, error: heard.append((name, error)))

    async def fail() -> None:
        raise ValueError("broken")

    task = tasks.start(fail(), "reader")
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert [(name, str(error)) for name, error in heard] == [("reader", "broken")]
    assert len(tasks) == 0


@pytest.mark.asyncio
async def test_close_ends_all_and_waits() -> None:
    ended: list[int] = []
    tasks = Tasks(lambda name, error: None)

    async def forever(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(number)

    for number in range(3):
        tasks.start(forever(number), f"task {number}")
    await asyncio.sleep(0)
    await tasks.close()
    assert sorted(ended) == [0, 1, 2]
    assert len(tasks) == 0


@pytest.mark.asyncio
async def test_closing_right_after_a_task_has_ended() -> None:
    """Whoever waited for what the task did may go on in the very turn in which the task ended."""
    tasks, done = Tasks(lambda name, error: None), asyncio.Event()

    async def work() -> None:
        done.set()

    tasks.start(work(), "work")
    await done.wait()
    await tasks.close()
    await asyncio.sleep(0)
    assert len(tasks) == 0


@pytest.mark.asyncio
async def test_what_is_begun_runs_at_once_as_far_as_it_can() -> None:
    heard: list[str] = []
    tasks = Tasks(lambda name, error: heard.append(f"{name}: {error}"))
    done: list[int] = []
    more = asyncio.Event()

    async def work(number: int, wait: bool) -> None:
        done.append(number)
        if wait:
            await more.wait()
            done.append(-number)
        if number == 3:
            raise ValueError("broken")

    assert tasks.begin(work(1, wait=False), "first").done()
    waiting = tasks.begin(work(2, wait=True), "second")
    tasks.begin(work(3, wait=False), "third")
    assert (done, heard, len(tasks)) == ([1, 2, 3], ["third: broken"], 1)
    more.set()
    await waiting
    await tasks.close()
    assert (done, len(tasks)) == ([1, 2, 3, -2], 0)
