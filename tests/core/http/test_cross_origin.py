"""Which pages may read a copy, as far as the origin has shown it: tables out of the Fetch standard."""

import msgspec
import pytest

from ecdn_proxy.core.http.cross_origin import (
    PAGES_MAX,
    PROOFS_MAX,
    PROVEN_S,
    CrossOriginProofs,
    ShownPage,
    is_proven,
    joined,
)
from ecdn_proxy.core.http.cross_origin import shown as shown_pages
from ecdn_proxy.core.http.freshness import CopyAge, Demand, objection
from ecdn_proxy.core.values import Headers
from ecdn_proxy.wire.integrity import SegmentHead
from tests.core.makers import head

PAGE, OTHER_PAGE = "https://portal.test", "https://intranet.test"
NOW = 1_000.0


def shown(*pages: str | None, cors: str = "none", fresh_s: float = 10.0) -> SegmentHead:
    fields: Headers = tuple(("access-control-allow-origin", page) for page in pages if page is not None)
    return msgspec.structs.replace(head(9, fresh_s=fresh_s), cors=cors, headers=fields)


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
    assert shown_pages(one) == (() if shown_to is None or cors != "none" else (ShownPage(shown_to, credentials=False),))


# ---- what this machine has been shown


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


# ---- one head after the other


def test_what_one_page_was_shown_is_not_forgotten_for_another() -> None:
    with_cookies = (("access-control-allow-origin", PAGE), ("access-control-allow-credentials", "true"))
    first = msgspec.structs.replace(head(9), headers=(("timing-allow-origin", "*"), *with_cookies))
    both = joined(shown(OTHER_PAGE), first)
    assert shown_pages(both) == (ShownPage(OTHER_PAGE, credentials=False), ShownPage(PAGE, credentials=True))
    assert joined(shown(OTHER_PAGE), None) == shown(OTHER_PAGE)
    assert joined(shown(None, cors="any"), first).cors == "any"
    assert joined(shown(None), shown(None, cors="any")).cors == "any"
    assert shown_pages(joined(shown(PAGE), first)) == (ShownPage(PAGE, credentials=False),)


def test_so_many_pages_stand_in_one_head() -> None:
    one = shown("https://0.test")
    for number in range(1, 9):
        one = joined(shown(f"https://{number}.test"), one)
    assert [it.site for it in shown_pages(one)] == [f"https://{number}.test" for number in range(8, 8 - PAGES_MAX, -1)]
    assert not is_proven(one, "https://0.test")
