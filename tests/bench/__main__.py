"""Measurements, by name: python -m tests.bench agent|child|coordinator|… [options]; each has --help."""

import sys
from collections.abc import Callable

from tests.bench import agent, child, coordinator, flat, growing, home, links, lowlatency, p2pml, proxy, renditions, rtc

BENCHES: dict[str, Callable[[], None]] = {
    "agent": agent.main,
    "child": child.main,
    "coordinator": coordinator.main,
    "flat": flat.main,
    "growing": growing.main,
    "home": home.main,
    "links": links.main,
    "lowlatency": lowlatency.main,
    "p2pml": p2pml.main,
    "proxy": proxy.main,
    "renditions": renditions.main,
    "rtc": rtc.main,
}


def main() -> int:
    """Hand the rest of the command line to the measurement that it names."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in BENCHES:
        print(f"usage: python -m tests.bench {'|'.join(BENCHES)} [options]", file=sys.stderr)
        return 2
    del sys.argv[1]
    BENCHES[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
