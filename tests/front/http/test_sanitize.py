"""Requests put right or refused, without sockets; the refusals over sockets are in test_proxy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http

from ecdn_proxy.front.http.sanitize import clean, viewer_headers


def request(
    *fields: tuple[bytes, bytes], url: str = "https://a.test:8443/x?y", version: str = "HTTP/1.1"
) -> http.Request:
    made = http.Request.make("GET", url)
    made.http_version = version
    made.headers.fields = fields
    return made


HOST = (b"Host", b"a.test:8443")


def test_a_browsers_request_stays_as_it_is() -> None:
    made = request(HOST, (b"Cookie", b"a=b"), (b"Accept", b"*/*"), (b"TE", b"trailers"), (b"Range", b"bytes=0-"))
    assert clean(made) is None
    assert viewer_headers(made) == (
        ("host", "a.test:8443"),
        ("cookie", "a=b"),
        ("accept", "*/*"),
        ("range", "bytes=0-"),
    )


def test_connection_names_what_goes_but_nothing_that_matters() -> None:
    made = request(
        HOST, (b"Connection", b"close, X-Hop, Cookie, Host, x-ecdn-secret"), (b"X-Hop", b"1"), (b"Cookie", b"a"),
        (b"X-Ecdn-Secret", b"guess"), (b"Proxy-Authorization", b"p"), (b"Proxy-Connection", b"k"), (b"Keep-Alive", b""),
    )  # fmt: skip
    assert clean(made) is None
    assert viewer_headers(made) == (("host", "a.test:8443"), ("cookie", "a"), ("connection", "close"))


def test_an_upgrade_stays_an_upgrade() -> None:
    made = request(HOST, (b"Connection", b"keep-alive, Upgrade"), (b"Upgrade", b"websocket"))
    assert clean(made) is None
    assert viewer_headers(made)[1:] == (("upgrade", "websocket"), ("connection", "keep-alive, upgrade"))


@pytest.mark.parametrize(
    ("host", "url", "fine"),
    [
        (b"a.test:8443", "https://a.test:8443/", True),
        (b"A.TEST.:8443", "https://a.test:8443/", True),
        (b"a.test", "https://a.test:8443/", False),
        (b"a.test", "https://a.test/", True),
        (b"a.test:443", "https://a.test/", True),
        (b"a.test", "http://a.test/", True),
        (b"[::1]:81", "http://[::1]:81/", True),
        (b"b.test", "http://a.test/", False),
        (b"a.test, b.test", "http://a.test/", False),
        (b"x@a.test", "http://a.test/", False),
        (b"a.test/", "http://a.test/", False),
        (b"", "http://a.test/", False),
    ],
)
def test_host(host: bytes, url: str, fine: bool) -> None:
    assert (clean(request((b"Host", host), url=url)) is None) == fine


def test_old_clients_get_a_host() -> None:
    made = request(url="http://a.test:81/", version="HTTP/1.0")
    assert clean(made) is None
    assert made.headers["host"] == "a.test:81"
    assert clean(request(url="http://a.test/")) is not None


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_law_nothing_clean_holds_control_characters(value: bytes, path: bytes) -> None:
    made = request(HOST, (b"X", value))
    made.data.path = b"/" + path
    if clean(made) is None:
        bad = set(range(32)) - {9} | {127}
        assert not bad & set(value)
        assert not (bad | {9, 32}) & set(path)
