import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from ecdn_proxy.io import disk_store
from ecdn_proxy.io.disk_store import DiskStore, StoredFile, open_store
from ecdn_proxy.wire.faults import Unavailable
from tests.io.waiting import Record

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("nothing_left")]
MB = 1_000_000
Open = Callable[..., Awaitable[DiskStore]]


def key(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture
def record() -> Record:
    return Record()


@pytest_asyncio.fixture
async def opened(tmp_path: Path, record: Record) -> AsyncIterator[Open]:
    stores: list[DiskStore] = []

    async def make(limit_bytes: int = 10 * MB, directory: Path | None = None) -> DiskStore:
        made = await open_store(directory or tmp_path / "segments", limit_bytes, record.tell("trouble"))
        stores.append(made)
        return made

    yield make
    for store in stores:
        await store.close()


async def test_saved_is_loaded_and_erased(opened: Open, tmp_path: Path) -> None:
    store = await opened()
    assert await store.save(key(1), b"meta", b"body" * 1_000)
    assert await store.load(key(1)) == StoredFile(b"meta", b"body" * 1_000)
    assert key(1) in store
    file = tmp_path / "segments" / key(1)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    await store.erase(key(1))
    assert await store.load(key(1)) is None
    assert not file.exists()
    assert store.used_bytes == 0
    await store.erase(key(1))


async def test_saved_twice_counts_once(opened: Open) -> None:
    store = await opened()
    await store.save(key(1), b"", b"x" * 1_000)
    once = store.used_bytes
    await store.save(key(1), b"", b"y" * 1_000)
    assert store.used_bytes == once
    assert await store.load(key(1)) == StoredFile(b"", b"y" * 1_000)


async def test_the_least_recently_used_goes_first(opened: Open) -> None:
    store = await opened(3_500)
    for number in (1, 2, 3):
        assert await store.save(key(number), b"", bytes(1_000))
    await store.load(key(1))
    assert await store.save(key(4), b"", bytes(1_000))
    assert [key(number) in store for number in (1, 2, 3, 4)] == [True, False, True, True]
    assert store.used_bytes <= 3_500
    assert not await store.save(key(5), b"", bytes(4_000))
    assert len(store) == 3


async def test_a_restart_keeps_segments_and_their_order(opened: Open, tmp_path: Path) -> None:
    store = await opened()
    for number in (1, 2, 3):
        await store.save(key(number), b"m", bytes(1_000))
    for age, number in enumerate((2, 3, 1)):
        os.utime(tmp_path / "segments" / key(number), (1_000 + age, 1_000 + age))
    (tmp_path / "segments" / f".{key(9)}.part").write_bytes(b"half")
    (tmp_path / "segments" / "notes.txt").write_text("not ours")
    again = await opened(2_300)
    assert [key(number) in again for number in (1, 2, 3)] == [True, False, True]
    assert await again.load(key(1)) == StoredFile(b"m", bytes(1_000))
    assert sorted(each.name for each in (tmp_path / "segments").iterdir()) == [key(1), key(3), "notes.txt"]


@pytest.mark.parametrize("at", [0, 9, 14, 40, 60, -1])
async def test_one_flipped_bit_is_found(opened: Open, tmp_path: Path, at: int) -> None:
    store = await opened()
    await store.save(key(1), b"meta", b"body" * 100)
    file = tmp_path / "segments" / key(1)
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)
    assert await store.load(key(1)) is None
    assert not file.exists()
    assert key(1) not in store


@pytest.mark.parametrize("length", [0, 5, 12, 30, 200])
async def test_a_cut_file_is_found(opened: Open, tmp_path: Path, length: int) -> None:
    store = await opened()
    await store.save(key(1), b"meta", b"body" * 100)
    os.truncate(tmp_path / "segments" / key(1), length)
    assert await store.load(key(1)) is None
    assert not (tmp_path / "segments" / key(1)).exists()


async def test_links_are_not_followed(opened: Open, tmp_path: Path) -> None:
    store = await opened()
    await store.save(key(1), b"meta", b"body")
    file, secret = tmp_path / "segments" / key(1), tmp_path / "secret"
    file.rename(secret)
    file.symlink_to(secret)
    assert await store.load(key(1)) is None
    assert secret.exists()
    (tmp_path / "segments" / f".{key(2)}.part").symlink_to(secret)
    before = secret.read_bytes()
    await store.save(key(2), b"", b"new")
    assert secret.read_bytes() == before
    (tmp_path / "elsewhere").symlink_to(tmp_path / "segments")
    with pytest.raises(Unavailable, match="not a directory of its own"):
        await opened(directory=tmp_path / "elsewhere")


@pytest.mark.parametrize("name", ["../" + "a" * 61, "A" * 64, "a" * 63, "a" * 63 + "\n", "a" * 63 + "\0", ""])
async def test_only_digests_are_names(opened: Open, name: str) -> None:
    store = await opened()
    with pytest.raises(ValueError, match="hex"):
        await store.save(name, b"", b"")
    with pytest.raises(ValueError, match="hex"):
        await store.load(name)
    with pytest.raises(ValueError, match="hex"):
        await store.erase(name)


async def test_a_full_disk_is_told_once_and_reading_goes_on(
    opened: Open, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await opened()
    await store.save(key(1), b"", b"kept")

    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert await asyncio.gather(*(store.save(key(number), b"", b"x") for number in (2, 3, 4))) == [False] * 3
    code, detail = await record.first("trouble")
    assert code == "disk_full"
    assert "No space" in detail
    assert store.read_only
    assert not await store.save(key(5), b"", b"x")
    assert len(record.told) == 1
    assert await store.load(key(1)) == StoredFile(b"", b"kept")


async def test_a_file_in_the_way_is_said(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot keep segments"):
        await opened(directory=tmp_path / "file" / "segments")


async def test_a_slow_disk_holds_a_bounded_amount(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_store, "WAITING_BYTES_MAX", 3_000)
    store = await opened()
    kept = await asyncio.gather(*(store.save(key(number), b"", bytes(1_000)) for number in range(5)))
    assert kept == [True, True, False, False, False]


async def test_clear(opened: Open) -> None:
    store = await opened()
    for number in range(5):
        await store.save(key(number), b"", b"x")
    await store.clear()
    assert len(store) == store.used_bytes == 0
