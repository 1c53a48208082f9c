"""HLS playlists (RFC 8216bis), read into the one model, with the library m3u8 and what it lacks.

Map: `parse_hls` · `_Prepared` (takes lines out of the text before m3u8 sees it, and reads them itself) · variables ·
master playlists · media playlists · byte ranges.

These are taken out, each for a reason (measured against m3u8 6.0, see docs/adr):
- lines that list no resource (dates, cues, comments): for a malformed date m3u8 refuses the whole playlist;
- EXT-X-KEY: for each decryption key m3u8 searches all earlier ones, which is quadratic;
- EXT-X-PRELOAD-HINT: m3u8 keeps only the last one;
- EXT-X-DEFINE: m3u8 does not know it;
- a fractional EXT-X-TARGETDURATION, and numbers of EXT-X-STREAM-INF that are not needed: m3u8 refuses the playlist;
- characters at which Python splits lines and HLS does not.
"""

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from m3u8 import parser as m3u8

from ecdn_proxy.core.http import urls
from ecdn_proxy.core.manifest.model import Format, ManifestError, Presentation, Rendition, Segment, SegmentKind
from ecdn_proxy.core.values import ByteRange

_WANTED: Final = (
    "#EXTINF:",
    "#EXT-X-BYTERANGE:",
    "#EXT-X-MAP:",
    "#EXT-X-MEDIA-SEQUENCE:",
    "#EXT-X-PLAYLIST-TYPE:",
    "#EXT-X-ENDLIST",
    "#EXT-X-DISCONTINUITY",
    "#EXT-X-GAP",
    "#EXT-X-PART:",
    "#EXT-X-SKIP:",
    "#EXT-X-STREAM-INF:",
    "#EXT-X-I-FRAME-STREAM-INF:",
    "#EXT-X-I-FRAMES-ONLY",
    "#EXT-X-IMAGE-STREAM-INF:",
    "#EXT-X-MEDIA:",
)
_OWN: Final = (
    "#EXT-X-KEY:",
    "#EXT-X-SESSION-KEY:",
    "#EXT-X-SESSION-DATA:",
    "#EXT-X-CONTENT-STEERING:",
    "#EXT-X-PRELOAD-HINT:",
    "#EXT-X-RENDITION-REPORT:",
    "#EXT-X-DEFINE:",
    "#EXT-X-TARGETDURATION:",
    "#EXT-X-DATERANGE:",
)
_ATTRIBUTE = re.compile(r'(?:^|,)\s*([A-Z0-9-]+)\s*=\s*("[^"]*"|[^,]*)')
_UNUSED_NUMBERS = re.compile(r"(?<=[:,])(?:AVERAGE-BANDWIDTH|FRAME-RATE|PROGRAM-ID|SCORE)\s*=[^,]*,?")
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
        ManifestError: a variable is not defined, or there are too many variables or playlists.
        ValueError: there is a URL or a number that no player takes. The caller turns this into `ManifestError`.
    """
    prepared = _Prepared(url, text, dict(imported))
    data: dict[str, Any] = m3u8.parse("\n".join(prepared.lines))
    return _master(url, data, prepared) if data["is_variant"] or data["media"] else _media(url, data, prepared)


class _Prepared:
    """A playlist's `lines` as m3u8 can read them, and what the lines say that m3u8 never sees.

    `secret`: URLs of decryption keys, session data and steering. `passed`: hinted resources. `reports`: playlists that
    rendition reports name.
    """

    def __init__(self, url: str, text: str, imported: dict[str, str]) -> None:
        self.url = url
        self.lines: list[str] = []
        self.secret: set[str] = set()
        self.passed: set[tuple[str, ByteRange | None]] = set()
        self.reports: list[str] = []
        self.target_duration_s = 0.0
        self.variables: dict[str, str] = {}
        self._imported = imported
        self._characters = 0
        text = text.lstrip().replace("\r\n", "\n").replace("\r", "\n")
        for raw in text.split("\n"):
            for line in _first_line(raw.strip()):
                self._read_line(line)

    def _read_line(self, line: str) -> None:
        if not line or line == "#EXTM3U":
            return
        if self.variables and "{$" in line:
            line = self._substituted(line)
        if line.startswith(_OWN):
            tag, _, value = line.partition(":")
            self._read_own_tag(tag, value)
        elif not line.startswith("#"):
            self.lines.append(_PYTHON_ONLY_BREAKS.sub(_percent, line))
        elif line.startswith("#EXT-X-STREAM-INF:"):
            self.lines.append(_UNUSED_NUMBERS.sub("", line))
        elif line.startswith(("#EXT-X-I-FRAME-STREAM-INF:", "#EXT-X-IMAGE-STREAM-INF:")):
            found = attributes(line).get("URI")
            if found:
                self.lines.append(f'#EXT-X-I-FRAME-STREAM-INF:URI="{found}"')
        elif line.startswith(_WANTED):
            self.lines.append(_PYTHON_ONLY_BREAKS.sub(_percent, line))

    def _read_own_tag(self, tag: str, value: str) -> None:
        if tag == "#EXT-X-TARGETDURATION":
            self.target_duration_s = _seconds(value)
            return
        given = attributes(value)
        if tag == "#EXT-X-DEFINE":
            self._define(given)
            return
        for name, reference in given.items():
            if not reference:
                continue
            if tag in _SECRET_TAGS and name in {"URI", "SERVER-URI"}:
                self._add(self.secret, reference)
            elif tag == "#EXT-X-DATERANGE" and name.startswith("X-") and reference.startswith(("http:", "https:")):
                self._add(self.secret, reference)  # X-ASSET-LIST, X-ASSET-URI: what is inserted for this viewer alone
            elif tag == "#EXT-X-PRELOAD-HINT" and name == "URI":
                self._hint(given)
            elif tag == "#EXT-X-RENDITION-REPORT" and name == "URI":
                self.reports.append(reference)

    def _add(self, into: set[str], reference: str) -> None:
        target = urls.resolve(self.url, reference)
        into.add(urls.normal(target) if urls.is_http(target) else target[:256])

    def _hint(self, given: dict[str, str]) -> None:
        target = urls.normal(urls.resolve(self.url, given["URI"]))
        first, length = given.get("BYTERANGE-START"), given.get("BYTERANGE-LENGTH")
        if first is None and length is None:
            self.passed.add((target, None))
            return
        start = int(first or 0)
        self.passed.add((target, ByteRange(start, start + int(length) - 1 if length else None)))

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
        if name not in source:
            raise ManifestError(
                f"no value for the variable {name!r}", "EXT-X-DEFINE", "the master playlist must define it"
            )
        self.variables[name] = source[name]

    def _substituted(self, line: str) -> str:
        def value(match: re.Match[str]) -> str:
            if match[1] not in self.variables:
                raise ManifestError(
                    f"the variable {match[1]!r} is not defined", "a URL", "define it before its first use"
                )
            return self.variables[match[1]]

        if line.count("{$") > REFERENCES_MAX:
            raise ManifestError(f"more than {REFERENCES_MAX} variables in a line", "EXT-X-DEFINE", "write the URLs out")
        out = _VARIABLE.sub(value, line)
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


def _seconds(value: Any) -> float:
    seconds = float(value)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"not a duration: {value!r}")
    return seconds


def _master(url: str, data: dict[str, Any], prepared: _Prepared) -> Presentation:
    renditions: list[Rendition] = []
    children: dict[str, None] = {}

    def child(reference: str, name: str, bandwidth: int | None) -> None:
        target = urls.resolve(url, reference)
        if not urls.is_http(target):
            return
        target = urls.normal(target)
        if target not in children:
            if len(children) >= PLAYLISTS_MAX:
                raise ManifestError(f"more than {PLAYLISTS_MAX} playlists", "master", "split the master playlist")
            children[target] = None
            renditions.append(Rendition(name, target, bandwidth))

    for at, entry in enumerate(data["playlists"]):
        info = entry["stream_info"]
        child(entry["uri"], f"variant-{at}", info.get("bandwidth"))
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
    )


def _media(url: str, data: dict[str, Any], prepared: _Prepared) -> Presentation:
    skipped = max(0, int(data["skip"].get("skipped_segments", 0)))
    first = int(data["media_sequence"] or 0)
    if not 0 <= first < 2**63 or skipped >= 2**31:
        raise ValueError(f"media sequence {first}")
    kind = data["playlist_type"]
    ended = bool(data["is_endlist"])
    passed = set(prepared.passed)
    segments = tuple(_segments(url, data, first + skipped, passed))
    reports = (urls.resolve(url, reference) for reference in prepared.reports)
    return Presentation(
        url=url,
        format=Format.HLS,
        live=not ended,
        target_duration_s=prepared.target_duration_s,
        renditions=(Rendition("", url, None, segments),),
        child_manifests=tuple(dict.fromkeys(urls.normal(u) for u in reports if urls.is_http(u))),
        never_share=frozenset(prepared.secret),
        ended=ended,
        passed=frozenset(passed),
        skipped=skipped,
        first_number=first,
        grows=kind in {"event", "vod"},
        variables=tuple(prepared.variables.items()),
    )


def _segments(
    url: str, data: dict[str, Any], number: int, passed: set[tuple[str, ByteRange | None]]
) -> Iterator[Segment]:
    """The init and media segments in the playlist's order. Parts and gaps are added to `passed` instead."""
    ends: dict[str, int] = {}
    maps: dict[tuple[str, str], Segment | None] = {}
    for entry in data["segments"]:
        part_end: tuple[str, int] | None = None
        for part in entry.get("parts", ()):
            part_end = _part(url, part, part_end, passed)
        if "uri" not in entry:
            continue
        section = entry.get("init_section")
        if section and section.get("uri"):
            known = (section["uri"], section.get("byterange", ""))
            if known not in maps:
                maps[known] = _init(url, section, number)
                init = maps[known]
                if init is not None:
                    yield init
        target = urls.resolve(url, entry["uri"])
        if urls.is_http(target):
            target = urls.normal(target)
            covers = _range(entry.get("byterange"), ends.get(target))
            if covers is not None and covers.last is not None:
                ends[target] = covers.last + 1
            if entry.get("gap_tag"):
                passed.add((target, covers))
            else:
                yield Segment(target, covers, _seconds(entry.get("duration", 0.0)), number)
        number += 1


def _init(url: str, section: dict[str, Any], number: int) -> Segment | None:
    target = urls.resolve(url, section["uri"])
    if not urls.is_http(target):
        return None
    return Segment(urls.normal(target), _range(section.get("byterange"), 0), 0.0, number, SegmentKind.INIT)


def _part(
    url: str, part: dict[str, Any], previous: tuple[str, int] | None, passed: set[tuple[str, ByteRange | None]]
) -> tuple[str, int] | None:
    """Add a partial segment to `passed`.

    Returns its URL and the position after its last byte, at which the next part begins if it names no offset.
    """
    target = urls.resolve(url, part["uri"])
    if not urls.is_http(target):
        return None
    target = urls.normal(target)
    end = previous[1] if previous is not None and previous[0] == target else None
    covers = _range((part.get("byterange") or "").strip('"') or None, end)
    passed.add((target, covers))
    return (target, covers.last + 1) if covers is not None and covers.last is not None else None


def _range(text: str | None, implicit: int | None) -> ByteRange | None:
    """The byte range that `n[@o]` says (RFC 8216, 4.3.2.2); None without one.

    Without an offset the range begins at `implicit`, where the previous range of the same resource ended. If there was
    none it begins at 0: the RFC forbids this, but players read it so.
    """
    if not text:
        return None
    length, at, offset = text.partition("@")
    first = int(offset) if at else implicit or 0
    if first < 0 or int(length) <= 0:
        raise ValueError(f"not a byte range: {text!r}")
    return ByteRange(first, first + int(length) - 1)
