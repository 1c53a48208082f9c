"""Files that only this service may read, written whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: no lock; two coordinators on one folder are then IT's to avoid
    fcntl = None  # type: ignore[assignment]


class InUse(Exception):
    """Another process holds the file."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold `path` against other processes; it is let go when this process ends, however it ends.

    Raises:
        InUse: another process holds it.
    """
    with path.open("w") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InUse(str(path)) from error
        yield


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, readable for the owner only; a reader sees the old or the new, never a part."""
    draft = _draft(path, content)
    try:
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def create_private(path: Path, content: bytes) -> bytes:
    """Create `path` unless it exists; what stands there afterwards, whoever came first."""
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
