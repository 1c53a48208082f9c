"""Whole segments on disk: the core's Save, Load and Erase on top of `io/disk_store`."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from ecdn_proxy.core.events import Loaded
from ecdn_proxy.core.values import StoredSegment
from ecdn_proxy.io.disk_store import Store, open_store
from ecdn_proxy.sansio.tasks import Tasks
from ecdn_proxy.wire.integrity import SegmentHead, Voucher


class _Meta(msgspec.Struct, frozen=True, array_like=True):
    stream: str
    head: SegmentHead
    vouchers: tuple[Voucher, ...]
    stored_utc: float
    origin_kbps: int = 0


class DiskCache:
    """The disk cache of one agent."""

    def __init__(
        self, store: Store, feed: Callable[[Loaded], None], report: Callable[[str, BaseException], None]
    ) -> None:
        self._store = store
        self._feed = feed
        self._tasks = Tasks(report)

    @classmethod
    async def open(
        cls, directory: Path, limit_bytes: int, *, feed: Callable[[Loaded], None], trouble: Callable[[str], None]
    ) -> "DiskCache":
        """Open or make it.

        Raises:
            Unavailable: the directory cannot be used.
        """
        store = await open_store(directory, limit_bytes, lambda _code, detail: trouble(detail))
        return cls(store, feed, lambda name, error: trouble(f"{name}: {error}"))

    def held(self) -> list[tuple[str, int]]:
        """What lies there: keys with their sizes in bytes, oldest first."""
        return self._store.held()

    def save(self, stored: StoredSegment) -> None:
        """Keep a segment."""
        meta = msgspec.msgpack.encode(
            _Meta(stored.stream, stored.head, stored.vouchers, stored.stored_utc, stored.origin_kbps)
        )
        self._tasks.start(self._store.save(stored.key, meta, stored.body), "save a segment")

    def load(self, key: str) -> None:
        """Read one back; Loaded follows."""
        self._tasks.start(self._load(key), "load a segment")

    def erase(self, key: str) -> None:
        """Remove one."""
        self._tasks.start(self._store.erase(key), "erase a segment")

    async def close(self) -> None:
        """Finish what waits."""
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
        self._feed(Loaded(key, stored))
