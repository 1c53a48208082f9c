"""What is here and who gets it: nobody before the gate is open, everybody every byte, and nothing of what is void."""

from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from ecdn_proxy.core.download.delivery import Delivery
from ecdn_proxy.core.download.gate import GateStep
from ecdn_proxy.core.events import AbortOrigin, BeginAnswer, Deliver, Finish, HandOver, PassOn, Served
from ecdn_proxy.core.http.freshness import CopyAge
from ecdn_proxy.core.values import Headers, Source
from tests.core.makers import KEY, context, fetched, head, seal, stored, wanted, whole
from tests.core.world import STREAM, UTC

BODY = bytes(range(256)) * 128 * 3
NOW = 100.0
PAGE = ("origin", "https://portal.test")
VARIED = ("x-profile", "a")


class Hall:
    """What is here of one segment; ann's copy can come, of which she has told the age."""

    def __init__(self) -> None:
        self.context = context()
        self.context.set_utc(UTC, NOW)
        self.delivery = Delivery(self.context, KEY, STREAM)

    def join(self, viewer: int = 1, headers: Headers = ()) -> None:
        self.delivery.join(wanted(viewer, headers=headers), 4.0, NOW)

    def comes_from_ann(self, *, age_s: float = 0.0, vary: str = "", etag: str | None = '"v1"') -> None:
        assembly = self.delivery.assembly = fetched(seal("ann"), BODY, etag=etag)
        assembly.age = CopyAge(NOW - age_s, NOW - age_s)
        assert assembly.head is not None
        if vary:
            assembly.head = msgspec.structs.replace(assembly.head, headers=(("vary", vary),))

    def got(self, viewer: int) -> bytes:
        return b"".join(bytes(it.data) for it in self.context.out if isinstance(it, Deliver) and it.viewer == viewer)

    def of[T](self, kind: type[T]) -> list[T]:
        return [it for it in self.context.out if isinstance(it, kind)]


def test_the_first_viewers_request_is_remembered() -> None:
    hall = Hall()
    wishes = [hall.delivery.wanted]
    for viewer in (1, 2):
        hall.join(viewer)
        wishes.append(hall.delivery.wanted)
    assert [None if it is None else it.viewer for it in wishes] == [None, 1, 1]


def nobody(_: Hall) -> None:
    pass


def a_viewer(hall: Hall) -> None:
    hall.join()


def a_viewer_that_had_some(hall: Hall) -> None:
    hall.join()
    hall.comes_from_ann()
    hall.delivery.open(NOW, asked_for=1)
    hall.delivery.deliver("lan", "so")


def a_child(hall: Hall) -> None:
    hall.delivery.children = 1


@pytest.mark.parametrize(
    ("who", "is_needed", "was_given"),
    [(nobody, False, False), (a_viewer, True, False), (a_viewer_that_had_some, True, True), (a_child, True, True)],
)
def test_who_needs_it_and_who_had_some_of_it(who: Callable[[Hall], None], is_needed: bool, was_given: bool) -> None:
    hall = Hall()
    who(hall)
    assert (hall.delivery.is_needed(), hall.delivery.was_given()) == (is_needed, was_given)


# ---- a copy that was kept here


def gate_of(delivery: Delivery) -> tuple[bool, tuple[str, float] | None, bool]:
    """Whether viewers may have what is here; which copy is stale; whether the origin is asked about it."""
    return delivery.may_begin(), delivery.stale, delivery.asks_to_confirm()


def test_a_kept_copy_that_is_fresh_goes_to_everybody_at_once() -> None:
    hall = Hall()
    hall.join(1)
    hall.join(2)
    assert hall.delivery.give_kept(stored(BODY), "so", NOW)
    assert hall.got(1) == hall.got(2) == BODY
    assert [it.viewer for it in hall.of(Finish)] == [1, 2]


def test_a_kept_copy_that_one_viewer_may_not_have_stands_behind_the_gate() -> None:
    hall = Hall()
    hall.join()
    kept = replace(whole(seal("me"), BODY), made_at=NOW - 4_000.0, heard_at=NOW - 4_000.0)
    assert not hall.delivery.give_kept(kept, "so", NOW)
    delivery = hall.delivery
    assert delivery.assembly.complete
    assert hall.context.out == []
    assert gate_of(delivery) == (False, (delivery.assembly.generation, NOW - 4_000.0), True)
    others = [fetched(seal("ann"), BODY, etag=etag).vouchers[0] for etag in ('"v1"', '"v2"')]
    assert [delivery.is_other_version(it) for it in others] == [False, True]
    delivery.open(NOW, asked_for=1)
    assert gate_of(delivery) == (True, None, False)


# ---- may it be used?


def test_before_anything_is_here_there_is_nothing_to_begin_with() -> None:
    hall = Hall()
    hall.join()
    hall.delivery.open(NOW, asked_for=1)
    assert (hall.delivery.is_open, hall.delivery.may_begin()) == (True, False)
    hall.delivery.pass_unfit(NOW)
    assert hall.context.out == []


def test_a_fresh_copy_opens_the_gate_and_a_viewer_of_an_errand_shuts_it_again() -> None:
    hall = Hall()
    hall.comes_from_ann(age_s=4_000.0)
    assert hall.delivery.judge(NOW) == (GateStep.USE, "")
    assert hall.delivery.is_open
    hall.join()
    hall.delivery.close()
    assert hall.delivery.judge(NOW)[0] is GateStep.ASK_HOME
    hall.comes_from_ann()
    assert hall.delivery.judge(NOW) == (GateStep.USE, "")


@pytest.mark.parametrize(
    ("viewers", "anybody_is_left", "passed"),
    [
        ({}, True, []),  # agents judge for themselves
        ({1: ()}, True, []),
        ({1: (VARIED,)}, False, [1]),
        ({1: (VARIED,), 2: ()}, True, [1]),
    ],
)
def test_whoever_sends_a_field_by_which_the_answer_varies_asks_the_origin(
    viewers: dict[int, Headers], anybody_is_left: bool, passed: list[int]
) -> None:
    hall = Hall()
    for viewer, headers in viewers.items():
        hall.join(viewer, headers)
    hall.comes_from_ann(vary="x-profile")
    assert hall.delivery.pass_unselected(NOW) is anybody_is_left
    assert [it.viewer for it in hall.of(PassOn)] == passed


@pytest.mark.parametrize(("asked_for", "passed"), [(1, [2]), (0, [1, 2])])
def test_what_the_origin_has_shown_to_one_page_is_for_whoever_asked(asked_for: int, passed: list[int]) -> None:
    hall = Hall()
    for viewer in (1, 2):
        hall.join(viewer, (PAGE,))
    hall.comes_from_ann()
    hall.delivery.pass_unfit(NOW)
    assert hall.of(PassOn) == [], "before the gate is open nobody knows"
    hall.delivery.open(NOW, asked_for=asked_for)
    assert [it.viewer for it in hall.of(PassOn)] == passed


# ---- to everybody what is here


@pytest.mark.parametrize(
    ("parent", "kept", "shown"),
    [("lan", True, "lan"), ("webrtc", False, "webrtc"), (None, True, "cache"), (None, False, "origin")],
)
def test_viewers_are_told_where_it_comes_from(parent: Source | None, kept: bool, shown: Source) -> None:
    hall = Hall()
    hall.join()
    if kept:
        hall.delivery.hold(whole(seal("me"), BODY))
    else:
        hall.comes_from_ann()
    hall.delivery.open(NOW, asked_for=1)
    hall.delivery.deliver(parent, "so")
    assert hall.delivery.assembly.announced
    assert [it.source for it in hall.of(BeginAnswer)] == [shown]
    assert hall.got(1) == BODY


def test_a_head_alone_is_told_to_nobody() -> None:
    hall = Hall()
    hall.join()
    hall.delivery.assembly.begin_origin(head(len(BODY)), 0, UTC)
    hall.delivery.open(NOW, asked_for=1)
    hall.delivery.deliver(None, "so")
    assert (hall.delivery.assembly.announced, hall.context.out) == (False, [])


@pytest.mark.parametrize(
    ("tries", "judged", "replaced"),
    [(0, 0, False), (1, 0, False), (2, 0, True), (2, 1, False), (3, 1, True)],
    ids=["disk", "the first source", "the second", "asked about a stale copy", "and then another source"],
)
def test_the_books_say_whether_a_source_was_given_up_on_the_way(tries: int, judged: int, replaced: bool) -> None:
    """What was asked because a copy was stale is no other source."""
    hall = Hall()
    hall.join()
    for _ in range(judged):
        hall.comes_from_ann(age_s=4_000.0)
        assert hall.delivery.judge(NOW)[0] is GateStep.ASK_HOME
    hall.comes_from_ann()
    hall.delivery.open(NOW, asked_for=1)
    hall.delivery.deliver("lan", "so")
    kept = hall.delivery.finish("so", NOW + 1.0, tries=tries)
    assert (kept.body, kept.stream, kept.stored_utc) == (BODY, STREAM, UTC + 1.0)
    assert [(it.replaced, it.bytes_by_source) for it in hall.of(Served)] == [(replaced, (("lan", len(BODY)),))]
    assert not hall.delivery.is_needed()


def test_an_answer_for_one_is_handed_over_or_wanted_by_nobody() -> None:
    hall = Hall()
    hall.join()
    hall.delivery.hand_over(1, 7, "private", NOW)
    assert hall.of(HandOver) == [HandOver(1, 7, "private")]
    assert hall.of(AbortOrigin) == []
    hall.delivery.hand_over(1, 8, "private", NOW)
    assert hall.of(AbortOrigin) == [AbortOrigin(8)]


# ---- what is here is void


def test_what_is_void_is_gone_and_children_begin_anew() -> None:
    hall = Hall()
    hall.delivery.hold(whole(seal("me"), BODY))
    hall.delivery.begin_anew()
    assert (hall.delivery.assembly.pieces, hall.delivery.begun_anew) == ([], True)
    hall.join()
    hall.delivery.open(NOW, asked_for=1)
    hall.delivery.assembly.begin_origin(head(len(BODY)), 0, UTC)
    hall.delivery.assembly.take_origin(BODY, NOW)
    hall.delivery.deliver(None, "so")
    assert [it.source for it in hall.of(BeginAnswer)] == ["origin"]


def test_another_version_takes_the_place_of_what_nobody_has_had() -> None:
    hall = Hall()
    hall.comes_from_ann()
    hall.delivery.begin_version()
    assert (hall.delivery.assembly.head, hall.delivery.begun_anew) == (None, False)
