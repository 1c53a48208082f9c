"""Ends the demo's processes when the demo itself is gone, however it went: its pipe closes, and this process acts.

Reads lines "add PID" and "del PID" (leaders of process groups) from standard input until its end.
"""

import contextlib
import os
import signal
import sys
import time

GRACE_SECONDS = 2.0


def end(groups: set[int]) -> None:
    """Asks each group to end, and after a grace ends it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for group in groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)
        if groups and number is signal.SIGTERM:
            time.sleep(GRACE_SECONDS)


def main() -> None:
    groups: set[int] = set()
    for line in sys.stdin:
        word, _, pid = line.partition(" ")
        (groups.add if word == "add" else groups.discard)(int(pid))
    end(groups)


if __name__ == "__main__":
    main()
