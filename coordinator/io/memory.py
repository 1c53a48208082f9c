"""Where the C library puts large buffers: `large_buffers_apart` (once per process)."""

import ctypes

LARGE_BYTES = 131_072
_M_MMAP_THRESHOLD = -3
"""Of glibc's <malloc.h>."""


def large_buffers_apart() -> bool:
    """From now on each buffer of 128 KiB or more lies in pages of its own; False where the C library is not glibc.

    uvloop keeps one of 256 KiB for each TLS connection, of which an agent uses the first page. glibc begins like this,
    but moves such buffers in among the small ones once one has been freed, and each then takes 7 KiB more (ADR 0047).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES))
