"""Takes namespaces away when their maker is done with them, or gone, however it went: its pipe closes, and this acts.

Reads names of namespaces from standard input until its end. Then it ends whatever still runs in them (a shell that
somebody opened there, a browser's helper) and deletes them, with the files of `ip netns exec`.
"""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.lab import shell

ETC = Path("/etc/netns")


def remove(names: Sequence[str]) -> None:
    """What is inside first, so that no interface stays alive with its process."""
    for name in names:
        with contextlib.suppress(shell.Refused):
            for pid in map(int, shell.run("ip", "netns", "pids", name).split()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    for name in names:
        with contextlib.suppress(shell.Refused):
            shell.run("ip", "netns", "del", name)
        shutil.rmtree(ETC / name, ignore_errors=True)


def main() -> None:
    # Whoever interrupts the tests means the tests; this process ends when their pipe does.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    remove([line.strip() for line in sys.stdin])


if __name__ == "__main__":
    main()
