"""A fetch from the origin as it goes: what may be shared, and what follows when it breaks."""

from ecdn_proxy.core import events as h
from tests.core.test_node_alone import BODY, HEADERS, One
from tests.core.world import UTC


def test_a_body_that_has_no_end_of_its_own_is_shared_with_nobody() -> None:
    one = One()
    fetch = one.fetch()
    one.feed(h.OriginAnswered(fetch, 200, HEADERS[:1], UTC, framed=False))
    assert [it.viewer for it in one.of(h.HandOver)] == [1]


def test_an_origin_that_breaks_twice_is_left_to_the_viewer() -> None:
    one = One()
    fetch = one.fetch()
    one.feed(h.OriginFailed(fetch, "refused"))
    (again,) = one.of(h.FetchOrigin)
    one.feed(h.OriginFailed(again.fetch, "refused"))
    assert one.of(h.PassOn) == [h.PassOn(1, "refused")]
    assert one.node.acquiring() == {}


def test_an_origin_whose_version_changed_is_asked_anew_while_nobody_has_had_anything() -> None:
    one = One()
    fetch = one.fetch()
    one.feed(h.OriginAnswered(fetch, 200, HEADERS, UTC), h.OriginSent(fetch, BODY), h.OriginSent(fetch, b"x"))
    assert [it.viewer for it in one.of(h.Abort)] == [1]
    assert [it.fetch for it in one.of(h.AbortOrigin)] == [fetch]
