"""Which pages may read a copy, as far as the origin has shown it: CORS (Fetch standard section 3.2) for a whole site.

    shown(head)            the pages that the origin has named, each with whether it allows credentials
    is_proven(head, page)  whether the origin has shown that a page may read the copy
    joined(head, before)   a newer head of the same bytes, with what the origin had shown before
    CrossOriginProofs      what the origin has shown to the pages of this machine

Many servers echo the page's Origin in Access-Control-Allow-Origin, with `Vary` or without, and some send CORS fields
only to requests that carry Origin. So one page's permission says nothing of another's. A head holds `*`, or the fields
for each page that the origin has named.
"""

from collections import OrderedDict
from dataclasses import dataclass

import msgspec

from ecdn_proxy.core.values import Headers
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.integrity import SegmentHead

ALLOW_ORIGIN = "access-control-allow-origin"
ALLOW_CREDENTIALS = "access-control-allow-credentials"
PAGES_MAX = 4
"""So many pages stand in one head, the last named first; an office watches one portal, or two."""
HEAD_FIELDS_MAX = 16
"""So many header fields travel in a segment's head (`wire.integrity.SegmentHead`)."""
PROOFS_MAX = 256
"""Renditions and pages of which the origin's word is remembered; the one noted first is forgotten first."""
PROVEN_S = 600.0
"""An origin's rules about pages change with its configuration, not from one segment to the next."""


@dataclass(frozen=True, slots=True)
class ShownPage:
    """A page that the origin has named in Access-Control-Allow-Origin."""

    site: str
    credentials: bool
    """Whether it may be read with cookies, by Access-Control-Allow-Credentials."""


def shown(head: SegmentHead) -> tuple[ShownPage, ...]:
    """The pages that the origin has named, the last one first."""
    return _pages(head.headers) if head.cors == "none" else ()


def _pages(headers: Headers) -> tuple[ShownPage, ...]:
    pages: list[ShownPage] = []
    for name, value in headers:
        if name == ALLOW_ORIGIN:
            pages.append(ShownPage(value, credentials=False))
        elif name == ALLOW_CREDENTIALS and value == "true" and pages:
            pages[-1] = ShownPage(pages[-1].site, credentials=True)
    return tuple(pages)


def is_proven(head: SegmentHead, page: str | None) -> bool:
    """Whether the origin has shown that a page may read the copy; a request without a page needs no permission."""
    return page is None or head.cors == "any" or any(it.site == page for it in shown(head))


def joined(head: SegmentHead, before: SegmentHead | None) -> SegmentHead:
    """A newer head of the same bytes, with the pages that the origin had named before."""
    if before is None or head.cors == "any":
        return head
    if before.cors == "any" and not shown(head):
        return msgspec.structs.replace(head, cors="any")
    new = shown(head)
    named = {it.site for it in new}
    return _with_pages(head, (*new, *(it for it in shown(before) if it.site not in named)))


def _with_pages(head: SegmentHead, pages: tuple[ShownPage, ...]) -> SegmentHead:
    others = tuple(it for it in head.headers if it[0] not in (ALLOW_ORIGIN, ALLOW_CREDENTIALS))
    fields: list[tuple[str, str]] = []
    for page in pages[:PAGES_MAX]:
        fields.append((ALLOW_ORIGIN, page.site))
        if page.credentials:
            fields.append((ALLOW_CREDENTIALS, "true"))
    room = HEAD_FIELDS_MAX - len(fields)
    return msgspec.structs.replace(head, cors="none", headers=(*others[:room], *fields))


class CrossOriginProofs:
    """What the origin has shown to the pages of this machine: by rendition and page, from its own answers."""

    def __init__(self) -> None:
        self._proofs: OrderedDict[tuple[str, str, str], tuple[Instant, Headers]] = OrderedDict()

    def learn(self, stream: str, rendition: str, page: str | None, headers: Headers, now: Instant) -> None:
        """The origin answered a request of this page with these header fields."""
        if page is None:
            return
        fields = tuple(it for it in headers if it[0] in (ALLOW_ORIGIN, ALLOW_CREDENTIALS))
        self._proofs[stream, rendition, page] = now, fields
        self._proofs.move_to_end((stream, rendition, page))
        if len(self._proofs) > PROOFS_MAX:
            self._proofs.popitem(last=False)

    def apply(self, head: SegmentHead, stream: str, rendition: str, page: str | None, now: Instant) -> SegmentHead:
        """The head as this page may have it: with what the origin has shown the page of this rendition lately."""
        if page is None or is_proven(head, page):
            return head
        proven_at, fields = self._proofs.get((stream, rendition, page), (-PROVEN_S, ()))
        if now - proven_at >= PROVEN_S:
            return head
        if (ALLOW_ORIGIN, "*") in fields:
            return msgspec.structs.replace(_with_pages(head, ()), cors="any")
        proven = tuple(it for it in _pages(fields) if it.site == page)
        return _with_pages(head, (*proven, *shown(head))) if proven else head
