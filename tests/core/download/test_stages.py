"""The table of stages and the code agree: each step is taken by a timetable below, and no other step can be taken."""

import re
from collections.abc import Callable
from itertools import product

import pytest

from ecdn_proxy.core import events
from ecdn_proxy.core.download.download import Download
from ecdn_proxy.core.download.stages import TRANSITIONS, UNDER_WAY, Stage
from ecdn_proxy.core.download.timeouts import GIVE_UP_S
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.sansio.machine import Impossible
from ecdn_proxy.wire import peer
from tests.core.download.test_download import Desk, granted, reserve, silent
from tests.core.makers import KEY, contact, context, wanted
from tests.core.test_node_alone import One
from tests.core.world import STREAM
from tests.repository.files import text, tracked

Step = tuple[Stage, Stage]
SLEPT_S = 2 * GIVE_UP_S + 1.0
"""After so long without a wake every download gives up waiting for others."""
LOADING, JOINING, ASKING, GIVING_WAY = Stage.LOADING, Stage.JOINING, Stage.ASKING, Stage.GIVING_WAY
FOLLOWING, FETCHING, ENDED = Stage.FOLLOWING, Stage.FETCHING, Stage.ENDED


def loading() -> One:
    """The disk is asked for what a viewer wants."""
    one = One(disk_bytes=1_000_000)
    one.node.cache.found_on_disk(KEY, 100_000)
    one.feed(events.StreamOpened(STREAM), wanted(1))
    return one


def joining() -> One:
    """A viewer wants a segment of a stream that was opened just now."""
    one = One()
    one.feed(events.StreamOpened(STREAM), wanted(1))
    return one


def asking() -> tuple[Desk, peer.Ask]:
    desk = Desk()
    return desk, desk.want()


def giving_way() -> Desk:
    desk = Desk()
    granted(desk)
    return desk


def following(*parents: str) -> tuple[Desk, peer.Get]:
    desk, ask = asking()
    return desk, desk.follow(ask, *parents)


def fetching() -> tuple[Desk, int]:
    desk = Desk()
    return desk, desk.fetch()


# ---- a timetable for each step


def the_disk_has_lost_it_at_once() -> None:
    loading().feed(events.Loaded(KEY, None))


def the_disk_has_lost_it_after_a_while() -> None:
    one = loading()
    one.now += Limits().join_wait_s
    one.feed(events.Loaded(KEY, None))


def the_disk_has_it() -> None:
    loading().feed(events.Loaded(KEY, One().has()))


def the_disk_says_nothing() -> None:
    loading().after(SLEPT_S)


def it_slept_while_joining() -> None:
    joining().after(SLEPT_S)


def the_time_for_names_is_over() -> None:
    joining().after(Limits().join_wait_s)


def its_viewer_leaves_before_names_came() -> None:
    joining().feed(events.ViewerLeft(1))


def nobody_named_can_be_asked() -> None:
    desk, ask = asking()
    desk.feed(events.Received("home", peer.Follow(ask.request, desk.key, (contact("me"),), "so")))
    assert desk.asks() == ["parent lost"]


def it_cannot_be_shared() -> None:
    desk, ask = asking()
    desk.feed(events.Received("home", peer.GoAlone(ask.request, desk.key, "so", 60_000, 0)))


def others_had_their_chance() -> None:
    assert giving_way().after(Limits().give_way_s)


def it_slept_while_giving_way() -> None:
    giving_way().after(SLEPT_S)


def its_viewer_leaves_while_giving_way() -> None:
    giving_way().feed(events.ViewerLeft(1))


def its_parent_refuses_and_another_was_named() -> None:
    desk, get = following("ann", "bob")
    desk.feed(events.Received("ann", peer.Refused(get.request, "busy")))


def its_only_parent_refuses() -> None:
    desk, get = following("ann")
    desk.feed(events.Received("ann", peer.Refused(get.request, "busy")))


def its_parents_copy_is_stale() -> None:
    desk, get = following("ann")
    voucher = desk.source("ann").vouchers[0]
    desk.feed(events.Received("ann", peer.Vouched(get.request, voucher, 0, 3_600_001, 3_600_001)))
    assert desk.asks() == ["first"]


def nothing_came_for_seconds() -> None:
    desk, _ = following("ann")
    desk.after(SLEPT_S)
    assert desk.asks() == []


def its_parent_gives_all() -> None:
    desk, get = following("ann")
    desk.give("ann", get, desk.source("ann"), 12)


def the_origin_fails() -> None:
    desk, fetch = fetching()
    desk.feed(events.OriginFailed(fetch, "connection lost"))


def the_origin_is_silent_and_nobody_has_it_yet() -> None:
    silent(Desk())


def a_neighbour_in_reserve_begins() -> None:
    desk = Desk()
    _, get = reserve(desk, "ann")
    desk.feed(events.Received("ann", peer.Vouched(get.request, desk.source("ann").vouchers[0])))


def its_viewer_leaves_while_it_fetches() -> None:
    desk, _ = fetching()
    desk.feed(events.ViewerLeft(1))


TIMETABLES: dict[Step, Callable[[], object]] = {
    (Stage.NEW, LOADING): loading,
    (Stage.NEW, JOINING): joining,
    (Stage.NEW, ASKING): asking,
    (LOADING, JOINING): the_disk_has_lost_it_at_once,
    (LOADING, ASKING): the_disk_has_lost_it_after_a_while,
    (LOADING, FETCHING): the_disk_says_nothing,
    (LOADING, ENDED): the_disk_has_it,
    (JOINING, ASKING): the_time_for_names_is_over,
    (JOINING, FETCHING): it_slept_while_joining,
    (JOINING, ENDED): its_viewer_leaves_before_names_came,
    (ASKING, ASKING): nobody_named_can_be_asked,
    (ASKING, GIVING_WAY): giving_way,
    (ASKING, FOLLOWING): lambda: following("ann"),
    (ASKING, FETCHING): fetching,
    (ASKING, ENDED): it_cannot_be_shared,
    (GIVING_WAY, ASKING): others_had_their_chance,
    (GIVING_WAY, FETCHING): it_slept_while_giving_way,
    (GIVING_WAY, ENDED): its_viewer_leaves_while_giving_way,
    (FOLLOWING, ASKING): its_only_parent_refuses,
    (FOLLOWING, FOLLOWING): its_parent_refuses_and_another_was_named,
    (FOLLOWING, FETCHING): nothing_came_for_seconds,
    (FOLLOWING, ENDED): its_parent_gives_all,
    (FETCHING, ASKING): the_origin_fails,
    (FETCHING, FOLLOWING): a_neighbour_in_reserve_begins,
    (FETCHING, ENDED): its_viewer_leaves_while_it_fetches,
}
ALLOWED: list[Step] = [(before, after) for before, row in TRANSITIONS.items() for after in row]


def named(step: object) -> str:
    return "-".join(it.name for it in step) if isinstance(step, tuple) else str(step)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """The steps that downloads take."""
    steps: list[Step] = []
    enter = Download.enter

    def noted(download: Download, stage: Stage) -> None:
        steps.append((download.stage, stage))
        enter(download, stage)

    monkeypatch.setattr(Download, "enter", noted)
    return steps


@pytest.mark.parametrize("step", ALLOWED, ids=named)
def test_each_step_of_the_table_is_taken(step: Step, taken: list[Step]) -> None:
    TIMETABLES[step]()
    assert step in taken


@pytest.mark.parametrize("step", [it for it in product(Stage, Stage) if it not in ALLOWED], ids=named)
def test_no_other_step_can_be_taken(step: Step) -> None:
    download = Download(context(), KEY, STREAM, 0.0, lambda _stream, _now: False)
    before, after = step
    download._stage = before
    with pytest.raises(Impossible, match=f"from {before.name} to {after.name}"):
        download.enter(after)
    assert download.stage is before


def test_each_stage_is_in_the_table_and_can_be_reached() -> None:
    assert set(TRANSITIONS) == set(Stage)
    assert {after for _, after in ALLOWED} | {Stage.NEW} == set(Stage)
    assert set(TIMETABLES) == set(ALLOWED)


def test_the_stage_is_written_in_two_places_at_its_birth_and_by_enter() -> None:
    written = re.compile(r"\b_?stage = ")
    writes = {name: len(written.findall(text(name) or "")) for name in tracked() if name.startswith("ecdn_proxy/core/")}
    assert {name: times for name, times in writes.items() if times} == {"ecdn_proxy/core/download/stages.py": 2}


# ---- what is under way


def test_all_that_the_table_lets_be_under_way_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    check = Download.check

    def noted(download: Download) -> None:
        seen.add((download.stage, download.under_way()))
        check(download)

    monkeypatch.setattr(Download, "check", noted)
    more = (the_origin_is_silent_and_nobody_has_it_yet, its_parents_copy_is_stale)
    for timetable in (*TIMETABLES.values(), *more):
        timetable()
    told = {(stage, works) for stage, rows in UNDER_WAY.items() for works in rows if stage is not ENDED}
    assert seen == told, "of what is over the node has forgotten everything"


def test_a_parent_that_nobody_reads_from_is_found_by_the_check() -> None:
    desk, _ = following("ann")
    (download,) = desk.node._downloads
    download.parents.parent_gave_all()
    with pytest.raises(AssertionError, match="FOLLOWING"):
        desk.node.check()


def test_a_download_does_not_stay_new() -> None:
    download = Download(context(), KEY, STREAM, 0.0, lambda _stream, _now: False)
    with pytest.raises(AssertionError, match="NEW"):
        download.check()
