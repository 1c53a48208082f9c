"""When Python's collector looks for cycles of dead objects.

collect_young_objects_only()            once per process
GcTuning.collect_if_due(here, left)     every few seconds

A full collection walks through all objects that live: with 20,000 agents it holds up every answer for most of a second.
By itself Python does one whenever a quarter more objects have come. But while agents come nothing dies, so here a full
collection is done only when many agents have left. Young objects are looked at as always, in larger portions.
"""

import gc
from typing import Final

YOUNG_OBJECTS: Final = 50_000
"""New objects between two collections of the young ones: those of some 300 agents."""
OLD_COLLECTIONS: Final = 1_000_000
"""So many collections of the middle generation before Python does a full one by itself: never."""
LEFT_MIN: Final = 1_000
"""So many agents must have left since the last full collection, and at least half as many as are connected."""


def collect_young_objects_only() -> None:
    """From now on this process does full collections only when `GcTuning` does them."""
    gc.set_threshold(YOUNG_OBJECTS, 10, OLD_COLLECTIONS)


class GcTuning:
    """Does a full collection when enough agents have left."""

    def __init__(self) -> None:
        self._left = 0
        """How many had left at the last full collection."""

    def collect_if_due(self, here: int, left: int) -> bool:
        """Do a full collection if it is worth it, and say whether it was.

        Args:
            here: agents that are connected.
            left: agents that have left since the process was started.
        """
        if left - self._left < max(LEFT_MIN, here // 2):
            return False
        self._left = left
        gc.collect()
        return True
