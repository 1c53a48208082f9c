"""Domains, addresses, and who is below what."""

import pytest

from ecdn_proxy.core.http.hosts import HostScope, domain, is_public, place

SCOPE = HostScope.of(("stream.test", "*.cdn.test"), ("pinned.stream.test",))


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("stream.test", True),
        ("a.b.stream.test", True),
        ("STREAM.test.", True),
        ("x.cdn.test", True),
        ("evilstream.test", False),
        ("stream.test.evil.example", False),
        ("pinned.stream.test", False),
        ("x.pinned.stream.test", False),
        ("unpinned.stream.test", True),
        ("", False),
        ("127.0.0.1", False),
    ],
)
def test_scope(host: str, ours: bool) -> None:
    assert SCOPE.includes(host) == ours


def test_domain() -> None:
    assert domain(" *.Bücher.Example. ") == "xn--bcher-kva.example"
    for bad in (
        "https://a.test",
        "a.test:443",
        "",
        ".",
        "a..b",
        "-a.test",
        "10.0.0.1",
        "a b",
        "x" * 64 + ".test",
        "ü" * 80,
    ):
        with pytest.raises(ValueError, match="no domain name"):
            domain(bad)


def test_place() -> None:
    assert place("127.0.0.1:3128") == ("127.0.0.1", 3128)
    assert place("[::1]:0") == ("::1", 0)
    assert place("localhost:80") == ("127.0.0.1", 80)
    for bad in ("3128", "example.com:80", "127.0.0.1:", "127.0.0.1:70000", ":80", "127.0.0.1:+1"):
        with pytest.raises(ValueError, match="no address and port"):
            place(bad)


def test_public() -> None:
    assert is_public("8.8.8.8")
    assert is_public("2606:4700::1111")
    for local in ("127.0.0.1", "10.1.2.3", "169.254.169.254", "0.0.0.0", "::1", "fe80::1%eth0", "::ffff:127.0.0.1",
                  "fd00::1", "100.64.0.1", "224.0.0.1"):  # fmt: skip
        assert not is_public(local), local
