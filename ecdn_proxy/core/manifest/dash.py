"""MPEG-DASH manifests (ISO/IEC 23009-1), read into the one model.

Map: `parse_dash` · `_Scope` (what Period, AdaptationSet and Representation inherit) · periods · a representation's
segments by SegmentTemplate, SegmentList or SegmentBase · licences.

What a template or a timeline repeats is never expanded (`model.Template`). Remote elements (xlink) are not fetched, so
the segments in them are not listed and pass to the origin. Several BaseURLs are alternatives of one resource.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Final
from xml.etree.ElementTree import Element

from ecdn_proxy.core.manifest.model import (
    Format,
    ManifestError,
    Presentation,
    Rendition,
    Segment,
    SegmentKind,
    Template,
    Timeline,
    TimelineRun,
    literal,
    matcher,
)
from ecdn_proxy.core.manifest.xml import (
    byte_range,
    children,
    header_urls,
    instant,
    local,
    resolved,
    seconds,
    secret_urls,
    whole,
)
from ecdn_proxy.core.values import ANY_RANGE, ByteRange

ALTERNATIVES_MAX: Final = 4
"""The most URLs of one resource. BaseURLs multiply from level to level; real manifests name two or three CDNs."""
LEVELS_MAX: Final = 5_000
"""The most Periods, AdaptationSets and Representations together: 20 in each of 250 periods between advertisements."""
LISTED_MAX: Final = 60_000
"""The most resources that are written out for all representations together. It is as many as the catalog keeps, and 0.6
s of parsing."""
TIMESCALE_MAX: Final = 10**10
"""The most ticks per second; nanoseconds and Smooth's units of 100 ns are below."""

_INITIALIZATION: Final = ("Initialization", "RepresentationIndex")
_LEVELS: Final = frozenset({"Period", "AdaptationSet", "Representation"})
_ADDRESS = re.compile(r"\$(?:(RepresentationID|Bandwidth|Number|Time|SubNumber)(%0\d{1,2}d)?)?\$")


@dataclass(frozen=True, slots=True)
class _Scope:
    """What holds at one level of the manifest: its base URLs, and its segment information with the inherited one.

    `infos` holds the SegmentTemplate, SegmentList and SegmentBase elements by name, the nearest first.
    """

    bases: tuple[str, ...]
    infos: dict[str, tuple[Element, ...]] = field(default_factory=dict)

    def inside(self, element: Element) -> "_Scope":
        """The scope of a child element: its BaseURLs joined to these, and its segment information before this one."""
        own = [(child.text or "").strip() for child in children(element, "BaseURL")][:ALTERNATIVES_MAX]
        bases = self.bases
        if own:
            joined = [resolved(base, reference) for base, reference in product(bases, own)]
            bases = tuple(dict.fromkeys(u for u in joined if u is not None))[:ALTERNATIVES_MAX] or bases
        infos = dict(self.infos)
        for child in children(element, "SegmentTemplate", "SegmentList", "SegmentBase"):
            infos[local(child)] = (child, *infos.get(local(child), ()))
        return replace(self, bases=bases, infos=infos)

    def attribute(self, kind: str, name: str) -> str | None:
        """The value of an attribute of SegmentTemplate, SegmentList or SegmentBase at the nearest level that has it."""
        return next((e.attrib[name] for e in self.infos.get(kind, ()) if name in e.attrib), None)

    def child(self, kind: str, name: str) -> Element | None:
        """The child element with this name at the nearest level that has one."""
        return next((c for e in self.infos.get(kind, ()) for c in children(e, name)), None)

    def number(self, kind: str, name: str, default: int) -> int:
        """The value of a whole-number attribute at the nearest level that has it."""
        value = self.attribute(kind, name)
        return default if value is None else whole(value)

    def timescale(self, kind: str) -> int:
        """Ticks per second, 1 if the manifest does not say.

        Raises:
            ValueError: the number is not above 0, or above `TIMESCALE_MAX`.
        """
        value = self.number(kind, "timescale", 1)
        if not 0 < value <= TIMESCALE_MAX:
            raise ValueError(f"timescale {value}")
        return value


@dataclass(frozen=True, slots=True)
class _Period:
    """One period: how long it is and when it began. Times are None where the manifest does not say them."""

    id: str
    duration_s: float | None
    available_from_utc: float | None
    depth_s: float | None
    utc: float


def parse_dash(url: str, root: Element, utc: float) -> Presentation:
    """Read a Media Presentation Description (MPD).

    Args:
        url: the MPD's URL in normal form.
        root: its root element.
        utc: now, seconds since 1970.

    Raises:
        ManifestError: there are too many resources or levels.
        ValueError: there are values that no player takes. The caller turns this into `ManifestError`.
    """
    live = root.get("type", "static") == "dynamic"
    total_s = seconds(root.get("mediaPresentationDuration"))
    scope = _Scope((url,)).inside(root)
    renditions: list[Rendition] = []
    levels = sum(local(element) in _LEVELS for element in root.iter())
    if levels > LEVELS_MAX:
        raise ManifestError(f"{levels} periods, sets and representations; the limit is {LEVELS_MAX}", "MPD", "split it")
    listed = 0
    for period, element in _periods(root, live, total_s, utc):
        inner = scope.inside(element)
        for group, adaptation in enumerate(children(element, "AdaptationSet")):
            level = inner.inside(adaptation)
            for at, representation in enumerate(children(adaptation, "Representation")):
                name = representation.get("id") or f"{group}-{at}"
                made = _representation(level.inside(representation), adaptation, representation, period, name)
                listed += len(made.segments)
                if listed > LISTED_MAX:
                    raise ManifestError(f"more than {LISTED_MAX} resources", "SegmentList", "use SegmentTemplate")
                renditions.append(made)
    more = [t for e in children(root, "Location", "PatchLocation") if (t := resolved(url, (e.text or "").strip()))]
    target = max(
        (t.duration_ticks / t.timescale for r in renditions for t in r.templates if t.duration_ticks), default=0.0
    )
    segment_s = seconds(root.get("maxSegmentDuration")) or target
    return Presentation(
        url=url,
        format=Format.DASH,
        live=live,
        target_duration_s=segment_s,
        renditions=tuple(renditions),
        child_manifests=tuple(dict.fromkeys(more)),
        never_share=frozenset(_secrets(url, root)),
        ended=not live,
    )


def _periods(root: Element, live: bool, total_s: float | None, utc: float) -> Iterator[tuple[_Period, Element]]:
    """All periods with start and length (ISO/IEC 23009-1, 5.3.2.1).

    A period without a length ends where the next one starts. The last period of a live stream has no end.
    """
    elements = list(children(root, "Period"))
    began_utc = instant(root.get("availabilityStartTime")) if live else None
    if live and began_utc is None:
        began_utc = 0.0
    depth_s = seconds(root.get("timeShiftBufferDepth")) if live else None
    starts: list[float | None] = []
    end: float | None = 0.0
    for element in elements:
        start = seconds(element.get("start"))
        start = end if start is None else start
        starts.append(start)
        length = seconds(element.get("duration"))
        end = start + length if start is not None and length is not None else None
    for at, element in enumerate(elements):
        start = starts[at]
        if start is None:
            continue  # an early available period, of which nobody knows yet when it begins
        length = seconds(element.get("duration"))
        following = starts[at + 1] if at + 1 < len(elements) else total_s
        if length is None and following is not None:
            length = max(0.0, following - start)
        began = None if began_utc is None else began_utc + start
        yield _Period(element.get("id") or str(at), length, began, depth_s, utc), element


def _representation(scope: _Scope, adaptation: Element, element: Element, period: _Period, name: str) -> Rendition:
    bandwidth = element.get("bandwidth")
    bits = whole(bandwidth) if bandwidth else None
    segments: tuple[Segment, ...] = ()
    templates: tuple[Template, ...] = ()
    if "SegmentTemplate" in scope.infos:
        segments, templates = _template(scope, period, name, bits)
    elif "SegmentList" in scope.infos:
        segments = tuple(_list(scope))
    else:
        segments = tuple(_base(scope, adaptation, element))
    return Rendition(f"{period.id}/{name}", None, bits, segments, templates)


def _address(text: str, name: str, bits: int | None) -> str | None:
    """A template in which `$RepresentationID$` and `$Bandwidth$` are filled in; None if it uses `$SubNumber$`."""
    unknown = False

    def value(found: re.Match[str]) -> str:
        nonlocal unknown
        variable, width = found[1], found[2]
        if variable == "RepresentationID":
            return literal(name)
        if variable == "Bandwidth":
            return str(bits or 0).zfill(int(width[2:-1]) if width else 1)
        unknown = unknown or variable == "SubNumber"
        return found[0]

    out = _ADDRESS.sub(value, text)
    return None if unknown else out


def _patterns(scope: _Scope, text: str, name: str, bits: int | None) -> tuple[str, ...]:
    """Absolute URL patterns of a media, initialization or index template, one for each base URL."""
    address = _address(text, name, bits)
    if address is None:
        return ()
    found = (resolved(literal(base), address) for base in scope.bases)
    return tuple(dict.fromkeys(u for u in found if u is not None))


def _template(
    scope: _Scope, period: _Period, name: str, bits: int | None
) -> tuple[tuple[Segment, ...], tuple[Template, ...]]:
    kind = "SegmentTemplate"
    timescale = scope.timescale(kind)
    start_number = scope.number(kind, "startNumber", 1)
    duration = scope.number(kind, "duration", 0)
    if duration < 0:
        raise ValueError(f"duration {duration}")
    offset = scope.number(kind, "presentationTimeOffset", 0)
    ahead = float(scope.attribute(kind, "availabilityTimeOffset") or 0)
    if math.isnan(ahead):
        raise ValueError("availabilityTimeOffset is no number")
    listed: list[Segment] = []
    for attribute, what in (("initialization", SegmentKind.INIT), ("index", SegmentKind.INDEX)):
        text = scope.attribute(kind, attribute)
        patterns = _patterns(scope, text, name, bits) if text else ()
        if patterns and matcher(patterns[0]) is None:
            found = tuple(p.replace("$$", "$") for p in patterns)
            listed.append(Segment(found[0], None, 0.0, start_number, what, found[1:]))
    listed.extend(_named(scope, kind, start_number))
    media = scope.attribute(kind, "media")
    patterns = _patterns(scope, media, name, bits) if media else ()
    if not media or not patterns:
        return tuple(listed), ()
    element = scope.child(kind, "SegmentTimeline")
    timeline = _timeline(element, timescale, start_number, offset, period) if element is not None else None
    template = Template(
        patterns=patterns,
        timescale=timescale,
        start_number=start_number,
        start_ticks=offset,
        duration_ticks=duration or None,
        timeline=timeline,
        available_from_utc=period.available_from_utc,
        ahead_s=ahead,
        depth_s=period.depth_s,
        period_s=period.duration_s,
    )
    if matcher(patterns[0]) is not None:
        return tuple(listed), (template,)
    whole = tuple(p.replace("$$", "$") for p in patterns)  # without a variable it is the period's only segment
    if "$" not in media.replace("$$", "").replace("$RepresentationID$", "").replace("$Bandwidth$", ""):
        listed.append(Segment(whole[0], None, period.duration_s or 0.0, start_number, SegmentKind.MEDIA, whole[1:]))
    return tuple(listed), ()


def _timeline(element: Element, timescale: int, number: int, offset: int, period: _Period) -> Timeline | None:
    """The runs of a SegmentTimeline (ISO/IEC 23009-1, 5.3.9.6); None without any.

    A run with r=-1 reaches to the next S, without one to the period's end, and without that it stays open.
    """
    entries = list(children(element, "S"))
    runs: list[TimelineRun] = []
    at = 0
    for place, entry in enumerate(entries):
        at = whole(entry.get("t", str(at)))
        number = whole(entry.get("n", str(number)))
        length = whole(entry.get("d", "0"))
        repeat = whole(entry.get("r", "0"))
        if length <= 0 or at < 0 or (runs and at < runs[-1].start_ticks):
            raise ValueError(f"S {place}: t={at} d={length}")
        count: int | None = repeat + 1
        if repeat < 0:
            count = _open_count(entries, place, at, length, timescale, offset, period)
        if count is not None and count <= 0:
            continue
        runs.append(TimelineRun(at, length, count, number))
        if count is None:
            break
        at += length * count
        number += count
    return Timeline(tuple(runs)) if runs else None


def _open_count(
    entries: list[Element], place: int, at: int, length: int, timescale: int, offset: int, period: _Period
) -> int | None:
    following = entries[place + 1].get("t") if place + 1 < len(entries) else None
    if following is not None:
        return math.ceil((whole(following) - at) / length)
    if period.duration_s is not None:
        return math.ceil((offset + period.duration_s * timescale - at) / length - 1e-6)
    if period.available_from_utc is None:
        raise ValueError("r=-1 in a period without end")
    return None  # a live stream: each look-up decides which segments have begun by then


def _named(scope: _Scope, kind: str, number: int) -> Iterator[Segment]:
    """The resources of Initialization and RepresentationIndex elements, at their sourceURL or at the base URL."""
    for name, what in zip(_INITIALIZATION, (SegmentKind.INIT, SegmentKind.INDEX), strict=True):
        element = scope.child(kind, name)
        if element is not None:
            reference = element.get("sourceURL", "")
            yield from _listed(scope, reference, byte_range(element.get("range")), 0.0, number, what)
    if (covers := byte_range(scope.attribute(kind, "indexRange"))) is not None and kind == "SegmentBase":
        yield from _listed(scope, "", covers, 0.0, number, SegmentKind.INDEX)


def _listed(
    scope: _Scope, reference: str, covers: ByteRange | None, duration_s: float, number: int, kind: SegmentKind
) -> Iterator[Segment]:
    found = tuple(dict.fromkeys(u for base in scope.bases if (u := resolved(base, reference)) is not None))
    if found:
        yield Segment(found[0], covers, duration_s, number, kind, found[1:])


def _list(scope: _Scope) -> Iterator[Segment]:
    kind = "SegmentList"
    number = scope.number(kind, "startNumber", 1)
    yield from _named(scope, kind, number)
    length_s = scope.number(kind, "duration", 0) / scope.timescale(kind)
    holder = next((e for e in scope.infos[kind] if any(True for _ in children(e, "SegmentURL"))), None)
    if holder is None:
        return
    timeline = scope.child(kind, "SegmentTimeline")
    lengths = _lengths(timeline, scope.timescale(kind)) if timeline is not None else iter(())
    for at, element in enumerate(children(holder, "SegmentURL")):
        covers = byte_range(element.get("mediaRange"))
        yield from _listed(
            scope, element.get("media", ""), covers, next(lengths, length_s), number + at, SegmentKind.MEDIA
        )
        index = byte_range(element.get("indexRange"))
        if index is not None or "index" in element.attrib:
            reference = element.get("index", element.get("media", ""))
            yield from _listed(scope, reference, index, 0.0, number + at, SegmentKind.INDEX)


def _lengths(timeline: Element, timescale: int) -> Iterator[float]:
    for entry in children(timeline, "S"):
        for _ in range(1 + max(0, whole(entry.get("r", "0")))):
            yield whole(entry.get("d", "0")) / timescale


def _base(scope: _Scope, adaptation: Element, element: Element) -> Iterator[Segment]:
    """The one resource of a representation without a list.

    Only the sidx inside the resource tells its parts, so any range of it counts. Captions are fetched as a whole.
    """
    yield from _named(scope, "SegmentBase", 1)
    mime = element.get("mimeType") or adaptation.get("mimeType") or adaptation.get("contentType") or ""
    whole = "SegmentBase" not in scope.infos and mime.startswith(("text", "application/ttml", "image"))
    yield from _listed(scope, "", None if whole else ANY_RANGE, 0.0, 1, SegmentKind.MEDIA)


def _secrets(url: str, root: Element) -> Iterator[str]:
    """URLs of licences, decryption keys and content steering, wherever they stand in the manifest.

    They stand as DASH-IF IOP part 6, MS-PRO and SegmentEncryption say.
    """
    found: list[str] = []
    for element in root.iter():
        name = local(element).lower()
        if name in {"laurl", "authzurl", "contentsteering", "la_url", "lui_url"}:
            found.append(element.text or "")
            found.extend(v for k, v in element.attrib.items() if k.rpartition("}")[2].lower() in {"licenseurl", "url"})
        elif name == "pro":
            found.extend(header_urls(element.text or ""))
        found.extend(
            v for k, v in element.attrib.items() if k in {"keyUriTemplate", "authUriTemplate"} and "$" not in v
        )
    yield from secret_urls(url, found)
