"""Where the C library puts large buffers: `map_large_buffers`, called once per process."""

import ctypes

LARGE_BYTES = 131_072
_M_MMAP_THRESHOLD = -3
"""The parameter's number in glibc's <malloc.h>."""


def map_large_buffers() -> bool:
    """From now on each buffer of 128 KiB or more lies in pages of its own; False where the C library is not glibc.

    uvloop keeps a buffer of 256 KiB for each TLS connection, and an agent's messages fill only its first page. glibc
    begins by giving such buffers pages of their own, but puts them among the small ones once one has been freed; each
    connection then takes 7 KiB more (ADR 0047).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES))
