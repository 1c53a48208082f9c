"""A question about a key as a timetable: the home is asked, then the next, and at last this machine decides alone."""

from ecdn_proxy.core.download.lease_request import HOPS_MAX, LeaseRequest, Reason
from ecdn_proxy.core.events import Dial, Send
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.swarm.decisions import FollowParents, LeaseGranted, ViewersGoAlone
from ecdn_proxy.wire.peer import Ask, Follow, GoAlone, Granted, Redirect, Shadow
from tests.core.makers import contact, context, linked
from tests.core.world import STREAM, key_of

DEVICES = ("ann", "bob", "cat", "dan")


class Desk:
    """One machine with four linked neighbours; its keys are chosen by who keeps their ledger."""

    def __init__(self, *ranks: str, links: tuple[str, ...] = DEVICES) -> None:
        self.context: NodeContext = context("me", Limits())
        linked(self.context, *links)
        far = tuple((contact(device), "same subnet") for device in DEVICES if device not in links)
        self.context.membership.tracker_said(STREAM, (), far)
        self.key = next(key for key in map(key_of, range(3_000)) if self.homes(key)[: len(ranks)] == list(ranks))
        self.context.out.clear()

    def homes(self, key: str) -> list[str]:
        return self.context.membership.homes(STREAM, key, 0.0)

    def lease_request(
        self,
        reason: Reason = "first",
        *,
        unsettled: bool = False,
        avoid: tuple[str, ...] = (),
        have: int = 0,
    ) -> LeaseRequest:
        return LeaseRequest(self.context, self.key, STREAM, reason=reason, avoid=avoid, have=have, unsettled=unsettled)

    def asked(self) -> list[tuple[str, Ask]]:
        """Questions that went out since the last look."""
        found = [
            (it.device, it.message) for it in self.context.out if isinstance(it, Send) and isinstance(it.message, Ask)
        ]
        self.context.out.clear()
        return found

    def granted(self, asked: Ask, lease: int = 5) -> Granted:
        return Granted(asked.request, self.key, lease, hedge=False)

    def redirect(self, asked: Ask, to: str) -> Redirect:
        return Redirect(asked.request, self.key, contact(to))

    def follow(self, asked: Ask, *parents: str) -> Follow:
        return Follow(asked.request, self.key, tuple(contact(it) for it in parents), "so")


def test_the_home_says_fetch_it() -> None:
    desk = Desk("ann")
    lease_request = desk.lease_request(have=3)
    assert lease_request.begin(0.0) is None
    ((home, ask),) = desk.asked()
    assert (home, ask.reason, ask.have, ask.hops, ask.avoid) == ("ann", "first", 3, 0, ())
    assert lease_request.owns("ann", ask.request)
    assert not lease_request.owns("bob", ask.request)
    assert not lease_request.owns("ann", ask.request + 1)
    found = lease_request.home_answered("ann", desk.granted(ask), 0.01)
    assert isinstance(found, LeaseGranted)
    assert (found.home, found.lease, found.hedge) == ("ann", 5, False)
    assert "ann" in found.why


def test_the_home_says_whom_to_read_from_or_that_nobody_may_share() -> None:
    desk = Desk("ann")
    lease_request = desk.lease_request()
    assert lease_request.begin(0.0) is None
    ((_, ask),) = desk.asked()
    assert lease_request.home_answered("ann", desk.follow(ask, "bob"), 0.01) == FollowParents(
        (contact("bob"),), "so", "ann"
    )
    alone = GoAlone(ask.request, desk.key, "no-store", 1_500, 0)
    assert lease_request.home_answered("ann", alone, 0.01) == ViewersGoAlone("no-store", 1.5, 0)


def test_a_silent_home_is_given_its_time_then_the_next_is_asked_too() -> None:
    desk = Desk("ann", "bob", "cat")
    lease_request = desk.lease_request()
    assert lease_request.begin(0.0) is None
    desk.asked()
    due = lease_request.due_at
    assert due == desk.context.answer_wait_s()
    assert lease_request.wake(due - 0.001) is None
    assert desk.asked() == []
    assert lease_request.wake(due) is None
    ((home, ask),) = desk.asked()
    assert (home, ask.reason, ask.avoid) == ("bob", "home lost", ("ann",))
    later = lease_request.home_answered("bob", desk.granted(ask), due + 0.01)
    assert isinstance(later, LeaseGranted)
    assert later.home == "bob"


def test_after_three_silent_homes_this_machine_decides() -> None:
    desk = Desk("ann", "bob", "cat", "dan")
    lease_request, found = desk.lease_request(), None
    assert lease_request.begin(0.0) is None
    for _ in range(3):
        assert found is None
        assert lease_request.due_at is not None
        found = lease_request.wake(lease_request.due_at)
    assert [home for home, _ in desk.asked()] == ["ann", "bob", "cat"]
    assert isinstance(found, LeaseGranted)
    assert (found.home, found.why) == (None, "no ledger answered in time")
    assert lease_request.due_at is None
    assert lease_request.wake(99.0) is None


def test_a_home_whose_link_ends_is_passed_over_at_once() -> None:
    desk = Desk("ann", "bob")
    lease_request = desk.lease_request()
    assert lease_request.begin(0.0) is None
    desk.asked()
    desk.context.link_closed("ann")
    desk.context.membership.unlinked("ann", 5.0)
    assert lease_request.link_closed("cat", 0.01) is None
    assert desk.asked() == []
    assert lease_request.link_closed("ann", 0.01) is None
    assert [home for home, _ in desk.asked()] == ["bob"]
    assert lease_request.link_closed("ann", 0.02) is None
    assert desk.asked() == []


def test_a_home_without_link_is_dialled_and_given_longer() -> None:
    desk = Desk("ann", links=("bob", "cat", "dan"))
    lease_request = desk.lease_request()
    assert lease_request.begin(0.0) is None
    assert [it.contact.device for it in desk.context.out if isinstance(it, Dial)] == ["ann"]
    assert lease_request.due_at == desk.context.limits.home_answer_max_s


def test_without_anybody_to_ask_this_machine_decides() -> None:
    here = context()
    lease_request = LeaseRequest(here, key_of(1), STREAM, reason="first", avoid=(), have=0, unsettled=True)
    assert lease_request.begin(0.0) == LeaseGranted(
        None, 1, hedge=False, why="no neighbour watches this stream", lone=True
    )
    here.sharing = False
    off = LeaseRequest(here, key_of(2), STREAM, reason="first", avoid=(), have=0, unsettled=True)
    assert off.begin(0.0) == LeaseGranted(None, 0, hedge=False, why="sharing is off")


def test_what_the_ledger_here_says() -> None:
    desk = Desk("me")
    desk.context.ledger.decide_lease(desk.key, STREAM, "ann", "first", (), 0, 0.0)
    found = desk.lease_request().begin(0.1)
    assert isinstance(found, FollowParents)
    assert found.parents == (contact("ann"),)
    desk.context.ledger.lease_ended(desk.key, 1, "ann", "private", 404, "the origin answered 404", 0.2)
    alone = desk.lease_request().begin(0.3)
    assert isinstance(alone, ViewersGoAlone)
    assert (alone.why, alone.status) == ("the origin answered 404", 404)


def test_the_next_in_rank_learns_of_a_lease_granted_here() -> None:
    desk = Desk("me", "ann")
    assert isinstance(desk.lease_request().begin(0.0), LeaseGranted)
    assert desk.context.out == [Send("ann", Shadow(desk.key, STREAM, contact("me"), 1))]


def test_only_eight_are_named_as_avoided() -> None:
    desk = Desk("ann")
    assert desk.lease_request("parent slow", avoid=tuple(f"dev{number}" for number in range(20))).begin(0.0) is None
    ((_, ask),) = desk.asked()
    assert (len(ask.avoid), ask.reason) == (8, "parent slow")


# ---- sent on


def test_a_better_home_is_asked_instead() -> None:
    desk = Desk("ann")
    lease_request = desk.lease_request()
    assert lease_request.begin(0.0) is None
    ((_, ask),) = desk.asked()
    assert lease_request.home_answered("ann", desk.redirect(ask, "eve"), 0.01) is None
    desk.context.link_opened(contact("eve"), "lan", 1.0)
    ((home, second),) = desk.asked()
    assert (home, second.hops) == ("eve", 1)
    assert isinstance(lease_request.home_answered("eve", desk.granted(second), 0.02), LeaseGranted)


def test_sent_back_here_this_machine_decides() -> None:
    desk = Desk("ann")
    lease_request = desk.lease_request()
    assert lease_request.begin(0.0) is None
    ((_, ask),) = desk.asked()
    found = lease_request.home_answered("ann", desk.redirect(ask, "me"), 0.01)
    assert isinstance(found, LeaseGranted)
    assert found.why == "ann says that the ledger is kept here"


def test_two_that_name_each_other_lead_nobody_round() -> None:
    desk = Desk("ann", "bob", "cat")
    lease_request = desk.lease_request()
    assert lease_request.begin(0.0) is None
    ((_, first),) = desk.asked()
    assert lease_request.home_answered("ann", desk.redirect(first, "cat"), 0.01) is None
    ((_, second),) = desk.asked()
    assert lease_request.home_answered("cat", desk.redirect(second, "ann"), 0.02) is None
    ((home, third),) = desk.asked()
    assert home == "bob"
    found = lease_request.home_answered("bob", desk.redirect(third, "dan"), 0.03)
    assert third.hops == HOPS_MAX
    assert isinstance(found, LeaseGranted)


def test_a_home_that_cannot_be_reached_is_not_waited_for() -> None:
    desk = Desk("ann", "bob")
    lease_request = desk.lease_request()
    assert lease_request.begin(0.0) is None
    ((_, ask),) = desk.asked()
    desk.context.membership.denied(frozenset({"eve"}))
    assert lease_request.home_answered("ann", desk.redirect(ask, "eve"), 0.01) is None
    assert [home for home, _ in desk.asked()] == ["bob"]


# ---- elders


def unsettled(*ranks: str) -> tuple[Desk, LeaseRequest, list[tuple[str, Ask]]]:
    desk = Desk(*ranks)
    lease_request = desk.lease_request(unsettled=True)
    assert lease_request.begin(0.0) is None
    return desk, lease_request, desk.asked()


def test_a_new_home_asks_its_elders_before_anybody_hears_of_its_lease() -> None:
    desk, lease_request, asked = unsettled("me", "ann")
    assert asked
    assert {ask.reason for _, ask in asked} == {"elder"}
    assert desk.context.ledger.fetchers(desk.key) == ("me",)
    assert all(lease_request.asks_elder(home) for home, _ in asked)
    answers = [lease_request.home_answered(home, desk.granted(ask, 0), 0.01) for home, ask in asked]
    assert answers[:-1] == [None] * (len(asked) - 1)
    assert isinstance(answers[-1], LeaseGranted)
    assert answers[-1].home is None


def test_an_elder_that_knows_better_is_believed_and_the_own_lease_ends() -> None:
    desk, lease_request, asked = unsettled("me", "ann")
    home, ask = asked[0]
    assert lease_request.home_answered(home, desk.follow(ask, "bob"), 0.01) == FollowParents(
        (contact("bob"),), "so", home
    )
    # what the elder knows this ledger knows now: who asks here meanwhile is not sent to the origin
    assert desk.context.ledger.fetchers(desk.key) == ("bob",)


def test_silent_elders_hold_up_nothing() -> None:
    _, lease_request, _ = unsettled("me", "ann")
    assert lease_request.due_at is not None
    assert lease_request.wake(lease_request.due_at - 0.001) is None
    assert isinstance(lease_request.wake(lease_request.due_at), LeaseGranted)
    desk, lease_request, asked = unsettled("me", "ann")
    assert desk is not None
    gone = [lease_request.link_closed(home, 0.01) for home, _ in asked]
    assert isinstance(gone[-1], LeaseGranted)


def test_elders_that_cannot_be_reached_are_none() -> None:
    desk = Desk("me", "ann", links=())
    for device in DEVICES:
        desk.context.membership.unlinked(device, 5.0)
    assert isinstance(desk.lease_request(unsettled=True).begin(0.0), LeaseGranted)


def test_a_new_home_that_must_not_fetch_asks_nobody() -> None:
    desk = Desk("me", "ann")
    desk.context.ledger.lease_shadowed(desk.key, STREAM, "bob", 1, 0.0)
    desk.context.ledger.lease_ended(desk.key, 1, "bob", "private", 404, "gone", 0.0)
    assert isinstance(desk.lease_request(unsettled=True).begin(0.1), ViewersGoAlone)


def test_an_elder_that_says_something_else_knows_nothing() -> None:
    desk, lease_request, asked = unsettled("me", "ann")
    said = [
        lease_request.home_answered(home, GoAlone(ask.request, desk.key, "no-store", 600_000, 0), 0.01)
        for home, ask in asked
    ]
    assert isinstance(said[-1], LeaseGranted)
    assert desk.context.ledger.fetchers(desk.key) == ("me",)
