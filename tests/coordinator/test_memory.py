"""Large buffers stay out of the heap also after some have been freed."""

import subprocess
import sys

import pytest

COUNT = """
import ctypes
from coordinator.io.memory import map_large_buffers

names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]
info = ctypes.CDLL(None).mallinfo2
info.restype = Info

done = map_large_buffers() if {apart} else True
bytes(1_000_000)  # glibc learns from what is freed
before = info().hblks
kept = [bytes(262_144) for _ in range(10)]
print(done, info().hblks - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator only")
def test_large_buffers_lie_in_pages_of_their_own() -> None:
    def mapped(*, apart: bool) -> str:
        run = subprocess.run(
            [sys.executable, "-c", COUNT.format(apart=apart)], capture_output=True, text=True, check=True
        )
        return run.stdout.strip()

    assert mapped(apart=True) == "True 10"
    assert mapped(apart=False) == "True 0", "else it is needed no more"
