"""The one place of the coordinator that reads a clock."""

import time


def utc() -> float:
    """Seconds since 1970, for certificates, tokens and sightings; everything else uses the event loop's clock."""
    return time.time()  # noqa: TID251  # this is that one place
