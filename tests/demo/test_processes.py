"""Child processes: how they are started and ended."""

import os
from pathlib import Path

import pytest

from tests.demo.processes import Processes


def _nice_of_group(pid: int) -> int | None:
    """Of its session, where the kernel schedules by session."""
    group = Path(f"/proc/{pid}/autogroup")
    return int(group.read_text().split()[-1]) if group.exists() else None


@pytest.mark.asyncio
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may put a process before others")
async def test_what_is_measured_goes_before_the_machines_other_work(tmp_path: Path) -> None:
    processes, before = Processes(tmp_path), os.getpriority(os.PRIO_PROCESS, 0)
    child = await processes.start("sleep", ["sleep", "60"])
    try:
        assert os.getpriority(os.PRIO_PROCESS, child.pid) == -10
        assert _nice_of_group(child.pid) in {None, -10}
        assert os.getpriority(os.PRIO_PROCESS, 0) == before
    finally:
        await processes.close()
