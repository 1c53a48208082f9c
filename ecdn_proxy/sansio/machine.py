"""What every machine of ours is: events in, effects out, time as an argument.

Instant      seconds on a clock that never jumps; only differences mean something
Machine      handle(event, now) -> effects;  wake_at() -> when to call wake(now)
earliest     of several times, some of which are never
Story        the last events and effects, kept so that an error carries them
Impossible   a fault of ours: what the table does not hold has happened
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NoReturn, Protocol

Instant = float


class Machine[Event, Effect](Protocol):
    """A pure state machine, driven by sockets in production and by a virtual clock in tests and simulation."""

    def handle(self, event: Event, now: Instant) -> Sequence[Effect]:
        """Take one event and return what must be done, in order."""
        ...

    def wake(self, now: Instant) -> Sequence[Effect]:
        """Do what has become due; called at or after `wake_at()`."""
        ...

    def wake_at(self) -> Instant | None:
        """When `wake` must be called at the latest; None when nothing is due ever."""
        ...


def earliest(times: Iterable[Instant | None]) -> Instant | None:
    """The first of them; None is never. Asked after every event: `min` of a generator takes four times as long."""
    first: Instant | None = None
    for at in times:
        if at is not None and (first is None or at < first):
            first = at
    return first


class Impossible(Exception):
    """A fault of ours; carries the story that led to it."""

    def __init__(self, what: str, story: "Story | None" = None) -> None:
        super().__init__(what if story is None else f"{what}\n{story}")
        self.what = what


class Story:
    """A ring of the last things that happened, oldest first."""

    def __init__(self, length: int = 64) -> None:
        self._lines: deque[tuple[Instant, str]] = deque(maxlen=length)

    def tell(self, now: Instant, what: str) -> None:
        """Append one line."""
        self._lines.append((now, what))

    def __str__(self) -> str:
        return "\n".join(f"{now:12.3f}  {what}" for now, what in self._lines)


def impossible(what: str) -> NoReturn:
    """Raise Impossible; reads as an expression where a table has no entry."""
    raise Impossible(what)
