"""The one model into which manifests of every format are read.

Map: `Format`, `SegmentKind` · `Segment` (a URL that a manifest writes out) · `Template` with its `Timeline` of
`TimelineRun`s (URLs that a player computes) · `Rendition` · `PatchBase` (what the next MPD patch changes) ·
`Presentation` · `ManifestError` (nothing of a manifest can be used) · `Notices` (what of one was left out).

A template is never expanded into its URLs, so a repeat count of 500,000 costs one `TimelineRun`.

Times: `utc` is seconds since 1970. Durations are seconds, unless the name ends in `_ticks`: those are units of
1/`timescale` seconds.
"""

import math
import re
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Final

from ecdn_proxy.core.values import ByteRange


class Format(StrEnum):
    """The manifest formats that are understood."""

    HLS = "hls"
    DASH = "dash"
    SMOOTH = "smooth"


class SegmentKind(StrEnum):
    """What a listed resource holds: media, an initialization section, or a segment index (sidx, Cues).

    PART is what a low-latency playlist lists besides: a part of a segment, or what it hints at before that exists.
    """

    MEDIA = "media"
    INIT = "init"
    INDEX = "index"
    PART = "part"


class ManifestError(Exception):
    """A manifest that cannot be used. Its viewer plays on, straight from the origin.

    Attributes:
        what: what is wrong.
        where: the place in the manifest.
        cure: what its author, or an administrator, can do.
    """

    def __init__(self, what: str, where: str, cure: str) -> None:
        super().__init__(f"{what} ({where}); {cure}")
        self.what = what
        self.where = where
        self.cure = cure


NOTICES_MAX: Final = 20
"""The most sentences about parts of one manifest that were left out. A person reads the first few; the rest is
counted."""


class Notices:
    """What of one manifest was left out because it is wrong, while the rest is used. Each notice is one sentence.

    People read them on the status page, so no path and no query of a URL stands in them: these may hold tokens.
    """

    def __init__(self) -> None:
        self._said: dict[str, None] = {}
        self._more = 0

    def left_out(self, what: str, why: object) -> None:
        """Note that a part was left out.

        Args:
            what: the part, as in `Representation "v1"` or `a segment`.
            why: what is wrong with it, a sentence or the error.
        """
        sentence = f"{what}: {str(why)[:120]}"
        if len(self._said) < NOTICES_MAX or sentence in self._said:
            self._said[sentence] = None
        else:
            self._more += 1

    def sentences(self) -> tuple[str, ...]:
        """The notices, each once, and how many more there were."""
        return (*self._said, *((f"and {self._more} more",) if self._more else ()))


@dataclass(frozen=True, slots=True)
class Segment:
    """A resource, or a range of one, that a manifest lists.

    Attributes:
        url: absolute, as the player asks for it.
        byte_range: the range that is listed; None for the whole resource; `ANY_RANGE` for any range of it.
        duration_s: seconds of media; 0.0 for init and index.
        number: the media sequence number, one more for each media segment; for init and index the number of the next
            media segment.
        kind: media, init or index.
        alternatives: other URLs (several BaseURLs) that hold the same bytes, as the manifest's author declares.
    """

    url: str
    byte_range: ByteRange | None
    duration_s: float
    number: int
    kind: SegmentKind = SegmentKind.MEDIA
    alternatives: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TimelineRun:
    """Segments of one length in a row.

    Attributes:
        start_ticks: where the first segment begins on the media timeline.
        duration_ticks: the length of each segment, more than 0.
        count: how many segments; None if they go on until the next run or the end.
        number: the number of the first segment.
    """

    start_ticks: int
    duration_ticks: int
    count: int | None
    number: int

    def end_ticks(self) -> int:
        """Where the last known segment ends; a run without `count` counts as one segment."""
        return self.start_ticks + self.duration_ticks * (1 if self.count is None else self.count)


@dataclass(frozen=True, slots=True)
class TemplateSegment:
    """One segment of a template: its number, its start on the media timeline, and its duration."""

    number: int
    start_ticks: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """The runs of a DASH SegmentTimeline or a Smooth chunk list, in ascending order of time and number.

    Attributes:
        runs: at least one.
        open_ended: whether any time after the last listed one is accepted. A live Smooth stream tells later chunk
            times inside the media.
    """

    runs: tuple[TimelineRun, ...]
    open_ended: bool = False

    def at_time(self, ticks: int) -> tuple[TimelineRun, int] | None:
        """The segment that starts exactly at `ticks`: its run and its place in the run; None if there is none."""
        at = bisect_right(self.runs, ticks, key=_start) - 1
        if at < 0:
            return None
        run = self.runs[at]
        place, odd = divmod(ticks - run.start_ticks, run.duration_ticks)
        if odd == 0 and (run.count is None or place < run.count):
            return run, place
        if self.open_ended and at == len(self.runs) - 1 and ticks >= run.end_ticks():
            return run, max(place, 1 if run.count is None else run.count)
        return None

    def at_number(self, number: int) -> tuple[TimelineRun, int] | None:
        """The segment with this number: its run and its place in the run; None if there is none."""
        at = bisect_right(self.runs, number, key=_number) - 1
        if at < 0:
            return None
        run = self.runs[at]
        place = number - run.number
        return (run, place) if run.count is None or place < run.count else None

    def writes_out(self, ticks: int) -> bool:
        """Whether the manifest itself says that a segment starts at `ticks`, instead of leaving it to the clock."""
        hit = self.at_time(ticks)
        return hit is not None and hit[0].count is not None

    def after(self, older: "Timeline", keep_ticks: int) -> "Timeline":
        """This timeline with the runs of `older` before it that end where this one begins or earlier.

        Runs that end more than `keep_ticks` before this timeline are left out.
        """
        begin = self.runs[0].start_ticks
        kept = tuple(r for r in older.runs if r.end_ticks() <= begin and r.end_ticks() > begin - keep_ticks)
        partly = tuple(
            replace(r, count=(begin - r.start_ticks) // r.duration_ticks)
            for r in older.runs
            if r.start_ticks < begin < r.end_ticks() and begin - r.start_ticks >= r.duration_ticks
        )
        return replace(self, runs=kept + partly + self.runs)


def _start(run: TimelineRun) -> int:
    return run.start_ticks


def _number(run: TimelineRun) -> int:
    return run.number


_VARIABLE = re.compile(r"\$(?:(Number|Time)(?:%0(\d{1,2})d)?)?\$")
VARIABLES_MAX: Final = 4
"""The most variables in one template URL. Real ones have one, rarely two; the limit bounds the matcher's
backtracking."""
SKEW_S: Final = 10.0
"""How much this machine's clock may differ from the origin's, in seconds, where nothing is known of the origin's
clock. NTP keeps offices well inside it, and a segment that counts as listed too early costs nothing: the origin answers
404, which is passed on."""


def literal(text: str) -> str:
    """`text` as it must stand in a template pattern to mean itself: each "$" is doubled."""
    return text.replace("$", "$$")


def fill(pattern: str, *, number: int, time: int) -> str:
    """The URL that a template pattern gives for this number and time (ISO/IEC 23009-1, 5.3.9.4.4)."""

    def value(match: re.Match[str]) -> str:
        if match[1] is None:
            return "$"
        return str(number if match[1] == "Number" else time).zfill(int(match[2] or 1))

    return _VARIABLE.sub(value, pattern)


@lru_cache(maxsize=4096)
def matcher(pattern: str) -> re.Pattern[str] | None:
    """A regular expression for the URLs that `fill` makes of a pattern, with groups `Number` and `Time`.

    None if the pattern has no variable, or more than `VARIABLES_MAX`. Widths are exact: `%05d` matches 00042 and 123456
    but neither 42 nor 000042, so a segment has only one spelling.
    """
    out: list[str] = []
    seen: set[str] = set()
    at = variables = 0
    for found in _VARIABLE.finditer(pattern):
        out.append(re.escape(pattern[at : found.start()]))
        at = found.end()
        name = found[1]
        if name is None:
            out.append(re.escape("$"))
            continue
        variables += 1
        width = int(found[2] or 1)
        digits = rf"\d{{{width}}}|[1-9]\d{{{width},20}}" if width > 1 else r"\d|[1-9]\d{1,20}"
        out.append(
            f"(?P={name})" if name in seen and not found[2] else f"(?P<{name}>{digits})" if name not in seen else ""
        )
        if out[-1] == "":  # the same variable in two widths, which no server writes
            return None
        seen.add(name)
    out.append(re.escape(pattern[at:]))
    return re.compile("".join(out), re.ASCII) if 0 < variables <= VARIABLES_MAX else None


@dataclass(frozen=True, slots=True)
class Template:
    """URLs that the player computes from a number or a time.

    Attributes:
        patterns: absolute URL patterns with `$Number$`, `$Number%05d$`, `$Time$` and `$$` inside; several are
            alternatives of each other.
        timescale: ticks per second.
        start_number: the number of the first segment.
        start_ticks: the media time at which the period starts (presentationTimeOffset).
        duration_ticks: the length of each segment, if there is no timeline.
        timeline: times and numbers, if the manifest writes them out.
        available_from_utc: when the period began (availabilityStartTime + period start); None if it is not live.
        ahead_s: how long before it is complete a segment may be asked for (availabilityTimeOffset, of the template and
            of the BaseURLs together); infinite for "INF".
        depth_s: how long a segment stays available (timeShiftBufferDepth); None is for ever.
        period_s: length of the period; None while it goes on.
        end_number: the number of the last segment (endNumber); None if the manifest does not say.
        behind_s: how far the earliest known clock is behind this machine's, in seconds, 0.0 or more.
        before_s: how far the latest known clock is before this machine's, in seconds, 0.0 or more. Clocks are this
            machine's, the origin's, and that of UTCTiming, by which players go.
    """

    patterns: tuple[str, ...]
    timescale: int = 1
    start_number: int = 1
    start_ticks: int = 0
    duration_ticks: int | None = None
    timeline: Timeline | None = None
    available_from_utc: float | None = None
    ahead_s: float = 0.0
    depth_s: float | None = None
    period_s: float | None = None
    end_number: int | None = None
    behind_s: float = 0.0
    before_s: float = 0.0

    def match(self, url: str, utc: float) -> TemplateSegment | None:
        """The segment that a URL names; None if it names none of this template that can be available at `utc`."""
        for pattern in self.patterns:
            expression = matcher(pattern)
            hit = expression.fullmatch(url) if expression is not None else None
            if hit is not None:
                return self.find(hit.groupdict(), utc)
        return None

    def find(self, values: dict[str, str], utc: float) -> TemplateSegment | None:
        """The segment with this `Number` or `Time` (decimal digits); None if it cannot be available at `utc`."""
        number = int(values["Number"]) if "Number" in values else None
        ticks = int(values["Time"]) if "Time" in values else None
        found = self._in_timeline(number, ticks) if self.timeline is not None else self._computed(number, ticks)
        if found is None or (
            number is not None and ticks is not None and (found.number, found.start_ticks) != (number, ticks)
        ):
            return None
        if self.end_number is not None and found.number > self.end_number:
            return None
        return found if self._is_available(found, utc) else None

    def _in_timeline(self, number: int | None, ticks: int | None) -> TemplateSegment | None:
        assert self.timeline is not None
        hit = self.timeline.at_time(ticks) if ticks is not None else self.timeline.at_number(number or 0)
        if hit is None:
            return None
        run, place = hit
        start = ticks if ticks is not None else run.start_ticks + place * run.duration_ticks
        return TemplateSegment(run.number + place, start, run.duration_ticks / self.timescale)

    def _computed(self, number: int | None, ticks: int | None) -> TemplateSegment | None:
        length = self.duration_ticks
        if not length:
            return None
        if number is None:
            place, odd = divmod((ticks or 0) - self.start_ticks, length)
            if odd:
                return None
            number = self.start_number + place
        place = number - self.start_number
        if place < 0 or (
            self.period_s is not None and place >= math.ceil(self.period_s * self.timescale / length - 1e-6)
        ):
            return None
        return TemplateSegment(number, self.start_ticks + place * length, length / self.timescale)

    def _is_available(self, found: TemplateSegment, utc: float) -> bool:
        """Whether a segment can be available at `utc` (ISO/IEC 23009-1, A.3.2).

        What a timeline writes out is, whatever the clocks and the manifest's start say: players go by the timeline.
        At both ends of the time-shift buffer `SKEW_S` and the length of a segment are added, and what other clocks than
        this machine's say. So a segment counts as available if it is by any known clock.
        """
        if self.available_from_utc is None or (self.timeline and self.timeline.writes_out(found.start_ticks)):
            return True
        begins_utc = self.available_from_utc + (found.start_ticks - self.start_ticks) / self.timescale
        if utc + self.before_s < begins_utc - self.ahead_s - SKEW_S:
            return False
        ends_utc = begins_utc + (self.depth_s or 0.0) + 2 * found.duration_s + SKEW_S
        return self.depth_s is None or utc - self.behind_s <= ends_utc


@dataclass(frozen=True, slots=True)
class Rendition:
    """One quality, language or track.

    Attributes:
        id: the manifest's own name for it.
        url: its media playlist (HLS); None where one manifest holds everything.
        bandwidth_bps: bits per second; None if the manifest does not say.
        segments: the resources that the manifest writes out.
        templates: the resources whose URLs the player computes.
        parts: partial segments near the live edge, and those hinted at before they exist (LL-HLS).
    """

    id: str
    url: str | None
    bandwidth_bps: int | None
    segments: tuple[Segment, ...] = ()
    templates: tuple[Template, ...] = ()
    parts: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True)
class PatchBase:
    """An MPD that can be patched (ISO/IEC 23009-1, 5.15), as it stands after all patches so far.

    Attributes:
        url: where the MPD itself came from, after redirects; references in it are relative to this.
        id: its @id, which a patch repeats as @mpdId.
        published: its @publishTime as written, which a patch repeats as @originalPublishTime.
        text: the whole MPD.
    """

    url: str
    id: str
    published: str
    text: bytes


@dataclass(frozen=True, slots=True)
class Presentation:
    """What one manifest says.

    Attributes:
        url: where the manifest came from, after redirects.
        format: HLS, DASH or Smooth Streaming.
        live: whether the manifest will change.
        target_duration_s: the usual length of a segment; 0.0 if unknown.
        renditions: what the manifest lists.
        child_manifests: manifests that belong to it (media playlists, Location).
        never_share: URLs of decryption keys, licences and session data. They always go to the origin, whatever else
            lists them.
        ended: whether no segment will be added any more.
        passed: resources that are known but left to the origin, each with its range: gaps, and hints of LL-HLS whose
            end is not said.
        skipped: how many segments a delta update leaves out at its beginning (EXT-X-SKIP); those known before stay.
        first_number: the number of the first segment of the window, those skipped included.
        grows: whether no segment ever leaves the window (EVENT, VOD).
        variables: names and values of EXT-X-DEFINE, for child playlists that IMPORT them.
        notices: sentences about parts that were left out because they are wrong; the rest is listed.
        patch_base: what the next MPD patch changes; None if the manifest names no place of patches.
    """

    url: str
    format: Format
    live: bool
    target_duration_s: float
    renditions: tuple[Rendition, ...] = ()
    child_manifests: tuple[str, ...] = ()
    never_share: frozenset[str] = frozenset()
    ended: bool = False
    passed: frozenset[tuple[str, ByteRange | None]] = frozenset()
    skipped: int = 0
    first_number: int = 0
    grows: bool = False
    variables: tuple[tuple[str, str], ...] = field(default=())
    notices: tuple[str, ...] = ()
    patch_base: PatchBase | None = None

    @property
    def is_master(self) -> bool:
        """Whether this manifest lists playlists instead of segments (HLS)."""
        return any(r.url is not None and r.url != self.url for r in self.renditions)
