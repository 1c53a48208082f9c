"""Of which resources that pass a body has gone by here, and with which validators (RFC 9110 section 8.8).

KnownBodies.came(url, headers)        a whole body has gone by
KnownBodies.named_by(url, fields)     the known body that a conditional request names
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from ecdn_proxy.core.values import Headers

BODIES_MAX: Final = 2_048
"""The most bodies remembered, about 400 bytes each: eight streams with as many manifests as a stream may have."""
_VALIDATOR_CHARACTERS_MAX: Final = 512


@dataclass(frozen=True, slots=True)
class KnownBody:
    """A body that has gone by here: its validators, "" where it came without one, and whether it was a manifest."""

    etag: str
    last_modified: str
    is_manifest: bool


class KnownBodies:
    """The last body that has gone by of each resource, by URL; the least recently seen are forgotten."""

    def __init__(self, bodies_max: int = BODIES_MAX) -> None:
        self._bodies_max = bodies_max
        self._bodies: OrderedDict[bytes, KnownBody] = OrderedDict()

    def __len__(self) -> int:
        return len(self._bodies)

    def came(self, url: str, headers: Headers, *, is_manifest: bool) -> None:
        """A whole body has gone by; one without any validator cannot be named, and is not kept."""
        fields = dict(headers)
        etag, modified = fields.get("etag", "").strip(), fields.get("last-modified", "").strip()
        name = _name(url)
        self._bodies.pop(name, None)
        if (etag or modified) and len(etag) + len(modified) <= _VALIDATOR_CHARACTERS_MAX:
            self._bodies[name] = KnownBody(etag, modified, is_manifest)
        while len(self._bodies) > self._bodies_max:
            self._bodies.popitem(last=False)

    def named_by(self, url: str, fields: dict[str, str]) -> KnownBody | None:
        """The body that is known of this URL, if a request's conditions name it and no other.

        Args:
            url: as it was asked for.
            fields: the request's header fields. If-None-Match counts before If-Modified-Since, as in RFC 9110 section
                13.2.2.
        """
        known = self._bodies.get(_name(url))
        if known is None:
            return None
        if "if-none-match" in fields:
            named = bool(known.etag) and _weak(fields["if-none-match"]) == _weak(known.etag)
        else:
            named = bool(known.last_modified) and fields.get("if-modified-since", "").strip() == known.last_modified
        return known if named else None


def _name(url: str) -> bytes:
    return hashlib.sha256(url.encode("utf-8", "surrogateescape")).digest()[:16]


def _weak(etag: str) -> str:
    """An entity tag as If-None-Match compares it (RFC 9110 section 8.8.3.2)."""
    return etag.strip().removeprefix("W/")
