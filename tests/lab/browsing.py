"""Chromium on a host: runs inside its namespace, plays a page through the agent's PAC, prints what the page measured.

ip netns exec NAMESPACE python -m tests.lab.browsing --url URL --pac URL --ca FILE --seconds 20
"""

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

from tests.demo import browser


def main() -> int:
    parser = argparse.ArgumentParser(description="Plays a page in Chromium.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--pac", help="without one the browser goes straight to the origin")
    parser.add_argument("--ca", type=Path, required=True, help="the only root that it trusts")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--at", type=float, default=0.0, help="the wall time at which the page starts its player")
    parser.add_argument("--flag", action="append", default=[], help="one of Chromium's own")
    parser.add_argument("--act", nargs=2, action="append", default=[], metavar=("SECONDS", "SCRIPT"))
    parser.add_argument("--screenshot", type=Path)
    options = parser.parse_args()
    try:
        report = asyncio.run(
            browser.play(
                options.url,
                seconds=options.seconds,
                ca_files=[options.ca],
                pac_url=options.pac,
                screenshot=options.screenshot,
                at=options.at,
                flags=options.flag,
                acts=[browser.Act(float(after), script) for after, script in options.act],
            )
        )
    except browser.Unavailable as error:
        sys.exit(str(error))
    sys.stdout.write(json.dumps(asdict(report) | {"played": report.played}, default=str) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
