"""What the origin remembers of every request, so that a claim about saved bytes can be checked at the source.

Map:
    Throttle     one speed limit over all connections
    Fault        trouble on demand: a status, a delay, a body that breaks off
    Entry        one answered request
    Ledger       all entries, and their sums by kind and by path
"""

import asyncio
import random
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from tests.demo.clock import seconds

SLICE_BYTES = 16 * 1024
_BURST_SECONDS = 0.02


class Throttle:
    """A token bucket: whoever writes a slice waits its turn, so connections share the limit evenly."""

    def __init__(self, megabits_a_second: float) -> None:
        self._bytes_a_second = megabits_a_second * 125_000
        self._busy_until = 0.0

    async def take(self, size: int) -> None:
        if self._bytes_a_second <= 0:
            return
        now = seconds()
        self._busy_until = max(self._busy_until, now) + size / self._bytes_a_second
        if (wait := self._busy_until - now - _BURST_SECONDS) > 0:
            await asyncio.sleep(wait)


@dataclass
class Fault:
    """Strikes requests whose path matches, `percent` of them, `times` times (0 = always)."""

    match: str
    status: int = 0
    delay_ms: int = 0
    truncate: int = -1
    percent: float = 100.0
    times: int = 0
    struck: int = 0

    @classmethod
    def read(cls, query: Mapping[str, str]) -> "Fault":
        return cls(
            match=re.compile(query.get("match", ".")).pattern,
            status=int(query.get("status", 0)),
            delay_ms=int(query.get("delay_ms", 0)),
            truncate=int(query.get("truncate", -1)),
            percent=float(query.get("percent", 100)),
            times=int(query.get("times", 0)),
        )

    def strikes(self, path: str, dice: random.Random) -> bool:
        if self.times and self.struck >= self.times:
            return False
        if not re.search(self.match, path) or dice.random() * 100 >= self.percent:
            return False
        self.struck += 1
        return True


@dataclass
class Entry:
    """One request. `bytes` were really written; `size` is the whole body's; status 0 = the client went away first."""

    at: float
    method: str
    path: str
    query: str
    kind: str = "other"
    status: int = 0
    bytes: int = 0
    size: int = 0
    range: str | None = None
    client: str = ""
    port: int = 0
    ms: float = 0.0


@dataclass
class Sum:
    """Requests and bytes of one path or of one kind; `distinct` counts each path once."""

    requests: int = 0
    bytes: int = 0
    not_modified: int = 0
    distinct: int = 0
    distinct_bytes: int = 0


@dataclass
class Ledger:
    """Everything answered since the start."""

    entries: list[Entry] = field(default_factory=list)
    kinds: dict[str, Sum] = field(default_factory=dict)
    paths: dict[str, Sum] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        kind = self.kinds.setdefault(entry.kind, Sum())
        path = self.paths.setdefault(entry.path, Sum())
        for total in (kind, path):
            total.requests += 1
            total.bytes += entry.bytes
            total.not_modified += entry.status == 304
        if entry.bytes and not path.distinct:
            path.distinct, path.distinct_bytes = 1, entry.size
            kind.distinct += 1
            kind.distinct_bytes += entry.size

    def counts(self) -> dict[str, object]:
        return {
            "kinds": {name: asdict(total) for name, total in self.kinds.items()},
            "paths": {name: asdict(total) for name, total in self.paths.items()},
        }
