"""Whole segments on disk: what was saved comes back as it was, or not at all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from ecdn_proxy.agent.disk_cache import DiskCache
from ecdn_proxy.core.events import Loaded
from ecdn_proxy.core.values import StoredSegment
from ecdn_proxy.io.disk_store import open_store
from ecdn_proxy.wire.faults import Unavailable
from tests.core.makers import KEY, fetched, head, seal
from tests.core.world import STREAM, UTC, key_of

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]

SEGMENT = StoredSegment(KEY, STREAM, head(5), b"bytes", tuple(fetched(seal("me"), b"bytes").vouchers), UTC)
Open = Callable[[], Awaitable["Room"]]


class Room:
    """A disk cache, and what it told."""

    def __init__(self) -> None:
        self.loaded: asyncio.Queue[Loaded] = asyncio.Queue()
        self.trouble: list[str] = []

    def feed(self, event: Loaded) -> None:
        self.loaded.put_nowait(event)

    def raise_condition(self, code: str, text: str) -> None:
        assert code == "disk-cache-unavailable"
        self.trouble.append(text)

    def clear_condition(self, code: str) -> None:
        raise AssertionError(code)

    async def load(self, key: str = KEY) -> StoredSegment | None:
        self.cache.load(key)
        async with asyncio.timeout(20):
            answer = await self.loaded.get()
        assert answer.key == key
        return answer.stored

    async def open(self, directory: Path, limit: int = 1_000_000) -> "Room":
        self.cache = await DiskCache.open(directory, limit, node=self, conditions=self)
        return self


@pytest_asyncio.fixture
async def opened(tmp_path: Path, nothing_left: None) -> AsyncIterator[Open]:
    rooms: list[Room] = []

    async def open_() -> Room:
        rooms.append(await Room().open(tmp_path / "segments"))
        return rooms[-1]

    yield open_
    for room in rooms:
        await room.cache.close()


async def saved(room: Room, segment: StoredSegment = SEGMENT) -> None:
    """Saved, and on disk: the store works in order."""
    room.cache.save(segment)
    await room.load(key_of(99))


async def test_what_was_saved_comes_back_with_its_vouchers(opened: Open) -> None:
    room = await opened()
    await saved(room)
    assert await room.load() == SEGMENT
    assert [key for key, _ in room.cache.held()] == [KEY]


async def test_it_outlives_the_agent(opened: Open, tmp_path: Path) -> None:
    first = await opened()
    await saved(first)
    await first.cache.close()
    again = await opened()
    assert [key for key, _ in again.cache.held()] == [KEY]
    assert await again.load() == SEGMENT


async def test_what_was_erased_or_never_there_is_nothing(opened: Open) -> None:
    room = await opened()
    await saved(room)
    room.cache.erase(KEY)
    assert await room.load() is None
    assert await room.load(key_of(2)) is None
    assert room.trouble == []


async def test_what_another_version_wrote_is_erased(opened: Open, tmp_path: Path) -> None:
    store = await open_store(tmp_path / "segments", 1_000_000, lambda code, detail: None)
    await store.save(KEY, b"\x93 not ours", b"bytes")
    await store.close()
    room = await opened()
    assert await room.load() is None
    assert room.cache.held() == []


async def test_a_directory_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "segments").write_text("a file")
    with pytest.raises(Unavailable):
        await Room().open(tmp_path / "segments")
