"""How many files and sockets this process may hold open at once: `raise_descriptor_limit`."""

import contextlib
import sys

if sys.platform != "win32":
    import resource


def raise_descriptor_limit(wanted: int) -> int:
    """Lift this process's own limit, usually 1,024 on Linux and 256 on macOS, to `wanted` or as far as it may.

    Returns how many descriptors it may have, at most `wanted` unless it had more before.
    """
    if sys.platform == "win32":
        return wanted  # sockets there are not counted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < most:
        with contextlib.suppress(OSError, ValueError):  # macOS has a limit of its own that no call tells
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
