"""A fetch from the origin as it goes: what may be shared, and what follows when it breaks."""

from ecdn_proxy.core import events
from tests.core.test_node_alone import BODY, HEADERS, One
from tests.core.world import UTC


def test_a_body_that_has_no_end_of_its_own_is_shared_with_nobody() -> None:
    one = One()
    fetch = one.fetch()
    one.feed(events.OriginAnswered(fetch, 200, HEADERS[:1], UTC, framed=False))
    assert [it.viewer for it in one.of(events.HandOver)] == [1]


def test_an_origin_that_breaks_twice_is_left_to_the_viewer() -> None:
    one = One()
    fetch = one.fetch()
    one.feed(events.OriginFailed(fetch, "refused"))
    (again,) = one.of(events.FetchOrigin)
    one.feed(events.OriginFailed(again.fetch, "refused"))
    assert one.of(events.PassOn) == [events.PassOn(1, "refused")]
    assert one.node.downloading() == {}


def test_an_origin_whose_version_changed_is_asked_anew_while_nobody_has_had_anything() -> None:
    one = One()
    fetch = one.fetch()
    one.feed(
        events.OriginAnswered(fetch, 200, HEADERS, UTC), events.OriginSent(fetch, BODY), events.OriginSent(fetch, b"x")
    )
    assert [it.viewer for it in one.of(events.Abort)] == [1]
    assert [it.fetch for it in one.of(events.AbortOrigin)] == [fetch]
