"""The figures of a simulated site, small enough to be sent between processes and added up.

Distribution   values in bins of 2 %: percentiles of any number of them, and two can be merged
SiteFigures    one site, or several added up
jain(values)   how fairly something is spread
"""

import math
from dataclasses import dataclass, field

_STEP = math.log(1.02)
LOAD_BINS = 240
"""Bins of a link's load over the event; each is one second until the event is longer than four minutes."""
_FLOOR = 1e-4
"""Smaller values are counted as this one."""


@dataclass(slots=True)
class Distribution:
    """How many values fell into each bin; the bins grow by 2 %."""

    bins: dict[int, int] = field(default_factory=dict)
    count: int = 0
    total: float = 0.0
    most: float = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        at = int(math.log(value / _FLOOR) / _STEP) if value > _FLOOR else 0
        self.bins[at] = self.bins.get(at, 0) + 1
        self.count += 1
        self.total += value
        self.most = max(self.most, value)

    def merge(self, other: "Distribution") -> None:
        """Count all values of another distribution."""
        for at, count in other.bins.items():
            self.bins[at] = self.bins.get(at, 0) + count
        self.count += other.count
        self.total += other.total
        self.most = max(self.most, other.most)

    def percentile(self, percent: float) -> float:
        """The value that `percent` of the values do not exceed; 0 without values."""
        if not self.count:
            return 0.0
        rank = percent / 100 * self.count
        seen = 0
        for at in sorted(self.bins):
            seen += self.bins[at]
            if seen >= rank:
                return 0.0 if at == 0 else min(self.most, _FLOOR * math.exp((at + 0.5) * _STEP))
        return self.most

    @property
    def mean(self) -> float:
        """The values' mean; 0 without values."""
        return self.total / self.count if self.count else 0.0


@dataclass(slots=True)
class SiteFigures:
    """One site's event. Bytes and rates are those of the office, whatever the scenario's `scale`."""

    name: str
    viewers: int
    wan_mbps: float
    lone_s: float
    """Seconds that a fetch of a segment of the top rendition takes on the idle link."""
    segments: int = 0
    """Segments that anybody wanted, each rendition counted."""
    viewer_bytes: float = 0.0
    unique_bytes: float = 0.0
    origin_bytes: float = 0.0
    steady_unique_bytes: float = 0.0
    steady_origin_bytes: float = 0.0
    """`unique_bytes` and `origin_bytes` of the segments that appeared after everybody had started."""
    manifest_mbps: float = 0.0
    link_mean_mbps: float = 0.0
    link_peak_mbps: float = 0.0
    """Of the busiest second."""
    load_bytes: list[float] = field(default_factory=list)
    """What the link carried in each bin of `load_bin_s` seconds since the first viewer."""
    load_bin_s: int = 1
    took: Distribution = field(default_factory=Distribution)
    """Seconds from a player's request to the whole segment, of segments asked for at the live edge."""
    added: Distribution = field(default_factory=Distribution)
    """`took`, less the seconds of a lone fetch on the idle link."""
    startup: Distribution = field(default_factory=Distribution)
    """Seconds from opening the player to its first picture."""
    outcomes: int = 0
    late: int = 0
    unfinished: int = 0
    stalls: int = 0
    stalled_s: float = 0.0
    viewers_stalled: int = 0
    watched_s: float = 0.0
    passed: int = 0
    """Segments that players fetched outside the swarm."""
    fetches: int = 0
    hedges: int = 0
    copies_worst: float = 0.0
    sources: dict[str, int] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)
    control_bytes: int = 0
    uploads_mb: list[float] = field(default_factory=list)
    links_most: int = 0
    no_room: int = 0
    conditions: dict[str, int] = field(default_factory=dict)
    digest: str = ""
    events: int = 0
    cpu_s: float = 0.0

    @property
    def offload(self) -> float:
        """The part of what viewers got that did not come through the site's link."""
        return 1 - self.origin_bytes / self.viewer_bytes if self.viewer_bytes else 0.0

    @property
    def bound(self) -> float:
        """The offload with exactly one copy of each segment that anybody wanted: 1 - R/N (R renditions, N viewers)."""
        return 1 - self.unique_bytes / self.viewer_bytes if self.viewer_bytes else 0.0

    @property
    def copies(self) -> float:
        """How often the origin sent a segment to the site, on average."""
        return self.origin_bytes / self.unique_bytes if self.unique_bytes else 0.0

    @property
    def steady_copies(self) -> float:
        """`copies` of the segments that appeared after everybody had started."""
        return self.steady_origin_bytes / self.steady_unique_bytes if self.steady_unique_bytes else 0.0

    def carried(self, by_second: dict[int, float], seconds: int) -> None:
        """Note what the link carried in each bin.

        Args:
            by_second: bytes, by whole seconds since the first viewer.
            seconds: how long the event is.
        """
        self.load_bin_s = -(-seconds // LOAD_BINS)
        self.load_bytes = [0.0] * -(-seconds // self.load_bin_s)
        for second, size in by_second.items():
            if 0 <= second < seconds:
                self.load_bytes[second // self.load_bin_s] += size

    def load_mbps(self) -> list[float]:
        """`load_bytes` as rates."""
        return [size * 8e-6 / self.load_bin_s for size in self.load_bytes]

    @property
    def control_per_viewer_s(self) -> float:
        """Messages other than pieces, per viewer and second."""
        messages = sum(count for kind, count in self.frames.items() if kind != "Piece")
        return messages / self.watched_s if self.watched_s else 0.0

    @property
    def late_rate(self) -> float:
        """The part of the segments that came after their player had run dry, or never."""
        return (self.late + self.unfinished) / max(1, self.outcomes + self.unfinished)

    def merge(self, other: "SiteFigures") -> None:
        """Add another site: counts, bytes and distributions add up, of peaks and worst cases the larger stays."""
        for name in (
            "viewers", "wan_mbps", "segments", "viewer_bytes", "unique_bytes", "origin_bytes", "manifest_mbps",
            "steady_unique_bytes", "steady_origin_bytes",
            "link_mean_mbps", "outcomes", "late", "unfinished", "stalls", "stalled_s", "viewers_stalled", "watched_s",
            "passed", "fetches", "hedges", "control_bytes", "no_room", "events", "cpu_s",
        ):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("lone_s", "link_peak_mbps", "copies_worst", "links_most"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))
        for name in ("took", "added", "startup"):
            getattr(self, name).merge(getattr(other, name))
        for name in ("sources", "frames", "conditions"):
            mine = getattr(self, name)
            for key, count in getattr(other, name).items():
                mine[key] = mine.get(key, 0) + count
        self.uploads_mb += other.uploads_mb
        # sites of one event are equally long
        missing = len(other.load_bytes) - len(self.load_bytes)
        self.load_bin_s = max(self.load_bin_s, other.load_bin_s)
        self.load_bytes += [0.0] * missing
        for at, size in enumerate(other.load_bytes):
            self.load_bytes[at] += size


def jain(values: list[float]) -> float:
    """Jain's index of fairness: 1 when all are equal, 1/n when one has all."""
    squares = sum(it * it for it in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0
