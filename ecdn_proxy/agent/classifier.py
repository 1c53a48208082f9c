"""Which requests are segments that this viewer may have from us; everything else passes.

    Classifier.sort(request)      Pass | a Match with its key, stream and place
    Classifier.manifest(...)      an origin's manifest: its segments, and who has proven what
    Classifier.passed(...)        an own 2xx of the origin proves a viewer, a 401 or 403 takes the proof back

Positive identification only: a URL is a segment because a manifest fetched on this machine listed it.
"""

import asyncio
from dataclasses import dataclass
from typing import Literal

from ecdn_proxy.agent.api import Pass, ViewerRequest
from ecdn_proxy.core.catalog.catalog import Catalog
from ecdn_proxy.core.catalog.entitlement import Entitlements
from ecdn_proxy.core.catalog.lookup import Listed
from ecdn_proxy.core.catalog.providers import Profiles
from ecdn_proxy.core.http.cacheability import directives
from ecdn_proxy.core.manifest.model import ManifestError
from ecdn_proxy.core.manifest.parse import parse, sniff
from ecdn_proxy.core.values import Headers

PARSED_AT_ONCE_BYTES = 64 * 1024
"""A live playlist has 2 to 20 KiB and takes about a millisecond; larger ones are parsed in a thread."""
_MANIFEST_TYPES = ("mpegurl", "dash+xml", "ms-sstr+xml", "/xml", "text/plain", "octet-stream", "+xml")
_MANIFEST_ENDINGS = (".m3u8", ".m3u", ".mpd", "/manifest")


@dataclass(frozen=True, slots=True)
class Match:
    """A segment that this viewer may have."""

    listed: Listed
    credential: str
    why: str


class Classifier:
    """Catalog and entitlements of one machine."""

    def __init__(self, *, salt: bytes, profiles: Profiles, window_s: float, allow_local: bool) -> None:
        self.catalog = Catalog(salt=salt, profiles=profiles, allow_local=allow_local)
        self._profiles = profiles
        self._entitled = Entitlements(window_s=window_s)

    def sort(self, request: ViewerRequest, utc: float) -> Pass | Match:
        """Decide for one request."""
        if request.method != "GET":
            return Pass(f"{request.method} passes")
        fields = fields_of(request.headers)
        control = directives(fields.get("cache-control", ""))
        if control.keys() & {"no-cache", "no-store"} or "no-cache" in fields.get("pragma", "").lower():
            return Pass("the player asked for the origin's own answer (no-cache)")
        if "upgrade" in fields:
            return Pass("an upgrade passes")
        span = asked_range(fields.get("range"))
        if span == "several":
            return Pass("several ranges at once pass")
        listed = self.catalog.look_up(request.url, span, utc=utc)
        if listed is None:
            return Pass("no manifest fetched here lists this as a segment")
        if "if-range" in fields and listed.byte_range is not None:
            return Pass("a conditional range of a resource that is here only in part passes")
        credential = self._credential(listed.tokens, fields)
        verdict = self._entitled.is_entitled(listed.proof, credential, utc)
        if not verdict.allowed:
            return Pass(verdict.why)
        return Match(listed, credential, listed.why)

    def wants_body(self, request: ViewerRequest, status: int, headers: Headers) -> bool:
        """Whether a passing answer may be a manifest."""
        if request.method != "GET" or status != 200:
            return False
        fields = dict(headers)
        kind = fields.get("content-type", "").lower()
        path = request.url.partition("?")[0].lower()
        if path.endswith(_MANIFEST_ENDINGS) or "/manifest(" in path:
            return sniff(kind, b"#EXTM3U") is not None
        return any(part in kind for part in _MANIFEST_TYPES) and not kind.startswith("text/html")

    async def manifest(
        self, request: ViewerRequest, content_type: str | None, body: bytes, utc: float
    ) -> tuple[str, ...]:
        """A whole answer that may be a manifest; returns the streams under which its viewers can be met.

        Of a media playlist these are its presentation's and its own: who came late knows only the latter.

        Raises:
            ManifestError: it is a manifest, but cannot be used.
        """
        if sniff(content_type, body) is None:
            return ()
        variables = self.catalog.variables_for(request.url)
        if len(body) <= PARSED_AT_ONCE_BYTES:
            presentation = parse(request.url, body, content_type, utc, variables=variables)
        else:
            presentation = await asyncio.to_thread(parse, request.url, body, content_type, utc, variables=variables)
        stream = self.catalog.manifest_arrived(presentation, utc=utc)
        fields = fields_of(request.headers)
        self._entitled.manifest_fetched(
            self.catalog.proof_of(request.url),
            self.catalog.listed_tokens(request.url),
            url_tokens=self._profiles.canonical(request.url).tokens,
            cookie=fields.get("cookie"),
            authorization=fields.get("authorization"),
            utc=utc,
        )
        own = stream if presentation.is_master else self.catalog.own_stream_of(request.url)
        return tuple(dict.fromkeys((stream, own)))

    def passed(self, request: ViewerRequest, status: int, utc: float) -> None:
        """What the origin's own answer says of this viewer."""
        if request.method != "GET":
            return
        fields = fields_of(request.headers)
        span = asked_range(fields.get("range"))
        listed = None if span == "several" else self.catalog.look_up(request.url, span, utc=utc)
        if listed is None:
            return
        credential = self._credential(listed.tokens, fields)
        if status in (200, 206, 304):
            self._entitled.proven(listed.proof, credential, utc)
        elif status in (401, 403):
            self._entitled.revoked(listed.proof, credential)

    def tidy(self, utc: float) -> None:
        """Forget what is old."""
        self.catalog.forget(utc=utc)
        self._entitled.forget(utc)

    @staticmethod
    def _credential(tokens: tuple[str, ...], fields: dict[str, str]) -> str:
        return Entitlements.credential(tokens, fields.get("cookie"), fields.get("authorization"))


def fields_of(headers: Headers) -> dict[str, str]:
    """Fields by name; a Cookie that came in several fields is one (RFC 9113 section 8.2.3)."""
    fields = dict(headers)
    if "cookie" in fields:
        fields["cookie"] = "; ".join(value for name, value in headers if name == "cookie")
    return fields


def asked_range(value: str | None) -> tuple[int, int | None] | Literal["several"] | None:
    """A Range field: first and last byte, None without one (or for the last n bytes), or "several"."""
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


def refused_manifest(request: ViewerRequest, error: ManifestError) -> str:
    """A sentence for the status page; the URL's query may hold tokens and stays out of it."""
    return f"{request.url.partition('?')[0][:120]}: {error}"
