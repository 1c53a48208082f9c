"""Tasks that somebody owns.

asyncio forgets a task that nobody keeps and hides its failure; `Tasks` keeps each until it ends, reports what it
raised, and ends all of them on close.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Tasks:
    """A group of tasks with one owner; `close()` cancels and waits for all."""

    def __init__(self, report: Callable[[str, BaseException], None]) -> None:
        self._report = report
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work`; a failure is reported with `name` and goes no further."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def begin(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """As `start`, but `work` runs at once as far as it goes without waiting: often to its end."""
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
        """Cancel everything and wait until it has ended."""
        # one that has ended a moment ago still stands in the set until its callback runs
        while tasks := [task for task in self._running if not task.done()]:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
