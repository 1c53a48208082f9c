"""Whose copy may be used: names that live servers use again, askers of several pages, players that ask for more.

The origin counts bodies and confirmations; every viewer's bytes are compared with what the origin has at the moment.
"""

import msgspec
import pytest

from ecdn_proxy.core import events, values
from ecdn_proxy.core.http.answers import Circumstance, answer_for
from ecdn_proxy.wire import peer
from tests.core.download.test_download import Desk
from tests.core.makers import KEY, seal, signed
from tests.core.test_node_alone import One
from tests.core.world import STREAM, UTC, Origin, World, key_of

SECOND_PAGE = "https://intranet.test"
PAGE = "https://portal.test"
HEADERS: dict[str, dict[str, str]] = {
    "no-cache": {"cache-control": "no-cache"},
    "max-age=2": {"cache-control": "max-age=2"},
    "no word": {},
}


def url(number: int) -> str:
    return f"https://origin.test/{number}"


def office(count: int, origin: Origin) -> World:
    world = World(count, origin=origin)
    world.watch_all()
    return world


def played(world: World, *viewers: int) -> None:
    """These viewers have had the whole segment that the origin had when they asked."""
    for viewer in viewers:
        answer = world.answers[viewer]
        assert (answer.end, bytes(answer.data)) == ("finished", answer.expected), (viewer, answer.why)


@pytest.mark.parametrize("word", HEADERS)
@pytest.mark.parametrize("late_s", [0.0, 1.0, 3.0])
def test_names_that_are_used_again_cost_one_body_for_each_segment(word: str, late_s: float) -> None:
    """The three machines ask for each of three names, `late_s` apart; then other segments stand under the names."""
    origin = Origin(headers=HEADERS[word])
    world = office(3, origin)
    for _round in range(4):
        for number in range(3):
            viewers = []
            for device in world.nodes:
                viewers.append(world.play(device, number))
                world.run(late_s)
            world.run(2.0 - late_s if late_s < 2.0 else 0.5)
            played(world, *viewers)
        for number in range(3):
            origin.replace(url(number))
    for number in range(3):
        bodies, confirmed = origin.counts(url(number))
        assert bodies == 4, origin.heads
        assert confirmed <= 4 * 2
    for node in world.nodes.values():
        node.check()


def test_what_is_validated_costs_one_body_however_often_it_is_played() -> None:
    origin = Origin(headers=HEADERS["no-cache"])
    world = office(10, origin)
    viewers = []
    for _round in range(3):
        for device in world.nodes:
            viewers.append(world.play(device, 1))
            world.run(0.7)
    played(world, *viewers)
    bodies, confirmed = origin.counts(url(1))
    assert (bodies, confirmed) == (1, 29)


def test_many_at_once_are_one_confirmation() -> None:
    """Who asks while the origin is being asked waits for the same word (collapsed forwarding)."""
    origin = Origin(headers=HEADERS["no-cache"])
    world = office(10, origin)
    for _round in range(3):
        viewers = [world.play(device, 1) for device in world.nodes]
        world.run(3.0)
        played(world, *viewers)
    bodies, confirmed = origin.counts(url(1))
    assert (bodies, confirmed) == (1, 2)


def test_many_at_once_after_a_change_are_one_body() -> None:
    origin = Origin(headers=HEADERS["no-cache"])
    world = office(10, origin)
    for _round in range(4):
        viewers = [world.play(device, 1) for device in world.nodes]
        world.run(3.0)
        played(world, *viewers)
        origin.replace(url(1))
    assert origin.counts(url(1)) == (4, 0)


def test_by_its_date_alone_a_copy_can_be_confirmed() -> None:
    origin = Origin(headers=HEADERS["no-cache"], etag=False, modified=True)
    world = office(3, origin)
    for _round in range(3):
        for _again in range(2):
            viewers = [world.play(device, 1) for device in world.nodes]
            world.run(3.0)
            played(world, *viewers)
        origin.replace(url(1))
    assert origin.counts(url(1)) == (3, 3)


def test_without_a_validator_only_what_still_arrives_is_shared() -> None:
    origin = Origin(headers={}, etag=False)
    world = office(3, origin)
    for _round in range(3):
        viewers = [world.play(device, 1) for device in world.nodes]
        world.run(3.0)
        played(world, *viewers)
        origin.replace(url(1))
    assert origin.counts(url(1)) == (3, 0)


def test_a_copy_that_is_fresh_is_given_without_a_word_to_the_origin() -> None:
    origin = Origin()
    world = office(5, origin)
    viewers = []
    for device in world.nodes:
        viewers.append(world.play(device, 1))
        world.run(10.0)
    played(world, *viewers)
    assert origin.counts(url(1)) == (1, 0)


def test_a_confirmed_copy_is_fresh_again_for_as_long_as_the_origin_says() -> None:
    origin = Origin(headers={"cache-control": "max-age=10"})
    world = office(4, origin)
    viewers = []
    for device in (*world.nodes, *world.nodes):
        viewers.append(world.play(device, 1))
        world.run(4.0)
    played(world, *viewers)
    bodies, confirmed = origin.counts(url(1))
    assert bodies == 1
    assert confirmed <= 2, origin.heads


# ---- pages


def echo(request: values.Headers) -> dict[str, str]:
    """As many servers: the asker's site is echoed, and a request without one is told nothing."""
    page = dict(request).get("origin")
    return {} if page is None else {"access-control-allow-origin": page}


def allows(world: World, viewer: int, page: str | None) -> str | None:
    """What this viewer is told in Access-Control-Allow-Origin."""
    head = world.answers[viewer].head
    assert head is not None
    request = () if page is None else (("origin", page),)
    fields = answer_for("GET", request, head, Circumstance("lan", UTC)).headers
    return dict(fields).get("access-control-allow-origin")


@pytest.mark.parametrize("word", [*HEADERS, "fresh"])
def test_each_page_is_shown_what_the_origin_says_to_it(word: str) -> None:
    headers = HEADERS.get(word, {"cache-control": "max-age=3600"})
    origin = Origin(headers=headers, vary_cors=echo)
    world = office(4, origin)
    devices = list(world.nodes)
    for number in (1, 2):
        for device, page in zip(devices, (None, PAGE, PAGE, SECOND_PAGE), strict=True):
            viewer = world.play(device, number, page=page)
            world.run(3.0)
            played(world, viewer)
            assert page is None or allows(world, viewer, page) == page
        assert origin.counts(url(number))[0] == 1, origin.heads


def test_a_page_that_the_origin_has_allowed_is_not_asked_about_for_each_segment() -> None:
    origin = Origin(vary_cors=echo)
    world = office(2, origin)
    first, second = world.nodes
    for number in range(1, 9):
        world.play(first, number)
        world.run(1.0)
        viewer = world.play(second, number, page=PAGE)
        world.run(1.0)
        played(world, viewer)
        assert allows(world, viewer, PAGE) == PAGE
    assert sum(origin.counts(url(number))[1] for number in range(1, 9)) == 1


def test_of_two_pages_that_ask_at_once_none_waits_for_the_others_fields() -> None:
    origin = Origin(vary_cors=echo)
    world = office(2, origin)
    first, second = world.nodes
    viewers = [world.play(first, 1, page=PAGE), world.play(second, 1, page=SECOND_PAGE)]
    world.run(3.0)
    played(world, *viewers)
    assert [allows(world, *it) for it in zip(viewers, (PAGE, SECOND_PAGE), strict=True)] == [PAGE, SECOND_PAGE]
    assert origin.counts(url(1)) == (1, 1)


def test_what_is_allowed_to_all_is_asked_about_by_nobody() -> None:
    origin = Origin(vary_cors=lambda _request: {"access-control-allow-origin": "*"})
    world = office(3, origin)
    viewers = []
    for device, page in zip(world.nodes, (None, PAGE, SECOND_PAGE), strict=True):
        viewers.append(world.play(device, 1, page=page))
        world.run(1.0)
    played(world, *viewers)
    assert origin.counts(url(1)) == (1, 0)


def test_another_page_on_the_same_machine_goes_its_own_way() -> None:
    origin = Origin(vary_cors=echo, first_byte_s=0.5)
    world = office(2, origin)
    first, _ = world.nodes
    viewers = [world.play(first, 1, page=PAGE), world.play(first, 1, page=SECOND_PAGE)]
    world.run(0.4)
    assert world.answers[viewers[1]].end == ""
    world.run(3.0)
    played(world, viewers[0])
    assert world.answers[viewers[1]].end == "passed"


# ---- what players ask for


def test_a_player_that_asks_for_the_origins_word_costs_a_confirmation() -> None:
    origin = Origin()
    world = office(3, origin)
    viewers = []
    for device in world.nodes:
        viewers.append(world.play(device, 1, max_age_s=0.0))
        world.run(2.0)
    viewers.append(world.play("dev000", 1, max_age_s=30.0))
    world.run(2.0)
    played(world, *viewers)
    assert origin.counts(url(1)) == (1, 2)


def test_under_another_number_the_same_address_is_asked_about() -> None:
    origin = Origin()
    world = office(2, origin)
    for listed_at in (5, 15):
        viewers = [world.play(device, 1, listed_at=listed_at) for device in world.nodes]
        world.run(2.0)
        played(world, *viewers)
        origin.replace(url(1))
    assert origin.counts(url(1)) == (2, 0)


def test_what_was_changed_by_a_viewer_is_fetched_anew() -> None:
    origin = Origin()
    world = office(1, origin)
    first = world.play("dev000", 1)
    world.run(1.0)
    origin.replace(url(1))
    world.feed("dev000", events.Invalidated(key_of(1)))
    second = world.play("dev000", 1)
    world.run(1.0)
    played(world, first, second)
    assert origin.counts(url(1)) == (2, 0)


# ---- trouble


def test_a_confirmation_that_fails_is_tried_once_more_and_then_left_to_the_viewer() -> None:
    origin = Origin(headers=HEADERS["no-cache"])
    world = office(2, origin)
    played_first = world.play("dev000", 1)
    world.run(2.0)
    origin.status = lambda _url, _nth: 503
    viewer = world.play("dev001", 1)
    world.run(5.0)
    played(world, played_first)
    assert world.answers[viewer].end == "handed over"
    assert [status for _, _, status in origin.heads] == [200, 503, 503]


def test_when_the_neighbour_with_the_copy_is_gone_the_confirmed_copy_is_fetched() -> None:
    origin = Origin(headers=HEADERS["no-cache"], first_byte_s=1.0)
    world = office(3, origin)
    first = world.play("dev000", 1)
    world.run(3.0)
    second = world.play("dev001", 1)
    world.run(0.002)
    world.kill("dev000")
    world.run(8.0)
    played(world, first, second)
    assert origin.counts(url(1))[0] <= 2


def test_not_found_at_a_confirmation_is_told() -> None:
    origin = Origin(headers=HEADERS["no-cache"])
    world = office(2, origin)
    world.play("dev000", 1)
    world.run(2.0)
    origin.status = lambda _url, _nth: 404
    viewer = world.play("dev001", 1)
    world.run(2.0)
    assert world.answers[viewer].end in ("status 404", "handed over")


def test_the_copy_that_is_confirmed_shows_its_new_age() -> None:
    origin = Origin(headers={"cache-control": "max-age=2"})
    world = office(2, origin)
    world.play("dev000", 1)
    world.run(30.0)
    viewer = world.play("dev001", 1)
    world.run(2.0)
    played(world, viewer)
    head = world.answers[viewer].head
    assert head is not None
    assert UTC + world.now - head.date_utc < 3.0
    assert "the origin confirmed the copy (304)" in world.answers[viewer].why


# ---- agents of earlier releases


def test_an_agent_of_an_earlier_release_is_given_fresh_copies_only() -> None:
    one = One()
    one.feed(events.StreamOpened(STREAM))
    one.link("ann")
    one.has(fresh_s=10.0)
    one.now += 10.1
    one.feed(events.Received("ann", peer.Get(1, KEY, STREAM, 0)))
    assert one.sent(peer.Refused) == [peer.Refused(1, "unknown")]
    one.feed(events.Received("ann", peer.Get(2, KEY, STREAM, 0, judges_age=True)))
    (vouched, *_) = one.sent(peer.Vouched)
    assert vouched.age_ms == vouched.idle_ms == 10_100
    assert one.sent(peer.Piece)


@pytest.mark.parametrize(("fresh_s", "asked"), [(3_600.0, False), (1.0, True)])
def test_of_an_earlier_releases_copy_the_date_tells_the_age(fresh_s: float, asked: bool) -> None:
    desk = Desk()
    get = desk.follow(desk.want(), "ann")
    source = desk.source("ann")
    assert source.head is not None
    old = msgspec.structs.replace(source.head, date_utc=UTC - 60.0, fresh_s=fresh_s)
    blank = msgspec.structs.replace(source.vouchers[0], head=old)
    desk.feed(events.Received("ann", peer.Vouched(get.request, signed(seal("ann", desk.seals), blank))))
    assert bool(desk.asks()) is asked


# ---- what answers vary by


def test_who_sends_a_field_by_which_the_answer_varies_asks_for_itself() -> None:
    """No viewer sends X-Session but the last, of whom the copy in memory and the neighbour's are no answers."""
    origin = Origin(headers={"cache-control": "max-age=3600", "vary": "Origin, X-Session"})
    world = office(3, origin)
    viewers = [world.play(device, 1) for device in ("dev000", "dev001")]
    world.run(2.0)
    played(world, *viewers)
    assert origin.counts(url(1)) == (1, 0)
    with_session = [world.play(device, 1, fields=(("x-session", "7"),)) for device in ("dev001", "dev002")]
    world.run(2.0)
    assert [world.answers[it].end for it in with_session] == ["passed", "passed"]


def test_an_answer_that_varies_by_what_everybody_sends_is_shared_with_nobody() -> None:
    origin = Origin(headers={"cache-control": "max-age=3600", "vary": "Cookie"})
    world = office(2, origin)
    viewers = [world.play(device, 1) for device in world.nodes]
    world.run(2.0)
    assert {world.answers[it].end for it in viewers} <= {"handed over", "passed"}
