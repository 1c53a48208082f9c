"""What is wrong on this machine, as it becomes so and ceases to be: kept for the status page, and said in the log once.

ConditionLog    raise_condition(code, text)   clear_condition(code)      for every part of the agent
                codes() · conditions          for whoever shows them
"""

from typing import Protocol

import structlog

from ecdn_proxy.core.report.conditions import Conditions
from ecdn_proxy.io import clock

log = structlog.get_logger(__name__)


class ConditionSink(Protocol):
    """Whoever meets trouble says so here; the codes are those of `core.report.conditions`."""

    def raise_condition(self, code: str, text: str) -> None:
        """A condition holds from now on; `text` says what exactly."""
        ...

    def clear_condition(self, code: str) -> None:
        """A condition holds no longer."""
        ...


class ConditionLog:
    """The conditions of one agent; a `ConditionSink`."""

    def __init__(self) -> None:
        self.conditions = Conditions()

    def raise_condition(self, code: str, text: str) -> None:
        """A condition holds from now on; the log says it unless it held before."""
        if self.conditions.raised(code, text, clock.monotonic()):
            log.warning("condition", code=code, why=text)

    def clear_condition(self, code: str) -> None:
        """A condition holds no longer; the log says it if it held."""
        if self.conditions.cleared(code):
            log.info("condition over", code=code)

    def codes(self) -> tuple[str, ...]:
        """Codes of those that hold now, oldest first."""
        return tuple(it.code for it in self.conditions.holding(clock.monotonic()))
