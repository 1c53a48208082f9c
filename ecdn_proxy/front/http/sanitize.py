"""What a request must be before anybody looks at it: corrected or refused here, so that what follows may trust it.

Map: `clean` -> the reason for a refusal, or None · `viewer_headers` (fields as the agent reads them).

Stock mitmproxy forwards duplicate, missing and foreign Host, HTTP/9.9, control characters, folded lines and the
viewer's credentials for the proxy. Each of them is a known way of smuggling requests.
"""

import re
from typing import Final

from mitmproxy import http

from ecdn_proxy.core.http.answers import HOP_BY_HOP
from ecdn_proxy.core.http.hosts import host_name
from ecdn_proxy.core.values import Headers

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_IN_TARGET = re.compile(rb"[\x00-\x20\x7f]")
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z._~-]{1,255})(?::([0-9]{1,5}))?")
_NEVER_NAMED: Final = frozenset({
    b"authorization", b"content-length", b"cookie", b"host", b"origin", b"range", b"transfer-encoding", b"upgrade",
})  # fmt: skip
"""Fields that `Connection` must not remove: whoever names one of these there wants to confuse the origin."""
_HOP_BY_HOP: Final = frozenset(name.encode() for name in HOP_BY_HOP)
_FRAMING: Final = frozenset({b"transfer-encoding", b"upgrade"})
"""Hop-by-hop fields that stay, because mitmproxy frames and upgrades by them."""
_CONNECTION_WORDS: Final = frozenset({b"close", b"keep-alive", b"upgrade"})
"""Words that stay in `Connection`: mitmproxy ends or keeps connections by them."""


def clean(request: http.Request) -> str | None:
    """Correct what may be corrected; return the reason if the request must be refused."""
    if request.http_version not in {"HTTP/1.1", "HTTP/1.0"}:
        return f"The version {request.http_version[:20]} is not one that this proxy speaks."
    if not _METHOD.fullmatch(request.method):
        return "The method is not a word."
    if _NOT_IN_TARGET.search(request.data.path) or not request.data.path.startswith((b"/", b"*")):
        return "The address holds characters that no address may hold."
    fields = request.headers.fields
    if any(_CONTROL.search(value) or _CONTROL.search(name) for name, value in fields):
        return "A header field holds control characters or is folded."
    wrong = _host(request)
    if wrong is not None:
        return wrong
    fields = request.headers.fields
    named = {
        word.strip().lower() for key, value in fields if key.lower() == b"connection" for word in value.split(b",")
    }
    drop = (named | _HOP_BY_HOP) - _NEVER_NAMED - _FRAMING
    kept = [
        (name, value)
        for name, value in fields
        if name.lower() not in drop and name.lower() != b"connection" and not name.lower().startswith(b"x-ecdn-")
    ]
    ours = named & _CONNECTION_WORDS
    if ours:
        kept.append((b"connection", b", ".join(sorted(ours))))
    request.headers.fields = tuple(kept)
    return None


def viewer_headers(request: http.Request) -> Headers:
    """A request's fields in their order, names in lower case."""
    return tuple(
        (name.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape"))
        for name, value in request.headers.fields
    )


def _host(request: http.Request) -> str | None:
    """Check that there is one Host, and that it names the place that the request goes to; return what is wrong."""
    hosts = request.headers.get_all("host")
    if len(hosts) > 1:
        return "The request names several hosts."
    if not hosts:
        if request.http_version == "HTTP/1.1":
            return "The request names no host."
        standard = request.port == (443 if request.scheme == "https" else 80)
        request.headers["host"] = request.host if standard else f"{request.host}:{request.port}"
        return None
    found = _HOST.fullmatch(hosts[0].strip())
    if found is None:
        return "The request's host is no host name."
    port = int(found[2]) if found[2] else (443 if request.scheme == "https" else 80)
    if host_name(found[1].strip("[]")) != host_name(request.host.strip("[]")) or port != request.port:
        return "The request names another host than the one it is sent to."
    return None
