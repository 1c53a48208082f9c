"""The live stream that everybody watches: its segments' names, times and bytes.

    LiveStream.edge(now)                     the newest segment that is listed
    LiveStream.segment(rendition, number)    one segment

Bytes are made once and shared by every node; they exist because the shipped assembly hashes them.
"""

import random
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256

from ecdn_proxy.core.values import Headers
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.sim.origin import OriginResource
from ecdn_proxy.sim.scenario import Scenario

STREAM = sha256(b"the stream").hexdigest()[:32]
_KEPT_BYTES = 64_000_000
_bodies: OrderedDict[tuple[int, int], bytes] = OrderedDict()


def _body(number: int, size: int) -> bytes:
    """Bytes that differ between segments; kept for the next site, up to `_KEPT_BYTES` of all."""
    found = _bodies.get((number, size))
    if found is None:
        found = _bodies[number, size] = random.Random(number * 1_000_003 + size).randbytes(size)
        while sum(key[1] for key in _bodies) > _KEPT_BYTES:
            _bodies.popitem(last=False)
    return found


@dataclass(eq=False, slots=True, kw_only=True)
class LiveSegment(OriginResource):
    """One segment of one rendition."""

    key: str
    number: int
    rendition: str
    headers: Headers
    wanted: int = 0
    """How often a player asked for the segment."""
    doomed: bool = False
    """The machine that fetches the segment goes away when half of it has come (`faults`)."""


class LiveStream:
    """One live stream; its segment 0 appears at `begins`, and every `segment_s` seconds the next one."""

    def __init__(self, scenario: Scenario, begins: Instant) -> None:
        stream = scenario.stream
        self.segment_s = stream.segment_s
        self.begins = begins
        self.bitrates_mbps = stream.bitrates_mbps
        self._sizes = [
            max(1_000, round(mbps * 1e6 / 8 * stream.segment_s / scenario.scale)) for mbps in stream.bitrates_mbps
        ]
        self._segments: dict[tuple[int, int], LiveSegment] = {}
        self.by_url: dict[str, LiveSegment] = {}

    def published_at(self, number: int) -> Instant:
        """When a segment is first listed."""
        return self.begins + number * self.segment_s

    def edge(self, now: Instant) -> int:
        """The newest segment listed."""
        return int((now - self.begins) / self.segment_s + 1e-9)

    def size_bytes(self, rendition: int) -> int:
        """Bytes of a segment of this rendition, scaled."""
        return self._sizes[rendition]

    def segment(self, rendition: int, number: int) -> LiveSegment:
        """One segment of one rendition, made when it is first asked for."""
        found = self._segments.get((rendition, number))
        if found is None:
            body = _body(number, self._sizes[rendition])
            url = f"https://origin.example/v{rendition}/{number}"
            key = sha256(url.encode()).hexdigest()
            headers = (
                ("content-type", "video/mp2t"),
                ("etag", f'"{key[:12]}"'),
                ("cache-control", "public, max-age=3600"),
            )
            found = LiveSegment(url=url, body=body, key=key, number=number, rendition=f"v{rendition}", headers=headers)
            self._segments[rendition, number] = self.by_url[url] = found
        return found

    def segments(self) -> list[LiveSegment]:
        """All segments that were made."""
        return list(self._segments.values())
