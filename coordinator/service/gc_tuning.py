"""When Python looks for cycles: `spare_the_old` (once per process), `GcTuning`.

A full collection walks through all that is alive: with 20,000 agents it holds up every answer for most of a second, and
Python does one whenever a quarter more has come. While agents come nothing becomes garbage, so it is done when many
have left instead, and what is young is looked at as always, in larger portions.
"""

import gc
from typing import Final

YOUNG_OBJECTS: Final = 50_000
"""New objects between two looks at the young ones: those of some 300 agents."""
OLD_LOOKS: Final = 1_000_000
"""Never by itself."""
LEFT_MIN: Final = 1_000
"""Agents that must have left for a full collection, or half of those that are there."""


def spare_the_old() -> None:
    """From now on this process looks at what is young only, unless `GcTuning` says so."""
    gc.set_threshold(YOUNG_OBJECTS, 10, OLD_LOOKS)


class GcTuning:
    """Asked every few seconds."""

    def __init__(self) -> None:
        self._left = 0

    def look(self, present: int, left: int) -> bool:
        """Collect what `left` agents since the start may have left behind, if it is worth it; whether it was."""
        if left - self._left < max(LEFT_MIN, present // 2):
            return False
        self._left = left
        gc.collect()
        return True
