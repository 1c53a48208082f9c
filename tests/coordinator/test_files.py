"""Private files, whole or not at all."""

import stat
from pathlib import Path

import pytest

from coordinator.io.files import AlreadyLocked, create_private, locked, write_private


def test_written_private_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_private(path, b"1")
    write_private(path, b"2")
    assert path.read_bytes() == b"2"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_the_first_creator_wins(tmp_path: Path) -> None:
    assert create_private(tmp_path / "x", b"1") == b"1"
    assert create_private(tmp_path / "x", b"2") == b"1"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(OSError, match="x"):
        write_private(tmp_path / "x", b"1")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"), pytest.raises(AlreadyLocked), locked(tmp_path / "lock"):
        pass
    with locked(tmp_path / "lock"):
        pass
