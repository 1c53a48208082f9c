"""The one place of the demo that reads a clock.

Map:
    seconds()   for durations: never jumps
    wall()      for what is published: seconds since 1970
    stamp()     a wall time in the form that manifests and `/time` use
"""

import time
from datetime import UTC, datetime


def seconds() -> float:
    return time.monotonic()  # noqa: TID251 - this file is the demo's clock


def wall() -> float:
    return time.time()  # noqa: TID251 - this file is the demo's clock


def stamp(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
