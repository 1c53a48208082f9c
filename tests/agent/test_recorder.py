"""The recording's file: bounded, private, and never in the way."""

import os
import stat
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from structlog.testing import capture_logs

from ecdn_proxy.agent.recorder import RecordFile
from tests.agent.origins import BODY
from tests.agent.systems import started


def test_what_is_written_stands_there_and_nothing_follows_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("of an earlier run\n" * 100)
    file = RecordFile(path, 10_000)
    file.write(b"one\n")
    file.close("enough")
    file.close("again")
    file.write(b"two\n")
    assert path.read_bytes() == b'one\n{"is":"end","why":"enough"}\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_line_that_the_system_takes_in_pieces_stands_there_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda number, data: write(number, data[:3]))
    file = RecordFile(tmp_path / "x", 10_000)
    file.write(b"a longer line\n")
    file.close("enough")
    assert (tmp_path / "x").read_bytes() == b'a longer line\n{"is":"end","why":"enough"}\n'


def test_it_ends_when_it_is_full_and_keeps_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "x"
    file, line = RecordFile(path, 3_000), b"a" * 99 + b"\n"
    with capture_logs() as said:
        for _ in range(100):
            file.write(line)
        file.write(b"short\n")
    *kept, end = path.read_bytes().splitlines(keepends=True)
    assert kept == [line] * 19, "a kilobyte stays free for the end"
    assert end == b'{"is":"end","why":"the file is as large as it may be (--record-mb)"}\n'
    assert path.stat().st_size < 3_000
    assert [(it["event"], it["path"]) for it in said] == [("the recording is full", str(path))]


def descriptors() -> int:
    return psutil.Process().num_fds()


@pytest.mark.skipif(os.name != "posix", reason="Windows counts no descriptors")
def test_its_end_gives_the_descriptor_back(tmp_path: Path) -> None:
    before = descriptors()
    file = RecordFile(tmp_path / "x", 10_000)
    assert descriptors() == before + 1
    file.close("enough")
    assert descriptors() == before


@pytest.mark.skipif(os.name != "posix", reason="Windows counts no descriptors")
@pytest.mark.parametrize("room", [0, 2])
def test_a_disk_that_is_full_ends_the_recording_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Nothing follows the gap, also when there is room again: what is replayed must not leave anything out."""
    open_before = descriptors()
    file, path, write = RecordFile(tmp_path / "x", 10_000), tmp_path / "x", os.write
    file.write(b"before\n")
    left = room

    def full(number: int, data: bytes) -> int:
        nonlocal left
        if not left:
            raise OSError(28, "No space left on device")
        taken, left = write(number, data[:left]), 0
        return taken

    with monkeypatch.context() as patched, capture_logs() as said:
        patched.setattr(os, "write", full)
        file.write(b"one\n")
    file.write(b"two\n")
    file.close("enough")
    assert path.read_bytes() == b"before\n" + b"one\n"[:room]
    assert [(it["event"], it["why"]) for it in said] == [("the recording ended", "No space left on device")]
    assert descriptors() == open_before


@pytest.mark.asyncio
@pytest.mark.usefixtures("nothing_left")
async def test_viewers_notice_nothing_of_a_recording_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    async with started(tmp_path / "state", RecordFile(path, 1_000_000)) as agent:
        await agent.watch()
        await agent.play("1.ts")
        written = path.read_bytes()
        assert b"served segment 1 from origin" in written

        def full(number: int, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("ecdn_proxy.agent.recorder.os", SimpleNamespace(write=full, close=os.close))
        assert (await agent.play("2.ts"))[1] == BODY
        assert "restarted-within" not in agent.codes()
    assert path.read_bytes() == written


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        RecordFile(tmp_path / "none" / "x", 10_000)
