"""Whole segments on disk, one file each, so that a replay or a restart needs no origin.

    open_store(...)       makes the directory and reads which segments lie there
    DiskStore
        save(key, meta, body)    whether the segment is kept
        load(key)                a StoredFile, or None: it is not here, or it was damaged (then it is erased)
        erase(key)   clear()   held()   close()

A file holds, in this order: magic bytes, the head's length (4 bytes), the head (lengths and SHA-256 in MessagePack),
`meta`, and the body. A file's name is the 64 hex digits of the segment's key and nothing else, so no name can leave the
directory. A file is written under another name and renamed, so a crash leaves no half segment. Symbolic links are never
followed. One worker thread does all disk work, in order. Beyond the limit the segment that was used longest ago goes
first; the files' times keep that order over a restart.

Nothing is synchronised (fsync): what a power cut damages is found by its hash and erased.
"""

import asyncio
import contextlib
import errno
import functools
import hashlib
import os
import re
import stat
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ecdn_proxy.wire.faults import Unavailable

WAITING_BYTES_MAX = 67_108_864
"""Bytes of segments that wait for a slow disk; beyond them new segments are not kept."""
META_BYTES_MAX = 4_194_304
_MAGIC = b"ecdnseg1"
_HEAD_BYTES_MAX = 128
_PREFIX = len(_MAGIC) + 4
_KEY = re.compile(r"[0-9a-f]{64}")
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR}
"""Faults of the moment, not of the file."""
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


class _Head(msgspec.Struct, frozen=True, array_like=True):
    meta_bytes: int
    body_bytes: int
    sha256: bytes


_read_head = msgspec.msgpack.Decoder(_Head).decode


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One segment as it was saved."""

    meta: bytes = field(repr=False)
    body: bytes = field(repr=False)


class _Damaged(Exception):
    pass


async def open_store(directory: Path, limit_bytes: int, trouble: Callable[[str, str], None]) -> "DiskStore":
    """Open or make a store of at most `limit_bytes`.

    `trouble(code, detail)` is called once, on the event loop, when the store can no longer write: the code is
    `disk_full` or `disk_failed`. The store still reads then.

    Raises:
        Unavailable: the directory cannot be used.
    """
    store = DiskStore(directory, limit_bytes, trouble)
    try:
        await store.begin()
    except BaseException:
        await store.close()
        raise
    return store


class DiskStore:
    """Segments on disk, made by `open_store`; belongs to one event loop."""

    def __init__(self, directory: Path, limit_bytes: int, trouble: Callable[[str, str], None]) -> None:
        self._directory = directory
        self._limit_bytes = limit_bytes
        self._trouble = trouble
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._waiting_bytes = 0
        self.used_bytes = 0
        """What all files take together."""
        self.read_only = False
        """Writing has failed: nothing is kept any more."""

    def __contains__(self, key: str) -> bool:
        return key in self._sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def held(self) -> list[tuple[str, int]]:
        """What lies here: keys and sizes in bytes, least recently used first."""
        return list(self._sizes.items())

    async def begin(self) -> None:
        """Make the directory and read what lies there."""
        await self._work(self._begin)

    async def save(self, key: str, meta: bytes, body: bytes) -> bool:
        """Keep a segment; False when it is too large, or the disk too slow or full."""
        size = _PREFIX + _HEAD_BYTES_MAX + len(meta) + len(body)
        if self.read_only or size > self._limit_bytes or len(meta) > META_BYTES_MAX:
            return False
        if self._waiting_bytes + size > WAITING_BYTES_MAX:
            return False
        self._waiting_bytes += size
        try:
            return await self._work(functools.partial(self._save, _checked(key), meta, body))
        finally:
            self._waiting_bytes -= size

    async def load(self, key: str) -> StoredFile | None:
        """Read a segment and check its hash; None when it is not here or damaged."""
        return await self._work(functools.partial(self._load, _checked(key)))

    async def erase(self, key: str) -> None:
        """Remove a segment."""
        await self._work(functools.partial(self._erase, _checked(key)))

    async def clear(self) -> None:
        """Remove every segment."""
        await self._work(self._clear)

    async def close(self) -> None:
        """Finish what waits for the disk, and end the thread."""
        await self._loop.run_in_executor(None, self._thread.shutdown)

    async def _work[T](self, work: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._thread, work)

    # ---- on the worker thread

    def _begin(self) -> None:
        directory = self._directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not stat.S_ISDIR(directory.lstat().st_mode):
                raise Unavailable(f"{directory} is not a directory of its own")
            found = []
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.name.startswith(".") and entry.name.endswith(".part"):
                        Path(entry.path).unlink()
                    elif _KEY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                        about = entry.stat(follow_symlinks=False)
                        found.append((about.st_mtime_ns, entry.name, about.st_size))
            probe = directory / ".probe.part"
            os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | _NOFOLLOW, 0o600))
            probe.unlink()
        except OSError as error:
            raise Unavailable(f"cannot keep segments in {directory}: {error.strerror}") from error
        for _, name, size in sorted(found):
            self._sizes[name] = size
            self.used_bytes += size
        self._make_room(0)

    def _save(self, key: str, meta: bytes, body: bytes) -> bool:
        if self.read_only:
            return False
        digest = hashlib.sha256(meta)
        digest.update(body)
        head = msgspec.msgpack.encode(_Head(len(meta), len(body), digest.digest()))
        size = _PREFIX + len(head) + len(meta) + len(body)
        part = self._directory / f".{key}.part"
        try:
            self._make_room(size, keep=key)
            with contextlib.suppress(FileNotFoundError):
                part.unlink()
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                for block in (_MAGIC, len(head).to_bytes(4, "big"), head, meta, body):
                    file.write(block)
            part.replace(self._directory / key)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            self._give_up(error)
            return False
        self.used_bytes += size - self._sizes.pop(key, 0)
        self._sizes[key] = size
        return True

    def _load(self, key: str) -> StoredFile | None:
        if key not in self._sizes:
            return None
        try:
            descriptor = os.open(self._directory / key, os.O_RDONLY | _NOFOLLOW)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise _Damaged
                stored = _read(file.read(self._limit_bytes + _PREFIX + _HEAD_BYTES_MAX))
            os.utime(self._directory / key, follow_symlinks=os.utime not in os.supports_follow_symlinks)
        except _Damaged:
            self._erase(key)
            return None
        except OSError as error:
            if error.errno not in _PASSING:
                self._erase(key)
            return None
        self._sizes.move_to_end(key)
        return stored

    def _erase(self, key: str) -> None:
        self.used_bytes -= self._sizes.pop(key, 0)
        with contextlib.suppress(OSError):
            (self._directory / key).unlink()

    def _clear(self) -> None:
        for key in list(self._sizes):
            self._erase(key)

    def _make_room(self, size: int, keep: str = "") -> None:
        """Erase what was used longest ago until `size` more bytes fit; `keep` is about to be replaced."""
        while self._sizes and self.used_bytes - self._sizes.get(keep, 0) + size > self._limit_bytes:
            oldest = next(iter(self._sizes))
            if oldest == keep:
                self._sizes.move_to_end(keep)
                continue
            self._erase(oldest)

    def _give_up(self, error: OSError) -> None:
        if self.read_only:
            return
        self.read_only = True
        code = "disk_full" if error.errno in _FULL else "disk_failed"
        detail = f"segments are no longer kept in {self._directory}: {error.strerror}"
        with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile: nobody listens any more
            self._loop.call_soon_threadsafe(self._trouble, code, detail)


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError("a key is 64 hex digits")
    return key


def _read(data: bytes) -> StoredFile:
    """Meta and body of a file's bytes, hash and lengths checked."""
    head_bytes = int.from_bytes(data[len(_MAGIC) : _PREFIX], "big")
    if data[: len(_MAGIC)] != _MAGIC or head_bytes > _HEAD_BYTES_MAX:
        raise _Damaged
    try:
        head = _read_head(data[_PREFIX : _PREFIX + head_bytes])
    except (msgspec.MsgspecError, ValueError) as error:
        raise _Damaged from error
    with memoryview(data) as view, view[_PREFIX + head_bytes :] as rest:
        if head.meta_bytes < 0 or head.body_bytes < 0 or len(rest) != head.meta_bytes + head.body_bytes:
            raise _Damaged
        if hashlib.sha256(rest).digest() != head.sha256:
            raise _Damaged
        return StoredFile(bytes(rest[: head.meta_bytes]), bytes(rest[head.meta_bytes :]))
