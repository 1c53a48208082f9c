"""Files that only this service may read, written whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: no lock, so IT must see to it that only one coordinator uses a folder
    fcntl = None  # type: ignore[assignment]


class AlreadyLocked(Exception):
    """Another process has the lock on the file."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep a lock on `path` against other processes; it is freed when this process ends, however it ends.

    Raises:
        AlreadyLocked: another process has the lock.
    """
    with path.open("w") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise AlreadyLocked(str(path)) from error
        yield


def write_private(path: Path, content: bytes) -> None:
    """Write `content` to `path`, readable for its owner only; readers see the old or the new, never a part."""
    draft = _draft(path, content)
    try:
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def create_private(path: Path, content: bytes) -> bytes:
    """Create `path` with `content` unless it exists; the answer is what it holds afterwards, whoever was first."""
    draft = _draft(path, content)
    try:
        os.link(draft, path)
    except FileExistsError:
        return path.read_bytes()
    finally:
        draft.unlink()
    return content


def _draft(path: Path, content: bytes) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp: mode 0600
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)
