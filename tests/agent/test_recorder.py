"""The recording's file: bounded, private, and never in the way."""

import os
import stat
from pathlib import Path

import pytest

from ecdn_proxy.agent.recorder import RecordFile


def test_what_is_written_stands_there_and_nothing_follows_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("of an earlier run")
    file = RecordFile(path, 10_000)
    file.write(b"one\n")
    file.close("enough")
    file.close("again")
    file.write(b"two\n")
    assert path.read_bytes() == b'one\n{"is":"end","why":"enough"}\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_ends_when_it_is_full(tmp_path: Path) -> None:
    path = tmp_path / "x"
    file = RecordFile(path, 3_000)
    for _ in range(100):
        file.write(b"a" * 99 + b"\n")
    assert path.stat().st_size < 3_000
    assert path.read_text().endswith('"why":"the file is as large as it may be (--record-mb)"}\n')


def test_a_disk_that_is_full_ends_the_recording_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = RecordFile(tmp_path / "x", 10_000)

    def full(number: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    file.write(b"one\n")
    file.write(b"two\n")
    file.close("")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        RecordFile(tmp_path / "none" / "x", 10_000)
