"""What this machine answers to the agents that ask it: always exactly one answer."""

from collections.abc import Callable

import pytest

from ecdn_proxy.core.download.download import Download
from ecdn_proxy.core.download.lease_request import HOPS_MAX, LeaseRequest
from ecdn_proxy.core.events import Send
from ecdn_proxy.core.lease_server import LeaseServer
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.membership import rendezvous
from ecdn_proxy.wire.codec import encode
from ecdn_proxy.wire.peer import Ask, Contact, Follow, GoAlone, Granted, PeerMessage, Redirect, Shadow
from tests.core.makers import contact, context, linked, wanted
from tests.core.world import STREAM, key_of

DEVICES = ("ann", "bob", "cat")


class Desk:
    def __init__(self, *ranks: str, devices: tuple[str, ...] = DEVICES) -> None:
        self.context = context("me", Limits())
        linked(self.context, *devices)
        self.held: set[str] = set()
        self.downloads: dict[str, Download] = {}
        downloading: Callable[[str], Download | None] = self.downloads.get
        self.home = LeaseServer(self.context, lambda key, _now: key in self.held, downloading)
        self.key = next(key for key in map(key_of, range(3_000)) if self.homes(key)[: len(ranks)] == list(ranks))

    def homes(self, key: str) -> list[str]:
        return self.context.membership.homes(STREAM, key, 0.0)

    def ask(self, device: str, reason: str = "first", *, hops: int = 0, avoid: tuple[str, ...] = ()) -> PeerMessage:
        """The one answer; whatever else went out is left in `self.others`."""
        self.context.out.clear()
        self.home.asked(device, Ask(7, self.key, STREAM, reason, avoid, 0, hops), 0.0)  # type: ignore[arg-type]
        sent = [it for it in self.context.out if isinstance(it, Send)]
        (answer,) = [it.message for it in sent if it.device == device and not isinstance(it.message, Shadow)]
        self.others = [(it.device, it.message) for it in sent if it.message is not answer]
        encode(answer)
        return answer

    def acquire(self) -> Download:
        """This machine wants the segment too."""
        one = Download(self.context, self.key, STREAM, 0.0, lambda _stream, _now: False)
        one.want(wanted(key=self.key), 1.0, 0.0)
        self.downloads[self.key] = one
        return one


def test_the_first_is_granted_the_fetch_and_the_next_in_rank_hears_of_it() -> None:
    desk = Desk("me", "ann")
    assert desk.ask("bob") == Granted(7, desk.key, 1, hedge=False)
    assert desk.others == [("ann", Shadow(desk.key, STREAM, contact("bob"), 1))]
    answer = desk.ask("cat")
    assert isinstance(answer, Follow)
    assert answer.parents == (contact("bob"),)
    assert answer.why.startswith("bob fetches it from the origin")


def test_when_the_next_in_rank_fetches_the_one_after_it_hears_of_it() -> None:
    desk = Desk("me", "ann")
    assert isinstance(desk.ask("ann"), Granted)
    third = desk.context.membership.homes(STREAM, desk.key, 0.0)[2]
    assert desk.others == [(third, Shadow(desk.key, STREAM, contact("ann"), 1))]


def test_everybody_for_himself_with_the_reason_and_for_how_long() -> None:
    desk = Desk("me", "ann")
    desk.ask("bob")
    desk.context.ledger.lease_ended(desk.key, 1, "bob", "private", 404, "x" * 400, 0.0)
    answer = desk.ask("cat")
    assert isinstance(answer, GoAlone)
    assert (answer.for_ms, answer.status, len(answer.why)) == (200, 404, 298)
    desk.context.ledger.lease_ended(desk.key, 1, "bob", "complete", 200, "", 0.0)


def test_one_that_asked_the_wrong_home_is_sent_on_unless_it_has_its_reasons() -> None:
    desk = Desk("ann", "me")
    assert desk.ask("bob") == Redirect(7, desk.key, contact("ann"))
    assert isinstance(desk.ask("bob", avoid=("ann",)), Granted)
    desk = Desk("ann", "me")
    assert isinstance(desk.ask("bob", "home lost"), Granted)
    desk = Desk("ann", "me")
    assert isinstance(desk.ask("bob", hops=HOPS_MAX), Granted)
    desk = Desk("ann", "me")
    assert isinstance(desk.ask("ann"), Granted), "nobody is sent to himself"


# ---- what this machine has itself


def test_what_this_machine_has_it_offers_whosever_ledger_it_is() -> None:
    desk = Desk("ann", "me")
    desk.held.add(desk.key)
    answer = desk.ask("bob")
    assert isinstance(answer, Follow)
    assert answer.parents == (contact("me"),)
    assert isinstance(desk.ask("bob", avoid=("me",)), Redirect)
    desk.context.membership.serves = False
    assert isinstance(desk.ask("bob"), Redirect)


def test_the_ledgers_word_counts_more_than_what_is_here() -> None:
    desk = Desk("me", "ann")
    desk.held.add(desk.key)
    desk.context.ledger.segment_held(desk.key, STREAM, "cat")
    answer = desk.ask("bob")
    assert isinstance(answer, Follow)
    assert answer.parents == (contact("cat"),)


@pytest.mark.parametrize(("reason", "offered"), [("first", True), ("home lost", True), ("hedge", False)])
def test_a_relay_offers_itself_to_newcomers_only(reason: str, offered: bool) -> None:
    desk = Desk("ann", "me")
    one = desk.acquire()
    one.begin(0.0, on_disk=False, joining=False)
    assert isinstance(desk.ask("bob"), Redirect), "it knows nothing yet"
    assert one.home_answered("ann", Follow(_request(desk, "ann"), desk.key, (contact("cat"),), "so"), 0.0)
    assert one.parent == "cat"
    assert isinstance(desk.ask("bob", reason), Follow) is offered
    assert not isinstance(desk.ask("cat", reason), Follow), "nobody is sent to his own child"


def _request(desk: Desk, home: str) -> int:
    lease_request = desk.downloads[desk.key].questions.lease_request
    assert lease_request is not None
    return next(number for number in range(99) if lease_request.owns(home, number))


def test_a_fetcher_offers_itself() -> None:
    desk = Desk("ann", "me")
    one = desk.acquire()
    one.begin(0.0, on_disk=False, joining=False)
    assert one.home_answered("ann", Granted(_request(desk, "ann"), desk.key, 9, hedge=False), 0.0)
    assert isinstance(desk.ask("bob", "hedge"), Follow)


# ---- elders


def test_an_elder_that_knows_nothing_says_so_and_notes_who_fetches() -> None:
    desk = Desk("ann", "me")
    assert desk.ask("ann", "elder") == Granted(7, desk.key, 0, hedge=False)
    assert desk.context.ledger.fetchers(desk.key) == ("ann",)


def test_an_elder_that_knows_tells() -> None:
    desk = Desk("ann", "me")
    desk.ask("bob", "home lost")
    answer = desk.ask("ann", "elder")
    assert isinstance(answer, Follow)
    assert answer.parents == (contact("bob"),)


@pytest.mark.parametrize("better", [True, False])
def test_two_homes_that_ask_each_other_the_better_rank_fetches(better: bool) -> None:
    desk = Desk("me", "ann")
    if better:  # as it looks to ann, whose rank for this key is the better one
        desk.key = next(it for it in map(key_of, range(99)) if rendezvous("ann", it) > rendezvous("me", it))
        desk.context.membership.tracker_said(STREAM, ("me",), ())
        desk.context.membership.linked(contact("ann", "wifi"), (STREAM,), serves=True)
        for device in ("bob", "cat"):
            desk.context.membership.linked(contact(device, "wifi"), (STREAM,), serves=True)
    one = Download(desk.context, desk.key, STREAM, 0.0, lambda _stream, _now: True)
    one.want(wanted(key=desk.key), 1.0, 0.0)
    desk.downloads[desk.key] = one
    one.begin(0.0, on_disk=False, joining=False)
    lease_request = one.questions.lease_request
    if better:
        assert lease_request is None or not lease_request.asks_elder("ann")
        return
    assert lease_request is not None
    assert lease_request.asks_elder("ann")
    assert isinstance(desk.ask("ann", "elder"), Follow)


# ---- client isolation


def elsewhere(device: str) -> Contact:
    return Contact(device, ("10.9.0.1",), 7688)


def isolated() -> Desk:
    """This machine is the best home, and reaches nobody beside it; bob and dan are in another subnet."""
    desk = Desk("me")
    for device in ("bob", "dan"):
        desk.context.membership.linked(elsewhere(device), (STREAM,), serves=True)
        desk.context.link_opened(elsewhere(device), "lan", 1.0)
    desk.context.membership.isolation.missed("ann")
    desk.context.membership.isolation.missed("cat")
    desk.key = next(key for key in map(key_of, range(99)) if desk.homes(key)[0] == "me")
    desk.context.out.clear()
    return desk


def test_an_isolated_home_sends_those_whom_it_reaches_to_the_best_of_themselves() -> None:
    desk = isolated()
    best, other = (it for it in desk.homes(desk.key) if it in ("bob", "dan"))
    assert desk.ask(other) == Redirect(7, desk.key, elsewhere(best))
    assert desk.ask(best) == Redirect(7, desk.key, elsewhere(best)), "it shall decide itself, as all others ask it"
    assert isinstance(desk.ask(other, avoid=(best,)), Granted), "unless that one is out of its reach"


def test_an_isolated_home_asks_whom_all_can_reach_before_it_decides() -> None:
    desk = isolated()
    best = next(it for it in desk.homes(desk.key) if it in ("bob", "dan"))
    lease_request = LeaseRequest(desk.context, desk.key, STREAM, reason="first", avoid=(), have=0, unsettled=True)
    assert lease_request.begin(0.0) is None
    asked = [it for it in desk.context.out if isinstance(it, Send) and isinstance(it.message, Ask)]
    assert [(it.device, it.message.isolated) for it in asked] == [(best, True)]  # type: ignore[union-attr]
