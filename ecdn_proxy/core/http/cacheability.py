"""May this answer of the origin be given to others? RFC 9111 section 3 for a cache that many agents share.

    judge(status, headers, ...) -> Shareable(head) | Private(why) | Gone(status) | Broken(status)

`Private` means that every viewer asks for itself; `Gone` that the segment is not there for anybody; `Broken` that the
origin is in trouble and another agent may try.
"""

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal

from ecdn_proxy.core.values import ByteRange, Headers
from ecdn_proxy.wire.integrity import SEGMENT_BYTES_MAX, SegmentHead

FRESH_BY_DEFAULT_S = 60.0
"""Segments never change under one URL; without a word from the origin a minute covers the live edge of a site."""
KEPT_CHARACTERS_MAX = 4_000
"""Of all kept fields together; they travel in the first voucher's frame."""
_KEPT = frozenset(
    {"cache-control", "expires", "access-control-expose-headers", "timing-allow-origin", "cross-origin-resource-policy"}
)
_VARY_ALLOWED = frozenset({"accept-encoding", "origin"})
_NOT_MEDIA = ("text/html", "application/json", "text/css", "application/javascript", "text/javascript")


@dataclass(frozen=True, slots=True)
class Shareable:
    """May be kept and given to others."""

    head: SegmentHead
    first_byte: int
    """Position of the body's first byte inside the segment (a resumed fetch begins later)."""


@dataclass(frozen=True, slots=True)
class Private:
    """Belongs to one viewer; `lasting` when the next segments of the rendition will be the same."""

    why: str
    lasting: bool = True


@dataclass(frozen=True, slots=True)
class Gone:
    """404 or 410: not there, for nobody."""

    status: int


@dataclass(frozen=True, slots=True)
class Broken:
    """5xx, 429 or an answer that contradicts itself."""

    status: int
    why: str


Cacheability = Shareable | Private | Gone | Broken


def judge(
    status: int,
    headers: Headers,
    *,
    wanted: ByteRange | None,
    first_byte: int,
    authorized: bool,
    utc: float,
) -> Cacheability:
    """Judge the head of an answer to a GET.

    Args:
        status: the origin's status code.
        headers: its header fields, names in lower case.
        wanted: the part of the resource that is the segment; None for all of it.
        first_byte: position in the segment from which on the bytes were asked for.
        authorized: the request carried Authorization (RFC 9111 section 3.5).
        utc: now, seconds since the epoch.
    """
    fields = _combined(headers)
    if status in (404, 410):
        return Gone(status)
    if status == 429 or status >= 500:
        return Broken(status, f"the origin answered {status}")
    if status not in (200, 206):
        return Private(f"the origin answered {status}", lasting=False)
    control = directives(fields.get("cache-control", ""))
    if (why := _forbidden(fields, headers, control, authorized=authorized)) is not None:
        return Private(why)
    placed = _place(status, fields, wanted, first_byte)
    if isinstance(placed, Broken | Private):
        return placed
    total, begins = placed
    date = _date(fields.get("date")) or utc
    age = _seconds(fields.get("age")) or 0.0
    cors = _cors(fields, headers)
    kept = [(name, value) for name, value in headers if name in _KEPT and len(value) <= 2_000]
    if cors == "none" and (fixed := fields.get("access-control-allow-origin")):
        kept.append(("access-control-allow-origin", fixed[:2_000]))
    if cors == "echo" and fields.get("access-control-allow-credentials") == "true":
        kept.append(("access-control-allow-credentials", "true"))
    if wanted is not None and total is not None:
        size = _resource_bytes(fields)
        kept.append(
            ("content-range", f"bytes {wanted.first}-{wanted.first + total - 1}/{'*' if size is None else size}")
        )
    head = SegmentHead(
        total_bytes=total,
        content_type=fields.get("content-type", "application/octet-stream")[:2_000],
        etag=_short(fields.get("etag")),
        last_modified=_short(fields.get("last-modified")),
        date_utc=min(date, utc - age),
        fresh_s=_fresh_s(fields, control, date),
        cors=cors,
        headers=_bounded(kept),
    )
    return Shareable(head, begins)


def _combined(headers: Headers) -> dict[str, str]:
    """Fields by name; of one that came twice all values, as a list (RFC 9110 section 5.3)."""
    fields: dict[str, str] = {}
    for name, value in headers:
        fields[name] = f"{fields[name]}, {value}" if name in fields and fields[name] != value else value
    return fields


def directives(value: str) -> dict[str, str]:
    """Cache-Control directives by name in lower case; a directive without argument has an empty one."""
    found: dict[str, str] = {}
    for part in value.split(","):
        name, _, argument = part.strip().partition("=")
        if name:
            found[name.strip().lower()] = argument.strip().strip('"')
    return found


def _short(value: str | None) -> str | None:
    """A validator that fits a voucher's head; a longer one is as good as none."""
    return value if value is not None and len(value) <= 2_000 else None


def _bounded(kept: list[tuple[str, str]]) -> Headers:
    """What travels in a voucher's head, in one frame with the rest."""
    room = KEPT_CHARACTERS_MAX
    fits: list[tuple[str, str]] = []
    for name, value in kept[:16]:
        room -= len(name) + len(value)
        if room >= 0:
            fits.append((name, value))
    return tuple(fits)


def is_strong(etag: str | None) -> bool:
    """Whether partial answers may be combined under this entity tag (RFC 9110 section 8.8.1)."""
    return etag is not None and etag.startswith('"') and len(etag) > 2


def is_fresh(head: SegmentHead, utc: float) -> bool:
    """Whether a kept answer may be used without asking (RFC 9111 section 4.2)."""
    return utc - head.date_utc <= head.fresh_s


def _forbidden(fields: dict[str, str], headers: Headers, control: dict[str, str], *, authorized: bool) -> str | None:
    if "no-store" in control:
        return "the origin said Cache-Control: no-store"
    if "private" in control:
        return "the origin said Cache-Control: private"
    if any(name == "set-cookie" for name, _ in headers):
        return "the origin set a cookie"
    if further := _varies(headers) - _VARY_ALLOWED:
        return f"the answer varies by {', '.join(sorted(further))}"
    if authorized and not control.keys() & {"public", "s-maxage", "must-revalidate"}:
        return "the request carried Authorization and the origin did not say public"
    for name, value in headers:
        if name == "content-encoding" and value.strip().lower() not in ("", "identity"):
            return f"the answer is coded as {value[:40]}"
        if name == "content-type" and value.strip().lower().startswith(_NOT_MEDIA):
            return f"{value[:60]} is no media type"
    return None


def _place(
    status: int, fields: dict[str, str], wanted: ByteRange | None, first_byte: int
) -> tuple[int | None, int] | Broken | Private:
    """Total bytes of the segment, and where in it this body begins."""
    length = _whole(fields.get("content-length"))
    if length is not None and length > SEGMENT_BYTES_MAX:
        return Private(f"{length} bytes are more than a segment may have")
    if status == 200:
        if wanted is None:
            return length, 0
        # http.md 6: never take a 200 for the range asked; the whole resource passes to this viewer alone
        return Private("the origin ignores Range for a resource whose parts are segments")
    span = _content_range(fields.get("content-range"))
    if span is None:
        return Broken(status, "a 206 without a usable Content-Range")
    first, last, size = span
    base = 0 if wanted is None else wanted.first
    begins = first - base
    if begins != first_byte:
        return Broken(status, f"asked from byte {base + first_byte}, got from byte {first}")
    end = last + 1 if size is None else size
    if wanted is not None and wanted.last is not None:
        end = min(end, wanted.last + 1) if size is not None else wanted.last + 1
    if last + 1 != end:
        return Broken(status, f"asked to byte {end - 1}, got to byte {last}")
    if end - base > SEGMENT_BYTES_MAX:
        return Private(f"{end - base} bytes are more than a segment may have")
    return end - base, begins


def _content_range(value: str | None) -> tuple[int, int, int | None] | None:
    unit, _, rest = (value or "").partition(" ")
    span, _, size = rest.partition("/")
    first, _, last = span.partition("-")
    if unit != "bytes" or not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
        return None
    whole = _whole(size)
    if int(last) < int(first) or (whole is not None and int(last) >= whole) or (whole is None and size != "*"):
        return None
    return int(first), int(last), whole


def _resource_bytes(fields: dict[str, str]) -> int | None:
    span = _content_range(fields.get("content-range"))
    return None if span is None else span[2]


def _whole(value: str | None) -> int | None:
    return int(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 18 else None


def _seconds(value: str | None) -> float | None:
    whole = _whole(value)
    return None if whole is None else float(whole)


def _date(value: str | None) -> float | None:
    try:
        return None if value is None else parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _fresh_s(fields: dict[str, str], control: dict[str, str], date: float) -> float:
    if "no-cache" in control:
        return 0.0
    for name in ("s-maxage", "max-age"):
        if (seconds := _seconds(control.get(name))) is not None:
            return seconds
    if "expires" in fields:
        expires = _date(fields["expires"])
        return 0.0 if expires is None else max(0.0, expires - date)
    return FRESH_BY_DEFAULT_S


def _cors(fields: dict[str, str], headers: Headers) -> Literal["none", "any", "echo"]:
    """What the origin proved of cross-origin reading.

    `*` is for anybody; one name without `Vary: Origin` is the same for everybody, and kept as it is; a name that varies
    was given because this asker's Origin was allowed.
    """
    allowed = fields.get("access-control-allow-origin")
    if not allowed:
        return "none"
    if allowed == "*":
        return "any"
    return "echo" if "origin" in _varies(headers) else "none"


def _varies(headers: Headers) -> set[str]:
    return {item.strip().lower() for name, value in headers if name == "vary" for item in value.split(",")} - {""}
