"""Which requests are segments that this viewer may have from us; everything else passes.

    Classifier.classify(request)         PassToOrigin | a SegmentMatch with its key, stream and place
    Classifier.needs_whole_body(request) whether the origin must not answer 304, as its body is not known here
    Classifier.may_be_manifest(...)      whether the origin's answer must be copied, to be learnt
    Classifier.manifest_arrived(...)     the origin's manifest: its segments, and that this viewer may have them
    Classifier.origin_answered(...)      an own 2xx of the origin proves a viewer; a 401 or 403 takes the proof back
    Classifier.forget_old(utc)

Positive identification only: a URL is a segment because a manifest that was fetched on this machine lists it.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from ecdn_proxy.agent.api import PassToOrigin, ViewerRequest
from ecdn_proxy.agent.known_bodies import KnownBodies
from ecdn_proxy.core.catalog.catalog import Catalog
from ecdn_proxy.core.catalog.entitlement import Entitlements
from ecdn_proxy.core.catalog.lookup import Listed
from ecdn_proxy.core.catalog.providers import Profiles
from ecdn_proxy.core.http.answers import parse_date
from ecdn_proxy.core.http.cacheability import PREFLIGHT_FIELDS, directives
from ecdn_proxy.core.http.freshness import SAFE_METHODS, asked_age_s
from ecdn_proxy.core.http.urls import BadUrl
from ecdn_proxy.core.manifest.model import ManifestError, SegmentKind
from ecdn_proxy.core.manifest.parse import parse, sniff
from ecdn_proxy.core.values import Headers
from ecdn_proxy.wire.sharing_rules import SharingRule

PARSED_AT_ONCE_BYTES = 64 * 1024
"""A live playlist has 2 to 20 KiB and takes about a millisecond to parse; larger ones are parsed in a thread."""
NOTICES_SHOWN_MAX = 3
"""The most sentences about one manifest in the text of a condition; whoever mends the first few mends the kind."""
_MANIFEST_TYPES = ("mpegurl", "dash+xml", "dash.mpd", "ms-sstr+xml", "/xml", "text/plain", "octet-stream", "+xml")
_MANIFEST_ENDINGS = (".m3u8", ".m3u", ".mpd", ".mpp", "/manifest")
_SCRIPTS_DESTINATIONS = frozenset({"", "empty", "video", "audio"})
"""Sec-Fetch-Dest of what a script or a media element asks for; pictures, scripts and pages have other ones."""
_ALL_OF_IT = re.compile(r"bytes 0-(\d{1,18})/(\d{1,18})")
"""A Content-Range that begins with the first byte."""


@dataclass(frozen=True, slots=True)
class SegmentMatch:
    """A segment that this viewer may have."""

    listed: Listed
    why: str
    max_age_s: float | None
    """How old a copy the viewer takes, in seconds; 0: the origin must have spoken since; None: as old as is fresh."""
    rule: SharingRule | None = None
    """What an administrator permits for it although the origin does not say so."""


class Classifier:
    """What this machine's manifests list, and which viewer has proven to have which."""

    def __init__(
        self,
        *,
        salt: bytes,
        profiles: Profiles,
        window_s: float,
        allow_local: bool,
        share_parts: bool,
        find_rule: Callable[[str], SharingRule | None],
    ) -> None:
        """Know no manifest yet; `share_parts` is for parts of low latency, `find_rule` says which rule a URL has."""
        self.catalog = Catalog(salt=salt, profiles=profiles, allow_local=allow_local)
        self._profiles = profiles
        self._entitlements = Entitlements(window_s=window_s)
        self._share_parts = share_parts
        self._find_rule = find_rule
        self._bodies = KnownBodies()

    def classify(self, request: ViewerRequest, utc: float) -> PassToOrigin | SegmentMatch:
        """Decide what a request is; `utc` in seconds since 1970."""
        if request.method != "GET":
            return PassToOrigin(f"{request.method} passes")
        fields = fields_of(request.headers)
        control = directives(", ".join(value for name, value in request.headers if name == "cache-control"))
        if "no-store" in control:
            return PassToOrigin("the player asked that nothing be kept (no-store)")
        if "upgrade" in fields:
            return PassToOrigin("an upgrade passes")
        if PREFLIGHT_FIELDS & fields.keys():
            return PassToOrigin("a request with fields of a CORS preflight passes: copies do not tell them apart")
        span = asked_range(fields.get("range"))
        if span == "several":
            return PassToOrigin("several ranges at once pass")
        listed = self.catalog.look_up(request.url, span, utc=utc)
        if listed is None:
            return PassToOrigin("no manifest fetched here lists this as a segment")
        if listed.kind is SegmentKind.PART and not self._share_parts:
            return PassToOrigin("parts of low latency pass: share_low_latency_parts = false")
        rule = self._find_rule(request.url)
        if rule is not None and not rule.share:
            return PassToOrigin(f"{rule.said} says share = false")
        if "if-range" in fields and listed.byte_range is not None:
            return PassToOrigin("a conditional range of a resource that is here only in part passes")
        credential = self._credential(listed.tokens, fields)
        verdict = self._entitlements.is_entitled(listed.proof, credential, utc)
        if not verdict.allowed:
            return PassToOrigin(verdict.why)
        return SegmentMatch(listed, listed.why, asked_age_s(request.headers), rule)

    def needs_whole_body(self, request: ViewerRequest) -> bool:
        """Whether the origin must be asked without If-None-Match and If-Modified-Since.

        A browser that validates its copy of a manifest is told 304, and an agent that does not know that copy, as it is
        new, learns nothing. It may leave the conditions out: an answer 200 is right for whoever asks with them
        (RFC 9110 section 13.1). Where they name the very body that is known here, they reach the origin.
        """
        fields = fields_of(request.headers)
        if request.method != "GET" or not fields.keys() & {"if-none-match", "if-modified-since"}:
            return False
        if fields.get("range", "bytes=0-").strip() != "bytes=0-" or fields.get("if-none-match", "").strip() == "*":
            return False
        path = request.url.partition("?")[0].lower()
        if not _is_named_as_manifest(path):
            for_a_script = fields.get("sec-fetch-dest", "") in _SCRIPTS_DESTINATIONS
            if "." in path.rpartition("/")[2] or not for_a_script:
                return False
        known = self._bodies.named_by(request.url, fields)
        return known is None or (known.is_manifest and not self.catalog.remembers(request.url))

    def may_be_manifest(self, request: ViewerRequest, status: int, headers: Headers) -> bool:
        """Whether the origin's answer with this head holds all of what may be a manifest."""
        fields = dict(headers)
        if request.method != "GET" or not (status in {200, 203} or (status == 206 and _holds_all(fields))):
            return False
        kind = fields.get("content-type", "").lower()
        if _is_named_as_manifest(request.url.partition("?")[0].lower()):
            wanted = sniff(kind, b"#EXTM3U") is not None
        else:
            wanted = any(part in kind for part in _MANIFEST_TYPES) and not kind.startswith("text/html")
        if not wanted:
            self._bodies.came(request.url, headers, is_manifest=False)
        return wanted

    async def manifest_arrived(
        self, request: ViewerRequest, headers: Headers, body: bytes, utc: float
    ) -> tuple[str, ...]:
        """Learn a whole answer that may be a manifest; return the streams under which its viewers can be met.

        The body may be a patch of an MPD that was learnt before.

        Raises:
            ManifestError: it is a manifest, but cannot be used, or a patch of an MPD that is not known here.
        """
        content_type = dict(headers).get("content-type")
        is_manifest = sniff(content_type, body) is not None
        self._bodies.came(request.url, headers, is_manifest=is_manifest)
        if not is_manifest:
            return ()
        read = partial(
            parse,
            request.url,
            body,
            content_type,
            utc,
            variables=self.catalog.variables_for(request.url),
            origin_utc=origin_clock(headers),
            bases=(bases := self.catalog.patch_bases_for(request.url)),
        )
        longest = max(len(body), *(len(base.text) for base in bases)) if bases else len(body)
        presentation = read() if longest <= PARSED_AT_ONCE_BYTES else await asyncio.to_thread(read)
        self.catalog.manifest_arrived(presentation, utc=utc)
        self._manifest_granted(request, self.catalog.proof_of(request.url), utc)
        return self.catalog.streams_of(presentation.url)

    def origin_answered(self, request: ViewerRequest, status: int, utc: float) -> None:
        """Note what the origin's own answer says of this viewer's right to a segment."""
        if request.method != "GET":
            return
        if status == 304 and (proof := self._proof_of(request.url)):
            self._manifest_granted(request, proof, utc)
            return
        fields = fields_of(request.headers)
        span = asked_range(fields.get("range"))
        listed = None if span == "several" else self.catalog.look_up(request.url, span, utc=utc)
        if listed is None:
            return
        credential = self._credential(listed.tokens, fields)
        if status in (200, 206, 304):
            self._entitlements.proven(listed.proof, credential, utc)
        elif status in (401, 403):
            self._entitlements.revoked(listed.proof, credential)

    def changed(self, request: ViewerRequest, status: int, utc: float) -> str | None:
        """The key of the segment that a request has changed at the origin (RFC 9111 section 4.4); None if it has none.

        A request changes what is at its address unless its method is safe or the origin refused it.
        """
        if request.method in SAFE_METHODS or not 200 <= status < 400:
            return None
        listed = self.catalog.look_up(request.url, None, utc=utc)
        return None if listed is None else listed.key

    def forget_old(self, utc: float) -> None:
        """Forget manifests that nobody fetches any more, and proofs older than the window."""
        self.catalog.forget(utc=utc)
        self._entitlements.forget(utc)

    def _proof_of(self, url: str) -> str:
        try:
            return self.catalog.proof_of(url)
        except BadUrl:
            return ""

    def _manifest_granted(self, request: ViewerRequest, proof: str, utc: float) -> None:
        """The origin has given a manifest to this viewer, or has said that its copy is still right."""
        fields = fields_of(request.headers)
        self._entitlements.manifest_fetched(
            proof,
            self.catalog.listed_tokens(request.url),
            url_tokens=self._profiles.canonical(request.url).tokens,
            cookie=fields.get("cookie"),
            authorization=fields.get("authorization"),
            utc=utc,
        )

    @staticmethod
    def _credential(tokens: tuple[str, ...], fields: dict[str, str]) -> str:
        return Entitlements.credential(tokens, fields.get("cookie"), fields.get("authorization"))


def _is_named_as_manifest(path: str) -> bool:
    return path.endswith(_MANIFEST_ENDINGS) or "/manifest(" in path


def _holds_all(fields: dict[str, str]) -> bool:
    """Whether a 206 holds all of its resource: ffmpeg, mpv and yt-dlp ask for playlists with `Range: bytes=0-`."""
    found = _ALL_OF_IT.fullmatch(fields.get("content-range", "").strip())
    return found is not None and int(found[1]) + 1 == int(found[2])


def fields_of(headers: Headers) -> dict[str, str]:
    """Header fields by name; a Cookie that came in several fields is joined (RFC 9113 section 8.2.3)."""
    fields = dict(headers)
    if "cookie" in fields:
        fields["cookie"] = "; ".join(value for name, value in headers if name == "cookie")
    return fields


def asked_range(value: str | None) -> tuple[int, int | None] | Literal["several"] | None:
    """The first and last byte that a Range field asks for (RFC 9110 section 14.2).

    None without a field, and when it asks for the last n bytes or is no range of bytes; "several" for several ranges.
    """
    if value is None:
        return None
    unit, _, spec = value.partition("=")
    if unit.strip().lower() != "bytes":
        return None
    if "," in spec:
        return "several"
    first, dash, last = spec.strip().partition("-")
    if not dash or not first.isascii() or not first.isdigit():
        return None
    if last and not (last.isascii() and last.isdigit()):
        return None
    if max(len(first), len(last)) > 18:
        return None  # beyond any resource, and beyond what Python reads as a number in good time
    return int(first), int(last) if last else None


def origin_clock(headers: Headers) -> float | None:
    """Now by the origin's clock, seconds since 1970, as its answer says (Date, and Age where a cache gave it)."""
    fields = dict(headers)
    date, age = parse_date(fields.get("date", "")), fields.get("age", "0").strip()
    return None if date is None else date + (int(age) if age.isascii() and age.isdigit() and len(age) < 10 else 0)


def partly_used_manifest(request: ViewerRequest, notices: tuple[str, ...]) -> str:
    """A sentence for the status page about what was left out, without the URL's query, which may hold tokens."""
    more = f"; and {len(notices) - NOTICES_SHOWN_MAX} more" if len(notices) > NOTICES_SHOWN_MAX else ""
    return f"{request.url.partition('?')[0][:120]}: left out: {'; '.join(notices[:NOTICES_SHOWN_MAX])}{more}"


def refused_manifest(request: ViewerRequest, error: ManifestError) -> str:
    """A sentence for the status page, without the URL's query, which may hold tokens."""
    return f"{request.url.partition('?')[0][:120]}: {error}"
