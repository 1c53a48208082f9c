"""May a copy be used, and what confirms it? Tables out of RFC 9111."""

import msgspec
import pytest

from ecdn_proxy.core.http.cross_origin import shown as shown_pages
from ecdn_proxy.core.http.freshness import (
    CopyAge,
    Demand,
    asked_age_s,
    conditions,
    confirmed,
    is_selected,
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
    assert after.headers[:4] == (
        ("content-range", "bytes 5-13/99"), ("cache-control", "max-age=7"), ("timing-allow-origin", "*"),
        ("expires", "0"),
    )  # fmt: skip
    assert [it.site for it in shown_pages(after)] == [OTHER_PAGE]


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


@pytest.mark.parametrize(
    ("vary", "sent", "selected"),
    [
        ("X-Session", set(), True),
        ("X-Session", {"cookie"}, True),
        ("Cookie, X-Session", {"x-session"}, False),
        ("cookie", {"cookie"}, False),
        (None, {"cookie"}, True),
    ],
)
def test_a_copy_is_for_requests_without_the_fields_by_which_it_varies(
    vary: str | None, sent: set[str], selected: bool
) -> None:
    one = head(9) if vary is None else msgspec.structs.replace(head(9), headers=(("vary", vary),))
    assert is_selected(one, frozenset(sent)) is selected


def test_after_a_request_from_here_has_changed_it_only_a_later_copy_counts() -> None:
    for heard, may in ((NOW - 3.0, False), (NOW - 2.0, False), (NOW - 1.0, True)):
        said = objection(head(9), CopyAge(heard, heard), Demand(NOW, changed_at=NOW - 2.0), NOW)
        assert (said is None) is may
