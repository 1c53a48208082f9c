"""What the tests of this floor share: a record of what was told, and waiting for it with a deadline.

Record.tell(name) -> a callback that appends (name, *arguments);  await Record.until(predicate)
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

DEADLINE_S = 20.0
"""For a machine under load; nothing that passes waits this long."""
LOOK_S = 0.02


class Record:
    """Everything that was told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self._news = asyncio.Event()

    def tell(self, name: str) -> Callable[..., None]:
        def note(*arguments: Any) -> None:
            self.told.append((name, *arguments))
            self._news.set()

        return note

    def all(self, name: str) -> list[tuple[Any, ...]]:
        return [each[1:] for each in self.told if each[0] == name]

    async def until(self, holds: Callable[[], object]) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not holds():
                    with contextlib.suppress(TimeoutError):  # what is waited for need not be something told
                        await asyncio.wait_for(self._news.wait(), LOOK_S)
                    self._news.clear()
        except TimeoutError:
            raise AssertionError(f"waited in vain; told so far: {self.told[-20:]}") from None

    async def first(self, name: str) -> tuple[Any, ...]:
        await self.until(lambda: self.all(name))
        return self.all(name)[0]
