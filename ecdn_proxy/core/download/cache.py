"""What is kept: whole segments in memory, and an index of those on disk, each bounded by bytes.

    usable(), use(), peek(), on_disk()        a copy that a request may have; one of any age; whether the disk has one
    put(), loaded()                           a segment came from neighbours or the origin; it came back from disk
    found_on_disk(), lost_on_disk(), drop()   what the disk held at the start, what it has lost, what is void

The segments that were used longest ago go first. A stale copy stays: the origin may confirm it (`core/http/freshness`).
"""

import math
from collections.abc import Callable
from dataclasses import replace

from cachetools import Cache as LookedUp
from cachetools import LRUCache

from ecdn_proxy.core.events import Effect, Erase, Save
from ecdn_proxy.core.http.freshness import CopyAge, Demand, is_selected, objection
from ecdn_proxy.core.values import StoredSegment
from ecdn_proxy.sansio.machine import Instant

OVERHEAD_BYTES = 4_096
"""Counted for each segment besides its body: vouchers, head, keys."""


def weight(stored: StoredSegment) -> int:
    """Bytes that a segment costs in memory."""
    return len(stored.body) + OVERHEAD_BYTES


def age_of(stored: StoredSegment) -> CopyAge:
    """How old a kept copy is; one of which no time is known is older than any other."""
    made_at = -math.inf if stored.made_at is None else stored.made_at
    heard_at = -math.inf if stored.heard_at is None else stored.heard_at
    return CopyAge(made_at, heard_at, stored.number if stored.number >= 0 else None)


def is_fresh(stored: StoredSegment, now: Instant) -> bool:
    """Whether whoever asks now may have a kept copy as it is, as far as pages do not matter."""
    return objection(stored.head, age_of(stored), Demand(now), now) is None


class _LeastRecentlyUsed[V](LRUCache[str, V]):
    """An LRU cache that says which key it lets go."""

    def __init__(self, bytes_max: int, size: Callable[[V], int], gone: Callable[[str], None]) -> None:
        super().__init__(bytes_max, getsizeof=size)
        self._gone = gone

    def popitem(self) -> tuple[str, V]:
        key, value = super().popitem()
        self._gone(key)
        return key, value


class Cache:
    """Memory and disk of one agent; disk work is asked for by effects."""

    def __init__(self, memory_bytes: int, disk_bytes: int, out: list[Effect]) -> None:
        self._out = out
        self._memory: LRUCache[str, StoredSegment] = LRUCache(memory_bytes, getsizeof=weight)
        self._saved: dict[str, str] = {}
        """The version of each segment on disk, as far as this node saved it."""
        self._disk: _LeastRecentlyUsed[int] = _LeastRecentlyUsed(disk_bytes, lambda size: size, self._erased)

    def _erased(self, key: str) -> None:
        self._saved.pop(key, None)
        self._out.append(Erase(key))

    def usable(self, key: str, demand: Demand, now: Instant) -> StoredSegment | None:
        """A segment in memory that a request may have as it is; None without one, or if it must be confirmed."""
        stored = self.use(key)
        if stored is None or not is_selected(stored.head, demand.sent):
            return None
        if objection(stored.head, age_of(stored), demand, now) is not None:
            return None
        return stored

    def use(self, key: str) -> StoredSegment | None:
        """A segment in memory, fresh or not; it counts as used."""
        return self._memory.get(key)

    def peek(self, key: str) -> StoredSegment | None:
        """A segment in memory, fresh or not, without counting as use."""
        return LookedUp.__getitem__(self._memory, key) if key in self._memory else None

    def on_disk(self, key: str) -> bool:
        """Whether the disk has it (it may turn out damaged or stale)."""
        return key in self._disk

    def put(self, stored: StoredSegment) -> None:
        """Keep a whole segment in memory, and on disk where there is room for it."""
        if weight(stored) <= self._memory.maxsize:
            self._memory[stored.key] = stored
        version = stored.vouchers[0].generation if stored.vouchers else ""
        if weight(stored) > self._disk.maxsize or (stored.key in self._disk and self._saved.get(stored.key) == version):
            return
        self._disk[stored.key] = weight(stored)
        self._saved[stored.key] = version
        self._out.append(Save(stored))

    def loaded(self, stored: StoredSegment, now: Instant, utc: float) -> StoredSegment:
        """A segment came back from disk; returns it with its age by this node's clock.

        Args:
            stored: the segment as it was saved.
            now: the time.
            utc: the same in seconds since 1970. If that is before the segment was saved, the clock was set back
                meanwhile, and the copy counts as stale.
        """
        age_s = utc - stored.head.date_utc if utc >= stored.stored_utc else math.inf
        stored = replace(stored, made_at=now - max(0.0, age_s), heard_at=-math.inf)
        if weight(stored) <= self._memory.maxsize:
            self._memory[stored.key] = stored
        return stored

    def replace_body(self, key: str, body: bytes) -> None:
        """Hold the same bytes in this object, which others hold too."""
        self._memory[key] = replace(self._memory[key], body=body)

    def found_on_disk(self, key: str, size_bytes: int) -> None:
        """The disk's contents at start, oldest first."""
        if size_bytes <= self._disk.maxsize:
            self._disk[key] = size_bytes

    def lost_on_disk(self, key: str) -> None:
        """The disk did not have the segment after all."""
        self._disk.pop(key, None)
        self._saved.pop(key, None)

    def drop(self, key: str) -> None:
        """Forget a segment everywhere: it is void."""
        self._memory.pop(key, None)
        self._saved.pop(key, None)
        if self._disk.pop(key, None) is not None:
            self._out.append(Erase(key))

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory in use."""
        return int(self._memory.currsize)

    def __len__(self) -> int:
        return len(self._memory)
