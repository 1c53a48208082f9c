"""The proxy's own pages: whose fault, what helps, and nothing that could be abused."""

import pytest

from ecdn_proxy.front.errorpage import REFUSED, UNRESOLVED, instead_of_mitmproxys


@pytest.mark.parametrize(
    ("status", "message", "line", "words"),
    [
        (502, f"Connection killed: {REFUSED}x is in a private network", b"403 Forbidden", "IT can allow it"),
        (502, f"Connection killed: {UNRESOLVED}a.test: unknown", b"502 Bad Gateway", "No address for a.test"),
        (502, "Certificate verify failed: certificate has expired", b"502 Bad Gateway", "origin_ca_file"),
        (502, "[Errno 111] Connect call failed", b"502 Bad Gateway", "did not answer"),
        (400, "Bad HTTP request line: b'evil'", b"400 Bad Request", "Bad HTTP request line."),
        (400, "mitmproxy received an HTTP CONNECT request even though it", b"400 Bad Request", "The proxy received"),
    ],
)
def test_pages(status: int, message: str, line: bytes, words: str) -> None:
    raw = instead_of_mitmproxys(status, message)
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"HTTP/1.1 " + line
    assert words in body.decode()
    assert b"evil" not in raw
    assert b"mitmproxy" not in raw
    assert b"content-length: %d" % len(body) in head.lower()
    assert b"default-src 'none'" in head


def test_what_an_origin_says_is_text_and_bounded() -> None:
    raw = instead_of_mitmproxys(502, "<script>x</script>" + "y" * 5000)
    assert b"<script>" not in raw
    assert len(raw) < 2500
