"""The commands that make namespaces, and whether this machine lets us.

Map:
    Refused      a command did not do what it was told; the message is its own
    run, batch   one command; many `ip` lines in one process
    inside       the command line that runs something in a namespace
    why_not      why no office can be built here, or None
"""

import functools
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

TUN = Path("/dev/net/tun")
_TOOLS = ("ip", "tc", "bridge", "nft", "ethtool")


class Refused(Exception):
    """A command failed."""


def run(*command: str, given: str | None = None) -> str:
    """What the command printed."""
    done = subprocess.run(command, capture_output=True, text=True, input=given, check=False)
    if done.returncode:
        raise Refused(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def batch(namespace: str, lines: Iterable[str]) -> None:
    """Many lines of `ip` in one process: half a second saved for each ten hosts."""
    run("ip", "-n", namespace, "-batch", "-", given="\n".join(lines) + "\n")


def inside(namespace: str, *command: str) -> list[str]:
    """`ip netns exec` also shows the process the hosts file of its namespace, and its /sys."""
    return ["ip", "netns", "exec", namespace, *command]


def nft(namespace: str, rules: str) -> None:
    run(*inside(namespace, "nft", "-f", "-"), given=rules)


@functools.cache
def why_not() -> str | None:
    """Tries every part of the kernel that an office needs, in a namespace made for it."""
    if os.geteuid():
        return "not root: an office needs network namespaces"
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        return f"{', '.join(missing)} missing (apt install iproute2 nftables ethtool)"
    if not TUN.exists():
        return f"{TUN} is missing"
    name = f"lab-try-{os.getpid()}"
    try:
        run("ip", "netns", "add", name)
    except Refused as error:
        return f"no network namespaces: {error}"
    try:
        batch(name, ["link add br0 type bridge", "link add v0 type veth peer name v1", "link set v0 master br0"])
        limit = "root tbf rate 1mbit burst 32kb latency 9ms"
        run("tc", "-n", name, "qdisc", "add", "dev", "v1", *limit.split())
        nft(name, "table ip nat { chain post { type nat hook postrouting priority 100; oifname v1 masquerade\n}\n}")
    except Refused as error:
        return f"the kernel lacks a part: {error}"
    finally:
        run("ip", "netns", "del", name)
    return None
