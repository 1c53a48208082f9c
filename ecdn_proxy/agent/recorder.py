"""The file into which an agent records what its node is told and decides, for `ecdn-proxy replay`; bounded.

RecordFile(path, bytes_max)      write(line)      close(why)
"""

import os
from pathlib import Path

import msgspec
import structlog

from ecdn_proxy.core.recording import RecordingEnd

RECORD_MB = 64
"""A viewer's agent at 3 Mbit/s writes some 15 MB in an hour; a home of a large office ten times that."""
_ROOM_FOR_THE_END = 1_024
"""Bytes kept free for the last line."""
log = structlog.get_logger(__name__)


class RecordFile:
    """One recording, readable by this user only. It ends when it is full or the disk fails; the node goes on."""

    def __init__(self, path: Path, bytes_max: int) -> None:
        """Begin the file anew, for at most `bytes_max` bytes.

        Raises:
            OSError: the file cannot be written.
        """
        self._path = path
        self._left_bytes = bytes_max - _ROOM_FOR_THE_END
        self._file: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        if os.name == "posix":
            os.fchmod(self._file, 0o600)  # the file may have been there before, with other rights

    def write(self, line: bytes) -> None:
        """Write one line; after the end, nothing is written."""
        if self._file is None:
            return
        self._left_bytes -= len(line)
        if self._left_bytes < 0:
            self.close("the file is as large as it may be (--record-mb)")
            log.warning("the recording is full", path=str(self._path))
            return
        self._put(line)

    def close(self, why: str) -> None:
        """End the recording with a line that says why nothing follows."""
        if self._file is not None:
            self._put(msgspec.json.encode(RecordingEnd(why=why)) + b"\n")
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _put(self, line: bytes) -> None:
        assert self._file is not None
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except OSError as error:
            log.warning("the recording ended", path=str(self._path), why=error.strerror)
            os.close(self._file)
            self._file = None
