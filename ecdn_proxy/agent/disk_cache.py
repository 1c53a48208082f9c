"""Whole segments on disk: the node's Save, Load and Erase on top of `io/disk_store`.

    DiskCache.open(directory, limit_bytes, node, conditions)
        held()   save(stored)   load(key)   erase(key)   close()

Nobody waits for the disk: `load` is answered by a Loaded event, and a disk that cannot be used is a condition for the
status page.
"""

from pathlib import Path
from typing import Protocol

import msgspec

from ecdn_proxy.agent.condition_log import ConditionSink
from ecdn_proxy.core.events import Loaded
from ecdn_proxy.core.values import StoredSegment
from ecdn_proxy.io.disk_store import DiskStore, open_store
from ecdn_proxy.sansio.tasks import Tasks
from ecdn_proxy.wire.integrity import SegmentHead, Voucher


class _Meta(msgspec.Struct, frozen=True, array_like=True):
    stream: str
    head: SegmentHead
    vouchers: tuple[Voucher, ...]
    stored_utc: float
    origin_kbps: int = 0


class LoadedFeed(Protocol):
    """Who asked for a segment."""

    def feed(self, event: Loaded) -> None:
        """A segment was read back, or is not there."""
        ...


class DiskCache:
    """The disk cache of one agent."""

    def __init__(self, store: DiskStore, node: LoadedFeed, conditions: ConditionSink) -> None:
        self._store = store
        self._node = node
        self._tasks = Tasks(lambda name, error: _report(conditions, f"{name}: {error}"))

    @classmethod
    async def open(
        cls, directory: Path, limit_bytes: int, *, node: LoadedFeed, conditions: ConditionSink
    ) -> "DiskCache":
        """Open or make the directory; trouble with it later on is the condition "disk-cache-unavailable".

        Raises:
            Unavailable: the directory cannot be used.
        """
        store = await open_store(directory, limit_bytes, lambda _code, detail: _report(conditions, detail))
        return cls(store, node, conditions)

    def held(self) -> list[tuple[str, int]]:
        """What lies there: keys with their sizes in bytes, the oldest first."""
        return self._store.held()

    def save(self, stored: StoredSegment) -> None:
        """Keep a segment, with its vouchers."""
        meta = msgspec.msgpack.encode(
            _Meta(stored.stream, stored.head, stored.vouchers, stored.stored_utc, stored.origin_kbps)
        )
        self._tasks.start(self._store.save(stored.key, meta, stored.body), "save a segment")

    def load(self, key: str) -> None:
        """Read a segment; a Loaded event follows, with None when it is not there or cannot be read."""
        self._tasks.start(self._load(key), "load a segment")

    def erase(self, key: str) -> None:
        """Remove a segment."""
        self._tasks.start(self._store.erase(key), "erase a segment")

    async def close(self) -> None:
        """Read no more, and write what waits."""
        await self._tasks.close()
        await self._store.close()

    async def _load(self, key: str) -> None:
        found = await self._store.load(key)
        stored = None
        if found is not None:
            try:
                meta = msgspec.msgpack.decode(found.meta, type=_Meta)
                stored = StoredSegment(
                    key, meta.stream, meta.head, found.body, meta.vouchers, meta.stored_utc, meta.origin_kbps
                )
            except msgspec.MsgspecError:
                await self._store.erase(key)
        self._node.feed(Loaded(key, stored))


def _report(conditions: ConditionSink, text: str) -> None:
    conditions.raise_condition("disk-cache-unavailable", text)
