"""May a copy be used, what confirms it, and what have pages been shown? Tables out of RFC 9111 and Fetch."""

import msgspec
import pytest

from ecdn_proxy.core.http.freshness import (
    PROOFS_MAX,
    PROVEN_S,
    CopyAge,
    CrossOriginProofs,
    Demand,
    allowed_page,
    asked_age_s,
    conditions,
    confirmed,
    is_proven,
    may_be_confirmed,
    objection,
    page_of,
)
from ecdn_proxy.core.values import Headers
from ecdn_proxy.wire.integrity import SegmentHead
from tests.core.makers import head
from tests.core.world import UTC

PAGE, OTHER_PAGE = "https://portal.test", "https://intranet.test"
NOW = 1_000.0


def shown(page: str | None, *, cors: str = "none", fresh_s: float = 10.0) -> SegmentHead:
    fields: Headers = () if page is None else (("access-control-allow-origin", page),)
    return msgspec.structs.replace(head(9, fresh_s=fresh_s), cors=cors, headers=fields)


@pytest.mark.parametrize(
    ("made", "heard", "demand", "why"),
    [
        (NOW - 10.0, NOW - 10.0, Demand(NOW), None),
        (NOW - 10.1, NOW - 10.1, Demand(NOW), "fresh for 10 s only"),
        (NOW - 99.0, NOW - 0.2, Demand(NOW - 0.2), None),  # the origin spoke after the request was put
        (NOW - 99.0, NOW - 0.3, Demand(NOW - 0.2), "fresh for 10 s only"),
        (NOW - 1.0, NOW - 1.0, Demand(NOW, max_age_s=0.0), "the origin's word"),
        (NOW - 1.0, NOW - 0.1, Demand(NOW - 0.2, max_age_s=0.0), None),
        (NOW - 4.9, NOW - 4.9, Demand(NOW, max_age_s=5.0), None),
        (NOW - 5.0, NOW - 5.0, Demand(NOW, max_age_s=5.0), "the origin's word"),
        (NOW - 20.0, NOW - 20.0, Demand(NOW, max_age_s=99.0), "fresh for 10 s only"),
    ],
)
def test_a_copy_is_used_while_it_is_fresh_or_the_origin_has_spoken_since(
    made: float, heard: float, demand: Demand, why: str | None
) -> None:
    said = objection(head(9, fresh_s=10.0), CopyAge(made, heard), demand, NOW)
    assert said is None if why is None else why in (said or "")


@pytest.mark.parametrize(
    ("of_copy", "asked", "etag", "may"),
    [(5, 5, '"a"', True), (5, 15, '"a"', False), (5, 15, None, True), (None, 15, '"a"', True), (5, None, '"a"', True)],
)
def test_at_another_place_of_the_playlist_it_is_another_segment_where_that_can_be_asked(
    of_copy: int | None, asked: int | None, etag: str | None, may: bool
) -> None:
    said = objection(head(9, etag=etag), CopyAge(NOW - 1.0, NOW - 1.0, of_copy), Demand(NOW, number=asked), NOW)
    assert (said is None) is may


@pytest.mark.parametrize(
    ("shown_to", "cors", "page", "proven"),
    [
        (None, "none", None, True),
        (None, "none", PAGE, False),
        (None, "any", PAGE, True),
        (PAGE, "none", PAGE, True),
        (PAGE, "none", OTHER_PAGE, False),
        (PAGE, "none", None, True),
        (None, "echo", PAGE, False),
        ("null", "none", "null", True),
    ],
)
def test_to_which_pages_the_origin_has_shown_that_they_may_read_it(
    shown_to: str | None, cors: str, page: str | None, proven: bool
) -> None:
    one = shown(shown_to, cors=cors)
    assert is_proven(one, page) is proven
    assert (objection(one, CopyAge(NOW, NOW), Demand(NOW, page), NOW) is None) is proven
    assert allowed_page(one) == shown_to


@pytest.mark.parametrize(
    ("etag", "modified", "fields"),
    [
        ('"v1"', "Sun, 06 Nov 1994 08:49:37 GMT", (("if-none-match", '"v1"'),)),
        ('W/"v1"', None, (("if-none-match", 'W/"v1"'),)),
        (None, "Sun, 06 Nov 1994 08:49:37 GMT", (("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),)),
        (None, None, ()),
    ],
)
def test_the_origin_is_asked_by_the_best_validator(etag: str | None, modified: str | None, fields: Headers) -> None:
    one = msgspec.structs.replace(head(9, etag=etag), last_modified=modified)
    assert conditions(one) == fields
    assert may_be_confirmed(one) is bool(fields)


def test_a_304_brings_new_fields_and_leaves_the_bodys() -> None:
    before = msgspec.structs.replace(
        shown(PAGE), headers=(("content-range", "bytes 5-13/99"), ("timing-allow-origin", "*"), ("expires", "0"))
    )
    said = (("etag", '"v1"'), ("cache-control", "max-age=7"), ("content-type", "text/html"), ("content-length", "0"))
    after = confirmed(before, (*said, ("access-control-allow-origin", OTHER_PAGE)), UTC + 60.0)
    assert (after.total_bytes, after.content_type, after.etag) == (9, "video/mp2t", '"v1"')
    assert (after.fresh_s, after.date_utc) == (7.0, UTC + 60.0)
    assert dict(after.headers) == {
        "content-range": "bytes 5-13/99", "timing-allow-origin": "*", "expires": "0", "cache-control": "max-age=7",
        "access-control-allow-origin": OTHER_PAGE,
    }  # fmt: skip


def test_a_304_that_says_nothing_leaves_what_was_said_before() -> None:
    before = msgspec.structs.replace(head(9, etag=None), cors="any", headers=(("cache-control", "max-age=7"),))
    before = msgspec.structs.replace(before, last_modified="Sun, 06 Nov 1994 08:49:37 GMT")
    after = confirmed(before, (), UTC)
    assert (after.fresh_s, after.cors, after.last_modified) == (7.0, "any", before.last_modified)
    assert confirmed(head(9, etag='"kept"'), (("cache-control", "no-cache"),), UTC).etag == '"kept"'


def test_a_304_that_forbids_keeping_confirms_for_one_use() -> None:
    after = confirmed(head(9), (("cache-control", "no-store"),), UTC + 5.0)
    assert (after.fresh_s, after.date_utc, after.etag) == (0.0, UTC + 5.0, '"v1"')


@pytest.mark.parametrize(
    ("request_", "age_s"),
    [
        ((), None),
        ((("cache-control", "no-cache"),), 0.0),
        ((("cache-control", "max-stale"), ("cache-control", "max-age=9")), 9.0),
        ((("cache-control", "max-age=²"),), 0.0),
        ((("cache-control", "max-age=" + "9" * 30),), 0.0),
        ((("pragma", "no-cache"),), 0.0),
        ((("pragma", "no-cache"), ("cache-control", "max-stale")), None),
    ],
)
def test_how_old_a_copy_a_request_takes(request_: Headers, age_s: float | None) -> None:
    assert asked_age_s(request_) == age_s


def test_the_page_of_a_request() -> None:
    assert page_of((("accept", "*/*"), ("origin", PAGE))) == PAGE
    assert page_of((("accept", "*/*"),)) is None


# ---- what pages have been shown


def test_what_the_origin_has_shown_a_page_counts_for_the_rendition() -> None:
    proofs, one = CrossOriginProofs(), shown(None)
    said = (("access-control-allow-origin", PAGE), ("access-control-allow-credentials", "true"), ("server", "x"))
    proofs.learn("s", "720", PAGE, said, NOW)
    applied = proofs.apply(one, "s", "720", PAGE, NOW + PROVEN_S - 1.0)
    assert dict(applied.headers) == dict(said[:2])
    for stream, rendition, page, later in (
        ("t", "720", PAGE, 0.0),
        ("s", "360", PAGE, 0.0),
        ("s", "720", OTHER_PAGE, 0.0),
        ("s", "720", None, 0.0),
        ("s", "720", PAGE, PROVEN_S),
    ):
        assert proofs.apply(one, stream, rendition, page, NOW + later) is one


def test_a_page_that_was_refused_is_not_proven() -> None:
    proofs, one = CrossOriginProofs(), shown(OTHER_PAGE)
    for said in ((), (("access-control-allow-origin", OTHER_PAGE),)):
        proofs.learn("s", "720", PAGE, said, NOW)
        assert proofs.apply(one, "s", "720", PAGE, NOW) is one
    proofs.learn("s", "720", PAGE, (("access-control-allow-origin", "*"),), NOW)
    applied = proofs.apply(one, "s", "720", PAGE, NOW)
    assert (applied.cors, applied.headers) == ("any", ())
    assert proofs.apply(applied, "s", "720", PAGE, NOW) is applied


def test_so_many_are_remembered_and_no_more() -> None:
    proofs, one = CrossOriginProofs(), shown(None)
    for number in range(PROOFS_MAX + 1):
        page = f"https://{number}.test"
        proofs.learn("s", "720", page, (("access-control-allow-origin", page),), NOW)
    proofs.learn("s", "720", None, (), NOW)
    assert proofs.apply(one, "s", "720", "https://0.test", NOW) is one
    assert proofs.apply(one, "s", "720", "https://1.test", NOW) is not one
