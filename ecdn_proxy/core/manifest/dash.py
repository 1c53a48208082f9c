"""MPEG-DASH manifests (ISO/IEC 23009-1), read into the one model.

Map: `parse_dash` · `_Scope` (what Period, AdaptationSet and Representation inherit) · clocks · periods · a
representation's segments by SegmentTemplate, SegmentList or SegmentBase · licences.

A representation with a value that no player takes is left out, with a notice; the others are listed. Whatever players
forgive is forgiven, such as a duration of 120.5.

What a template or a timeline repeats is never expanded (`model.Template`). Remote elements (xlink) are not fetched, so
the segments in them are not listed and pass to the origin. Several BaseURLs are alternatives of one resource.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice, product
from typing import Final
from xml.etree.ElementTree import Element

from ecdn_proxy.core.http.urls import BadUrl
from ecdn_proxy.core.manifest.model import (
    Format,
    ManifestError,
    Notices,
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
    decimal,
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
TICK_PARTS_MAX: Final = 1_000
"""The most parts into which a tick is divided for a segment duration that is no whole number, as 120.5."""
CLOCK_OFF_MAX_S: Final = 86_400.0
"""How far the origin's clock may be from this machine's before it is not believed, in seconds. Beyond a day TLS fails
too."""

_DIRECT: Final = ("urn:mpeg:dash:utc:direct:2014", "urn:mpeg:dash:utc:direct:2012")
_INITIALIZATION: Final = ("Initialization", "RepresentationIndex")
_LEVELS: Final = frozenset({"Period", "AdaptationSet", "Representation"})
_ADDRESS = re.compile(r"\$(?:(RepresentationID|Bandwidth|Number|Time|SubNumber)(%0\d{1,2}d)?)?\$")


@dataclass(frozen=True, slots=True)
class _Scope:
    """What holds at one level of the manifest: its base URLs, and its segment information with the inherited one.

    `infos` holds the SegmentTemplate, SegmentList and SegmentBase elements by name, the nearest first. `ahead_s` is the
    sum of the BaseURLs' availabilityTimeOffset of all levels (ISO/IEC 23009-1, 5.3.9.5.3); of several at one level the
    largest counts. `has_base` is whether there is a BaseURL at any level.
    """

    bases: tuple[str, ...]
    notices: Notices
    infos: dict[str, tuple[Element, ...]] = field(default_factory=dict)
    ahead_s: float = 0.0
    has_base: bool = False

    def inside(self, element: Element) -> "_Scope":
        """The scope of a child element: its BaseURLs joined to these, and its segment information before this one."""
        own = list(islice(children(element, "BaseURL"), ALTERNATIVES_MAX))
        bases = self.bases
        if own:
            joined = [self.resolved(base, (child.text or "").strip()) for base, child in product(bases, own)]
            bases = tuple(dict.fromkeys(u for u in joined if u is not None))[:ALTERNATIVES_MAX] or bases
        ahead_s = max((_ahead(child.get("availabilityTimeOffset"), self.notices) for child in own), default=0.0)
        infos = dict(self.infos)
        for child in children(element, "SegmentTemplate", "SegmentList", "SegmentBase"):
            infos[local(child)] = (child, *infos.get(local(child), ()))
        return replace(
            self, bases=bases, infos=infos, ahead_s=self.ahead_s + ahead_s, has_base=self.has_base or bool(own)
        )

    def resolved(self, base: str, reference: str) -> str | None:
        """The URL to which a reference leads; None, with a notice, if no browser would fetch it."""
        try:
            return resolved(base, reference)
        except BadUrl as error:
            self.notices.left_out("a URL", error)
            return None

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

    def duration(self, kind: str) -> Fraction:
        """The length of each segment in ticks, 0 if the manifest does not say.

        Raises:
            ValueError: the length is no number, or below 0.
        """
        value = decimal(self.attribute(kind, "duration") or "0")
        if value < 0:
            raise ValueError(f"duration {value}")
        return value

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
class _Clocks:
    """How far the earliest and the latest known clock are behind and before this machine's, in seconds, 0.0 or more."""

    behind_s: float
    before_s: float


@dataclass(frozen=True, slots=True)
class _Period:
    """One period: how long it is and when it began. Times are None where the manifest does not say them."""

    id: str
    duration_s: float | None
    available_from_utc: float | None
    depth_s: float | None
    clocks: _Clocks


def parse_dash(url: str, root: Element, utc: float, origin_utc: float | None = None) -> Presentation:
    """Read a Media Presentation Description (MPD).

    Args:
        url: the MPD's URL in normal form.
        root: its root element.
        utc: now by this machine's clock, seconds since 1970.
        origin_utc: now by the origin's clock, seconds since 1970; None if it did not say.

    Raises:
        ManifestError: there are too many resources or levels.
    """
    notices = Notices()
    live = root.get("type", "static") == "dynamic"
    total_s = _read(notices, "mediaPresentationDuration", seconds, root.get("mediaPresentationDuration"))
    renditions: list[Rendition] = []
    levels = sum(local(element) in _LEVELS for element in root.iter())
    if levels > LEVELS_MAX:
        raise ManifestError(f"{levels} periods, sets and representations; the limit is {LEVELS_MAX}", "MPD", "split it")
    clocks = _clocks(root, utc, origin_utc) if live else _Clocks(0.0, 0.0)
    periods = list(_periods(root, live, total_s, clocks, notices))
    listed = 0
    for turn, start in enumerate(_starts(url, root, notices)):
        for place, made in enumerate(_representations(start, periods)):
            if turn and made == renditions[place]:
                continue  # its URLs are absolute
            listed += len(made.segments)
            if listed > LISTED_MAX:
                raise ManifestError(f"more than {LISTED_MAX} resources", "SegmentList", "use SegmentTemplate")
            renditions.append(made)
    places = children(root, "Location", "PatchLocation")
    more = [target for e in places if (target := _Scope((url,), notices).resolved(url, (e.text or "").strip()))]
    target_s = max(
        (t.duration_ticks / t.timescale for r in renditions for t in r.templates if t.duration_ticks), default=0.0
    )
    longest_s = _read(notices, "maxSegmentDuration", seconds, root.get("maxSegmentDuration"))
    return Presentation(
        url=url,
        format=Format.DASH,
        live=live,
        target_duration_s=longest_s or target_s,
        renditions=tuple(renditions),
        child_manifests=tuple(dict.fromkeys(more)),
        never_share=frozenset(_secrets(url, root)),
        ended=not live,
        notices=notices.sentences(),
    )


def _starts(url: str, root: Element, notices: Notices) -> Iterator[_Scope]:
    """What holds for the whole MPD: by its own URL, and by its Location, if references lead elsewhere from there.

    The standard leaves open from where they lead. dash.js and mpd-parser go by the URL, shaka-player by Location.
    """
    own = _Scope((url,), notices)
    yield own.inside(root)
    for element in islice(children(root, "Location"), 1):
        target = own.resolved(url, (element.text or "").strip())
        if target is not None and target.rpartition("/")[0] != url.rpartition("/")[0]:
            yield replace(own, bases=(target,)).inside(root)


def _representations(start: _Scope, periods: list[tuple[_Period, Element]]) -> Iterator[Rendition]:
    """All representations; one with a value that cannot be read is left out, with a notice."""
    for period, element in periods:
        inner = start.inside(element)
        for group, adaptation in enumerate(children(element, "AdaptationSet")):
            level = inner.inside(adaptation)
            for at, representation in enumerate(children(adaptation, "Representation")):
                name = representation.get("id") or f"{group}-{at}"
                try:
                    yield _representation(level.inside(representation), adaptation, representation, period, name)
                except (ArithmeticError, ValueError) as error:
                    start.notices.left_out(f"Representation {name[:40]!r} of Period {period.id[:40]!r}", error)


def _read(notices: Notices, what: str, reader: Callable[[str | None], float | None], text: str | None) -> float | None:
    """A time that the manifest as a whole says; None, with a notice, if it cannot be read, as if it were not there."""
    try:
        return reader(text)
    except (ArithmeticError, ValueError) as error:
        notices.left_out(what, error)
        return None


def _ahead(text: str | None, notices: Notices) -> float:
    """The seconds of availabilityTimeOffset, infinite for "INF"."""
    try:
        ahead_s = float(text or 0)
    except ValueError:
        ahead_s = math.nan
    if math.isnan(ahead_s):
        notices.left_out("availabilityTimeOffset", f"no number: {text!r}")
        return 0.0
    return ahead_s


def _clocks(root: Element, utc: float, origin_utc: float | None) -> _Clocks:
    """What other clocks say: the origin's, and the time that UTCTiming writes into the MPD.

    A player that asks a server for the time (UTCTiming with http) is taken to learn the origin's.
    """
    known = [origin_utc] if origin_utc is not None else []
    for timing in children(root, "UTCTiming"):
        if timing.get("schemeIdUri") in _DIRECT:
            try:
                known.extend(t for t in [instant(timing.get("value"))] if t is not None)
            except ValueError:
                continue
    off = [one - utc for one in known if abs(one - utc) <= CLOCK_OFF_MAX_S]
    return _Clocks(max(0.0, *(-o for o in off)), max(0.0, *off)) if off else _Clocks(0.0, 0.0)


def _periods(
    root: Element, live: bool, total_s: float | None, clocks: _Clocks, notices: Notices
) -> Iterator[tuple[_Period, Element]]:
    """All periods with start and length (ISO/IEC 23009-1, 5.3.2.1).

    A period without a length ends where the next one starts. The last period of a live stream has no end.
    """
    elements = list(children(root, "Period"))
    began_utc = _read(notices, "availabilityStartTime", instant, root.get("availabilityStartTime")) if live else None
    if live and root.get("availabilityStartTime") is None:
        began_utc = 0.0
    depth_s = _read(notices, "timeShiftBufferDepth", seconds, root.get("timeShiftBufferDepth")) if live else None
    lengths = [_read(notices, "Period duration", seconds, element.get("duration")) for element in elements]
    starts: list[float | None] = []
    end: float | None = 0.0
    for element, length in zip(elements, lengths, strict=True):
        start = _read(notices, "Period start", seconds, element.get("start"))
        start = end if start is None else start
        starts.append(start)
        end = start + length if start is not None and length is not None else None
    for at, element in enumerate(elements):
        start, length = starts[at], lengths[at]
        if start is None:
            continue  # an early available period, of which nobody knows yet when it begins
        following = starts[at + 1] if at + 1 < len(elements) else total_s
        if length is None and following is not None:
            length = max(0.0, following - start)
            if length == 0.0 and total_s:
                length = total_s  # it begins at its own end; players take the whole length for this period's
        began = None if began_utc is None else began_utc + start
        yield _Period(element.get("id") or str(at), length, began, depth_s, clocks), element


def _representation(scope: _Scope, adaptation: Element, element: Element, period: _Period, name: str) -> Rendition:
    try:
        bits = whole(element.attrib["bandwidth"])
    except (KeyError, ValueError):
        bits = None  # a label; only $Bandwidth$ needs it
    segments: tuple[Segment, ...] = ()
    templates: tuple[Template, ...] = ()
    if "SegmentTemplate" in scope.infos:
        segments, templates = _template(scope, period, name, bits)
        if scope.has_base and not scope.attribute("SegmentTemplate", "media"):
            segments += tuple(_base(scope, adaptation, element))
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
            if bits is None:
                raise ValueError("$Bandwidth$ without a bandwidth")
            return str(bits).zfill(int(width[2:-1]) if width else 1)
        unknown = unknown or variable == "SubNumber"
        return found[0]

    out = _ADDRESS.sub(value, text)
    return None if unknown else out


def _patterns(scope: _Scope, text: str, name: str, bits: int | None) -> tuple[str, ...]:
    """Absolute URL patterns of a media, initialization or index template, one for each base URL."""
    address = _address(text, name, bits)
    if address is None:
        return ()
    found = (scope.resolved(literal(base), address) for base in scope.bases)
    return tuple(dict.fromkeys(u for u in found if u is not None))


def _template(
    scope: _Scope, period: _Period, name: str, bits: int | None
) -> tuple[tuple[Segment, ...], tuple[Template, ...]]:
    kind = "SegmentTemplate"
    timescale = scope.timescale(kind)
    start_number = scope.number(kind, "startNumber", 1)
    offset = scope.number(kind, "presentationTimeOffset", 0)
    end_number = scope.number(kind, "endNumber", -1)
    ahead_s = scope.ahead_s + _ahead(scope.attribute(kind, "availabilityTimeOffset"), scope.notices)
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
    timeline, parts, duration_ticks = None, 1, 0
    if element is not None:
        timeline = _timeline(element, timescale, start_number, offset, period, scope.notices)
    else:
        parts, duration_ticks = _divided(scope.duration(kind), media)
    template = Template(
        patterns=patterns,
        timescale=timescale * parts,
        start_number=start_number,
        start_ticks=offset * parts,
        duration_ticks=duration_ticks or None,
        timeline=timeline,
        available_from_utc=period.available_from_utc,
        ahead_s=ahead_s,
        depth_s=period.depth_s,
        period_s=period.duration_s,
        end_number=end_number if end_number >= 0 else None,
        behind_s=period.clocks.behind_s,
        before_s=period.clocks.before_s,
    )
    if matcher(patterns[0]) is not None:
        return tuple(listed), (template,)
    whole = tuple(p.replace("$$", "$") for p in patterns)  # without a variable it is the period's only segment
    if "$" not in media.replace("$$", "").replace("$RepresentationID$", "").replace("$Bandwidth$", ""):
        listed.append(Segment(whole[0], None, period.duration_s or 0.0, start_number, SegmentKind.MEDIA, whole[1:]))
    return tuple(listed), ()


def _divided(duration: Fraction, media: str) -> tuple[int, int]:
    """Into how many parts a tick is divided so that the duration is a whole number of them, and that number.

    Raises:
        ValueError: there are too many parts, or URLs name times, which are whole ticks.
    """
    parts = duration.denominator
    if parts > 1 and (parts > TICK_PARTS_MAX or "$Time" in media):
        raise ValueError(f"duration {float(duration)} is no whole number")
    return parts, duration.numerator


def _timeline(
    element: Element, timescale: int, number: int, offset: int, period: _Period, notices: Notices
) -> Timeline | None:
    """The runs of a SegmentTimeline (ISO/IEC 23009-1, 5.3.9.6); None without any.

    A run with r=-1 reaches to the next S, without one to the period's end, and without that it stays open. From an S
    that cannot be read nobody knows where the next begins, so the rest is left out, as players do.

    Raises:
        ValueError: the first S cannot be read.
    """
    entries = list(children(element, "S"))
    runs: list[TimelineRun] = []
    at = 0
    for place, entry in enumerate(entries):
        try:
            at = whole(entry.get("t", str(at)))
            number = whole(entry.get("n", str(number)))
            length = whole(entry.get("d", "0"))
            repeat = whole(entry.get("r", "0"))
            if length <= 0 or at < 0 or (runs and at < runs[-1].start_ticks):
                raise ValueError(f"t={at} d={length}")
            count: int | None = repeat + 1
            if repeat < 0:
                count = _open_count(entries, place, at, length, timescale, offset, period)
        except (ArithmeticError, ValueError) as error:
            if not runs:
                raise ValueError(f"S {place}: {error}") from error
            notices.left_out(f"S {place} and later of a SegmentTimeline of Period {period.id[:40]!r}", error)
            break
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
    found = tuple(dict.fromkeys(u for base in scope.bases if (u := scope.resolved(base, reference)) is not None))
    if found:
        yield Segment(found[0], covers, duration_s, number, kind, found[1:])


def _list(scope: _Scope) -> Iterator[Segment]:
    kind = "SegmentList"
    number = scope.number(kind, "startNumber", 1)
    yield from _named(scope, kind, number)
    length_s = float(scope.duration(kind) / scope.timescale(kind))
    holder = next((e for e in scope.infos[kind] if any(True for _ in children(e, "SegmentURL"))), None)
    if holder is None:
        return
    timeline = scope.child(kind, "SegmentTimeline")
    lengths = _lengths(timeline, scope.timescale(kind)) if timeline is not None else iter(())
    for at, element in enumerate(children(holder, "SegmentURL")):
        duration_s = next(lengths, length_s)
        try:
            covers = byte_range(element.get("mediaRange"))
            index = byte_range(element.get("indexRange"))
        except ValueError as error:
            scope.notices.left_out(f"SegmentURL {at + 1} of a SegmentList", error)
            continue
        yield from _listed(scope, element.get("media", ""), covers, duration_s, number + at, SegmentKind.MEDIA)
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
    if not scope.has_base and "SegmentBase" not in scope.infos:
        return  # it would be the MPD itself
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
