"""What is kept: whole segments in memory, and an index of those on disk, each bounded by bytes.

    get(), peek(), on_disk()                  a fresh segment; one of any age; whether the disk has one
    put(), loaded()                           a segment came from neighbours or the origin; it came back from disk
    found_on_disk(), lost_on_disk(), drop()   what the disk held at the start, what it has lost, what is void

The segments that were used longest ago go first. Only fresh segments are found (RFC 9111 section 4.2); a stale one is
dropped when it is met.
"""

from collections.abc import Callable

from cachetools import Cache as LookedUp
from cachetools import LRUCache

from ecdn_proxy.core.events import Effect, Erase, Save
from ecdn_proxy.core.http.cacheability import is_fresh
from ecdn_proxy.core.values import StoredSegment

OVERHEAD_BYTES = 4_096
"""Counted for each segment besides its body: vouchers, head, keys."""


def weight(stored: StoredSegment) -> int:
    """Bytes that a segment costs in memory."""
    return len(stored.body) + OVERHEAD_BYTES


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
        self._disk: _LeastRecentlyUsed[int] = _LeastRecentlyUsed(disk_bytes, lambda size: size, self._erased)

    def _erased(self, key: str) -> None:
        self._out.append(Erase(key))

    def get(self, key: str, utc: float) -> StoredSegment | None:
        """A fresh segment in memory."""
        stored = self._memory.get(key)
        if stored is None:
            return None
        if not is_fresh(stored.head, utc):
            self.drop(key)
            return None
        return stored

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
        if stored.key not in self._disk and weight(stored) <= self._disk.maxsize:
            self._disk[stored.key] = weight(stored)
            self._out.append(Save(stored))

    def loaded(self, stored: StoredSegment) -> None:
        """A segment came back from disk."""
        if weight(stored) <= self._memory.maxsize:
            self._memory[stored.key] = stored

    def found_on_disk(self, key: str, size_bytes: int) -> None:
        """The disk's contents at start, oldest first."""
        if size_bytes <= self._disk.maxsize:
            self._disk[key] = size_bytes

    def lost_on_disk(self, key: str) -> None:
        """The disk did not have the segment after all."""
        self._disk.pop(key, None)

    def drop(self, key: str) -> None:
        """Forget a segment everywhere: stale, or void."""
        self._memory.pop(key, None)
        if self._disk.pop(key, None) is not None:
            self._out.append(Erase(key))

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory in use."""
        return int(self._memory.currsize)

    def __len__(self) -> int:
        return len(self._memory)
