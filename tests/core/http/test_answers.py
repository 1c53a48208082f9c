"""Ranges, preconditions and response fields, by tables and by laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecdn_proxy.core.http.answers import (
    Asked,
    Circumstance,
    Cut,
    ResponsePlan,
    answer_for,
    asked_range,
    cut,
    end_to_end,
    first_of,
    http_date,
    parse_date,
    resource_of,
)
from ecdn_proxy.core.values import Headers, Source
from ecdn_proxy.wire.integrity import SegmentHead

MODIFIED = "Tue, 15 Nov 1994 12:45:26 GMT"
NOW = 1_000_010.5


def head(total: int | None = 1000, **more: object) -> SegmentHead:
    fields: dict[str, object] = {
        "total_bytes": total,
        "content_type": "video/mp4",
        "etag": '"v1"',
        "last_modified": MODIFIED,
        "date_utc": 1_000_000.0,
        "fresh_s": 60.0,
        "cors": "none",
        **more,
    }
    return SegmentHead(**fields)  # type: ignore[arg-type]


def answer(
    request: Headers = (), made: SegmentHead | None = None, method: str = "GET", source: Source = "cache"
) -> ResponsePlan:
    return answer_for(method, request, made or head(), Circumstance(source, NOW))


def value(made: ResponsePlan, name: str) -> str | None:
    return first_of(made.headers, name)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (None, None),
        ("bytes=0-499", Asked(0, 499)),
        ("bytes=500-", Asked(500, None)),
        ("bytes=-500", Asked(None, None, 500)),
        ("Bytes= 1-2 ", Asked(1, 2)),
        ("bytes=0-1,5-6", None),
        ("bytes=5-1", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("items=0-1", None),
        ("bytes=0-99999999999999999999", None),
    ],
)
def test_asked_range(text: str | None, asked: Asked | None) -> None:
    assert asked_range(text) == asked


@pytest.mark.parametrize(
    ("asked", "total", "part"),
    [
        (Asked(0, 499), 1000, Cut(0, 499)),
        (Asked(0, 5000), 1000, Cut(0, 999)),
        (Asked(999, None), 1000, Cut(999, 999)),
        (Asked(1000, None), 1000, None),
        (Asked(None, None, 1), 1000, Cut(999, 999)),
        (Asked(None, None, 5000), 1000, Cut(0, 999)),
        (Asked(None, None, 0), 1000, None),
        (Asked(None, None, 5), 0, None),
    ],
)
def test_cut(asked: Asked, total: int, part: Cut | None) -> None:
    assert cut(asked, total) == part


@given(st.binary(max_size=300), st.integers(0, 400), st.none() | st.integers(0, 400), st.booleans())
def test_law_a_cut_is_pythons_slice(body: bytes, first: int, last: int | None, suffix: bool) -> None:
    text = f"bytes=-{first}" if suffix else f"bytes={first}-{'' if last is None else last}"
    made = answer((("range", text),), head(len(body)))
    if made.status == 206:
        assert made.length is not None
        sent = body[made.skip : made.skip + made.length]
        wanted = body[-first:] if suffix else body[first : None if last is None else last + 1]
        assert sent == wanted
        assert len(sent) == made.length > 0
        assert value(made, "content-range") == f"bytes {made.skip}-{made.skip + made.length - 1}/{len(body)}"
        assert value(made, "content-length") == str(made.length)
    elif made.status == 416:
        assert value(made, "content-range") == f"bytes */{len(body)}"
        assert first >= len(body) or (suffix and first == 0)
    else:
        assert made.status == 200
        assert value(made, "content-range") is None
        assert not suffix
        assert last is not None
        assert last < first


@given(st.integers(0, 5000), st.integers(1, 300), st.integers(0, 6000), st.none() | st.integers(0, 6000))
def test_law_of_a_copy_that_is_itself_a_range(begins: int, length: int, first: int, last: int | None) -> None:
    total = 6000
    made = head(length, headers=(("content-range", f"bytes {begins}-{begins + length - 1}/{total}"),))
    text = f"bytes={first}-{'' if last is None else last}"
    got = answer((("range", text),), made)
    if got.status == 206:
        assert got.length is not None
        assert 0 <= got.skip < length
        assert got.skip + got.length <= length
        assert begins + got.skip == first
        assert value(got, "content-range") == f"bytes {first}-{first + got.length - 1}/{total}"
    else:
        assert got.status in {416, 502}
        assert not got.body


@given(st.text(max_size=40), st.text(max_size=40))
def test_law_any_field_gives_an_answer_without_control_characters(name: str, text: str) -> None:
    request = (("range", text), ("if-none-match", name), ("if-modified-since", text), ("origin", text))
    made = answer(request, head(etag=text, last_modified=name, content_type=text, cors="echo"))
    assert not any("\r" in item or "\n" in item or "\0" in item for _, item in made.headers)


def test_range_of_a_part_exactly() -> None:
    made = head(100, headers=(("content-range", "bytes 500-599/6000"),))
    assert resource_of(made).last == 599
    got = answer((("range", "bytes=500-599"),), made)
    assert (got.status, got.skip, got.length) == (206, 0, 100)
    assert value(got, "content-range") == "bytes 500-599/6000"
    assert value(answer((("range", "bytes=500-599"),), head(100, headers=(("content-range", "bytes 500-599/*"),))),
                 "content-range") == "bytes 500-599/*"  # fmt: skip
    assert answer((), made).status == 502
    assert answer((("range", "bytes=600-699"),), made).status == 502
    beyond = answer((("range", "bytes=6000-"),), made)
    assert (beyond.status, value(beyond, "content-range")) == (416, "bytes */6000")
    assert answer((("range", "bytes=-10"),), head(100, headers=(("content-range", "bytes 500-599/*"),))).status == 502


def test_unknown_total_is_a_whole_answer() -> None:
    got = answer((("range", "bytes=0-9"),), head(None))
    assert (got.status, got.length, value(got, "content-length")) == (200, None, None)
    assert value(got, "accept-ranges") is None


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ((("if-none-match", '"v1"'),), 304),
        ((("if-none-match", 'W/"v1", "x"'),), 304),
        ((("if-none-match", "*"),), 304),
        ((("if-none-match", '"v2"'),), 200),
        ((("if-none-match", '"v2"'), ("if-modified-since", MODIFIED)), 200),
        ((("if-modified-since", MODIFIED),), 304),
        ((("if-modified-since", "Tue, 15 Nov 1994 12:45:25 GMT"),), 200),
        ((("if-modified-since", "yesterday"),), 200),
        ((("if-match", '"v1"'),), 200),
        ((("if-match", "*"),), 200),
        ((("if-match", '"v2"'),), 412),
        ((("if-unmodified-since", "Tue, 15 Nov 1994 12:45:25 GMT"),), 412),
        ((("if-unmodified-since", MODIFIED),), 200),
        ((("range", "bytes=0-1"), ("if-none-match", '"v1"')), 304),
        ((("range", "bytes=0-1"), ("if-range", '"v1"')), 206),
        ((("range", "bytes=0-1"), ("if-range", '"v2"')), 200),
        ((("range", "bytes=0-1"), ("if-range", 'W/"v1"')), 200),
        ((("range", "bytes=0-1"), ("if-range", MODIFIED)), 206),
        ((("range", "bytes=0-1,4-5"),), 200),
        ((("range", "bytes=1000-"),), 416),
    ],
)
def test_preconditions(request_: Headers, status: int) -> None:
    got = answer(request_)
    assert got.status == status
    assert got.body == (status in {200, 206})
    if status == 304:
        assert value(got, "etag") == '"v1"'
        assert value(got, "content-length") is None


def test_weak_validators_do_not_match_strongly() -> None:
    assert answer((("if-match", 'W/"v1"'),), head(etag='W/"v1"')).status == 412
    assert answer((("if-none-match", '"v1"'),), head(etag='W/"v1"')).status == 304


def test_head_has_the_fields_and_no_body() -> None:
    got = answer(method="HEAD")
    assert (got.status, got.body, value(got, "content-length")) == (200, False, "1000")
    assert got.reason == "OK"


def test_age_date_and_cache_status() -> None:
    got = answer(source="lan")
    assert value(got, "age") == "10"
    assert value(got, "date") == http_date(1_000_000.0) == "Mon, 12 Jan 1970 13:46:40 GMT"
    assert value(got, "cache-status") == "ecdn; hit; ttl=49; detail=lan"
    assert value(answer(source="origin"), "cache-status") == "ecdn; fwd=miss; fwd-status=200"
    assert value(answer(made=head(date_utc=2e6)), "age") == "0"
    assert value(answer(made=head(date_utc=1e30)), "date") is None


@pytest.mark.parametrize(
    ("cors", "shown", "asker", "allowed", "credentials", "vary"),
    [
        ("none", None, "https://a.test", None, None, None),
        ("none", None, None, None, None, None),
        ("any", None, "https://a.test", "*", None, None),
        ("any", None, None, "*", None, None),
        ("none", "https://a.test", "https://a.test", "https://a.test", "true", "Origin"),
        ("none", "https://a.test", "https://b.test", "https://a.test", "true", "Origin"),
        ("none", "https://a.test", None, "https://a.test", "true", "Origin"),
        ("echo", None, "https://a.test", None, None, "Origin"),
    ],
)
def test_a_page_is_given_what_the_origin_has_shown_it_and_nothing_else(
    cors: str, shown: str | None, asker: str | None, allowed: str | None, credentials: str | None, vary: str | None
) -> None:
    """An origin that echoes the page's site may refuse another page; `echo` was written by releases before this."""
    stored: Headers = (("access-control-allow-credentials", "true"), ("timing-allow-origin", "*"), ("vary", "X"))
    if shown is not None:
        stored = (("access-control-allow-origin", shown), *stored)
    request = () if asker is None else (("origin", asker),)
    got = answer(request, head(cors=cors, headers=stored))
    assert value(got, "access-control-allow-origin") == allowed
    assert value(got, "access-control-allow-credentials") == credentials
    assert value(got, "vary") == vary
    assert value(got, "timing-allow-origin") == "*"


def test_a_foreign_head_cannot_bring_fields_or_pages() -> None:
    stored = (("set-cookie", "a=b"), ("location", "/x"), ("cache-control", "a\r\nx: y"), ("expires", "0"))
    got = answer(made=head(content_type="text/html; charset=utf-8", headers=stored))
    assert value(got, "content-type") == "application/octet-stream"
    assert value(got, "expires") == "0"
    assert not {"set-cookie", "location", "cache-control"} & {name for name, _ in got.headers}


def test_source_fields_only_when_wanted() -> None:
    made = head(cors="any", headers=(("access-control-expose-headers", "X-A"),))
    shown = answer_for("GET", (), made, Circumstance("webrtc", NOW, show_source=True))
    assert first_of(shown.headers, "x-ecdn-source") == "webrtc"
    assert first_of(shown.headers, "server-timing") == 'ecdn;desc="webrtc"'
    assert first_of(shown.headers, "access-control-expose-headers") == "X-A, X-Ecdn-Source, Cache-Status, Age"
    assert value(answer(made=made), "x-ecdn-source") is None
    assert value(answer(made=made), "access-control-expose-headers") == "X-A"


def test_end_to_end() -> None:
    fields = (("connection", "close, X-Hop"), ("x-hop", "1"), ("te", "x"), ("set-cookie", "a"), ("set-cookie", "b"))
    assert end_to_end(fields) == (("set-cookie", "a"), ("set-cookie", "b"))


def test_dates() -> None:
    assert parse_date(MODIFIED) == 784_903_526.0
    assert parse_date("Sun Nov  6 08:49:37 1994") == 784_111_777.0
    assert parse_date("never") is None
