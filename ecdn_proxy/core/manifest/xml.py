"""Reading XML, for DASH and Smooth Streaming alike: names, references, times, byte ranges, licence URLs.

Map: `local`, `children` (elements) · `resolved` (a reference -> a URL) · `seconds`, `instant` (ISO 8601) · `whole`,
`decimal`, `byte_range` (numbers) · `secret_urls`, `header_urls` (licences).
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from fractions import Fraction
from itertools import islice
from typing import Final
from xml.etree.ElementTree import Element

from ecdn_proxy.core.http import urls
from ecdn_proxy.core.values import ByteRange

_DURATION = re.compile(
    r"(-?)P(?:(\d+(?:\.\d+)?)Y)?(?:(\d+(?:\.\d+)?)M)?(?:(\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(\d+(?:\.\d+)?)H)?(?:(\d+(?:\.\d+)?)M)?(?:(\d+(?:\.\d+)?)S)?)?",
    re.ASCII,
)
_DECIMAL = re.compile(r"[+-]?\d{1,400}(?:\.\d{0,20})?", re.ASCII)
_UNITS_S: Final = (365 * 86400.0, 30 * 86400.0, 86400.0, 3600.0, 60.0, 1.0)
_LA_URL = re.compile(r"<LA_URL>([^<]*)</LA_URL>", re.IGNORECASE)
HEADER_CHARACTERS_MAX: Final = 65_536
"""The most characters of one base64 PlayReady object. By its specification it has at most 10 KiB."""
SECRETS_MAX: Final = 5_000
"""The most licence URLs read from one manifest: one for each key system of each representation."""
WHOLE_MAX: Final = 2**63
"""The largest absolute value of a whole number in a manifest. Schemas call such a number long, and floats can still
hold the quotient of two."""
SECONDS_MAX: Final = 1e11
"""The longest duration in seconds, three thousand years, so that no sum of durations is infinite."""


def local(element: Element) -> str:
    """An element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def children(element: Element, *names: str) -> Iterator[Element]:
    """An element's children with one of these names, without those that a player fetches from elsewhere (xlink)."""
    for child in element:
        if local(child) in names and not any(name.endswith("}href") for name in child.attrib):
            yield child


def seconds(text: str | None) -> float | None:
    """The seconds of an xs:duration such as PT1H2M3.5S; None for None.

    Raises:
        ValueError: the text is no duration, or one beyond `SECONDS_MAX`.
    """
    if text is None:
        return None
    found = _DURATION.fullmatch(text.strip())
    if found is None or text.strip()[-1] in "PT":
        raise ValueError(f"not a duration: {text[:40]!r}")
    total = sum(float(amount) * unit for amount, unit in zip(found.groups()[1:], _UNITS_S, strict=True) if amount)
    if total > SECONDS_MAX:
        raise ValueError(f"too long a duration: {text[:40]!r}")
    return -total if found[1] else total


def decimal(text: str) -> Fraction:
    """The number that a text such as 120 or 120.5 is, exactly.

    Raises:
        ValueError: the text is no such number, or one beyond `WHOLE_MAX`.
    """
    if _DECIMAL.fullmatch(text.strip()) is None:
        raise ValueError(f"not a number: {text[:40]!r}")
    value = Fraction(text.strip().removesuffix("."))
    if abs(value) >= WHOLE_MAX:
        raise ValueError(f"too large a number: {text[:40]!r}")
    return value


def whole(text: str) -> int:
    """The whole number that a text is; 4.0 is one, as for players.

    Raises:
        ValueError: the text is no whole number, or one beyond `WHOLE_MAX`.
    """
    if text.isdecimal() and text.isascii() and len(text) < 19:  # nearly all; a manifest has thousands of them
        return int(text)
    value = decimal(text)
    if value.denominator != 1:
        raise ValueError(f"not a whole number: {text[:40]!r}")
    return value.numerator


def instant(text: str | None) -> float | None:
    """The seconds since 1970 of an xs:dateTime, which is in UTC if it names no zone; None for None.

    Raises:
        ValueError: the text is no date and time.
    """
    if text is None:
        return None
    moment = datetime.fromisoformat(text.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def byte_range(text: str | None) -> ByteRange | None:
    """The range of a byte-range-spec, `first-last`; None without one.

    Raises:
        ValueError: the text is no byte range.
    """
    if not text:
        return None
    first, dash, last = text.strip().partition("-")
    covers = ByteRange(whole(first), whole(last) if last else None)
    if not dash or covers.first < 0 or (covers.last is not None and covers.last < covers.first):
        raise ValueError(f"not a byte range: {text[:40]!r}")
    return covers


def resolved(base: str, reference: str) -> str | None:
    """The absolute URL, in normal form, to which a reference leads; None for another scheme than http and https.

    Raises:
        BadUrl: as `urls.resolve`.
    """
    target = urls.resolve(base, reference)
    return urls.normal(target) if urls.is_http(target) else None


def secret_urls(url: str, found: Iterable[str]) -> Iterator[str]:
    """The references that lead to http or https URLs, as absolute URLs in normal form."""
    for reference in islice(found, SECRETS_MAX):
        if not reference.strip():
            continue
        try:
            target = resolved(url, reference.strip())
        except urls.BadUrl:
            continue
        if target is not None:
            yield target


def header_urls(text: str) -> list[str]:
    """The LA_URL elements in a base64 PlayReady object, none if the object cannot be read."""
    try:
        raw = base64.b64decode("".join(text[:HEADER_CHARACTERS_MAX].split()), validate=True)
    except (binascii.Error, ValueError):
        return []
    plain = raw.decode("utf-16-le", "ignore") + raw[1:].decode("utf-16-le", "ignore")
    return [url.strip().replace("&amp;", "&") for url in _LA_URL.findall(plain)]
