"""The limit of files and sockets that this process may hold open at once: `raise_descriptor_limit` lifts it."""

import contextlib
import sys

if sys.platform != "win32":
    import resource


def raise_descriptor_limit(wanted: int) -> int:
    """Lift this process's limit of open descriptors to `wanted`, or as far as the system lets it.

    The limit is usually 1,024 on Linux and 256 on macOS. Returns how many descriptors the process may have now: at most
    `wanted`, unless it was allowed more before.
    """
    if sys.platform == "win32":
        return wanted  # Windows does not count sockets
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < most:
        with contextlib.suppress(OSError, ValueError):  # macOS has a further limit that no call tells
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
