"""May a copy be used for a request, or must the origin confirm it first: RFC 9111 sections 4.2 and 4.3, for a site.

    Demand                    what one request asks of a copy: when it was put, by which page, how old a copy it takes
    CopyAge                   when the origin made a copy's answer, and when it last spoke of the copy
    objection(...)            why a copy may not be used as it is; None if it may be
    is_selected(head, sent)   whether Vary lets a copy answer a request with these fields
    may_be_confirmed(head)    whether the origin can be asked about the copy by a condition
    confirmed(head, ...)      the copy's head after the origin has said 304

The same rule holds for a copy in this machine's memory, on its disk, at a neighbour, and on its way from one. A copy
that is used is fresh, or the origin has spoken of it since the request was put: bytes that were still arriving, and a
304, count for everybody who asked before their end (collapsed forwarding, as squid and Varnish do it).

Times are those of one machine's monotonic clock. A neighbour says how old its copy is, and never when it was made, so
no two clocks need agree.
"""

from dataclasses import dataclass

import msgspec

from ecdn_proxy.core.http.cacheability import Shareable, directives, judge
from ecdn_proxy.core.http.cross_origin import ALLOW_CREDENTIALS, ALLOW_ORIGIN, HEAD_FIELDS_MAX, is_proven, joined
from ecdn_proxy.core.values import Headers
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.integrity import SegmentHead
from ecdn_proxy.wire.sharing_rules import SharingRule

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "CONNECT"})
"""Methods that change nothing (RFC 9110 section 9.2.1), and CONNECT, which has no resource."""
_OF_THE_BODY = ("content-type", "content-length", "content-range", "content-encoding", "transfer-encoding")


@dataclass(frozen=True, slots=True)
class Demand:
    """What one request asks of a copy."""

    asked_at: Instant
    """When the request was put."""
    page: str | None = None
    """The request's Origin field: the site of the page whose player asks. None without one."""
    max_age_s: float | None = None
    """How old the copy may be by the request's Cache-Control, in seconds, 0 for `no-cache`. None: as is fresh."""
    number: int | None = None
    """The segment's place in its rendition as this machine's manifest lists it; None: nobody here has asked."""
    sent: frozenset[str] = frozenset()
    """The names of the request's header fields, in lower case."""
    changed_at: Instant | None = None
    """When a request from this machine last changed what is at the segment's address (RFC 9111 section 4.4)."""


@dataclass(frozen=True, slots=True)
class CopyAge:
    """How old a copy is."""

    made_at: Instant
    """When the origin made the answer or confirmed it last."""
    heard_at: Instant
    """When the origin last sent bytes of the copy or confirmed it."""
    number: int | None = None
    """The place at which it was listed when it was fetched; None if that is not known."""


def page_of(request: Headers) -> str | None:
    """The site of the page whose player sends a request, by its Origin field; None without one."""
    return next((value for name, value in request if name == "origin"), None)


def asked_age_s(request: Headers) -> float | None:
    """How old a copy a request takes at most, in seconds; None if it does not say (RFC 9111 sections 5.2.1 and 5.4)."""
    control = directives(", ".join(value for name, value in request if name == "cache-control"))
    if "no-cache" in control:
        return 0.0
    if "max-age" in control:
        age = control["max-age"]
        return float(age) if age.isascii() and age.isdigit() and len(age) < 18 else 0.0
    pragma = ", ".join(value for name, value in request if name == "pragma")
    return 0.0 if not control and "no-cache" in pragma.lower() else None


def objection(head: SegmentHead, age: CopyAge, demand: Demand, now: Instant) -> str | None:
    """Why a copy may not be used for a request as it is, for the status page; None if it may be used."""
    if not is_proven(head, demand.page):
        return "the origin has not shown that this page may read it"
    if demand.changed_at is not None and age.heard_at <= demand.changed_at:
        return "a request from this machine has changed it since"
    if age.heard_at >= demand.asked_at:
        return None
    age_s = now - age.made_at
    if demand.max_age_s is not None and age_s >= demand.max_age_s:
        return "the player asks for the origin's word"
    if age_s > head.fresh_s:
        return f"it was fresh for {head.fresh_s:.0f} s only"
    if age.number is not None and demand.number is not None and age.number != demand.number and may_be_confirmed(head):
        return "its address is listed at another place now"
    return None


def is_selected(head: SegmentHead, sent: frozenset[str]) -> bool:
    """Whether a copy is an answer to a request with these fields, as far as Vary says (RFC 9111 section 4.1).

    A copy is kept only if the request that it answered had none of the fields by which it varies.
    """
    return not any(
        item.strip().lower() in sent for name, value in head.headers if name == "vary" for item in value.split(",")
    )


def may_be_confirmed(head: SegmentHead) -> bool:
    """Whether the origin can be asked about the copy by a condition (RFC 9110 section 13.1): it has a validator."""
    return head.etag is not None or head.last_modified is not None


def conditions(head: SegmentHead) -> Headers:
    """The fields that ask whether a copy still holds: by entity tag, else by date (RFC 9111 section 4.3.1)."""
    if head.etag is not None:
        return (("if-none-match", head.etag),)
    return () if head.last_modified is None else (("if-modified-since", head.last_modified),)


def confirmed(head: SegmentHead, headers: Headers, utc: float, rule: SharingRule | None = None) -> SegmentHead:
    """The head of a copy that the origin has just confirmed by 304 (RFC 9111 section 4.3.4).

    The answer's fields replace those of the copy. Its length and type say nothing of the body and are left out. What
    the origin had shown to pages before stays.
    """
    said = {name for name, _ in headers}
    apart = (*_OF_THE_BODY, ALLOW_ORIGIN, ALLOW_CREDENTIALS)
    kept = tuple(it for it in head.headers if it[0] not in said and it[0] not in apart)
    fields = tuple(it for it in headers if it[0] not in _OF_THE_BODY)
    about = (("content-type", head.content_type),)
    verdict = judge(200, (*about, *fields, *kept), wanted=None, first_byte=0, sent=(), utc=utc, rule=rule)
    if not isinstance(verdict, Shareable):
        # the origin confirms the bytes and keeps them for this viewer: for the next one they are stale at once
        return msgspec.structs.replace(head, date_utc=utc, fresh_s=0.0)
    new = verdict.head
    part = tuple(it for it in head.headers if it[0] == "content-range")
    new = msgspec.structs.replace(
        new,
        total_bytes=head.total_bytes,
        etag=new.etag if new.etag is not None else head.etag,
        last_modified=new.last_modified if new.last_modified is not None else head.last_modified,
        headers=(*part, *new.headers)[:HEAD_FIELDS_MAX],
    )
    return joined(new, head)
