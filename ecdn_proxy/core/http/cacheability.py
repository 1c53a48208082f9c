"""Whether an answer of the origin may be given to other viewers: RFC 9111 section 3, for a cache that agents share.

    judge(status, headers, ...) -> Shareable(head) | Private(why) | Gone(status) | Broken(status)

`Private`: every viewer must ask the origin for itself. `Gone`: the segment is not there, for anybody. `Broken`: the
origin is in trouble, and another agent may try.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from ecdn_proxy.core.values import ByteRange, Headers
from ecdn_proxy.wire.integrity import SEGMENT_BYTES_MAX, SegmentHead
from ecdn_proxy.wire.sharing_rules import SharingRule

HEURISTIC_SHARE = 0.1
"""An answer of which the origin says only when it was last modified is fresh for this part of its age at that time
(RFC 9111 section 4.2.2) …"""
HEURISTIC_MAX_S = 60.0
"""… and no longer than this. Servers of live streams use names again: a minute is no more than a window's length."""
KEPT_CHARACTERS_MAX = 4_000
"""The most characters of all kept header fields together; they travel in the frame of the first voucher."""
_KEPT = frozenset(
    {"cache-control", "expires", "access-control-expose-headers", "timing-allow-origin", "cross-origin-resource-policy"}
)
PREFLIGHT_FIELDS: Final = frozenset(
    {"access-control-request-headers", "access-control-request-method", "access-control-request-private-network"}
)
"""Request fields of a CORS preflight (Fetch standard, section 3.3.2). No GET of media carries them, so an answer that
varies by them is the same for all of these. A GET that does carry one goes to the origin (`Classifier.classify`)."""
_VARY_ALLOWED = frozenset({"accept-encoding", "host", "if-range", "origin", "range"})
"""Request fields that do not tell viewers apart: the agent writes its own, they are part of the segment's key, or, with
Origin, the answer is made anew for each viewer."""
_NOT_MEDIA = ("text/html", "application/json", "text/css", "application/javascript", "text/javascript")


@dataclass(frozen=True, slots=True)
class Shareable:
    """The answer may be kept and given to other viewers."""

    head: SegmentHead
    first_byte: int
    """The position in the segment at which the body begins; above 0 for a fetch that goes on where one broke off."""
    why: str = ""
    """What a sharing rule changed, and which; "" where the origin's own word counts."""


@dataclass(frozen=True, slots=True)
class Private:
    """The answer belongs to one viewer. `lasting`: the same will be so of the rendition's next segments."""

    why: str
    lasting: bool = True


@dataclass(frozen=True, slots=True)
class Gone:
    """The origin answered 404 or 410: the segment is not there, for anybody."""

    status: int


@dataclass(frozen=True, slots=True)
class Broken:
    """The origin answered 5xx or 429, or its answer contradicts itself or what was asked."""

    status: int
    why: str


Cacheability = Shareable | Private | Gone | Broken


def judge(
    status: int,
    headers: Headers,
    *,
    wanted: ByteRange | None,
    first_byte: int,
    sent: Collection[str],
    utc: float,
    rule: SharingRule | None = None,
) -> Cacheability:
    """Judge the head of an answer to a GET.

    Args:
        status: the origin's status code.
        headers: its header fields, names in lower case.
        wanted: the part of the resource that is the segment; None for all of it.
        first_byte: the position in the segment from which on bytes were asked for.
        sent: the names of the header fields that the viewer's request had, in lower case.
        utc: now, seconds since 1970.
        rule: what an administrator permits for the request's URL although the origin does not say so.
    """
    fields = _combined(headers)
    if status in (404, 410):
        return Gone(status)
    if status == 429 or status >= 500:
        return Broken(status, f"the origin answered {status}")
    if status not in (200, 206):
        return Private(f"the origin answered {status}", lasting=False)
    control = directives(fields.get("cache-control", ""))
    lifted: list[str] = []
    for permission, why in _objections(fields, headers, control, sent):
        if rule is None or not permission:
            return Private(why)
        if permission not in rule.permits:
            return Private(f"{why}, and {rule.said} has no {permission}")
        lifted.append(why)
    placed = _place(status, fields, wanted, first_byte)
    if isinstance(placed, Broken | Private):
        return placed
    total, begins = placed
    date = _date(fields.get("date")) or utc
    age = _age(headers)
    kept = [(name, value) for name, value in headers if name in _KEPT and len(value) <= 2_000]
    allowed = fields.get("access-control-allow-origin", "")
    if allowed not in ("", "*"):
        # shown to the page that asked, and to no other: who else may read it is for the origin to say
        kept.append(("access-control-allow-origin", allowed[:2_000]))
        if fields.get("access-control-allow-credentials") == "true":
            kept.append(("access-control-allow-credentials", "true"))
    if wanted is not None and total is not None:
        size = _resource_bytes(fields)
        kept.append(
            ("content-range", f"bytes {wanted.first}-{wanted.first + total - 1}/{'*' if size is None else size}")
        )
    if (apart := _differing(headers) - PREFLIGHT_FIELDS) and (rule is None or "ignore_vary" not in rule.permits):
        # the request had none of these fields: the copy is for requests that have none of them either
        kept.insert(0, ("vary", ", ".join(sorted(apart))[:2_000]))
    date_utc = min(date, utc - (age or 0.0))
    fresh_s = 0.0 if age is None else _fresh_s(fields, control, date)
    if rule is not None and rule.kept_fresh_s is not None:
        fresh_s = utc - date_utc + rule.kept_fresh_s
    head = SegmentHead(
        total_bytes=total,
        content_type=fields.get("content-type", "application/octet-stream")[:2_000],
        etag=_short(fields.get("etag")),
        last_modified=_short(fields.get("last-modified")),
        date_utc=date_utc,
        fresh_s=fresh_s,
        cors="any" if allowed == "*" else "none",
        headers=_bounded(kept),
    )
    return Shareable(head, begins, "" if rule is None else _by_rule(rule, lifted))


def _combined(headers: Headers) -> dict[str, str]:
    """Header fields by name. A field that came twice has both values, separated by a comma (RFC 9110 section 5.3)."""
    fields: dict[str, str] = {}
    for name, value in headers:
        fields[name] = f"{fields[name]}, {value}" if name in fields and fields[name] != value else value
    return fields


def directives(value: str) -> dict[str, str]:
    """Cache-Control's directives: argument by name in lower case; "" for a directive without an argument.

    Of a directive that is there twice with two arguments neither counts (RFC 9111 section 4.2.1).
    """
    found: dict[str, str] = {}
    for part in value.split(","):
        name, _, argument = part.strip().partition("=")
        if name:
            said = argument.strip().strip('"')
            found[name.strip().lower()] = said if found.get(name.strip().lower(), said) == said else ""
    return found


def _short(value: str | None) -> str | None:
    """A validator if it fits into a segment's head, else None."""
    return value if value is not None and len(value) <= 2_000 else None


def _bounded(kept: list[tuple[str, str]]) -> Headers:
    """The header fields that fit into a segment's head, which travels in one frame with the first voucher."""
    room = KEPT_CHARACTERS_MAX
    fits: list[tuple[str, str]] = []
    for name, value in kept[:16]:
        room -= len(name) + len(value)
        if room >= 0:
            fits.append((name, value))
    return tuple(fits)


def is_strong(etag: str | None) -> bool:
    """Whether an entity tag is strong, so that partial answers may be combined under it (RFC 9110 section 8.8.1)."""
    return etag is not None and etag.startswith('"') and len(etag) > 2


def _objections(
    fields: dict[str, str], headers: Headers, control: dict[str, str], sent: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Why an answer belongs to one viewer, and the permission of a rule that lifts this reason; "" where none does."""
    if "no-store" in control:
        yield "ignore_no_store", "the origin said Cache-Control: no-store"
    if "private" in control:
        yield "ignore_private", "the origin said Cache-Control: private"
    if "set-cookie" in fields and not control.keys() & {"public", "s-maxage"}:
        # with either of them the origin means the answer for all, and the cookie for one (RFC 9111 section 7.3)
        yield "ignore_set_cookie", "the origin set a cookie"
    if further := _differing(headers) & {*sent, "*"}:
        yield "ignore_vary", f"the answer varies by {', '.join(sorted(further))}"
    if "authorization" in sent and not control.keys() & {"public", "s-maxage", "must-revalidate"}:
        yield "ignore_authorization", "the request carried Authorization and the origin did not say public"
    for name, value in headers:
        if name == "content-encoding" and value.strip().lower() not in ("", "identity"):
            yield "", f"the answer is coded as {value[:40]}"
        if name == "content-type" and value.strip().lower().startswith(_NOT_MEDIA):
            yield "", f"{value[:60]} is no media type"


def _by_rule(rule: SharingRule, lifted: list[str]) -> str:
    """What a rule has changed, in words; "" if nothing."""
    words = [f"shared although {' and '.join(lifted)}"] if lifted else []
    if rule.immutable:
        words.append("the origin is not asked about it again")
    elif rule.fresh_s is not None:
        words.append(f"fresh for {rule.fresh_s:g} s")
    return f"{', '.join(words)} ({rule.said})" if words else ""


def _place(
    status: int, fields: dict[str, str], wanted: ByteRange | None, first_byte: int
) -> tuple[int | None, int] | Broken | Private:
    """Total bytes of the segment (None if unknown), and the position in the segment at which this body begins.

    Instead of these: `Broken` if the answer is not what was asked for, `Private` if it cannot be shared.
    """
    length = _whole(fields.get("content-length"))
    if length is not None and length > SEGMENT_BYTES_MAX:
        return Private(f"{length} bytes are more than a segment may have")
    if status == 200:
        if wanted is None:
            return length, 0
        # a 200 holds the whole resource, never the range that was asked for: it passes to this viewer alone
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


def _age(headers: Headers) -> float | None:
    """The answer's Age in seconds, 0 without one; None if it is no single number: such an answer is stale.

    RFC 9111 section 5.1 leaves it to a cache what to make of such a field. Nobody knows then how old the answer is.
    """
    said = [value.strip() for name, value in headers if name == "age"]
    return 0.0 if not said else _seconds(said[0]) if len(said) == 1 else None


def _fresh_s(fields: dict[str, str], control: dict[str, str], date: float) -> float:
    """The freshness lifetime in seconds (RFC 9111 section 4.2.1). What cannot be read is stale at once."""
    if "no-cache" in control:
        return 0.0
    for name in ("s-maxage", "max-age"):
        if name in control:
            return _seconds(control[name]) or 0.0
    if "expires" in fields:
        expires = _date(fields["expires"])
        return 0.0 if expires is None else max(0.0, expires - date)
    modified = _date(fields.get("last-modified"))
    return 0.0 if modified is None else min(max(0.0, HEURISTIC_SHARE * (date - modified)), HEURISTIC_MAX_S)


def _differing(headers: Headers) -> set[str]:
    """The request fields by which the answer varies and which may tell viewers apart (RFC 9111 section 4.1)."""
    return _varies(headers) - _VARY_ALLOWED


def _varies(headers: Headers) -> set[str]:
    return {item.strip().lower() for name, value in headers if name == "vary" for item in value.split(",")} - {""}
