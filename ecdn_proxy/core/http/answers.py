"""How a viewer's request is answered from a copy of a segment: status, header fields, and which of the copy's bytes.

Map: `answer_for` (RFC 9110: preconditions 13, ranges 14, HEAD; RFC 9111: Age; RFC 9211: Cache-Status) -> `ResponsePlan`
· `asked_range` and `cut` (range arithmetic) · `precondition` (412, 304 or go on) · `Resource` (which bytes of which
resource a copy is) · `end_to_end` (fields that may cross a proxy) · `http_date`, `parse_date`.

The head of a copy may come from another machine, and only that machine's signature vouches for it. So of the head's
header fields only those named in `KEPT` are copied, none with a control character, and no content type that a browser
would run as a page or a script.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final

from ecdn_proxy.core.http.cross_origin import shown
from ecdn_proxy.core.values import Headers, Source
from ecdn_proxy.wire.integrity import SegmentHead

HOP_BY_HOP: Final = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip
"""The fields of RFC 9110 section 7.6.1, and Proxy-Connection, which some clients still send."""
KEPT: Final = frozenset({
    "access-control-expose-headers", "cache-control", "content-disposition", "content-language",
    "cross-origin-resource-policy", "expires", "timing-allow-origin", "x-content-type-options",
})  # fmt: skip
"""The response fields that are copied from a segment's head. All others are made anew here, or left out."""
REASONS: Final = {
    200: "OK", 206: "Partial Content", 304: "Not Modified", 404: "Not Found", 410: "Gone", 412: "Precondition Failed",
    416: "Range Not Satisfiable", 502: "Bad Gateway",
}  # fmt: skip

_ACTIVE = re.compile(r"(?i)\s*(text/(html|xsl|javascript|css)|[^;]*(xhtml|svg|javascript|ecmascript))")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_ONE_RANGE = re.compile(r"(?i)bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*")


@dataclass(frozen=True, slots=True)
class Asked:
    """A single byte range as a viewer asked for it: `first-last`, `first-`, or the last `suffix` bytes."""

    first: int | None
    last: int | None
    suffix: int | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """Bytes `first` to `last` of a resource, both inclusive, so at least one byte."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Resource:
    """Where in its resource a copy lies: it begins at byte `first` and has `length` of the resource's `total` bytes.

    `length` and `total` are None where they are not known.
    """

    first: int
    length: int | None
    total: int | None
    partial: bool
    """Whether the copy is a byte range of the resource, as its manifest lists it (EXT-X-BYTERANGE, SegmentBase)."""

    @property
    def last(self) -> int | None:
        """The position of the copy's last byte in the resource; None if it is not known."""
        return None if self.length is None else self.first + self.length - 1


@dataclass(frozen=True, slots=True)
class ResponsePlan:
    """One response: of the copy `skip` bytes are left out, and then `length` bytes are sent.

    If `length` is None, the copy is sent to its end, in chunks.
    """

    status: int
    headers: Headers
    skip: int = 0
    length: int | None = 0
    body: bool = False
    """Whether a body follows; after HEAD and with 304 none does, whatever Content-Length says."""

    @property
    def reason(self) -> str:
        """The reason phrase of the status, "" for a status that is not made here."""
        return REASONS.get(self.status, "")


@dataclass(frozen=True, slots=True)
class Circumstance:
    """What an answer depends on besides the request and the copy: where the copy came from, and the time."""

    source: Source
    utc: float
    """Now, seconds since 1970."""
    show_source: bool = False
    """The setting `source_headers`: whether the browser is told where the copy came from."""


@dataclass(frozen=True, slots=True)
class _Fields:
    rows: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, value: str | None) -> None:
        if value is not None and not _CONTROL.search(value):
            self.rows.append((name, value))


def first_of(headers: Headers, name: str) -> str | None:
    """The first value of a header field, whose name is given in lower case; None if the field is absent."""
    return next((value for key, value in headers if key == name), None)


def end_to_end(headers: Headers) -> Headers:
    """The header fields that may be forwarded: all but the hop-by-hop fields and those that `Connection` names."""
    named = {word.strip().lower() for key, value in headers if key == "connection" for word in value.split(",")}
    drop = HOP_BY_HOP | named
    return tuple((key, value) for key, value in headers if key not in drop)


def http_date(utc: float) -> str:
    """A time as an IMF-fixdate (RFC 9110 section 5.6.7); "" for a time that no calendar has."""
    try:
        return format_datetime(datetime.fromtimestamp(int(utc), UTC), usegmt=True)
    except (ValueError, OverflowError, OSError):
        return ""


def parse_date(text: str) -> float | None:
    """Seconds since 1970 of a date in a header field; None if the text is no date."""
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def asked_range(value: str | None) -> Asked | None:
    """The range that a Range field asks for.

    None if the field is absent, malformed, or asks for several ranges; then it is ignored (RFC 9110 section 14.2).
    """
    found = _ONE_RANGE.fullmatch(value) if value is not None else None
    if found is None:
        return None
    first, last = found[1], found[2]
    if not first:
        return Asked(None, None, int(last)) if last else None
    if last and int(last) < int(first):
        return None
    return Asked(int(first), int(last) if last else None)


def cut(asked: Asked, total: int) -> Cut | None:
    """The bytes that a range means in a resource of `total` bytes; None if there are none, which is a 416."""
    if asked.suffix is not None:
        if asked.suffix == 0 or total == 0:
            return None
        return Cut(max(0, total - asked.suffix), total - 1)
    assert asked.first is not None
    if asked.first >= total:
        return None
    return Cut(asked.first, total - 1 if asked.last is None else min(asked.last, total - 1))


def resource_of(head: SegmentHead) -> Resource:
    """Which bytes of its resource a copy holds, by the copy's head.

    If the segment's key names a byte range, `content-range` stands among the head's fields.
    """
    found = _CONTENT_RANGE.fullmatch((first_of(head.headers, "content-range") or "").strip())
    if found is None or int(found[2]) < int(found[1]):
        return Resource(0, head.total_bytes, head.total_bytes, partial=False)
    first, length = int(found[1]), int(found[2]) - int(found[1]) + 1
    known = length if head.total_bytes is None else head.total_bytes
    return Resource(first, known, None if found[3] == "*" else int(found[3]), partial=True)


def precondition(head: SegmentHead, request: Headers) -> int | None:
    """412 or 304 if a precondition of the request decides the answer, else None.

    The preconditions are evaluated in the order of RFC 9110 section 13.2.2.
    """
    modified = parse_date(head.last_modified) if head.last_modified else None
    if (wanted := first_of(request, "if-match")) is not None:
        if not _listed(wanted, head.etag, weak=False):
            return 412
    elif (since := first_of(request, "if-unmodified-since")) is not None:
        limit = parse_date(since)
        if limit is not None and modified is not None and modified > limit:
            return 412
    if (held := first_of(request, "if-none-match")) is not None:
        return 304 if _listed(held, head.etag, weak=True) else None
    if (since := first_of(request, "if-modified-since")) is not None:
        limit = parse_date(since)
        if limit is not None and modified is not None and modified <= limit:
            return 304
    return None


def answer_for(method: str, request: Headers, head: SegmentHead, now: Circumstance) -> ResponsePlan:
    """How to answer a request from a copy of a segment.

    Args:
        method: GET or HEAD.
        request: the viewer's header fields, names in lower case.
        head: what the origin said of the segment.
        now: where the copy came from, and the time.

    Returns:
        Status and header fields, and which bytes of the copy follow. The status is 502 where only the origin can
        answer, as the copy holds no byte that was asked for.
    """
    copy = resource_of(head)
    decided = precondition(head, request)
    if decided is not None:
        return ResponsePlan(decided, _headers(head, request, now, length=None if decided == 304 else 0, kind=False))
    asked = asked_range(first_of(request, "range"))
    if asked is not None and not _if_range_holds(first_of(request, "if-range"), head):
        asked = None
    if copy.partial:
        return _from_partial(method, request, head, now, copy, asked)
    if asked is None or copy.total is None:  # without the total no Content-Range is exact, and RFC 9110 allows a 200
        headers = _headers(head, request, now, length=copy.length, ranges=copy.total is not None)
        return ResponsePlan(200, headers, 0, copy.length, body=method != "HEAD")
    wanted = cut(asked, copy.total)
    if wanted is None:
        return _unsatisfiable(head, request, now, copy.total)
    headers = _headers(head, request, now, length=wanted.length, content_range=(wanted, copy.total))
    return ResponsePlan(206, headers, wanted.first, wanted.length, body=method != "HEAD")


def _from_partial(
    method: str, request: Headers, head: SegmentHead, now: Circumstance, copy: Resource, asked: Asked | None
) -> ResponsePlan:
    """The answer from a copy of a part of a resource: only bytes inside that part can be answered."""
    assert copy.last is not None
    if asked is not None and copy.total is not None and cut(asked, copy.total) is None:
        return _unsatisfiable(head, request, now, copy.total)
    if asked is None or (asked.first is None and copy.total is None):
        return ResponsePlan(502, _headers(head, request, now, length=0, kind=False))
    wanted = Cut(asked.first or 0, copy.last if asked.last is None else asked.last)
    if copy.total is not None:
        wanted = cut(asked, copy.total) or wanted
    if not copy.first <= wanted.first <= copy.last:
        return ResponsePlan(502, _headers(head, request, now, length=0, kind=False))
    sent = Cut(wanted.first, min(wanted.last, copy.last))  # a part of the range may be sent: RFC 9110 section 15.3.7
    headers = _headers(head, request, now, length=sent.length, content_range=(sent, copy.total))
    return ResponsePlan(206, headers, sent.first - copy.first, sent.length, body=method != "HEAD")


def _unsatisfiable(head: SegmentHead, request: Headers, now: Circumstance, total: int) -> ResponsePlan:
    rows = _headers(head, request, now, length=0, kind=False)
    return ResponsePlan(416, (*rows, ("content-range", f"bytes */{total}")))


def _listed(value: str, etag: str | None, *, weak: bool) -> bool:
    """Whether If-Match (by strong comparison) or If-None-Match (by weak comparison) names the copy's entity tag."""
    if value.strip() == "*":
        return True
    if etag is None or (not weak and etag.startswith("W/")):
        return False
    tags = re.findall(r'(?:W/)?"[^"]*"', value)
    return etag.removeprefix("W/") in {tag.removeprefix("W/") if weak else tag for tag in tags}


def _if_range_holds(value: str | None, head: SegmentHead) -> bool:
    if value is None:
        return True
    value = value.strip()
    if value.startswith(('"', "W/")):
        return not value.startswith("W/") and value == head.etag
    return head.last_modified is not None and value == head.last_modified.strip()


def _headers(
    head: SegmentHead,
    request: Headers,
    now: Circumstance,
    *,
    length: int | None,
    content_range: tuple[Cut, int | None] | None = None,
    ranges: bool = True,
    kind: bool = True,
) -> Headers:
    fields = _Fields()
    if kind:
        active = _ACTIVE.match(head.content_type)
        fields.add("content-type", "application/octet-stream" if active else head.content_type)
        fields.add("accept-ranges", "bytes" if ranges else None)
    if length is not None:
        fields.add("content-length", str(length))
    if content_range is not None:
        part, total = content_range
        fields.add("content-range", f"bytes {part.first}-{part.last}/{'*' if total is None else total}")
    fields.add("etag", head.etag)
    fields.add("last-modified", head.last_modified)
    fields.add("date", http_date(head.date_utc) or None)
    fields.add("age", str(max(0, min(int(now.utc - head.date_utc), 2**31))))
    for name, value in head.headers:
        if name in KEPT and not (name == "access-control-expose-headers" and now.show_source):
            fields.add(name, value)
    _cross_origin(fields, head, request, now)
    fields.add("cache-status", _cache_status(head, now))
    if now.show_source:
        fields.add("x-ecdn-source", now.source)
        fields.add("server-timing", f'ecdn;desc="{now.source}"')
    return tuple(fields.rows)


def _cross_origin(fields: _Fields, head: SegmentHead, request: Headers, now: Circumstance) -> None:
    """Add the CORS fields (Fetch standard section 3.2): made anew for each asker, and only as the origin has shown.

    An asker that the origin has not named is told the page that it has: then nothing is allowed to that asker.
    """
    page, is_for_all, pages = first_of(request, "origin"), head.cors == "any", shown(head)
    if pages or head.cors == "echo":
        fields.add("vary", "Origin")
    if not is_for_all and not pages:
        return
    if now.show_source:
        exposed = first_of(head.headers, "access-control-expose-headers")
        ours = "X-Ecdn-Source, Cache-Status, Age"
        fields.add("access-control-expose-headers", f"{exposed}, {ours}" if exposed else ours)
    if is_for_all:
        fields.add("access-control-allow-origin", "*")
        return
    named = next((it for it in pages if it.site == page), pages[0])
    fields.add("access-control-allow-origin", named.site)
    if named.credentials:
        fields.add("access-control-allow-credentials", "true")


def _cache_status(head: SegmentHead, now: Circumstance) -> str:
    """The value of Cache-Status (RFC 9211).

    A neighbour's copy counts as a hit: all agents of a site are one cache, and nothing was asked of the origin.
    """
    if now.source in {"origin", "passed"}:
        return "ecdn; fwd=miss; fwd-status=200"
    ttl = int(head.fresh_s - max(0.0, now.utc - head.date_utc))
    return f"ecdn; hit; ttl={ttl}" + ("" if now.source == "cache" else f"; detail={now.source}")
