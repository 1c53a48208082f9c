"""What all our machines have in common: events go in, effects come out, and time is an argument.

Instant      seconds on a clock that never jumps; only differences of two mean something
Machine      handle(event, now) -> effects;  wake_at() -> when to call wake(now)
earliest     the first of several times, of which some are "never"
Story        a machine's last events, kept so that a fault is logged with what led to it
Impossible   the error for a fault of ours: something happened that no table provides for
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NoReturn, Protocol

Instant = float


class Machine[Event, Effect](Protocol):
    """A state machine without clock, socket or dice.

    Sockets and a real clock drive it in production, a virtual clock in tests and in the simulator.
    """

    def handle(self, event: Event, now: Instant) -> Sequence[Effect]:
        """Take one event, which happened at `now`, and return what must be done, in order."""
        ...

    def wake(self, now: Instant) -> Sequence[Effect]:
        """Do what has become due by `now`, and return what must be done. It is called at or after `wake_at()`."""
        ...

    def wake_at(self) -> Instant | None:
        """When `wake` must be called at the latest; None when nothing will ever be due."""
        ...


def earliest(times: Iterable[Instant | None]) -> Instant | None:
    """The first of these times; None stands for "never".

    This is asked after every event, and `min` of a generator would take four times as long.
    """
    first: Instant | None = None
    for at in times:
        if at is not None and (first is None or at < first):
            first = at
    return first


class Impossible(Exception):
    """A fault of ours; whoever logs it adds the machine's `Story`."""


class Story:
    """The last things that happened to a machine, oldest first; its driver tells it each event before it is handled."""

    def __init__(self, length: int = 64) -> None:
        self.told: deque[tuple[Instant, object]] = deque(maxlen=length)

    def tell(self, now: Instant, what: object) -> None:
        """Append one event, or the word "wake"."""
        self.told.append((now, what))

    def words(self, what: object) -> str:
        """One event as it is logged."""
        return str(what)

    def __str__(self) -> str:
        return "\n".join(f"{now:12.3f}  {self.words(what)}" for now, what in self.told)


def impossible(what: str) -> NoReturn:
    """Raise `Impossible`. As a function it can stand in an expression, where a table has no entry."""
    raise Impossible(what)
