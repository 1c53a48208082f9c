"""HLS playlists (RFC 8216bis), read into the one model, with the library m3u8 and what it lacks.

A line that cannot be read is left out, with a notice, and its segment with it; the others are listed.

Map: `parse_hls` · `_Prepared` (takes lines out of the text before m3u8 sees it, and reads them itself) · variables ·
master playlists · media playlists · byte ranges.

These are taken out, each for a reason (measured against m3u8 6.0, see docs/adr):
- lines that list no resource (dates, cues, comments): for a malformed date m3u8 refuses the whole playlist;
- EXT-X-KEY: for each decryption key m3u8 searches all earlier ones, which is quadratic;
- EXT-X-PRELOAD-HINT: m3u8 keeps only the last one; EXT-X-PART-INF, which says how long a hinted part plays;
- EXT-X-DEFINE: m3u8 does not know it;
- EXT-X-MEDIA-SEQUENCE, EXT-X-TARGETDURATION and EXT-X-SKIP, and what is not needed of EXTINF, EXT-X-PART and
  EXT-X-STREAM-INF: for a number that it cannot read m3u8 refuses the playlist;
- characters at which Python splits lines and HLS does not.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from m3u8 import parser as m3u8

from ecdn_proxy.core.http import urls
from ecdn_proxy.core.manifest.model import (
    Format,
    ManifestError,
    Notices,
    Presentation,
    Rendition,
    Segment,
    SegmentKind,
)
from ecdn_proxy.core.values import ByteRange

_WANTED: Final = (
    "#EXT-X-BYTERANGE:",
    "#EXT-X-MAP:",
    "#EXT-X-PLAYLIST-TYPE:",
    "#EXT-X-ENDLIST",
    "#EXT-X-GAP",
    "#EXT-X-I-FRAMES-ONLY",
    "#EXT-X-MEDIA:",
)
_OWN: Final = (
    "#EXT-X-KEY:",
    "#EXT-X-SESSION-KEY:",
    "#EXT-X-SESSION-DATA:",
    "#EXT-X-CONTENT-STEERING:",
    "#EXT-X-PRELOAD-HINT:",
    "#EXT-X-PART-INF:",
    "#EXT-X-RENDITION-REPORT:",
    "#EXT-X-DEFINE:",
    "#EXT-X-TARGETDURATION",
    "#EXT-X-MEDIA-SEQUENCE",
    "#EXT-X-SKIP:",
    "#EXT-X-DATERANGE:",
)
_ATTRIBUTE = re.compile(r'(?:^|,)\s*([A-Z0-9-]+)\s*=\s*("[^"]*"|[^,]*)')
_NUMBER = re.compile(r"\s*(\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})", re.ASCII)
_UNKNOWN: Final = "data:,"
"""Stands for a URL that cannot be known, so that the segments after it keep their numbers."""
_VARIABLE = re.compile(r"\{\$([A-Za-z0-9_-]{1,256})\}")
_PYTHON_ONLY_BREAKS = re.compile("[\\x0b\\x0c\\x1c-\\x1e\\x85\\u2028\\u2029]")
_SECRET_TAGS: Final = frozenset({"#EXT-X-KEY", "#EXT-X-SESSION-KEY", "#EXT-X-SESSION-DATA", "#EXT-X-CONTENT-STEERING"})
VARIABLES_MAX: Final = 1000
"""The most EXT-X-DEFINE tags of one playlist. Real ones have a handful."""
SUBSTITUTED_CHARACTERS_MAX: Final = 8 * 1024 * 1024
"""The most characters of all lines together after their variables are filled in; as many as a manifest may have
bytes."""
REFERENCES_MAX: Final = 64
"""The most variables in one line. Players' test streams use three."""
PLAYLISTS_MAX: Final = 1000
"""The most playlists that one master names: 50 qualities with their I-frames, on several CDNs, in many languages."""


def parse_hls(url: str, text: str, imported: Iterable[tuple[str, str]] = ()) -> Presentation:
    """Read a master (multivariant) or media playlist.

    Args:
        url: the playlist's URL in normal form.
        text: its text, whose length the caller has bounded.
        imported: the variables of its master playlist.

    Raises:
        ManifestError: there are too many variables or playlists.
    """
    prepared = _Prepared(url, text, dict(imported))
    data: dict[str, Any] = m3u8.parse("\n".join(prepared.lines))
    is_master = data["is_variant"] or (data["media"] and not data["segments"])
    return _master(url, data, prepared) if is_master else _media(url, data, prepared)


class _Prepared:
    """A playlist's `lines` as m3u8 can read them, and what the lines say that m3u8 never sees.

    `secret`: URLs of decryption keys, session data and steering. `hints`: resources that EXT-X-PRELOAD-HINT names, each
    with its range and seconds; `passed`: those whose end no hint says. `reports`: playlists that rendition reports
    name. `first` is the media sequence number, and `skipped` how many segments a delta update skips.
    """

    def __init__(self, url: str, text: str, imported: dict[str, str]) -> None:
        self.url = url
        self.lines: list[str] = []
        self.secret: set[str] = set()
        self.passed: set[tuple[str, ByteRange | None]] = set()
        self.hints: list[tuple[str, ByteRange | None, float]] = []
        self.part_target_s = 0.0
        self.reports: list[str] = []
        self.target_duration_s = 0.0
        self.first = 0
        self.skipped = 0
        self.notices = Notices()
        self.variables: dict[str, str] = {}
        self._imported = imported
        self._undefined = False
        self._is_media = "#EXT-X-TARGETDURATION" in text
        self._announced = False
        self._characters = 0
        text = text.lstrip().replace("\r\n", "\n").replace("\r", "\n")
        for raw in text.split("\n"):
            for line in _first_line(raw.strip()):
                self._read_line(line)

    def _read_line(self, line: str) -> None:
        if not line or line == "#EXTM3U":
            return
        if "{$" in line and (self.variables or self._undefined):
            try:
                line = self._substituted(line)
            except KeyError as error:
                self.notices.left_out(f"a line with the variable {error}", "it is not defined")
                if not line.startswith("#"):
                    self._read_url(_UNKNOWN)
                return
        if not line.startswith("#"):
            self._read_url(line if line.isascii() and line.isprintable() else _PYTHON_ONLY_BREAKS.sub(_percent, line))
            return
        tag, _, value = line.partition(":")
        if tag == "#EXTINF":
            self._announced = True
            self.lines.append(f"#EXTINF:{self._number(tag, value)},")
        elif line.startswith(_OWN):
            self._read_own_tag(tag, value)
        elif tag == "#EXT-X-PART":
            given = attributes(value)
            if "URI" in given:
                duration = _NUMBER.match(given.get("DURATION", ""))
                more = f',BYTERANGE="{given["BYTERANGE"]}"' if "BYTERANGE" in given else ""
                more += ",GAP=YES" if given.get("GAP") == "YES" else ""
                resource = _PYTHON_ONLY_BREAKS.sub(_percent, given["URI"])
                self.lines.append(f'#EXT-X-PART:URI="{resource}",DURATION={duration[1] if duration else 0}{more}')
        elif tag == "#EXT-X-STREAM-INF":
            self._announced = True
            bandwidth = _NUMBER.match(attributes(value).get("BANDWIDTH", ""))
            self.lines.append(f"#EXT-X-STREAM-INF:BANDWIDTH={bandwidth[1] if bandwidth else 0}")
        elif tag in {"#EXT-X-I-FRAME-STREAM-INF", "#EXT-X-IMAGE-STREAM-INF"}:
            found = attributes(value).get("URI")
            if found:
                self.lines.append(f'#EXT-X-I-FRAME-STREAM-INF:URI="{_PYTHON_ONLY_BREAKS.sub(_percent, found)}"')
        elif line.startswith(_WANTED):
            self.lines.append(_PYTHON_ONLY_BREAKS.sub(_percent, line))

    def _read_url(self, line: str) -> None:
        """A segment or a playlist. In a media playlist a segment may lack its EXTINF, and Video.js plays it."""
        if self._is_media and not self._announced:
            self.lines.append(f"#EXTINF:{self.target_duration_s},")
        self._announced = False
        self.lines.append(line)

    def _number(self, tag: str, value: str) -> str:
        """The number with which a value begins, as players read it; "0", with a notice, if there is none."""
        found = _NUMBER.match(value)
        if found is None:
            self.notices.left_out(f"the number of {tag[1:]}", f"{value[:40]!r} is none")
            return "0"
        return found[1]

    def _read_own_tag(self, tag: str, value: str) -> None:
        if tag == "#EXT-X-TARGETDURATION":
            self.target_duration_s = float(self._number(tag, value))
            return
        if tag == "#EXT-X-MEDIA-SEQUENCE":
            self.first = int(float(self._number(tag, value)))
            return
        given = attributes(value)
        if tag == "#EXT-X-PART-INF":
            self.part_target_s = float(self._number(tag, given.get("PART-TARGET", "")))
            return
        if tag == "#EXT-X-DEFINE":
            self._define(given)
            return
        if tag == "#EXT-X-SKIP":
            self.skipped = int(float(self._number(tag, given.get("SKIPPED-SEGMENTS", ""))))
            return
        for name, reference in given.items():
            if not reference:
                continue
            try:
                self._read_reference(tag, name, reference, given)
            except ValueError as error:
                self.notices.left_out(tag[1:], error)

    def _read_reference(self, tag: str, name: str, reference: str, given: dict[str, str]) -> None:
        if tag in _SECRET_TAGS and name in {"URI", "SERVER-URI"}:
            self._add(self.secret, reference)
        elif tag == "#EXT-X-DATERANGE" and name.startswith("X-") and reference.startswith(("http:", "https:")):
            self._add(self.secret, reference)  # X-ASSET-LIST, X-ASSET-URI: what is inserted for this viewer alone
        elif tag == "#EXT-X-PRELOAD-HINT" and name == "URI":
            self._hint(given)
        elif tag == "#EXT-X-RENDITION-REPORT" and name == "URI":
            target = urls.resolve(self.url, reference)
            if urls.is_http(target):
                self.reports.append(urls.normal(target))

    def _add(self, into: set[str], reference: str) -> None:
        target = urls.resolve(self.url, reference)
        into.add(urls.normal(target) if urls.is_http(target) else target[:256])

    def _hint(self, given: dict[str, str]) -> None:
        target = urls.normal(urls.resolve(self.url, given["URI"]))
        first, length = given.get("BYTERANGE-START"), given.get("BYTERANGE-LENGTH")
        start = int(first or 0)
        if start < 0 or (length is not None and int(length) <= 0):
            raise ValueError(f"not a byte range: {length!r} from {first!r}")
        covers = None if first is length is None else ByteRange(start, start + int(length) - 1 if length else None)
        duration_s = {"PART": self.part_target_s, "MAP": 0.0}.get(given.get("TYPE", ""))
        if duration_s is None or (covers is not None and covers.last is None):
            self.passed.add((target, covers))
        else:
            self.hints.append((target, covers, duration_s))

    def _define(self, given: dict[str, str]) -> None:
        """Define one variable, as RFC 8216bis, 4.4.2.3 says."""
        if len(self.variables) >= VARIABLES_MAX:
            raise ManifestError(f"more than {VARIABLES_MAX} variables", "EXT-X-DEFINE", "write the URLs out")
        if "NAME" in given:
            self.variables[given["NAME"]] = given.get("VALUE", "")
            return
        source, name = (
            (self._imported, given["IMPORT"])
            if "IMPORT" in given
            else (dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True)), given.get("QUERYPARAM", ""))
        )
        if name in source:
            self.variables[name] = source[name]
        else:
            self._undefined = True
            self.notices.left_out(f"EXT-X-DEFINE of {name[:40]!r}", "no value for it was seen")

    def _substituted(self, line: str) -> str:
        """The line with its variables filled in.

        Raises:
            KeyError: a variable is not defined.
        """
        if line.count("{$") > REFERENCES_MAX:
            raise ManifestError(f"more than {REFERENCES_MAX} variables in a line", "EXT-X-DEFINE", "write the URLs out")
        out = _VARIABLE.sub(lambda found: self.variables[found[1]], line)
        self._characters += len(out)
        if self._characters > SUBSTITUTED_CHARACTERS_MAX:
            raise ManifestError("a playlist too long after substitution", "EXT-X-DEFINE", "write the URLs out")
        return out


def attributes(text: str) -> dict[str, str]:
    """The attributes of an attribute list (RFC 8216, 4.2) by name, without quotes.

    If a name comes twice, the first value counts.
    """
    out: dict[str, str] = {}
    for found in _ATTRIBUTE.finditer(text):
        out.setdefault(found[1], found[2].strip().strip('"'))
    return out


def _first_line(line: str) -> Iterator[str]:
    """The line itself; of an #EXTM3U with a tag behind it the tag, as some servers forget the line break."""
    if line.startswith("#EXTM3U") and "#" in line[7:]:
        yield line[7 + line[7:].index("#") :]
    elif line.startswith("#EXTM3U"):
        yield "#EXTM3U"
    else:
        yield line


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode())


def _master(url: str, data: dict[str, Any], prepared: _Prepared) -> Presentation:
    renditions: list[Rendition] = []
    children: dict[str, None] = {}

    def child(reference: str, name: str, bandwidth: int | None) -> None:
        target = _target(url, reference, prepared.notices)
        if target is not None and target not in children:
            if len(children) >= PLAYLISTS_MAX:
                raise ManifestError(f"more than {PLAYLISTS_MAX} playlists", "master", "split the master playlist")
            children[target] = None
            renditions.append(Rendition(name, target, bandwidth))

    for at, entry in enumerate(data["playlists"]):
        info = entry["stream_info"]
        child(entry["uri"], f"variant-{at}", info.get("bandwidth") or None)
    for entry in data["media"]:
        if entry.get("uri"):
            kind = str(entry.get("type", "media")).lower()
            child(entry["uri"], f"{kind}-{entry.get('group_id', '')}-{entry.get('name', '')}", None)
    for at, entry in enumerate(data["iframe_playlists"]):
        child(entry["uri"], f"iframes-{at}", None)
    return Presentation(
        url=url,
        format=Format.HLS,
        live=False,
        target_duration_s=0.0,
        renditions=tuple(renditions),
        child_manifests=tuple(children),
        never_share=frozenset(prepared.secret),
        variables=tuple(prepared.variables.items()),
        notices=prepared.notices.sentences(),
    )


def _media(url: str, data: dict[str, Any], prepared: _Prepared) -> Presentation:
    kind = data["playlist_type"]
    ended = bool(data["is_endlist"])
    passed = set(prepared.passed)
    parts: list[Segment] = []
    first, notices = prepared.first + prepared.skipped, prepared.notices
    segments = tuple(_segments(url, data, first, parts, passed, notices))
    number = first + sum("uri" in entry for entry in data["segments"])
    for target, covers, duration_s in prepared.hints:
        parts.append(Segment(target, covers, duration_s, number, SegmentKind.PART))
    return Presentation(
        url=url,
        format=Format.HLS,
        live=not ended,
        target_duration_s=prepared.target_duration_s,
        renditions=(Rendition("", url, None, segments, parts=tuple(parts)),),
        child_manifests=tuple(dict.fromkeys(prepared.reports)),
        never_share=frozenset(prepared.secret),
        ended=ended,
        passed=frozenset(passed),
        skipped=prepared.skipped,
        first_number=prepared.first,
        grows=kind in {"event", "vod"},
        variables=tuple(prepared.variables.items()),
        notices=prepared.notices.sentences(),
    )


def _target(url: str, reference: str, notices: Notices) -> str | None:
    """The http or https URL to which a reference leads; None for others, and, with a notice, for what is no URL."""
    try:
        target = urls.resolve(url, reference)
        return urls.normal(target) if urls.is_http(target) else None
    except urls.BadUrl as error:
        notices.left_out("a URL", error)
        return None


def _segments(
    url: str,
    data: dict[str, Any],
    number: int,
    parts: list[Segment],
    passed: set[tuple[str, ByteRange | None]],
    notices: Notices,
) -> Iterator[Segment]:
    """The init and media segments in the playlist's order. Partial ones are added to `parts`, and gaps to `passed`."""
    ends: dict[str, int | None] = {}
    maps: dict[tuple[str, str], Segment | None] = {}
    for entry in data["segments"]:
        part_end: tuple[str, int] | None = None
        for part in entry.get("parts", ()):
            part_end = _part(url, part, number, part_end, parts, passed, notices)
        if "uri" not in entry:
            continue
        section = entry.get("init_section")
        if section and section.get("uri"):
            known = (section["uri"], section.get("byterange", ""))
            if known not in maps:
                maps[known] = _init(url, section, number, notices)
                init = maps[known]
                if init is not None:
                    yield init
        target = _target(url, entry["uri"], notices)
        if target is not None:
            for made in _places(target, entry, number, ends, notices):
                if entry.get("gap_tag"):
                    passed.add((target, made.byte_range))
                else:
                    yield made
        number += 1


def _places(
    target: str, entry: dict[str, Any], number: int, ends: dict[str, int | None], notices: Notices
) -> Iterator[Segment]:
    """One media segment; none, with a notice, if its byte range cannot be known, and two if players differ.

    `ends` holds where the last range of each URL ended (None after one that could not be known) and, as "", where the
    segment before ended. For a range without offset after a segment of another resource RFC 8216, 4.3.2.2 says
    nothing. Some players go on where that resource was left, hls.js and others where the segment before ended.
    """
    text, duration_s = entry.get("byterange"), float(entry.get("duration", 0.0))
    before, ends[""] = ends.get(""), None
    try:
        is_open = text is not None and not text.partition("@")[2]
        if is_open and ends.get(target, 0) is None:
            raise ValueError(f"{text!r} follows a range that is not known")
        covers = _range(text, ends.get(target))
    except ValueError as error:
        ends[target] = None
        notices.left_out(f"the segment {number}", error)
        return
    yield Segment(target, covers, duration_s, number)
    if covers is None or covers.last is None:
        return
    ends[target] = ends[""] = covers.last + 1
    if is_open and before is not None and before != covers.first:
        other = ByteRange(before, before + covers.last - covers.first)
        ends[""] = other.first + covers.last - covers.first + 1
        yield Segment(target, other, duration_s, number)


def _init(url: str, section: dict[str, Any], number: int, notices: Notices) -> Segment | None:
    target = _target(url, section["uri"], notices)
    try:
        covers = _range(section.get("byterange"), 0)
    except ValueError as error:
        notices.left_out("EXT-X-MAP", error)
        return None
    return Segment(target, covers, 0.0, number, SegmentKind.INIT) if target is not None else None


def _part(
    url: str,
    part: dict[str, Any],
    number: int,
    previous: tuple[str, int] | None,
    parts: list[Segment],
    passed: set[tuple[str, ByteRange | None]],
    notices: Notices,
) -> tuple[str, int] | None:
    """Add a partial segment to `parts`, and one that is a gap to `passed`; `number` is that of its segment.

    Returns its URL and the position after its last byte, at which the next part begins if it names no offset.
    """
    target = _target(url, part["uri"], notices)
    if target is None:
        return None
    end = previous[1] if previous is not None and previous[0] == target else None
    try:
        covers = _range((part.get("byterange") or "").strip('"') or None, end)
    except ValueError as error:
        notices.left_out("EXT-X-PART", error)
        return None
    if part.get("gap") == "YES":
        passed.add((target, covers))
    else:
        parts.append(Segment(target, covers, part["duration"], number, SegmentKind.PART))
    return (target, covers.last + 1) if covers is not None and covers.last is not None else None


def _range(text: str | None, implicit: int | None) -> ByteRange | None:
    """The byte range that `n[@o]` says (RFC 8216, 4.3.2.2); None without one.

    Without an offset the range begins at `implicit`, where the previous range of the same resource ended. If there was
    none it begins at 0: the RFC forbids this, but players read it so.
    """
    if not text:
        return None
    length, at, offset = text.partition("@")
    first = int(offset) if at and offset.strip() else implicit or 0
    if first < 0 or int(length) <= 0:
        raise ValueError(f"not a byte range: {text!r}")
    return ByteRange(first, first + int(length) - 1)
