"""What one download asks of the ledgers, as timetables: one question at a time, counted, and closed by its answer."""

from dataclasses import replace

import pytest

from ecdn_proxy.core.download.delivery import Delivery
from ecdn_proxy.core.download.origin_fetch import FetchLease
from ecdn_proxy.core.download.parents import Parents
from ecdn_proxy.core.download.questions import REASKS_MAX, Questions
from ecdn_proxy.core.events import Send
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.decisions import FollowParents, LeaseGranted, ViewersGoAlone
from ecdn_proxy.wire import peer
from ecdn_proxy.wire.integrity import PIECE_BYTES
from ecdn_proxy.wire.sharing_rules import SharingRule
from tests.core.makers import contact, context, linked, permitting, seal, wanted, whole
from tests.core.world import STREAM, key_of

LIMITS = Limits()
BODY = bytes(3 * PIECE_BYTES)
LEASE = FetchLease("home", 5, hedge=False)


class Desk:
    """A machine whose key's ledger is kept by `home`, and after it by `next`; or by the machines that are named."""

    def __init__(self, *ranks: str, unsettled: bool = False) -> None:
        self.context = context("me", LIMITS)
        linked(self.context, "home", "next", "ann")
        homes = self.context.membership.homes
        first = list(ranks or ("home", "next"))
        self.key = next(it for it in map(key_of, range(999)) if homes(STREAM, it, 0.0)[: len(first)] == first)
        self.delivery = Delivery(self.context, self.key, STREAM)
        self.parents = Parents(self.context, self.key, STREAM)
        self.questions = Questions(
            self.context,
            self.key,
            STREAM,
            0.0,
            parents=self.parents,
            delivery=self.delivery,
            is_unsettled=lambda _stream, _now: unsettled,
        )

    def asked(self) -> tuple[str, peer.Ask]:
        """The one question that went out since the last look."""
        ((device, ask),) = (
            (it.device, it.message)
            for it in self.context.out
            if isinstance(it, Send) and isinstance(it.message, peer.Ask)
        )
        self.context.out.clear()
        return device, ask

    def watch(self, *, live: bool = True, rule: SharingRule | None = None) -> None:
        self.delivery.join(replace(wanted(1, key=self.key, rule=rule), live=live), 4.0, 0.0)


def test_a_question_says_what_is_here_and_whom_not_to_name() -> None:
    desk = Desk()
    desk.parents.name_parents((contact("ann"),), "home")
    assert desk.parents.request_next(0, 0.0)
    desk.parents.parent_failed()
    desk.context.out.clear()
    desk.delivery.hold(whole(seal("me"), BODY, key=desk.key))
    assert desk.questions.ask("parent slow", 2.0, "bob") is None
    device, ask = desk.asked()
    assert (device, ask.reason, ask.avoid, ask.have) == ("home", "parent slow", ("bob", "ann"), 3)
    assert (ask.stale, ask.waited_ms) == (desk.delivery.assembly.generation, 2_000)


def test_it_is_open_until_its_home_has_answered() -> None:
    desk = Desk()
    questions = desk.questions
    assert (questions.is_open, questions.due_at, questions.lease_request) == (False, None, None)
    assert not questions.owns("home", 1)
    assert questions.ask("first", 0.0) is None
    _, ask = desk.asked()
    assert (questions.is_open, questions.due_at) == (True, desk.context.answer_wait_s())
    assert not questions.owns("next", ask.request)
    assert questions.owns("home", ask.request)
    found = questions.home_answered("home", peer.Follow(ask.request, desk.key, (contact("ann"),), "so"), 0.01)
    assert found == FollowParents((contact("ann"),), "so", "home")
    assert not questions.is_open


def test_without_a_word_from_its_home_the_next_is_asked() -> None:
    desk = Desk()
    desk.questions.ask("first", 0.0)
    assert desk.asked()[0] == "home"
    at = desk.questions.due_at
    assert at is not None
    assert desk.questions.wake(at - 0.001) is None
    assert desk.context.out == []
    assert desk.questions.wake(at) is None
    assert desk.asked()[0] == "next"


def test_a_home_that_left_is_passed_over() -> None:
    desk = Desk()
    assert desk.questions.device_left("home", 0.0) is None
    desk.questions.ask("first", 0.0)
    assert desk.asked()[0] == "home"
    assert desk.questions.device_left("home", 0.1) is None
    assert desk.asked()[0] == "next"
    desk.questions.drop()
    assert not desk.questions.is_open


def test_what_this_machine_decides_itself_leaves_no_question_open() -> None:
    desk = Desk()
    desk.context.sharing = False
    assert isinstance(desk.questions.ask("first", 0.0), LeaseGranted)
    assert not desk.questions.is_open


def test_an_errand_is_asked_about_where_the_neighbour_was_sent_from() -> None:
    desk = Desk()
    assert desk.questions.ask_for_errand("next", 0.0) is None
    device, ask = desk.asked()
    assert (device, ask.reason) == ("next", "first")


def test_a_silent_fetch_asks_as_one_whose_parent_is_slow() -> None:
    desk = Desk()
    assert desk.questions.ask_for_reserve(0.0) is None
    device, ask = desk.asked()
    assert (device, ask.reason) == ("home", "parent slow")


@pytest.mark.parametrize(
    ("live", "unsettled", "asks_elders"), [(True, False, False), (True, True, True), (False, False, True)]
)
def test_a_new_home_asks_elders_about_recordings_and_while_the_committee_is_unsettled(
    live: bool, unsettled: bool, asks_elders: bool
) -> None:
    desk = Desk("me", unsettled=unsettled)
    desk.watch(live=live)
    found = desk.questions.ask("first", 0.0)
    assert isinstance(found, LeaseGranted) is not asks_elders
    assert desk.questions.is_open is asks_elders


def test_after_many_tries_no_ledger_can_help() -> None:
    questions = Desk().questions
    questions.tries = REASKS_MAX
    assert not questions.were_enough()
    questions.tries += 1
    assert questions.were_enough()


GONE_S, LONG_S = LIMITS.gone_s, LIMITS.gone_s + 1.0


@pytest.mark.parametrize(
    ("watched", "rule", "answer", "private_s"),
    [
        (True, None, ViewersGoAlone("so", LONG_S, 0), LONG_S),
        (False, None, ViewersGoAlone("so", LONG_S, 0), LONG_S),
        (True, permitting(ignore_vary=True), ViewersGoAlone("so", LONG_S, 0), 0.0),
        (True, None, ViewersGoAlone("so", LONG_S, 404), 0.0),
        (True, None, ViewersGoAlone("so", GONE_S, 0), 0.0),
    ],
    ids=["private", "of an errand", "with a rule here", "it is gone", "it broke"],
)
def test_the_rendition_is_private_only_where_the_answer_says_so_for_longer(
    watched: bool, rule: SharingRule | None, answer: ViewersGoAlone, private_s: float
) -> None:
    desk = Desk()
    if watched:
        desk.watch(rule=rule)
    assert desk.questions.private_s(answer) == private_s


@pytest.mark.parametrize(
    ("serves", "sharing", "live", "tries", "lease", "gives_way"),
    [
        (False, True, True, 1, LEASE, True),
        (True, True, True, 1, LEASE, False),
        (False, False, True, 1, LEASE, False),
        (False, True, False, 1, LEASE, False),
        (False, True, True, 2, LEASE, False),
        (False, True, True, 1, FetchLease(None, 5, hedge=False, lone=True), False),
        (False, True, True, 1, FetchLease("home", 5, hedge=True), False),
    ],
    ids=["gives way", "serves", "alone anyway", "a recording", "had its turn", "no neighbours", "a hedge"],
)
def test_who_gives_nothing_to_others_lets_somebody_else_fetch_once(
    serves: bool, sharing: bool, live: bool, tries: int, lease: FetchLease, gives_way: bool
) -> None:
    desk = Desk()
    desk.watch(live=live)
    desk.context.membership.serves, desk.context.sharing = serves, sharing
    desk.questions.tries = tries
    assert desk.questions.gives_way(lease) is gives_way
    desk.questions.give_way(7.0)
    assert desk.questions.give_way_until == 7.0 + LIMITS.give_way_s
