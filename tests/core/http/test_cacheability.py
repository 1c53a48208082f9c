"""May others have this answer? Tables out of RFC 9110 and RFC 9111."""

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecdn_proxy.core.http.cacheability import (
    HEURISTIC_MAX_S,
    Broken,
    Cacheability,
    Gone,
    Private,
    Shareable,
    directives,
    is_strong,
    judge,
)
from ecdn_proxy.core.values import ByteRange, Headers
from ecdn_proxy.wire.codec import pack
from ecdn_proxy.wire.integrity import SEGMENT_BYTES_MAX, SegmentHead
from ecdn_proxy.wire.peer import Vouched, read_peer_message
from ecdn_proxy.wire.sharing_rules import RISKS, SharingRule
from tests.core.makers import permitting, seal, voucher

UTC = 784_111_777.0
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = "Sun, 06 Nov 1994 08:50:37 GMT"
MEDIA = (("content-type", "video/mp2t"),)


def verdict(
    *fields: tuple[str, str],
    status: int = 200,
    wanted: ByteRange | None = None,
    first_byte: int = 0,
    sent: Collection[str] = ("user-agent", "accept", "cookie", "range", "x-viewer"),
    rule: SharingRule | None = None,
) -> Cacheability:
    headers: Headers = (*MEDIA, *fields)
    return judge(status, headers, wanted=wanted, first_byte=first_byte, sent=sent, utc=UTC, rule=rule)


def head(*fields: tuple[str, str], wanted: ByteRange | None = None, status: int = 200) -> SegmentHead:
    found = verdict(*fields, wanted=wanted, status=status)
    assert isinstance(found, Shareable), found
    return found.head


# ---- status


@pytest.mark.parametrize(
    ("status", "kind", "lasting"),
    [
        (404, Gone, None), (410, Gone, None),
        (429, Broken, None), (500, Broken, None), (503, Broken, None), (599, Broken, None),
        (204, Private, False), (301, Private, False), (304, Private, False), (401, Private, False),
        (403, Private, False), (416, Private, False), (451, Private, False),
    ],
)  # fmt: skip
def test_only_200_and_206_are_shared(status: int, kind: type[Cacheability], lasting: bool | None) -> None:
    found = verdict(("cache-control", "public, max-age=60"), status=status)
    assert type(found) is kind
    assert lasting is None or (isinstance(found, Private) and found.lasting is lasting)
    assert str(status) in repr(found)


# ---- RFC 9111 section 3: what a shared cache must not store


@pytest.mark.parametrize(
    "fields",
    [
        [("cache-control", "no-store")],
        [("cache-control", "NO-STORE")],
        [("cache-control", "public, no-store, max-age=60")],
        [("cache-control", "private")],
        [("cache-control", 'private="x-user", max-age=60')],
        [("cache-control", "max-age=60 , Private")],
        [("set-cookie", "id=1")],
        [("cache-control", "max-age=60"), ("set-cookie", "id=1; Path=/")],
        [("cache-control", "must-revalidate, max-age=60"), ("set-cookie", "id=1")],
        [("cache-control", "public, private"), ("set-cookie", "id=1")],
        [("vary", "*")],
        [("vary", "Origin, *")],
        [("vary", "Cookie")],
        [("vary", "Access-Control-Request-Headers, Cookie")],
        [("vary", "Accept")],
        [("vary", "X-Viewer")],
        [("vary", "Accept-Encoding, User-Agent")],
        [("vary", "Origin"), ("vary", "User-Agent")],
        [("content-encoding", "gzip")],
        [("content-type", "text/html; charset=utf-8")],
        [("content-type", "Application/JSON")],
    ],
)
def test_what_belongs_to_one_viewer(fields: list[tuple[str, str]]) -> None:
    found = verdict(*fields)
    assert isinstance(found, Private), found
    assert found.lasting
    assert found.why


@pytest.mark.parametrize(
    "fields",
    [
        [("cache-control", "private"), ("cache-control", "max-age=60")],
        [("cache-control", "no-store"), ("cache-control", "public")],
        [("content-encoding", "gzip"), ("content-encoding", "identity")],
    ],
)
def test_fields_that_come_twice_are_one_list(fields: list[tuple[str, str]]) -> None:
    """RFC 9110 section 5.3: a recipient combines them; a `private` must not be lost to a CDN that adds its own line."""
    assert isinstance(verdict(*fields), Private)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("cache-control", "public")],
        [("cache-control", "max-age=2")],
        [("cache-control", "x-private=1, unknown")],
        [("cache-control", ",, ,")],
        [("vary", "Accept-Encoding, Origin")],
        [("vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method")],
        [("vary", "Origin"), ("vary", "access-control-request-headers"), ("vary", "Access-Control-Request-Method")],
        [("vary", "Access-Control-Request-Private-Network, Range, Host")],
        [("vary", " , ")],
        [("content-encoding", "Identity")],
        [("content-type", "application/octet-stream")],
        [("content-type", "text/vtt")],
        [("etag", 'W/"weak"')],
    ],
)
def test_what_everybody_may_have(fields: list[tuple[str, str]]) -> None:
    assert isinstance(verdict(*fields), Shareable)


@pytest.mark.parametrize(
    ("control", "shared"),
    [
        ("", False), ("max-age=60", False), ("no-cache", False),
        ("public", True), ("s-maxage=10", True), ("must-revalidate", True), ("public, private", False),
    ],
)  # fmt: skip
def test_authorization_needs_the_origins_word(control: str, shared: bool) -> None:
    """RFC 9111 section 3.5."""
    assert isinstance(verdict(("cache-control", control), sent=("authorization",)), Shareable) is shared


@pytest.mark.parametrize("control", ["public", "public, max-age=60", "s-maxage=60", "PUBLIC", "public, no-cache"])
def test_a_cookie_beside_an_answer_for_all_is_left_out(control: str) -> None:
    """RFC 9111 section 7.3: a cookie by itself forbids nothing; load balancers set one with every answer."""
    found = head(("cache-control", control), ("set-cookie", "AWSALB=1; Path=/"))
    assert dict(found.headers) == {"cache-control": control}


def test_a_field_that_the_request_has_not_goes_along_for_those_that_have_it() -> None:
    """RFC 9111 section 4.1: two requests that both have none of a field match."""
    one = head(("vary", "Accept-Encoding, X-Session"), ("vary", "Authorization"))
    assert dict(one.headers)["vary"] == "authorization, x-session"
    by_rule = verdict(("vary", "X-Session"), rule=permitting(ignore_vary=True))
    assert isinstance(by_rule, Shareable)
    assert "vary" not in dict(by_rule.head.headers)


def test_a_preflight_field_that_is_sent_matters() -> None:
    """RFC 9111 section 4.1: fields that neither request has are equal; this one is had by one of them."""
    varying = ("vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method")
    found = verdict(varying, sent=("access-control-request-method",))
    assert isinstance(found, Private)
    assert found.why == "the answer varies by access-control-request-method"
    assert isinstance(verdict(("vary", "Origin"), sent=("access-control-request-method",)), Shareable)


# ---- what an administrator's rule lifts


NO_STORE = ("cache-control", "no-store")
LIFTED: list[tuple[str, list[tuple[str, str]], tuple[str, ...], str]] = [
    ("ignore_no_store", [NO_STORE], (), "the origin said Cache-Control: no-store"),
    ("ignore_private", [("cache-control", "private")], (), "the origin said Cache-Control: private"),
    ("ignore_set_cookie", [("set-cookie", "id=1")], (), "the origin set a cookie"),
    ("ignore_vary", [("vary", "*")], (), "the answer varies by *"),
    ("ignore_vary", [("vary", "Cookie, Accept")], ("cookie", "accept"), "the answer varies by accept, cookie"),
    (
        "ignore_authorization", [], ("authorization",),
        "the request carried Authorization and the origin did not say public",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("word", "fields", "sent", "why"), LIFTED)
def test_a_rule_lifts_what_it_names_and_says_so(
    word: str, fields: list[tuple[str, str]], sent: tuple[str, ...], why: str
) -> None:
    found = verdict(*fields, sent=sent, rule=permitting(**{word: True}))
    assert isinstance(found, Shareable)
    assert found.why == f"shared although {why} (rule event of agent.toml)"
    assert "set-cookie" not in dict(found.head.headers)
    others = {it[0] for it in LIFTED} - {word}
    refused = verdict(*fields, sent=sent, rule=permitting(**dict.fromkeys(others, True)))
    assert isinstance(refused, Private)
    assert refused.why == f"{why}, and rule event of agent.toml has no {word}"


def test_a_rule_that_lifts_one_of_two_reasons_is_not_enough() -> None:
    both = ("cache-control", "private, no-store")
    refused = verdict(both, rule=permitting(ignore_no_store=True))
    assert isinstance(refused, Private)
    assert "has no ignore_private" in refused.why
    found = verdict(both, rule=permitting(ignore_no_store=True, ignore_private=True, fresh_s=60))
    assert isinstance(found, Shareable)
    assert found.why == (
        "shared although the origin said Cache-Control: no-store and the origin said Cache-Control: private, "
        "fresh for 60 s (rule event of agent.toml)"
    )


@pytest.mark.parametrize("fields", [[("content-encoding", "gzip")], [("content-type", "text/html")]])
def test_no_rule_makes_media_of_what_is_none(fields: list[tuple[str, str]]) -> None:
    every = {name: True for name in RISKS if name.startswith("ignore")}
    found = verdict(*fields, rule=permitting(**every, immutable=True))
    assert isinstance(found, Private)
    assert "rule" not in found.why


def test_a_rule_that_changes_nothing_is_not_named() -> None:
    found = verdict(("cache-control", "max-age=60"), rule=permitting(ignore_no_store=True))
    assert isinstance(found, Shareable)
    assert (found.why, found.head.fresh_s) == ("", 60.0)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("cache-control", "no-cache")],
        [("cache-control", "max-age=2")],
        [("cache-control", "max-age=7200"), ("age", "7000")],
        [("expires", DATE)],
        [("date", "Sun, 06 Nov 1994 07:49:37 GMT")],
        [("date", LATER)],
    ],
)
def test_a_rule_says_for_how_long_from_the_fetch_on(fields: list[tuple[str, str]]) -> None:
    one = verdict(*fields, rule=permitting(fresh_s=60))
    assert isinstance(one, Shareable)
    assert one.head.date_utc + one.head.fresh_s == UTC + 60
    assert one.why == "fresh for 60 s (rule event of agent.toml)"
    plain = verdict(*fields)
    assert isinstance(plain, Shareable)
    assert one.head.date_utc == plain.head.date_utc, "the Age that a viewer is told stays true"
    one = verdict(*fields, rule=permitting(immutable=True))
    assert isinstance(one, Shareable)
    assert one.head.date_utc + one.head.fresh_s > UTC + 360 * 86_400
    assert one.why == "the origin is not asked about it again (rule event of agent.toml)"


# ---- where the bytes lie


PART = ByteRange(1_000, 1_999)
REST = ByteRange(1_000, None)


def ranged(value: str, wanted: ByteRange | None = PART, first_byte: int = 0) -> Cacheability:
    return verdict(("content-range", value), status=206, wanted=wanted, first_byte=first_byte)


@pytest.mark.parametrize(
    ("value", "wanted", "first_byte", "total"),
    [
        ("bytes 1000-1999/9000", PART, 0, 1_000),
        ("bytes 1000-1999/*", PART, 0, 1_000),
        ("bytes 1500-1999/9000", PART, 500, 1_000),
        ("bytes 1000-1499/1500", PART, 0, 500),
        ("bytes 1000-8999/9000", REST, 0, 8_000),
        ("bytes 1000-8999/*", REST, 0, 8_000),
        ("bytes 0-8999/9000", None, 0, 9_000),
        ("bytes 32768-8999999/9000000", None, 32_768, 9_000_000),
    ],
)
def test_a_206_that_is_what_was_asked_for(value: str, wanted: ByteRange | None, first_byte: int, total: int) -> None:
    found = ranged(value, wanted, first_byte)
    assert isinstance(found, Shareable)
    assert (found.first_byte, found.head.total_bytes) == (first_byte, total)


@pytest.mark.parametrize(
    ("value", "wanted", "first_byte"),
    [
        ("", PART, 0),
        ("bytes */9000", PART, 0),
        ("items 1000-1999/9000", PART, 0),
        ("bytes 1000-1999", PART, 0),
        ("bytes 1000-1999/nine", PART, 0),
        ("bytes 1999-1000/9000", PART, 0),
        ("bytes 1000-1999/1500", PART, 0),
        ("bytes ¹000-1999/9000", PART, 0),
        ("bytes -1999/9000", PART, 0),
        ("bytes 0-1999/9000", PART, 0),
        ("bytes 1001-1999/9000", PART, 0),
        ("bytes 1000-1998/9000", PART, 0),
        ("bytes 1000-2000/9000", PART, 0),
        ("bytes 1000-1500/*", PART, 0),
        ("bytes 1000-1999/9000", PART, 500),
        ("bytes 1000-5000/9000", REST, 0),
        ("bytes 0-100/9000", None, 0),
        ("bytes 100-8999/9000", None, 0),
    ],
)
def test_a_206_of_something_else_is_broken(value: str, wanted: ByteRange | None, first_byte: int) -> None:
    assert isinstance(ranged(value, wanted, first_byte), Broken)


def test_a_206_that_does_not_say_what_it_is() -> None:
    assert isinstance(verdict(status=206, wanted=PART), Broken)


def test_a_200_is_never_taken_for_a_range() -> None:
    found = verdict(("content-length", "9000"), wanted=PART)
    assert isinstance(found, Private)
    assert "ignores Range" in found.why


def test_a_200_after_the_rest_was_asked_for_begins_anew() -> None:
    found = verdict(("content-length", "9000"), first_byte=32_768)
    assert isinstance(found, Shareable)
    assert found.first_byte == 0


@pytest.mark.parametrize(
    ("length", "total"),
    [(None, None), ("0", 0), ("17", 17), ("-1", None), ("1e3", None), ("٣", None), ("9" * 18, None)],
)
def test_the_length_is_a_whole_number_or_unknown(length: str | None, total: int | None) -> None:
    fields = [] if length is None else [("content-length", length)]
    assert head(*fields).total_bytes == total


def test_a_segment_has_a_bound() -> None:
    assert isinstance(verdict(("content-length", str(SEGMENT_BYTES_MAX))), Shareable)
    assert isinstance(verdict(("content-length", str(SEGMENT_BYTES_MAX + 1))), Private)
    last = 1_000 + SEGMENT_BYTES_MAX
    assert isinstance(ranged(f"bytes 1000-{last}/{last + 1}", REST), Private)


# ---- RFC 9111 section 4.2: how long


@pytest.mark.parametrize(
    ("fields", "fresh_s"),
    [
        ([], 0.0),
        ([("last-modified", "Sun, 06 Nov 1994 08:48:37 GMT"), ("date", DATE)], 6.0),
        ([("last-modified", "Sun, 06 Nov 1994 08:49:17 GMT")], 2.0),
        ([("last-modified", "Mon, 07 Nov 1993 08:49:17 GMT"), ("date", DATE)], HEURISTIC_MAX_S),
        ([("last-modified", LATER), ("date", DATE)], 0.0),
        ([("last-modified", "yesterday"), ("date", DATE)], 0.0),
        ([("cache-control", "public"), ("last-modified", "Sun, 06 Nov 1994 08:48:37 GMT")], 6.0),
        ([("cache-control", "max-age=7")], 7.0),
        ([("cache-control", 'max-age="7"')], 7.0),
        ([("cache-control", "max-age=7, s-maxage=9")], 9.0),
        ([("cache-control", "max-age=7"), ("expires", LATER)], 7.0),
        ([("cache-control", "no-cache, max-age=7")], 0.0),
        ([("cache-control", 'no-cache="x"')], 0.0),
        ([("date", DATE), ("expires", LATER)], 60.0),
        ([("date", LATER), ("expires", DATE)], 0.0),
        ([("expires", LATER)], 60.0),
        ([("expires", "0")], 0.0),
        ([("expires", "-1")], 0.0),
        ([("expires", "")], 0.0),
        ([("cache-control", "max-age=0")], 0.0),
        ([("cache-control", "max-age=-5")], 0.0),
        ([("cache-control", "max-age=soon"), ("expires", LATER)], 0.0),
        ([("cache-control", "max-age=1800, max-age=1")], 0.0),
        ([("cache-control", "max-age=7, max-age=7")], 7.0),
        ([("cache-control", "s-maxage=0, max-age=7")], 0.0),
    ],
)
def test_freshness(fields: list[tuple[str, str]], fresh_s: float) -> None:
    assert head(*fields).fresh_s == fresh_s


@pytest.mark.parametrize(
    ("fields", "age_s"),
    [
        ([], 0.0),
        ([("date", DATE)], 0.0),
        ([("date", LATER)], 0.0),
        ([("date", "yesterday")], 0.0),
        ([("date", "Sun, 06 Nov 1994 08:48:37 GMT")], 60.0),
        ([("age", "30")], 30.0),
        ([("age", "thirty")], 0.0),
        ([("date", "Fri, 31 Dec 99999999999 23:59:59 GMT")], 0.0),
    ],
)
def test_age(fields: list[tuple[str, str]], age_s: float) -> None:
    assert UTC - head(*fields).date_utc == age_s


@pytest.mark.parametrize("said", [("0, 0",), ("7200, 0",), ("0", "0"), ("3600", "3600"), ("-1",), ("1.5",), ("a day",)])
def test_an_answer_of_an_age_that_cannot_be_read_is_stale(said: tuple[str, ...]) -> None:
    assert head(("cache-control", "max-age=3600"), *(("age", it) for it in said)).fresh_s == 0.0


def test_age_is_the_greater_of_what_date_and_age_say() -> None:
    """RFC 9111 section 4.2.3: a CDN that has kept it for 60 s says so in Age, and Date is the origin's own."""
    kept = head(("date", "Sun, 06 Nov 1994 08:48:37 GMT"), ("age", "60"), ("cache-control", "max-age=100"))
    assert UTC - kept.date_utc == 60.0


@pytest.mark.parametrize(
    ("etag", "strong"),
    [('"a"', True), ('W/"a"', False), ('w/"a"', False), ('""', False), ("a", False), ("", False), (None, False)],
)
def test_strong_validators(etag: str | None, strong: bool) -> None:
    assert is_strong(etag) is strong


def test_directives() -> None:
    assert directives('Public, max-age = "60" ,, a=b=c, NO-STORE') == {
        "public": "", "max-age": "60", "a": "b=c", "no-store": "",
    }  # fmt: skip
    assert directives("") == {}


# ---- what goes along


def test_what_is_the_same_for_everyone_goes_along_and_nothing_else() -> None:
    one = head(
        ("cache-control", "public, max-age=60"),
        ("etag", '"v1"'),
        ("last-modified", DATE),
        ("x-user", "anna"),
        ("x-request-id", "4711"),
        ("server", "cdn"),
        ("timing-allow-origin", "*"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("access-control-expose-headers", "x" * 3_000),
    )
    assert (one.etag, one.last_modified, one.content_type) == ('"v1"', DATE, "video/mp2t")
    assert [name for name, _ in one.headers] == [
        "cache-control", "timing-allow-origin", "cross-origin-resource-policy",
    ]  # fmt: skip


def test_a_part_says_where_in_its_resource_it_lies() -> None:
    for size in ("9000", "*"):
        part = head(("content-range", f"bytes 1000-1999/{size}"), wanted=PART, status=206)
        assert dict(part.headers)["content-range"] == f"bytes 1000-1999/{size}"
    whole = head(("content-range", "bytes 0-8999/9000"), status=206)
    assert "content-range" not in dict(whole.headers)


@pytest.mark.parametrize(
    ("fields", "cors", "kept"),
    [
        ([], "none", {}),
        ([("access-control-allow-origin", "")], "none", {}),
        ([("access-control-allow-origin", "*")], "any", {}),
        (
            [("access-control-allow-origin", "https://a.test")],
            "none",
            {"access-control-allow-origin": "https://a.test"},
        ),
        (
            [("access-control-allow-origin", "https://a.test"), ("vary", "Origin")],
            "none",
            {"access-control-allow-origin": "https://a.test"},
        ),
        (
            [
                ("access-control-allow-origin", "https://a.test"),
                ("vary", "Origin"),
                ("access-control-allow-credentials", "true"),
            ],
            "none",
            {"access-control-allow-origin": "https://a.test", "access-control-allow-credentials": "true"},
        ),
    ],
)
def test_who_may_read_it_from_another_page(fields: list[tuple[str, str]], cors: str, kept: dict[str, str]) -> None:
    one = head(*fields)
    assert one.cors == cors
    assert dict(one.headers) == kept


def test_without_a_type_it_is_bytes() -> None:
    found = judge(200, (), wanted=None, first_byte=0, sent=(), utc=UTC)
    assert isinstance(found, Shareable)
    assert found.head.content_type == "application/octet-stream"


def travels(one: SegmentHead) -> bool:
    said = Vouched(1, voucher(seal("me"), [bytes(32)], head=one))
    return read_peer_message(pack(said)) == said


def test_many_fields_still_travel() -> None:
    assert travels(head(*[("timing-allow-origin", str(number)) for number in range(40)]))
    assert travels(head(("content-type", "video/" + "x" * 5_000)))


def test_many_long_fields_still_travel() -> None:
    assert travels(head(("content-type", "é" * 2_000), *[("timing-allow-origin", "é" * 2_000)] * 16))


@pytest.mark.parametrize("name", ["etag", "last-modified"])
def test_an_overlong_validator_costs_nobody_a_ban(name: str) -> None:
    assert travels(head((name, '"' + "x" * 3_000 + '"')))


names = st.sampled_from(
    ["cache-control", "vary", "content-length", "content-range", "date", "age", "expires", "etag", "content-type"]
)


@given(
    st.lists(st.tuples(names, st.text(max_size=60))),
    st.sampled_from([200, 206]),
    st.sampled_from([None, PART, REST]),
    st.integers(0, 2_000),
)
def test_odd_words_and_numbers_are_judged_all_the_same(
    fields: list[tuple[str, str]], status: int, wanted: ByteRange | None, first_byte: int
) -> None:
    found = verdict(*fields, status=status, wanted=wanted, first_byte=first_byte)
    if isinstance(found, Shareable):
        assert found.head.total_bytes is None or 0 <= found.head.total_bytes <= SEGMENT_BYTES_MAX
        assert found.head.fresh_s >= 0
