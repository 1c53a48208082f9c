"""What this machine answers to the agents that ask it: always exactly one answer."""

from collections.abc import Callable

import pytest

from ecdn_proxy.core.download.download import Acquisition
from ecdn_proxy.core.download.lease_request import HOPS_MAX, Inquiry
from ecdn_proxy.core.events import Send
from ecdn_proxy.core.lease_server import Home
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.membership import rendezvous
from ecdn_proxy.wire.codec import encode
from ecdn_proxy.wire.peer import Ask, Contact, Follow, GoAlone, Granted, PeerMessage, Redirect, Shadow
from tests.core.makers import contact, linked, site, wanted
from tests.core.world import STREAM, key_of

DEVICES = ("ann", "bob", "cat")


class Desk:
    def __init__(self, *ranks: str, devices: tuple[str, ...] = DEVICES) -> None:
        self.site = site("me", Limits())
        linked(self.site, *devices)
        self.held: set[str] = set()
        self.acquisitions: dict[str, Acquisition] = {}
        acquiring: Callable[[str], Acquisition | None] = self.acquisitions.get
        self.home = Home(self.site, self.held.__contains__, acquiring)
        self.key = next(key for key in map(key_of, range(3_000)) if self.homes(key)[: len(ranks)] == list(ranks))

    def homes(self, key: str) -> list[str]:
        return self.site.view.homes(STREAM, key, 0.0)

    def ask(self, device: str, reason: str = "first", *, hops: int = 0, avoid: tuple[str, ...] = ()) -> PeerMessage:
        """The one answer; whatever else went out is left in `self.others`."""
        self.site.out.clear()
        self.home.asked(device, Ask(7, self.key, STREAM, reason, avoid, 0, hops), 0.0)  # type: ignore[arg-type]
        sent = [it for it in self.site.out if isinstance(it, Send)]
        (answer,) = [it.message for it in sent if it.device == device and not isinstance(it.message, Shadow)]
        self.others = [(it.device, it.message) for it in sent if it.message is not answer]
        encode(answer)
        return answer

    def acquire(self) -> Acquisition:
        """This machine wants the segment too."""
        one = Acquisition(self.site, self.key, STREAM, 0.0, lambda _stream, _now: False)
        one.want(wanted(key=self.key), 1.0, 0.0)
        self.acquisitions[self.key] = one
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
    third = desk.site.view.homes(STREAM, desk.key, 0.0)[2]
    assert desk.others == [(third, Shadow(desk.key, STREAM, contact("ann"), 1))]


def test_everybody_for_himself_with_the_reason_and_for_how_long() -> None:
    desk = Desk("me", "ann")
    desk.ask("bob")
    desk.site.ledger.finished(desk.key, 1, "bob", "private", 404, "x" * 400, 0.0)
    answer = desk.ask("cat")
    assert isinstance(answer, GoAlone)
    assert (answer.for_ms, answer.status, len(answer.why)) == (200, 404, 298)
    desk.site.ledger.finished(desk.key, 1, "bob", "complete", 200, "", 0.0)


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
    desk.site.view.serves = False
    assert isinstance(desk.ask("bob"), Redirect)


def test_the_ledgers_word_counts_more_than_what_is_here() -> None:
    desk = Desk("me", "ann")
    desk.held.add(desk.key)
    desk.site.ledger.held(desk.key, STREAM, "cat")
    answer = desk.ask("bob")
    assert isinstance(answer, Follow)
    assert answer.parents == (contact("cat"),)


@pytest.mark.parametrize(("reason", "offered"), [("first", True), ("home lost", True), ("hedge", False)])
def test_a_relay_offers_itself_to_newcomers_only(reason: str, offered: bool) -> None:
    desk = Desk("ann", "me")
    one = desk.acquire()
    one.ask("first", 0.0)
    inquiry = one.inquiry()
    assert inquiry is not None
    assert isinstance(desk.ask("bob"), Redirect), "it knows nothing yet"
    one.found(inquiry.heard("ann", Follow(_request(desk, "ann"), desk.key, (contact("cat"),), "so"), 0.0), 0.0)
    assert one.parent == "cat"
    assert isinstance(desk.ask("bob", reason), Follow) is offered
    assert not isinstance(desk.ask("cat", reason), Follow), "nobody is sent to his own child"


def _request(desk: Desk, home: str) -> int:
    inquiry = desk.acquisitions[desk.key].inquiry()
    assert inquiry is not None
    return next(number for number in range(99) if inquiry.owns(home, number))


def test_a_fetcher_offers_itself() -> None:
    desk = Desk("ann", "me")
    one = desk.acquire()
    one.ask("first", 0.0)
    inquiry = one.inquiry()
    assert inquiry is not None
    one.found(inquiry.heard("ann", Granted(_request(desk, "ann"), desk.key, 9, hedge=False), 0.0), 0.0)
    assert isinstance(desk.ask("bob", "hedge"), Follow)


# ---- elders


def test_an_elder_that_knows_nothing_says_so_and_notes_who_fetches() -> None:
    desk = Desk("ann", "me")
    assert desk.ask("ann", "elder") == Granted(7, desk.key, 0, hedge=False)
    assert desk.site.ledger.fetchers(desk.key) == ("ann",)


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
        desk.site.view.tracker_said(STREAM, ("me",), ())
        desk.site.view.linked(contact("ann", "wifi"), (STREAM,), serves=True)
        for device in ("bob", "cat"):
            desk.site.view.linked(contact(device, "wifi"), (STREAM,), serves=True)
    one = Acquisition(desk.site, desk.key, STREAM, 0.0, lambda _stream, _now: True)
    one.want(wanted(key=desk.key), 1.0, 0.0)
    desk.acquisitions[desk.key] = one
    one.ask("first", 0.0)
    inquiry = one.inquiry()
    if better:
        assert inquiry is None or not inquiry.asks_elder("ann")
        return
    assert inquiry is not None
    assert inquiry.asks_elder("ann")
    assert isinstance(desk.ask("ann", "elder"), Follow)


# ---- client isolation


def elsewhere(device: str) -> Contact:
    return Contact(device, ("10.9.0.1",), 7688)


def isolated() -> Desk:
    """This machine is the best home, and reaches nobody beside it; bob and dan are in another subnet."""
    desk = Desk("me")
    for device in ("bob", "dan"):
        desk.site.view.linked(elsewhere(device), (STREAM,), serves=True)
        desk.site.opened(elsewhere(device), "lan", 1.0)
    desk.site.view.isolation.missed("ann")
    desk.site.view.isolation.missed("cat")
    desk.key = next(key for key in map(key_of, range(99)) if desk.homes(key)[0] == "me")
    desk.site.out.clear()
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
    inquiry = Inquiry(desk.site, desk.key, STREAM, reason="first", avoid=(), have=0, unsettled=True)
    assert inquiry.begin(0.0) is None
    asked = [it for it in desk.site.out if isinstance(it, Send) and isinstance(it.message, Ask)]
    assert [(it.device, it.message.isolated) for it in asked] == [(best, True)]  # type: ignore[union-attr]
