"""One origin fetch per key and site: the ledger as a timetable, and its laws."""

from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.decisions import FollowParents, LeaseGranted, ViewersGoAlone
from ecdn_proxy.core.swarm.leases import LATE_COUNTS_S, WAITING_LIVES_S
from ecdn_proxy.core.swarm.ledger import FAILURES_MAX
from ecdn_proxy.wire.integrity import PIECE_BYTES
from tests.core.makers import KEY, contact
from tests.core.swarm.book import DEVICES, FIRST_BYTE_ENDS, LIMITS, Book
from tests.core.world import STREAM, key_of


def test_the_first_fetches_and_the_others_follow() -> None:
    book = Book()
    assert not book.ledger.knows_key(KEY)
    assert book.ask("dev0", 0.0) == "fetch"
    assert book.ask("dev1", 0.0) == "dev0"
    assert book.ledger.fetchers(KEY) == ("dev0",)
    assert book.ledger.knows_key(KEY)
    assert book.ledger.fetchers(key_of(9)) == ()


def test_a_lease_without_first_byte_lives_for_the_origins_usual_and_a_grace() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    assert book.ask("dev1", FIRST_BYTE_ENDS - 0.01) == "dev0"
    assert book.ask("dev2", FIRST_BYTE_ENDS + 0.01) == "hedge"
    assert book.ask("dev3", FIRST_BYTE_ENDS + 0.02) == "dev2"
    assert set(book.ledger.fetchers(KEY)) == {"dev0", "dev2"}


def test_a_lease_that_receives_lives_on_progress() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    book.progress("dev0", 10_000, 0.5)
    book.progress("dev0", 20_000, 3.0)
    quiet = LIMITS.silence_s + LIMITS.progress_s
    assert book.ask("dev1", 3.0 + LIMITS.silence_s) == "dev0"
    assert book.ask("dev2", 3.0 + quiet + 0.01) == "hedge"


def test_a_lease_whose_holder_says_that_it_waits_lives_on_until_that_is_not_said_any_more() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    for tenth in range(2, 130, 2):
        book.progress("dev0", 0, tenth / 10)
    assert book.ask("dev1", 12.8 + WAITING_LIVES_S) == "dev0"
    assert book.ask("dev1", 12.8 + WAITING_LIVES_S, "parent slow", avoid=("dev0",)) == "dev0"
    assert book.ask("dev2", 12.81 + WAITING_LIVES_S) == "hedge"
    book.progress("dev0", 0, 14.0)
    assert book.ask("dev3", 14.1) in ("dev0", "dev2"), "it was only late"


def test_a_fetch_may_also_wait_in_the_middle_of_the_body() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    for tenth in range(2, 40, 2):
        book.progress("dev0", 10_000, tenth / 10)
    assert book.ask("dev1", 3.8 + WAITING_LIVES_S) == "dev0"
    book.progress("dev0", 20_000, 4.6)
    quiet = LIMITS.silence_s + LIMITS.progress_s
    assert book.ask("dev2", 4.6 + quiet + 0.01) == "hedge", "it receives again, and is silent"


def test_progress_of_somebody_elses_lease_changes_nothing() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    book.progress("dev1", 10_000, 0.9)
    book.progress("dev0", 10_000, 0.9, lease=7)
    book.ledger.lease_progressed(key_of(9), 1, "dev0", 10_000, 0.9)
    assert book.ask("dev2", FIRST_BYTE_ENDS + 0.01) == "hedge"


def test_the_usual_first_byte_is_learnt_and_the_wait_follows_it() -> None:
    book = Book()
    assert book.ledger.usual_first_byte_s(STREAM) == LIMITS.first_byte_unknown_s
    assert book.ask("dev0", 0.0) == "fetch"
    book.progress("dev0", 1, 0.1)
    assert book.ledger.usual_first_byte_s(STREAM) == pytest.approx(0.1)
    book.finished("dev0", "failed", 0.2)
    assert book.ask("dev1", 1.0) == "fetch"
    assert book.ask("dev2", 1.39) == "dev1"
    assert book.ask("dev2", 1.41) == "hedge"
    # dev1's lease ended without a word, so the next wait was twice as long
    book.progress("dev2", 1, 1.41 + 1.1, lease=3)
    assert book.ledger.usual_first_byte_s(STREAM) == pytest.approx((0.2 + 1.1) / 2)


def test_learnt_first_bytes_are_bounded() -> None:
    book = Book()
    for number in range(300):
        grant = book.ledger.decide_lease(key_of(number), f"{number:032x}", "dev0", "first", (), 0, 0.0)
        assert isinstance(grant, LeaseGranted)
        book.ledger.lease_progressed(key_of(number), grant.lease, "dev0", 1, 0.1)
    assert book.ledger.usual_first_byte_s(f"{0:032x}") == LIMITS.first_byte_unknown_s
    assert book.ledger.usual_first_byte_s(f"{299:032x}") == pytest.approx(0.1)


def test_who_has_lost_its_way_keeps_its_lease() -> None:
    book = Book()
    first = book.ledger.decide_lease(KEY, STREAM, "dev0", "first", (), 0, 0.0)
    again = book.ledger.decide_lease(KEY, STREAM, "dev0", "parent lost", (), 0, 0.9)
    assert isinstance(first, LeaseGranted)
    assert isinstance(again, LeaseGranted)
    assert (first.lease, first.hedge) == (again.lease, again.hedge) == (1, False)
    assert book.ask("dev1", 0.9 + FIRST_BYTE_ENDS - 0.01) == "dev0"


def test_whoever_has_it_is_followed_after_the_fetch() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    book.finished("dev0", "complete", 1.0)
    assert book.ledger.fetchers(KEY) == ()
    assert book.ask("dev1", 60.0) == "dev0"
    book.ledger.segment_dropped(KEY, "dev0")
    book.ledger.segment_dropped(key_of(9), "dev0")
    assert book.ask("dev2", 61.0) == "fetch"


def test_one_that_asks_has_it_no_longer() -> None:
    book = Book()
    book.ledger.segment_held(KEY, STREAM, "dev0")
    assert book.ask("dev0", 0.0) == "fetch"


def test_a_device_that_left_is_followed_by_nobody() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    book.ledger.segment_held(KEY, STREAM, "dev1")
    book.ledger.device_left("dev0")
    book.ledger.device_left("dev1")
    assert not book.ledger.knows_key(KEY)
    assert book.ask("dev2", 0.1) == "fetch"


def test_one_404_releases_everybody_for_a_moment_only() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    book.finished("dev0", "private", 0.1, status=404, why="the origin answered 404")
    alone = book.ledger.decide_lease(KEY, STREAM, "dev1", "first", (), 0, 0.2)
    assert isinstance(alone, ViewersGoAlone)
    assert (alone.why, alone.status) == ("the origin answered 404", 404)
    assert alone.for_s == pytest.approx(0.1)
    assert book.ask("dev1", 0.29) == "alone"
    assert book.ask("dev1", 0.31) == "fetch"


def test_what_is_private_stays_so_for_ten_minutes() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    book.finished("dev0", "private", 0.0, status=200, why="no-store")
    assert book.ledger.decide_lease(KEY, STREAM, "dev1", "first", (), 0, 1.0) == ViewersGoAlone("no-store", 599.0, 0)
    assert book.ask("dev1", 599.9) == "alone"
    assert book.ask("dev1", 600.1) == "fetch"


@pytest.mark.parametrize("status", [503, 0])
def test_some_failures_are_one_machines_many_are_the_origins(status: int) -> None:
    """Asking once more would get an error once more: all are told what the origin said, if it said anything."""
    book = Book()
    for number in range(FAILURES_MAX):
        assert book.ask(f"dev{number}", number / 10) == "fetch"
        book.finished(f"dev{number}", "failed", number / 10 + 0.05, lease=number + 1, status=status)
    ended = FAILURES_MAX / 10 - 0.05
    alone = book.ledger.decide_lease(KEY, STREAM, "dev9", "first", (), 0, ended + 0.1)
    assert isinstance(alone, ViewersGoAlone)
    assert alone.status == status
    assert book.ask("dev9", ended + 0.21) == "fetch"


# ---- two at the origin are enough


def test_an_origin_that_thinks_for_seconds_is_asked_twice_and_no_more() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    assert book.ask("dev1", 1.1, "parent slow", avoid=("dev0",)) == "hedge"
    assert book.ask("dev2", 2.9, "parent slow", avoid=("dev0",)) in ("dev0", "dev1")
    assert book.ask("dev3", 3.0, "hedge", avoid=("dev0", "dev1")) in ("dev0", "dev1")
    assert set(book.ledger.fetchers(KEY)) == {"dev0", "dev1"}


def test_while_the_origin_has_not_begun_everybody_waits_where_he_is() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    told = {device: book.ask(device, 0.0) for device in DEVICES[1:]}
    for device, parent in told.items():
        assert book.ask(device, 0.8, "parent slow", avoid=(parent,)) == parent
    book.progress("dev0", 20 * PIECE_BYTES, 0.9)
    assert book.ask("dev1", 0.9, "parent slow", avoid=("dev0",)) == "dev0"  # it has only just begun
    assert book.ask("dev1", 1.2, "parent slow", avoid=("dev0",)) != "dev0"


def test_below_a_gap_that_is_being_mended_everybody_stays() -> None:
    """dev0 fetches, dev1 reads from it, dev2 and dev3 below; dev1 dies. All find their parents slow at one moment."""
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    book.progress("dev0", 1, 0.1)
    assert book.ask("dev1", 0.1) == "dev0"
    assert book.ask("dev2", 0.1, avoid=("dev0",)) == "dev1"
    assert book.ask("dev3", 0.1, avoid=("dev0", "dev1")) == "dev2"
    book.progress("dev0", 30 * PIECE_BYTES, 0.9)
    assert book.ask("dev2", 1.0, "parent slow", avoid=("dev1",)) == "dev0"
    assert book.ask("dev3", 1.0, "parent slow", avoid=("dev2",)) == "dev2"
    assert book.ask("dev3", 1.6, "parent slow", avoid=("dev2",)) != "dev2"


def test_when_only_slow_ones_have_it_one_more_fetches_though_others_relay() -> None:
    """Those who relay have nothing either: two children's word against the only source is enough for a second copy."""
    book = Book()
    book.ledger.segment_held(KEY, STREAM, "dev0")
    assert book.ask("dev1", 0.0) == "dev0"
    assert book.ask("dev2", 0.0, avoid=("dev1",)) == "dev0"
    assert book.ask("dev3", 0.0, avoid=("dev0",)) in ("dev1", "dev2")
    assert book.ask("dev1", 1.0, "parent slow", avoid=("dev0",)) in ("dev2", "dev3")
    assert book.ask("dev2", 1.0, "parent slow", avoid=("dev0",)) == "fetch"
    assert book.ask("dev3", 2.0, "parent slow", avoid=("dev1",)) == "dev2"


def test_a_silent_fetch_that_begins_after_all_is_followed_again() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    assert book.ask("dev1", 1.1) == "hedge"
    book.progress("dev0", 1, 1.2)
    assert book.ask("dev2", 1.2, avoid=("dev1",)) == "dev0"


@pytest.mark.parametrize("end", ["failed", "left", "never heard of again"])
def test_a_silent_fetch_makes_room_when_it_is_over(end: str) -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    assert book.ask("dev1", 1.1) == "hedge"
    book.progress("dev1", 1, 1.2, lease=2)
    match end:
        case "failed":
            book.finished("dev0", "failed", 1.5)
        case "left":
            book.ledger.device_left("dev0")
    later = LATE_COUNTS_S + 0.1 if end == "never heard of again" else 1.8
    assert book.ask("dev2", later, avoid=("dev1",)) == "hedge"
    assert set(book.ledger.fetchers(KEY)) == {"dev1", "dev2"}


def test_news_of_a_lease_that_is_none_settles_nothing() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    for outcome in ("private", "failed", "cancelled"):
        book.finished("dev1", outcome, 0.1)
    book.ledger.lease_ended(key_of(9), 1, "dev0", "private", 200, "", 0.1)
    assert book.ask("dev2", 0.2) == "dev0"
    book.finished("dev0", "cancelled", 0.3)
    assert book.ask("dev2", 0.3) == "fetch"


# ---- a fetcher that says itself that nothing comes


def test_a_fetcher_that_gets_nothing_goes_on_while_nobody_else_is_at_it() -> None:
    """Its lease does not live the longer for it."""
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    assert book.ask("dev0", 0.6, "parent slow") == "fetch"
    assert book.ask("dev1", FIRST_BYTE_ENDS + 0.01) == "hedge"


def test_a_fetcher_that_gets_nothing_is_sent_to_the_hedge_and_still_counts() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    assert book.ask("dev1", 1.1) == "hedge"
    assert book.ask("dev0", 1.2, "parent slow") == "dev1"
    assert book.ask("dev1", 1.9, "parent slow") == "hedge"  # nor has that one anything
    assert set(book.ledger.fetchers(KEY)) == {"dev0", "dev1"}
    book.progress("dev0", 1, 2.0)
    assert book.ask("dev1", 2.1, "parent slow") == "dev0"  # now the first is the better one


def test_a_fetcher_that_asks_is_known_to_be_at_the_origin_still() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    assert book.ask("dev1", 1.1) == "hedge"
    assert book.ask("dev0", 3.9, "parent slow", avoid=("dev1",)) == "hedge"
    assert book.ask("dev2", LATE_COUNTS_S + 0.5, "hedge") != "hedge"


def test_a_fetcher_that_gets_nothing_is_sent_to_who_has_it_at_once() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    book.ledger.segment_held(KEY, STREAM, "dev3")
    assert book.ask("dev0", 0.6, "parent slow") == "dev3"
    assert book.ask("dev3", 0.7) == "hedge"  # it has it no longer, and dev0 is nobody's source now


# ---- the hedge


def test_a_hedge_is_granted_when_the_fetch_does_not_flow_and_to_one_only() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    assert book.ask("dev1", 0.0) == "dev0"
    assert book.ask("dev1", 0.9, "hedge", avoid=("dev0",)) == "dev0"  # may still wait for its first byte
    book.progress("dev0", 20 * PIECE_BYTES, 0.9)
    assert book.ask("dev1", 1.2, "hedge", avoid=("dev0",)) == "hedge"
    assert book.ledger.fetchers(KEY) == ("dev0", "dev1")
    assert book.ask("dev2", 1.2, "hedge", avoid=("dev0",)) == "dev1"
    assert book.ask("dev3", 1.2, "hedge", avoid=("dev0", "dev1", "dev2")) in ("dev1", "dev2")  # two fetches are enough
    assert book.ledger.fetchers(KEY) == ("dev0", "dev1")


def test_no_hedge_through_a_link_that_is_merely_narrow() -> None:
    """The fetcher receives, and the asker is right behind it: a second copy would make both late."""
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    assert book.ask("dev1", 0.0) == "dev0"
    book.progress("dev0", 10 * PIECE_BYTES, 0.7)
    assert book.ask("dev1", 0.8, "parent slow", avoid=("dev0",), have=8) == "dev0"
    book.progress("dev0", 30 * PIECE_BYTES, 0.9)
    assert book.ask("dev1", 1.0, "parent slow", avoid=("dev0",), have=8) == "hedge"


def test_a_hedge_prefers_one_that_has_it() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    book.progress("dev0", 20 * PIECE_BYTES, 0.1)
    book.ledger.segment_held(KEY, STREAM, "dev2")
    assert book.ask("dev1", 0.4, "hedge", avoid=("dev0",)) == "dev2"


def test_two_fetch_and_none_of_them_may_serve() -> None:
    book = Book()
    book.membership.watching("dev0", (STREAM,), serves=False)
    book.membership.watching("dev1", (STREAM,), serves=False)
    assert book.ask("dev0", 0.0) == "fetch"
    assert book.ask("dev1", 0.0) == "hedge"
    answer = book.ledger.decide_lease(KEY, STREAM, "dev2", "first", (), 0, 0.0)
    assert answer == ViewersGoAlone("two are fetching it already and no neighbour may serve it", 0.0, 0)


# ---- who may be a parent


def test_nobody_follows_who_may_not_be_spoken_to() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    book.membership.denied(frozenset({"dev0"}))
    assert book.ask("dev1", 0.0) == "hedge"


def test_the_home_itself_is_a_parent_while_it_serves() -> None:
    book = Book()
    assert book.ask("me", 0.0) == "fetch"
    assert book.ask("dev0", 0.0) == "me"
    book.membership.serves = False
    assert book.ask("dev1", 0.0) == "dev0"  # which reads from here already
    book.ledger.device_left("dev0")
    assert book.ask("dev2", 0.0) == "hedge"


def test_no_device_follows_its_own_child() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    assert book.ask("dev1", 0.0) == "dev0"
    assert book.ask("dev2", 0.0, avoid=("dev0",)) == "dev1"
    assert book.ask("dev1", 0.1, "parent lost", avoid=("dev0",)) == "hedge"


def test_the_load_is_spread_and_chains_stay_short() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    told = [book.ask(device, 0.0) for device in DEVICES[1:]]
    assert told[0] == "dev0"
    assert max(told.count(device) for device in set(told)) <= LIMITS.fan_out_wired


def test_what_was_given_lately_is_forgotten_with_time() -> None:
    book = Book()
    book.ledger.segment_held(KEY, STREAM, "dev0")
    book.ledger.segment_held(KEY, STREAM, "dev1")
    assert book.ask("dev2", 0.0) == "dev0"
    for device in ("dev2", "dev3"):
        book.ledger.device_left(device)
        book.membership.unlinked(device, 0.0)
    assert book.ask("dev4", 0.1) == "dev1"


# ---- other ledgers


def test_an_elder_tells_what_it_knows_and_grants_nothing() -> None:
    book = Book()
    assert book.ledger.known_parents(KEY, "dev1", 0.0) is None
    assert book.ask("dev0", 0.0) == "fetch"
    known = book.ledger.known_parents(KEY, "dev1", 0.1)
    assert known is not None
    assert known.parents == (contact("dev0"),)
    assert book.ledger.known_parents(KEY, "dev0", 0.1) is None
    assert book.ledger.fetchers(KEY) == ("dev0",)


def test_a_shadow_takes_over() -> None:
    book = Book()
    book.ledger.lease_shadowed(KEY, STREAM, "dev0", 77, 0.0)
    book.ledger.lease_shadowed(KEY, STREAM, "dev0", 78, 0.0)
    assert book.ask("dev1", 0.1) == "dev0"
    assert book.ledger.fetchers(KEY) == ("dev0",)
    book.progress("dev0", 10, 0.2, lease=77)
    book.finished("dev0", "complete", 0.3, lease=77)
    book.ledger.lease_shadowed(KEY, STREAM, "dev0", 79, 0.4)
    assert book.ledger.fetchers(KEY) == ()


def test_the_oldest_keys_go() -> None:
    book = Book(limits=Limits(keys_remembered=3))
    for number in range(4):
        book.ledger.segment_held(key_of(number), STREAM, "dev0")
    assert [book.ledger.knows_key(key_of(number)) for number in range(4)] == [False, True, True, True]


# ---- laws

Step = tuple[Literal["ask", "progress", "finish", "held", "dropped", "left"], str, str, float]
steps = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "progress", "finish", "held", "dropped", "left"]),
        st.sampled_from(DEVICES),
        st.sampled_from(
            ["first", "parent slow", "parent lost", "hedge", "home lost", "complete", "failed", "cancelled"]
        ),
        st.sampled_from([0.0, 0.001, 0.05, 0.2, 0.3, 0.5, 1.0, 1.5]),
    ),
    max_size=60,
)


class Told:
    """What the devices were told, kept by the test itself."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}
        self.holders: set[str] = set()
        self.lease: dict[str, int] = {}


@settings(max_examples=300, deadline=None)
@given(steps, st.data())
def test_at_most_one_lease_outside_a_hedge_two_at_all_and_every_chain_ends(
    happened: list[Step], data: st.DataObject
) -> None:
    book, told, now = Book(), Told(), 0.0
    for what, device, word, wait in happened:
        now += wait
        lease = told.lease.get(device, 0)
        match what:
            case "ask":
                avoid = tuple(sorted(data.draw(st.sets(st.sampled_from(DEVICES), max_size=2))))
                before = book.ledger.fetchers(KEY)
                answer = book.ledger.decide_lease(KEY, STREAM, device, word, avoid, data.draw(st.integers(0, 20)), now)
                told.holders.discard(device)
                fetchers = book.ledger.fetchers(KEY)
                assert len(fetchers) == len(set(fetchers)) <= 2
                match answer:
                    case LeaseGranted(lease=number, hedge=hedge):
                        assert device in fetchers
                        assert hedge is (len(fetchers) == 2) or device in before
                        told.lease[device] = number
                        told.parent.pop(device, None)
                    case FollowParents(parents):
                        assert device not in [parent.device for parent in parents]
                        told.parent[device] = parents[0].device
                        _ends_well(device, told, fetchers)
            case "progress":
                book.ledger.lease_progressed(KEY, lease, device, data.draw(st.integers(0, 900_000)), now)
            case "finish":
                outcome = word if word in ("complete", "failed") else "cancelled"
                book.ledger.lease_ended(KEY, lease, device, outcome, 200, "so", now)
                if outcome == "complete":
                    told.holders.add(device)
            case "held":
                book.ledger.segment_held(KEY, STREAM, device)
                told.holders.add(device)
            case "dropped":
                book.ledger.segment_dropped(KEY, device)
                told.holders.discard(device)
            case "left":
                book.ledger.device_left(device)
                told.holders.discard(device)
                told.parent.pop(device, None)
        assert len(book.ledger.fetchers(KEY)) <= 2


def _ends_well(device: str, told: Told, fetchers: tuple[str, ...]) -> None:
    """From parent to parent one comes to a fetcher or a holder, and meets nobody twice."""
    seen = {device}
    while (device := told.parent[device]) not in fetchers and device not in told.holders:
        assert device not in seen, "parents in a circle"
        seen.add(device)


# ---- access points that keep their clients apart


def test_two_that_are_isolated_are_not_sent_to_each_other_but_to_one_whom_both_reach() -> None:
    book = Book()
    for device in DEVICES[2:]:
        book.membership.linked(contact(device, "wifi"), (STREAM,), serves=True)
    assert book.ask("dev2", 0.0, isolated=True) == "fetch"
    assert book.ask("dev3", 0.0, isolated=True) in ("dev0", "dev1", "me"), "by wire, and will read it"
    assert book.ask("dev0", 0.0) == "dev2", "the wired one reads from whoever fetches"
    assert book.ask("dev4", 0.0, isolated=True) == "dev0", "and is preferred, as it reads it already"


def test_a_machine_is_isolated_by_its_last_word() -> None:
    book = Book()
    assert book.ask("dev2", 0.0, isolated=True) == "fetch"
    assert book.ask("dev3", 0.0, isolated=True) != "dev2"
    assert book.ask("dev2", 0.1) == "fetch", "it has lost its way, and is isolated no longer"
    assert book.ask("dev4", 0.2, isolated=True) == "dev2"


def test_nobody_is_asked_to_pass_on_what_nobody_has() -> None:
    book = Book()
    assert book.ask("dev2", 0.0, isolated=True) == "fetch"
    assert book.ask("dev3", FIRST_BYTE_ENDS + 0.01, isolated=True) == "hedge"


def test_where_all_are_isolated_two_fetch_and_the_others_go_alone() -> None:
    book = Book(me="far")
    for device in DEVICES:
        book.membership.linked(contact(device, "wifi"), (STREAM,), serves=True)
    book.membership.serves = False
    told = [book.ask(device, 0.0, isolated=True) for device in DEVICES]
    assert told == ["fetch", "hedge", "alone", "alone", "alone", "alone"]


def test_an_isolated_relay_is_not_put_between_two_by_wire() -> None:
    book = Book()
    assert book.ask("dev0", 0.0) == "fetch"
    assert book.ask("dev1", 0.0, isolated=True) == "dev0"
    for device in DEVICES[2:4]:
        book.ask(device, 0.0)
    assert book.ask("dev4", 0.0) in ("dev2", "dev3")
    assert book.ledger.fetchers(KEY) == ("dev0",)
