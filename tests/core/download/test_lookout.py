"""What becomes due, when, and which of two that are due comes first: a table of downloads at rest."""

from collections.abc import Callable

import pytest

from ecdn_proxy.core.download.delivery import Delivery
from ecdn_proxy.core.download.lookout import Due, Lookout
from ecdn_proxy.core.download.origin_fetch import FetchLease, OriginFetch
from ecdn_proxy.core.download.parents import Parents
from ecdn_proxy.core.download.questions import Questions
from ecdn_proxy.core.download.stages import Stage
from ecdn_proxy.core.download.timeouts import (
    GIVE_UP_S,
    ORIGIN_REACH_S,
    ORIGIN_THINKS_S,
    SAY_SO_FIRST_S,
    Timeouts,
)
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.membership import LINK_WAIT_S
from ecdn_proxy.wire.integrity import PIECE_BYTES
from tests.core.makers import contact, context, head, linked, seal, wanted, whole
from tests.core.world import STREAM, UTC, key_of

LIMITS = Limits()
SLACK_S = 4.0
SOFT, HARD = SLACK_S * LIMITS.soft_share, SLACK_S * LIMITS.hard_share
BODY = bytes(2 * PIECE_BYTES)
FETCHING, FOLLOWING = Stage.FETCHING, Stage.FOLLOWING


class Rest:
    """A download at rest since 0.0, in the one stage; `ann` and the key's home `home` are linked, `far` is not."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.context = office = context("me", LIMITS)
        linked(office, "ann", "home")
        office.membership.tracker_said(STREAM, ("home",), ((contact("home"), "so"), (contact("far"), "so")))
        key = next(it for it in map(key_of, range(99)) if office.membership.homes(STREAM, it, 0.0)[0] == "home")
        self.timeouts = Timeouts(LIMITS, 0.0, 0.0)
        self.delivery = Delivery(office, key, STREAM)
        self.parents = Parents(office, key, STREAM)
        self.origin = OriginFetch(office, key, STREAM)
        self.questions = Questions(
            office,
            key,
            STREAM,
            0.0,
            parents=self.parents,
            delivery=self.delivery,
            is_unsettled=lambda _stream, _now: False,
        )
        self.lookout = Lookout(office, STREAM, self.timeouts, self.delivery, self.parents, self.origin, self.questions)
        self.usual_s = self.lookout.usual_first_byte_s()

    def wake_at(self) -> float | None:
        return self.lookout.wake_at(self.stage)

    def due(self, now: float) -> list[Due]:
        return list(self.lookout.due(self.stage, now))


def fetching() -> Rest:
    """The own fetch began at 0.0; the origin was not reached yet."""
    rest = Rest(FETCHING)
    viewer = wanted(1)
    rest.origin.borrow_request(1, viewer.origin, 1)
    rest.origin.begin(FetchLease("home", 5, hedge=False), None, rest.delivery.assembly, 0.0)
    rest.timeouts.fetch_begun(0.0)
    return rest


def fetching_with_reserve() -> Rest:
    rest = fetching()
    rest.parents.name_parents((contact("ann"),), "home")
    assert rest.parents.request_next(0, 0.0)
    return rest


def thinking() -> Rest:
    """The origin has the request, and thinks."""
    rest = fetching()
    rest.timeouts.origin_reached()
    return rest


def unsigned() -> Rest:
    """A piece came from the origin, and no voucher covers it."""
    rest = thinking()
    rest.delivery.assembly.begin_origin(head(len(BODY)), 0, UTC)
    rest.delivery.assembly.take_origin(bytes(PIECE_BYTES), 0.0)
    return rest


def asking() -> Rest:
    rest = Rest(Stage.ASKING)
    assert rest.questions.ask("first", 0.0) is None
    return rest


def giving_way() -> Rest:
    rest = Rest(Stage.GIVING_WAY)
    rest.questions.give_way(0.0)
    return rest


def following(parent: str = "ann") -> Rest:
    """A neighbour is read from since 0.0; it has not said a word."""
    rest = Rest(FOLLOWING)
    rest.parents.name_parents((contact(parent),), "home")
    assert rest.parents.request_next(0, 0.0)
    rest.timeouts.parent_chosen(0, 0.0)
    return rest


def watched(parent: str = "ann") -> Rest:
    """The same for a viewer that asked at 0.0."""
    rest = following(parent)
    rest.delivery.join(wanted(1), SLACK_S, 0.0)
    return rest


def watched_and_told_that_the_origin_thinks() -> Rest:
    """The same, and the parent said at the viewer's soft deadline that it waits itself."""
    rest = watched()
    rest.timeouts.source_awaits(SOFT)
    return rest


def unlinked_that_waits() -> Rest:
    """No link to the parent stands; it was heard of through another a moment ago."""
    rest = following("far")
    rest.timeouts.source_spoke(LINK_WAIT_S)
    return rest


def silent_s(rest: Rest) -> float:
    return rest.usual_s + LIMITS.first_byte_grace_s


CASES: dict[Due, tuple[Callable[[], Rest], Callable[[Rest], float]]] = {
    Due.SIGN: (unsigned, lambda _: LIMITS.batch_wait_s),
    Due.SAY_SO: (thinking, lambda _: SAY_SO_FIRST_S),
    Due.GIVE_UP: (lambda: Rest(Stage.JOINING), lambda _: GIVE_UP_S),
    Due.ORIGIN_SILENT: (fetching_with_reserve, lambda _: ORIGIN_REACH_S),
    Due.HOME_SILENT: (asking, lambda rest: rest.context.answer_wait_s()),
    Due.LOOK_AROUND: (fetching, silent_s),
    Due.ASK_AGAIN: (giving_way, lambda _: LIMITS.give_way_s),
    Due.PARENT_UNLINKED: (unlinked_that_waits, lambda _: LINK_WAIT_S),
    Due.PARENT_LATE: (watched_and_told_that_the_origin_thinks, lambda _: SOFT),
    Due.PARENT_SILENT: (following, silent_s),
}
"""What becomes due first: in which download, and when."""


@pytest.mark.parametrize("due", CASES, ids=lambda due: due.name)
def test_each_becomes_due_at_its_time_and_nothing_before(due: Due) -> None:
    begin, at_of = CASES[due]
    rest = begin()
    at = at_of(rest)
    assert rest.wake_at() == at
    assert rest.due(at - 0.001) == []
    assert rest.due(at) == [due]


def test_all_that_can_become_due_is_in_the_table() -> None:
    assert {*CASES, Due.PARENT_TOO_LATE} == set(Due)


LATER_S = ORIGIN_THINKS_S + 1.0
"""A machine that slept: every clock has run out."""
FIRSTS: list[tuple[Callable[[], Rest], list[Due]]] = [
    (unsigned, [Due.SIGN, Due.SAY_SO, Due.ORIGIN_SILENT]),
    (thinking, [Due.SAY_SO, Due.ORIGIN_SILENT]),
    (fetching, [Due.ORIGIN_SILENT]),
    (asking, [Due.GIVE_UP]),
    (giving_way, [Due.GIVE_UP]),
    (following, [Due.GIVE_UP]),
]


@pytest.mark.parametrize(("begin", "dues"), FIRSTS, ids=lambda it: getattr(it, "__name__", ""))
def test_of_all_that_are_due_the_first_is_done_and_what_leaves_the_download_where_it_stands(
    begin: Callable[[], Rest], dues: list[Due]
) -> None:
    assert begin().due(LATER_S) == dues


def test_of_a_parents_clocks_its_link_counts_first_then_the_deadline_then_its_silence() -> None:
    at = max(HARD, LINK_WAIT_S, silent_s(following()))
    assert at < GIVE_UP_S
    assert watched("far").due(at) == [Due.PARENT_UNLINKED]
    assert watched().due(at) == [Due.PARENT_TOO_LATE]
    assert following().due(at) == [Due.PARENT_SILENT]


def test_each_deadline_is_told_once() -> None:
    rest = watched()
    rest.timeouts.source_spoke(HARD)
    assert [rest.due(at) for at in (SOFT, SOFT, HARD, HARD)] == [[Due.PARENT_LATE], [], [Due.PARENT_TOO_LATE], []]


def test_what_will_be_here_in_time_is_not_late_and_its_parent_may_still_be_silent() -> None:
    rest = watched()
    assembly = rest.delivery.assembly
    assembly.begin_origin(head(len(BODY)), 0, UTC)
    assembly.take_origin(BODY[:-1], 0.0)
    rest.timeouts.body_began(0.01)
    rest.timeouts.body_began(SOFT)
    assembly.sign_now()
    assert rest.due(SOFT) == []
    assert rest.due(SOFT + LIMITS.silence_s) == [Due.PARENT_SILENT]


def test_while_a_home_is_asked_about_a_silent_fetch_only_that_home_is_waited_for() -> None:
    rest = fetching()
    at = silent_s(rest)
    assert rest.questions.ask_for_reserve(at) is None
    due_at = at + rest.context.answer_wait_s()
    assert rest.wake_at() == due_at
    assert [rest.due(it) for it in (at, due_at)] == [[], [Due.HOME_SILENT]]


def test_what_was_done_moves_the_clocks_of_what_is_due_after_it() -> None:
    rest = thinking()
    at = max(SAY_SO_FIRST_S, silent_s(rest))
    dues = rest.lookout.due(FETCHING, at)
    assert next(dues) is Due.SAY_SO
    rest.timeouts.looked_around(at)
    assert list(dues) == []


def test_a_fetch_that_asks_about_a_copy_takes_no_neighbour_in_reserve() -> None:
    rest = Rest(FETCHING)
    rest.delivery.hold(whole(seal("me"), BODY))
    rest.origin.borrow_request(1, wanted(1).origin, 1)
    lease = FetchLease("home", 5, hedge=False)
    rest.origin.begin(lease, None, rest.delivery.assembly, 0.0, is_conditional=rest.delivery.asks_to_confirm())
    rest.timeouts.fetch_begun(0.0)
    assert rest.lookout.fetch_is_quiet(silent_s(rest))
    assert rest.wake_at() == ORIGIN_REACH_S


def test_a_fetch_is_quiet_at_the_viewers_soft_deadline_too() -> None:
    rest = fetching()
    rest.delivery.join(wanted(1), LIMITS.first_byte_grace_s / LIMITS.soft_share, 0.0)
    assert not rest.lookout.fetch_is_quiet(LIMITS.first_byte_grace_s - 0.001)
    assert rest.lookout.fetch_is_quiet(LIMITS.first_byte_grace_s)
