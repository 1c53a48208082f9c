"""`core.http.urls` against cases by hand, laws, and the URL Standard's own implementation."""

# ruff: noqa: E501 - a manifest or a row of cases reads best on one line

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecdn_proxy.core.http import urls
from tests.core import oracle

BASE = "https://cdn.example.com/live/a//b/manifest.mpd?token=1#top"

CASES = [
    (BASE, "seg-1.m4s", "https://cdn.example.com/live/a//b/seg-1.m4s"),
    (BASE, "x//y/z", "https://cdn.example.com/live/a//b/x//y/z"),
    (BASE, "../s", "https://cdn.example.com/live/a//s"),
    (BASE, "../../s", "https://cdn.example.com/live/a/s"),
    (BASE, "../../../../../s", "https://cdn.example.com/s"),
    (BASE, "./.", "https://cdn.example.com/live/a//b/"),
    (BASE, "%2e%2E/s", "https://cdn.example.com/live/a//s"),
    (BASE, "..", "https://cdn.example.com/live/a//"),
    (BASE, "?q=1", "https://cdn.example.com/live/a//b/manifest.mpd?q=1"),
    (BASE, "#f", "https://cdn.example.com/live/a//b/manifest.mpd?token=1#f"),
    (BASE, "", "https://cdn.example.com/live/a//b/manifest.mpd?token=1"),
    (BASE, "//other.example/x", "https://other.example/x"),
    (BASE, "/root", "https://cdn.example.com/root"),
    (BASE, "HTTP://Other.Example:80/x", "http://other.example/x"),
    (BASE, "https:rel", "https://cdn.example.com/live/a//b/rel"),
    (BASE, "https:/abs", "https://cdn.example.com/abs"),
    (BASE, "http:/host/x", "http://host/x"),
    (BASE, "http:\\\\host\\x", "http://host/x"),
    (BASE, "a\\b", "https://cdn.example.com/live/a//b/a/b"),
    (BASE, " \ta\nb ", "https://cdn.example.com/live/a//b/ab"),
    (BASE, "ü ?ü '#ü ", "https://cdn.example.com/live/a//b/%C3%BC%20?%C3%BC%20%27#%C3%BC"),
    (BASE, "https://u:p@host/x", "https://u:p@host/x"),
    (BASE, "https://@host/x", "https://host/x"),
    (BASE, "https://u:@host/x", "https://u@host/x"),
    (BASE, "https://host:8443", "https://host:8443/"),
    (BASE, "https://host:443/", "https://host/"),
    (BASE, "https://host:/", "https://host/"),
    (BASE, "https://%65xample.com/", "https://example.com/"),
    (BASE, "https://bücher.example/", "https://xn--bcher-kva.example/"),
    (BASE, "https://[::1]:8443/", "https://[::1]:8443/"),
    (BASE, "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/"),
    (BASE, "https://0x7f.1/", "https://127.0.0.1/"),
    (BASE, "https://2130706433/", "https://127.0.0.1/"),
    (BASE, "https://0177.0.0.01./", "https://127.0.0.1/"),
    (BASE, "seg(1)[2]|{3}^`.ts", "https://cdn.example.com/live/a//b/seg(1)[2]|%7B3%7D%5E%60.ts"),
    (BASE, "https://hhttp//.&//h/.", "https://hhttp//.&//h/"),
    (BASE, "data:text/plain,x", "data:text/plain,x"),
    (BASE, "skd://key", "skd://key"),
]
BAD = [
    "https://",
    "https://host:99999/",
    "https://host:x/",
    "https://ho st/",
    "https://[::1/",
    "https://[::1]x/",
    "https://[::1%25eth0]/",
    "https://[zz]/",
    "https://1.2.3.4.5/",
    "https://256.1/x.1.256/",
    "https://1.2.3.999/",
    "https://1..2/",
    "https://999.1.1.1/",
    "https://09.1/",
    "https://a.1x.08/",
    "https://xn--\udcff.example/",
    "https://a%00b/",
    "https://" + "a" * urls.URL_CHARACTERS_MAX,
]
LOCAL = [
    "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://017700000001/",
    "http://0.0.0.0/", "http://10.1.2.3/", "http://192.168.1.1/", "http://172.16.0.1/", "http://169.254.169.254/",
    "http://100.64.0.1/", "http://[::1]/", "http://[::]/", "http://[fe80::1]/", "http://[fd00::1]/",
    "http://[::ffff:7f00:1]/", "http://[::ffff:10.0.0.1]/", "http://[::7f00:1]/", "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/", "http://[fec0::1]/", "http://224.0.0.1/", "http://localhost/", "http://LOCALHOST./",
    "http://a.localhost:8080/", "http://localhost.localdomain/", "ftp://example.com/", "http://", "http://240.0.0.1/",
]  # fmt: skip
PUBLIC = [
    "http://93.184.216.34/",
    "https://cdn.example.com/",
    "http://[2606:4700::1111]/",
    "http://localhost.example.com/",
]


@pytest.mark.parametrize(("base", "reference", "expected"), CASES)
def test_resolve(base: str, reference: str, expected: str) -> None:
    assert urls.resolve(base, reference) == expected


@pytest.mark.parametrize("reference", BAD)
def test_bad(reference: str) -> None:
    with pytest.raises(urls.BadUrl):
        urls.resolve(BASE, reference)


@pytest.mark.parametrize("url", LOCAL)
def test_local(url: str) -> None:
    assert urls.is_local_target(url)


@pytest.mark.parametrize("url", PUBLIC)
def test_public(url: str) -> None:
    assert not urls.is_local_target(url)


def test_normal_and_origin() -> None:
    assert urls.normal("HTTPS://CDN.Example.com:443/a/../b?x#y") == "https://cdn.example.com/b?x"
    assert urls.split("http://h:8080/x").origin == "http://h:8080"
    assert urls.split("http://h/x").origin != urls.split("https://h/x").origin
    with pytest.raises(urls.BadUrl):
        urls.normal("relative/path")
    assert urls.is_http("HTTPS://x")
    assert not urls.is_http("data:,x")


pieces = st.sampled_from(
    ["a", "b", "/", "//", "..", ".", "?", "#", "%2e", "%2E%2e", "\\", ":", "ü", " ", "'", '"', "<", "{", "|", "^", "`", "@",
     "https:", "http:", "http://", "//h", "$", "~", "[", "]", "%", "\t", "=", "&", ";", "1", "0x7f", "127.1", "\x7f", "host"]
)  # fmt: skip
references = st.lists(pieces, max_size=7).map("".join)


@given(references)
def test_resolving_is_stable(reference: str) -> None:
    try:
        once = urls.resolve(BASE, reference)
    except urls.BadUrl:
        return
    if urls.is_http(once):
        assert urls.resolve(BASE, once) == once
        assert urls.normal(urls.normal(once)) == urls.normal(once)


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_bad(text: str) -> None:
    assert urls.is_local_target(text) in {True, False}
    try:
        urls.resolve(BASE, text)
    except urls.BadUrl:
        return


@pytest.mark.node
def test_as_browsers_do() -> None:
    found: list[str] = []

    @settings(max_examples=600, deadline=None, database=None)
    @given(references)
    def collect(reference: str) -> None:
        found.append(reference)

    collect()
    jobs = [{"mode": "url", "base": b, "ref": r} for b, r, _ in CASES]
    jobs += [{"mode": "url", "base": BASE, "ref": r} for r in (*BAD[:-4], *found, *LOCAL)]
    for job, theirs in zip(jobs, oracle.ask(jobs), strict=True):
        try:
            ours = urls.resolve(job["base"], job["ref"])
        except urls.BadUrl:
            ours = None
        if ours is not None and not urls.is_http(ours):
            continue  # other schemes are none of ours
        assert ours == (theirs if isinstance(theirs, str) else None), job
