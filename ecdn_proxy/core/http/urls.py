"""URLs as a player's browser resolves and compares them.

Map: `resolve` (a reference in a manifest -> the URL that a player asks for; WHATWG URL, "basic URL parser":
https://url.spec.whatwg.org/#concept-basic-url-parser) · `normal` (the form in which URLs are compared exactly) ·
`is_local_target` (hosts to which no manifest may lead us) · `split` and `Parts`
(the parser).

`urllib.parse.urljoin` cannot be used: it drops empty path segments (`a//b` becomes `a/b`), so the catalog would list
another URL than the one that the player asks for. Only http and https are parsed. A URL with any other scheme (`data:`,
`skd:`, `urn:`) comes back as it is.

A segment's URL does not inherit the manifest's query string, because browsers, and the players built on them, do not
inherit it. Some player scripts do add the manifest's token to every segment. The catalog finds such segments all the
same, because it compares URLs without tokens (`core/catalog/providers`).
"""

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
URL_CHARACTERS_MAX: Final = 16_384
"""The most characters of one URL. Real ones carry tokens of up to about 8,000; for twice that, servers answer 414."""

_CONTROLS_AND_SPACE = "".join(map(chr, range(0x21)))
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_NOT_IN_PATH = re.compile("[^!$-;=@-\\]_a-z|~%&']")
_NOT_IN_QUERY = re.compile("[^!$-&(-;=?-~]")
_NOT_IN_FRAGMENT = re.compile("[^!#-;=?-_a-~]")
_NOT_IN_USERINFO = re.compile("[^!$-.0-9A-Z_a-z~%&'()*+,-]")
_FORBIDDEN_IN_HOST = re.compile("[\\x00-\\x20#/:<>?@\\[\\\\\\]^|%\\x7f]")
_DOTS = {".": 1, "%2e": 1, "..": 2, ".%2e": 2, "%2e.": 2, "%2e%2e": 2}
_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "broadcasthost"})
# Spellings that the parser would not change: a lower-case host, no port, no dot segments, nothing to percent-encode.
# Most segments are written so, and without the parser 20,000 of them are listed in half the time.
_PLAIN_SEGMENTS = r"(?:/(?!\.|%2[eE])[A-Za-z0-9!$&'()*+,;=:@_~%.-]*)+"
_PLAIN_QUERY = r"[A-Za-z0-9!$&()*+,;=:@_~%./-]*"
_PLAIN = re.compile(
    rf"(https?)://((?:[a-z0-9_-]+\.)+[a-z][a-z0-9_-]*)({_PLAIN_SEGMENTS})(?:\?({_PLAIN_QUERY}))?", re.ASCII
)
_PLAIN_RELATIVE = re.compile(
    rf"(?!\.|%2[eE])[A-Za-z0-9!$&'()*+,;=@_~%.-]+(?:{_PLAIN_SEGMENTS})?(?:\?{_PLAIN_QUERY})?", re.ASCII
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class BadUrl(ValueError):
    """The text is no URL that a browser would fetch (the WHATWG parser returns "failure")."""


@dataclass(frozen=True, slots=True)
class Parts:
    """One http or https URL in parts, each as WHATWG serialises it. `port` is None if it is the scheme's default."""

    scheme: str
    userinfo: str
    host: str
    port: int | None
    path: str
    query: str | None
    fragment: str | None

    @property
    def origin(self) -> str:
        """Scheme, host and port, as in `https://host:8443`."""
        return f"{self.scheme}://{self.host}" + (f":{self.port}" if self.port is not None else "")

    def text(self) -> str:
        """The serialised URL."""
        at = f"{self.userinfo}@" if self.userinfo else ""
        port = f":{self.port}" if self.port is not None else ""
        query = f"?{self.query}" if self.query is not None else ""
        fragment = f"#{self.fragment}" if self.fragment is not None else ""
        return f"{self.scheme}://{at}{self.host}{port}{self.path}{query}{fragment}"


def is_http(url: str) -> bool:
    """Whether the text begins with http:// or https:// (in any case)."""
    return url[:8].lower().startswith(("http://", "https://"))


def resolve(base: str, reference: str) -> str:
    """The absolute URL a player asks for when a manifest at `base` names `reference`.

    Args:
        base: an absolute http or https URL.
        reference: what the manifest says. One with another scheme than http and https is returned as it is, without
            the spaces around it.

    Raises:
        BadUrl: a browser could not parse it either, or it is longer than `URL_CHARACTERS_MAX`.
    """
    if len(reference) < URL_CHARACTERS_MAX and _PLAIN_RELATIVE.fullmatch(reference):
        return _folder(base) + reference
    cleaned = _clean(reference)
    found = _SCHEME.match(cleaned)
    root = split(base)
    if found is None:
        return _relative(root, cleaned).text()
    scheme = found[1].lower()
    rest = cleaned[found.end() :]
    if scheme not in DEFAULT_PORTS:
        return cleaned
    if scheme == root.scheme and not rest[:2].replace("\\", "/").startswith("//"):
        return _relative(root, rest).text()  # "http:other.ts" is relative all the same
    return _absolute(scheme, rest).text()


def normal(url: str) -> str:
    """The form in which two URLs are compared exactly: as WHATWG serialises it, without default port and fragment.

    Raises:
        BadUrl: as `resolve`; also for another scheme than http and https.
    """
    if len(url) <= URL_CHARACTERS_MAX and _PLAIN.fullmatch(url):
        return url
    parts = split(url)
    return parts.text() if parts.fragment is None else Parts(*_fields(parts)[:6], None).text()


@lru_cache(maxsize=2048)
def split(url: str) -> Parts:
    """The parts of an absolute http or https URL.

    Raises:
        BadUrl: as `normal`.
    """
    cleaned = _clean(url)
    plain = _PLAIN.fullmatch(cleaned)
    if plain is not None:
        return Parts(plain[1], "", plain[2], None, plain[3], plain[4], None)
    found = _SCHEME.match(cleaned)
    if found is None or found[1].lower() not in DEFAULT_PORTS:
        raise BadUrl(f"not an absolute http or https URL: {cleaned[:80]!r}")
    return _absolute(found[1].lower(), cleaned[found.end() :])


def is_local_target(url: str) -> bool:
    """Whether the URL's host is, by its spelling alone, this machine or an address in a private network.

    Such hosts are literal addresses in every spelling that a browser takes (decimal, octal, hexadecimal, IPv4 inside
    IPv6), and `localhost` with its variants. Names are not looked up here: the origin client checks the address once
    more after DNS. A URL that cannot be parsed counts as local, because nobody may be sent there either.
    """
    try:
        return _is_local_host(split(url).host)
    except BadUrl:
        return True


@lru_cache(maxsize=512)
def _folder(base: str) -> str:
    """A base URL up to and with the last slash of its path."""
    parts = split(base)
    return Parts(*_fields(parts)[:4], parts.path[: parts.path.rindex("/") + 1], None, None).text()


@lru_cache(maxsize=512)
def _is_local_host(host: str) -> bool:
    if host.startswith("["):
        return _is_local_address(ipaddress.ip_address(host[1:-1]))
    name = host.rstrip(".")
    if name in _LOCAL_NAMES or name.endswith((".localhost", ".localhost.localdomain")):
        return True
    number = _ipv4(name)
    return number is not None and _is_local_address(number)


def _is_local_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and (address in _NAT64 or int(address) >> 32 == 0):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _is_local_address(inner)
        if address.is_site_local:
            return True
    return not address.is_global or address.is_multicast or address.is_reserved


def _fields(parts: Parts) -> tuple[str, str, str, int | None, str, str | None, str | None]:
    return parts.scheme, parts.userinfo, parts.host, parts.port, parts.path, parts.query, parts.fragment


def _clean(text: str) -> str:
    if len(text) > URL_CHARACTERS_MAX:
        raise BadUrl(f"a URL of {len(text)} characters; the limit is {URL_CHARACTERS_MAX}")
    stripped = text.strip(_CONTROLS_AND_SPACE)
    return stripped.replace("\t", "").replace("\n", "").replace("\r", "")


def _escape(pattern: re.Pattern[str], text: str) -> str:
    def percent(match: re.Match[str]) -> str:
        return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "replace"))

    return pattern.sub(percent, text)


def _cut(rest: str) -> tuple[str, str | None, str | None]:
    """What stands before the query, the query, and the fragment; the latter two percent-encoded as for http."""
    rest, hash_mark, fragment = rest.partition("#")
    before, question, query = rest.partition("?")
    return (
        before.replace("\\", "/"),
        _escape(_NOT_IN_QUERY, query) if question else None,
        _escape(_NOT_IN_FRAGMENT, fragment) if hash_mark else None,
    )


def _absolute(scheme: str, rest: str) -> Parts:
    before, query, fragment = _cut(rest)
    authority, slash, path = before.lstrip("/").partition("/")
    userinfo, _, place = authority.rpartition("@")
    host, port = _place(place, scheme)
    user, colon, password = userinfo.partition(":")
    userinfo = _escape(_NOT_IN_USERINFO, user) + (
        ":" + _escape(_NOT_IN_USERINFO, password) if colon and password else ""
    )
    return Parts(scheme, userinfo, host, port, _path([], slash + path), query, fragment)


def _relative(base: Parts, rest: str) -> Parts:
    before, query, fragment = _cut(rest)
    if before.startswith("//"):
        return _absolute(base.scheme, rest)
    if before.startswith("/"):
        path = _path([], before)
    elif before:
        path = _path(base.path.split("/")[1:-1], "/" + before)
    else:
        path = base.path
        query = base.query if query is None else query
    return Parts(base.scheme, base.userinfo, base.host, base.port, path, query, fragment)


def _path(kept: list[str], text: str) -> str:
    """The path to which `text` leads from the directory `kept`. `text` is empty or begins with a slash.

    Empty path segments stay.
    """
    done = list(kept)
    pieces = text[1:].split("/")
    for at, piece in enumerate(pieces):
        dots = _DOTS.get(piece.lower(), 0)
        if dots == 2 and done:
            done.pop()
        if dots == 0:
            done.append(_escape(_NOT_IN_PATH, piece))
        elif at == len(pieces) - 1:
            done.append("")
    return "/" + "/".join(done)


def _place(place: str, scheme: str) -> tuple[str, int | None]:
    """Host and port of an authority.

    Raises:
        BadUrl: the host is empty or forbidden, or the port is beyond 65535.
    """
    if place.startswith("["):
        host, bracket, tail = place.partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise BadUrl(f"a host in brackets without end: {place[:80]!r}")
        try:
            host = f"[{_ipv6_text(ipaddress.IPv6Address(host[1:]))}]"
        except ValueError as error:
            raise BadUrl(str(error)) from error
        digits = tail[1:]
    else:
        name, _, digits = place.partition(":")
        host = _host(name)
    if not digits:
        return host, None
    if not digits.isascii() or not digits.isdigit() or int(digits[:12]) > 65535:
        raise BadUrl(f"not a port: {digits[:20]!r}")
    port = int(digits)
    return host, None if port == DEFAULT_PORTS[scheme] else port


def _ipv6_text(address: ipaddress.IPv6Address) -> str:
    """An address as WHATWG serialises it. Python writes IPv4-mapped addresses with dots, browsers in hexadecimal."""
    if address.scope_id is not None:
        raise BadUrl("an address with a zone is no URL host")
    if address.ipv4_mapped is None:
        return address.compressed
    low = int(address) & 0xFFFFFFFF
    return f"::ffff:{low >> 16:x}:{low & 0xFFFF:x}"


_LABEL_DOTS = re.compile("[.\u3002\uff0e\uff61]")
"""The characters that separate labels (UTS 46 section 4.5): the full stop and its three ideographic forms."""


def _host(name: str) -> str:
    decoded = _percent_decoded(name)
    if decoded.isascii():
        host = decoded.lower()
    else:
        try:
            # label by label: browsers accept empty labels, and Python's codec refuses a whole name that has one
            host = ".".join(part.encode("idna").decode("ascii") for part in _LABEL_DOTS.split(decoded)).lower()
        except UnicodeError as error:
            raise BadUrl(f"not a host name: {name[:80]!r}") from error
    if not host or _FORBIDDEN_IN_HOST.search(host):
        raise BadUrl(f"not a host: {name[:80]!r}")
    number = _ipv4(host)
    return host if number is None else str(number)


def _percent_decoded(name: str) -> str:
    if "%" not in name:
        return name
    raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda m: bytes([int(m[1], 16)]), name.encode("utf-8", "replace"))
    return raw.decode("utf-8", "replace")


def _ipv4(host: str) -> ipaddress.IPv4Address | None:
    """The address that a browser reads in `127.1`, `2130706433`, `0x7f.1` or `0177.0.0.1`; None for a name.

    https://url.spec.whatwg.org/#concept-ipv4-parser

    Raises:
        BadUrl: the last label is a number, but the whole is no address.
    """
    labels = host.split(".")
    if labels[-1] == "" and len(labels) > 1:
        labels.pop()
    if not _looks_numeric(labels[-1]):
        return None
    if len(labels) > 4:
        raise BadUrl(f"not an IPv4 address: {host[:80]!r}")
    try:
        numbers = [_number(label) for label in labels]
    except ValueError as error:
        raise BadUrl(f"not an IPv4 address: {host[:80]!r}") from error
    if any(number > 255 for number in numbers[:-1]) or numbers[-1] >= 256 ** (5 - len(numbers)):
        raise BadUrl(f"not an IPv4 address: {host[:80]!r}")
    value = numbers[-1]
    for at, number in enumerate(numbers[:-1]):
        value += number << (8 * (3 - at))
    return ipaddress.IPv4Address(value)


def _looks_numeric(label: str) -> bool:
    return label.isascii() and (label.isdigit() or re.fullmatch(r"0[xX][0-9A-Fa-f]*", label) is not None)


def _number(label: str) -> int:
    if not label or not label.isascii() or len(label) > 40 or "_" in label or label[0] in "+-":
        raise ValueError("not a number")
    if label[:2] in {"0x", "0X"}:
        return int(label[2:] or "0", 16)
    if len(label) > 1 and label[0] == "0":
        return int(label[1:], 8)
    return int(label)
