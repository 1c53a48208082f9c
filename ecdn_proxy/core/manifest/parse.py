"""From the bytes of a manifest to a `Presentation`, whatever its format.

Map: limits · `decode` (bytes to text) · `sniff` (the format of a body) · `parse` (bounds first, then the format's own
parser; an MPD patch is applied first) · `xml_root` (bytes to XML elements, entity bombs refused).

A body is bounded before a parser sees it. The library m3u8 takes 9 µs for a segment and the library defusedxml builds
about 500 bytes for an element, so a manifest of 500,000 segments would hold up the event loop for seconds.
"""

import codecs
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final
from xml.etree.ElementTree import Element, ParseError, tostring

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from ecdn_proxy.core.http import urls
from ecdn_proxy.core.manifest.dash import parse_dash
from ecdn_proxy.core.manifest.hls import parse_hls
from ecdn_proxy.core.manifest.model import Format, ManifestError, PatchBase, Presentation
from ecdn_proxy.core.manifest.patch import apply, base_for
from ecdn_proxy.core.manifest.smooth import parse_smooth
from ecdn_proxy.core.manifest.xml import children, local

MANIFEST_BYTES_MAX: Final = 8 * 1024 * 1024
"""The most bytes of one manifest, decoded. The longest real ones (10 hours in segments of 2 s with tokens of 300
characters) have 6 MB."""
SEGMENTS_MAX: Final = 20_000
"""The most segments that one manifest writes out: 11 hours in segments of 2 s. The library m3u8 needs 0.18 s for
them."""
ELEMENTS_MAX: Final = 200_000
"""The most opening and closing XML tags of one manifest: 20,000 segments in five spellings each, 100 MB in memory at
worst."""
ATTRIBUTES_MAX: Final = 400_000
"""The most equals signs in one XML manifest: twice the attributes that `ELEMENTS_MAX` tags usually have."""
LINE_CHARACTERS_MAX: Final = 65_536
"""The most characters of one HLS line. A data: URI with a DRM header has about 10,000."""
LINES_MAX: Final = 12 * SEGMENTS_MAX
"""The most lines of one HLS playlist: a dozen for each segment, comments included."""
TAGS_MAX: Final = 5 * SEGMENTS_MAX
"""The most HLS tags of one playlist: length, date and three key systems for each segment; 15 µs each at worst."""
PARTS_MAX: Final = 4_000
"""The most LL-HLS parts of one playlist. Only parts near the live edge are listed, some dozens."""

_SNIFFED_BYTES: Final = 4096
_VIDEO_TYPES: Final = ("mpegurl", "vnd.mpeg.dash.mpd")
_CURE_SIZE: Final = "raise the limit in the settings, or shorten the stream's window at its packager"
_CURE_VALUE: Final = "check it with the format's validator"
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ROOT = re.compile(r"<(?:[A-Za-z_][\w.-]*:)?(MPD|Patch|SmoothStreamingMedia)[\s>/]")
_ROOT_TAG = re.compile(rb"<(?:[A-Za-z_][\w.-]*:)?(?:MPD|Patch|SmoothStreamingMedia)(?=[\s>/])")
_PREFIX = re.compile(rb"(?:</?|\s)(?!xmlns:|xml:)([A-Za-z_][\w.-]*):(?=[A-Za-z_])")
_DECLARED = re.compile(rb"\sxmlns:([A-Za-z_][\w.-]*)\s*=")
_AMPERSAND = re.compile(rb"&(?!(?:[A-Za-z]+|#[0-9]+|#x[0-9A-Fa-f]+);)")
_PROLOGUE = re.compile(r"\s*(?:<\?.*?\?>|<!--.*?-->|\s+)*", re.DOTALL)


def decode(body: bytes) -> str:
    """The text of a manifest.

    Its encoding shows in its byte order mark, or in the zero bytes of UTF-16 without one; otherwise it is UTF-8. Bytes
    that are no UTF-8 become U+FFFD, as in browsers; nobody will ask for a URL that contains them.
    """
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(encoding, "replace")
    if body[:2] == b"<\0":
        return body.decode("utf-16-le", "replace")
    if body[:2] == b"\0<":
        return body.decode("utf-16-be", "replace")
    return body.decode("utf-8", "replace")


def sniff(content_type: str | None, first_bytes: bytes) -> Format | None:
    """The format of a body that begins with these bytes; None if it is no manifest.

    The bytes decide, because servers send playlists as text/plain, audio/x-mpegurl and application/octet-stream alike.

    Args:
        content_type: a type that no manifest has (image, font, audio or video other than mpegurl and dash.mpd) decides
            alone.
        first_bytes: the first few hundred bytes of the body, or all of it; 4,096 are looked at.
    """
    kind = (content_type or "").split(";")[0].strip().lower()
    if kind.startswith(("image/", "font/")) or (
        kind.startswith(("audio/", "video/")) and not kind.endswith(_VIDEO_TYPES)
    ):
        return None
    text = decode(first_bytes[:_SNIFFED_BYTES]).lstrip()
    if text.startswith("#EXTM3U"):
        return Format.HLS
    if not text.startswith("<"):
        return None
    prologue = _PROLOGUE.match(text)
    root = _ROOT.match(text, prologue.end() if prologue else 0)
    if root is None:
        return None
    return Format.SMOOTH if root[1] == "SmoothStreamingMedia" else Format.DASH


def parse(
    url: str,
    body: bytes,
    content_type: str | None,
    utc: float,
    *,
    bytes_max: int = MANIFEST_BYTES_MAX,
    segments_max: int = SEGMENTS_MAX,
    variables: Iterable[tuple[str, str]] = (),
    origin_utc: float | None = None,
    bases: Iterable[PatchBase] = (),
) -> Presentation:
    """Read the manifest at `url`, or the MPD that an MPD patch at `url` makes of one of `bases`.

    Args:
        url: where the body came from, after redirects.
        body: the body, without content coding (no gzip).
        content_type: the type that the origin gave.
        utc: now, seconds since 1970; it bounds live DASH timelines that are open at their end.
        bytes_max: the most bytes of the body.
        segments_max: the most segments, or timeline entries, that are written out.
        variables: HLS variables of the master playlist, for EXT-X-DEFINE:IMPORT.
        origin_utc: now by the origin's clock (Date), seconds since 1970; None if it did not say.
        bases: the MPDs that a patch from this URL can change, the newest first.

    Raises:
        ManifestError: the manifest cannot be used. Nothing else is raised, whatever the bytes are.
    """
    if len(body) > bytes_max:
        raise ManifestError(f"a manifest of {len(body)} bytes; the limit is {bytes_max}", "size", _CURE_SIZE)
    form = sniff(content_type, body)
    if form is None:
        raise ManifestError(
            "neither HLS nor DASH nor Smooth Streaming", "first bytes", "this body is passed on untouched"
        )
    try:
        base = urls.normal(url)
    except urls.BadUrl as error:
        raise ManifestError(str(error), "URL", "only http and https are read") from error
    try:
        if form is Format.HLS:
            found = _parse_hls(base, body, segments_max, tuple(variables))
        else:
            found = _parse_xml(form, base, body, (utc, origin_utc), segments_max, bases)
    except (ArithmeticError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise ManifestError(f"{type(error).__name__}: {error}", "a value in it", _CURE_VALUE) from error
    if found.notices and not found.child_manifests and not any(r.segments or r.templates for r in found.renditions):
        raise ManifestError(found.notices[0], "every part of it", _CURE_VALUE)
    return found


def _parse_hls(url: str, body: bytes, segments_max: int, variables: tuple[tuple[str, str], ...]) -> Presentation:
    _bound(body.count(b"#EXTINF"), segments_max, "segments")
    _bound(body.count(b"\n") + body.count(b"\r"), LINES_MAX, "lines")
    _bound(body.count(b"#EXT"), TAGS_MAX, "tags")
    _bound(body.count(b"#EXT-X-PART:"), PARTS_MAX, "partial segments")
    text = decode(body)
    longest = max(map(len, text.split("\n")), default=0)
    _bound(longest, LINE_CHARACTERS_MAX, "characters in one line")
    return parse_hls(url, text, variables)


def _parse_xml(
    form: Format,
    url: str,
    body: bytes,
    clocks: tuple[float, float | None],
    segments_max: int,
    bases: Iterable[PatchBase],
) -> Presentation:
    _bound_entries(body, segments_max)
    root = xml_root(body)
    if form is Format.SMOOTH:
        return parse_smooth(url, root)
    if local(root) == "Patch":
        base, pending = base_for(root, bases)
        patch, url, body = root, base.url, base.text
        root = xml_root(body)
        if pending:
            apply(patch, root)
            body = tostring(root)
            _bound(len(body), MANIFEST_BYTES_MAX, "bytes of a patched MPD")
            _bound_entries(body, segments_max)
    found = parse_dash(url, root, *clocks)
    if next(children(root, "PatchLocation"), None) is None:
        return found
    return replace(found, patch_base=PatchBase(url, root.get("id", ""), root.get("publishTime", ""), body))


def _bound_entries(body: bytes, segments_max: int) -> None:
    entries = sum(_tags(body, name) for name in ("S", "SegmentURL", "c"))
    _bound(entries, segments_max, "segments or timeline entries")


def _tags(body: bytes, name: str) -> int:
    """How often `<name` and a space stand in the body, be it with a namespace, in UTF-8 or in either UTF-16."""
    openings = (f"<{name} ", f":{name} ")
    return sum(body.count(opening.encode()) + body.count(opening.encode("utf-16-le")) for opening in openings)


def _bound(count: int, limit: int, what: str) -> None:
    if count > limit:
        raise ManifestError(f"{count} {what}; the limit is {limit}", "before parsing", _CURE_SIZE)


def xml_root(body: bytes) -> Element:
    """The root element of an XML body. DTDs, entities and external references are refused before they do anything.

    Raises:
        ManifestError: the body is not well-formed, has a DTD, or more tags or attributes than a manifest has.
    """
    _bound(body.count(b"<"), ELEMENTS_MAX, "XML tags")
    _bound(body.count(b"="), ATTRIBUTES_MAX, "XML attributes")
    try:
        root: Element = fromstring(body.lstrip(), forbid_dtd=True)
    except DefusedXmlException as error:
        raise ManifestError(
            f"refused: {error}", "XML prologue", "a manifest needs no DTD or entities; remove them"
        ) from error
    except ParseError as error:
        mended = _mended(body)
        if mended != body:
            return xml_root(mended)
        raise ManifestError(f"not well-formed XML: {error}", "XML", "check it with an XML validator") from error
    except (LookupError, ValueError) as error:
        raise ManifestError(f"not well-formed XML: {error}", "XML", "check it with an XML validator") from error
    return root


def _mended(body: bytes) -> bytes:
    """The body as dash.js and shaka-player take it, which read XML by hand.

    Its undeclared namespace prefixes are declared in its root, and ampersands that begin no reference are written as
    references. The same body if there are none.
    """
    body = _AMPERSAND.sub(b"&amp;", body)
    root = _ROOT_TAG.search(body)
    declared = set(_DECLARED.findall(body[root.end() :].partition(b">")[0])) if root is not None else set()
    missing = sorted(set(_PREFIX.findall(body)) - declared)
    if root is None or not missing:
        return body
    more = b"".join(b' xmlns:%b="urn:undeclared"' % prefix for prefix in missing)
    return body[: root.end()] + more + body[root.end() :]
