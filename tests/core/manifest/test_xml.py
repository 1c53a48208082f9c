"""`core.manifest.xml`: times, ranges, licence addresses."""

import base64
from xml.etree.ElementTree import Element

import pytest

from ecdn_proxy.core.manifest import xml as xmltools
from ecdn_proxy.core.values import ByteRange


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("PT0S", 0),
        ("PT1H2M3.5S", 3723.5),
        ("P1DT1S", 86401),
        ("P1Y1M", 365 * 86400 + 30 * 86400),
        ("-PT2S", -2),
        (" PT1M ", 60),
    ],
)
def test_seconds(text: str | None, expected: float | None) -> None:
    assert xmltools.seconds(text) == expected


@pytest.mark.parametrize("text", ["", "P", "PT", "P1DT", "1H", "PT1H2", "PT-1S"])
def test_no_seconds(text: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        xmltools.seconds(text)


def test_instant() -> None:
    assert xmltools.instant(None) is None
    assert xmltools.instant("1970-01-01T00:00:01") == 1
    assert xmltools.instant("1970-01-01T01:00:01.5+01:00") == 1.5
    assert xmltools.instant("2023-11-14T22:13:20Z") == 1_700_000_000


def test_byte_range() -> None:
    assert xmltools.byte_range("") is None
    assert xmltools.byte_range("0-9") == ByteRange(0, 9)
    assert xmltools.byte_range("5-") == ByteRange(5, None)
    for text in ("5", "9-1", "a-b", "-5"):
        with pytest.raises(ValueError, match=r".+"):
            xmltools.byte_range(text)


def test_licence_addresses() -> None:
    assert xmltools.header_urls("???") == []
    assert xmltools.header_urls("ü") == []
    odd = base64.b64encode(b"\0" + "<LA_URL> https://a/ </LA_URL>".encode("utf-16-le")).decode()
    assert xmltools.header_urls(odd) == ["https://a/"]
    found = xmltools.secret_urls("https://h/m", ["", " ", "x", "urn:y", "https://["])
    assert list(found) == ["https://h/x"]


def test_names_and_children() -> None:
    parent = Element("{ns}A")
    parent.append(Element("B"))
    parent.append(Element("{ns}B", {"{http://www.w3.org/1999/xlink}href": "x"}))
    assert xmltools.local(parent) == "A"
    assert len(list(xmltools.children(parent, "B"))) == 1
