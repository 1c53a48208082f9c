"""asyncio tasks that have an owner.

asyncio may forget a task that nobody holds, and says nothing when a task fails. `Tasks` holds each task until it ends,
reports what the task raised, and cancels all tasks when its owner closes it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Tasks:
    """All tasks of one owner.

    Args:
        report: is told the name of a task that failed, and what it raised.
    """

    def __init__(self, report: Callable[[str, BaseException], None]) -> None:
        self._report = report
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` as a task with this name. A failure is reported and raised nowhere else."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def begin(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` as `start` does, but at once as far as it goes without waiting, which is often to its end."""
        task = asyncio.Task(work, loop=asyncio.get_running_loop(), name=name, eager_start=True)
        if task.done():
            self._ended(task)
        else:
            self._running.add(task)
            task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report(task.get_name(), error)

    async def close(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        # a task that has ended a moment ago still stands in the set until its callback runs
        while tasks := [task for task in self._running if not task.done()]:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
