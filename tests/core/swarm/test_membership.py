"""Who is near and who keeps a key's ledger, as one device sees it."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.membership import (
    COMMITTEES_MAX,
    ELDERS_MAX,
    LINK_WAIT_S,
    STREAM_TAG_DIGITS,
    Membership,
    rendezvous,
)
from ecdn_proxy.wire.peer import Contact, LinkKind
from tests.core.makers import KEY, contact
from tests.core.world import STREAM, key_of

OTHER = "cd" * 16
TAG = STREAM[:STREAM_TAG_DIGITS]
names = st.lists(st.from_regex(r"[0-9a-f]{4}", fullmatch=True), min_size=2, max_size=9, unique=True)


def membership(link: LinkKind = "wired") -> Membership:
    return Membership(contact("me", link), Limits())


def named(*devices: str) -> tuple[tuple[Contact, str], ...]:
    return tuple((contact(device), "same subnet") for device in devices)


# ---- rendezvous


@given(names, st.integers(0, 9_999))
def test_a_device_that_leaves_moves_its_own_keys_only(devices: list[str], number: int) -> None:
    key, gone = key_of(number), devices[0]
    before = max(devices, key=lambda it: rendezvous(it, key))
    after = max(devices[1:], key=lambda it: rendezvous(it, key))
    assert before in (gone, after)


def test_keys_are_spread_over_the_devices() -> None:
    devices = [f"dev{number}" for number in range(4)]
    keys = [key_of(number) for number in range(400)]
    homes = [max((rendezvous(device, key), device) for device in devices)[1] for key in keys]
    assert all(60 < homes.count(device) < 140 for device in devices)


@given(names, names, st.integers(0, 999))
def test_equal_views_name_equal_homes_whatever_came_first(one: list[str], two: list[str], number: int) -> None:
    """Each from its own place: what matters is who is there, not who sees it or when it was heard of."""
    devices = sorted({*one, *two})

    def homes(me: str, order: list[str]) -> list[str]:
        seen = Membership(contact(me), Limits())
        for device in order:
            if device != me:
                seen.linked(contact(device), (STREAM,), serves=True)
        return seen.homes(STREAM, key_of(number), 0.0)

    assert homes(devices[0], devices) == homes(devices[-1], devices[::-1])


# ---- who watches


def test_alone_this_machine_is_everything() -> None:
    mine = membership()
    assert mine.members(STREAM, 0.0) == ["me"]
    assert mine.homes(STREAM, KEY, 0.0) == ["me"]
    assert mine.contact("me") == contact("me")
    assert (mine.contact("ann"), mine.known("ann"), mine.why("ann")) == (None, None, "")
    assert mine.reachable("ann", 0.0)


def test_three_ways_to_hear_of_a_neighbour() -> None:
    mine = membership()
    mine.lan_seen(contact("ann"), (TAG,), serves=True)
    mine.tracker_said(STREAM, (), named("bob"))
    mine.linked(contact("cat"), (STREAM,), serves=True)
    mine.lan_seen(contact("dan"), (OTHER[:STREAM_TAG_DIGITS],), serves=True)
    mine.met(contact("eve"), "named by a ledger")
    assert mine.members(STREAM, 0.0) == ["ann", "bob", "cat", "me"]
    assert [mine.why(it) for it in ("ann", "bob", "cat", "eve")] == [
        "found by mDNS on this link",
        "same subnet",
        "it connected to this machine",
        "named by a ledger",
    ]


def test_who_stops_watching_is_no_member() -> None:
    mine = membership()
    mine.linked(contact("ann"), (STREAM, OTHER), serves=True)
    mine.watching("ann", (OTHER,), serves=False)
    mine.watching("nobody", (STREAM,), serves=True)
    assert mine.members(STREAM, 0.0) == ["me"]
    assert mine.members(OTHER, 0.0) == ["ann", "me"]
    ann = mine.known("ann")
    assert ann is not None
    assert not ann.serves


def test_a_links_word_counts_more_than_mdns() -> None:
    mine = membership()
    mine.linked(contact("ann"), (STREAM,), serves=False)
    mine.lan_seen(Contact("ann", ("10.9.9.9",), 1), (TAG,), serves=True)
    ann = mine.known("ann")
    assert ann is not None
    assert (ann.serves, ann.contact) == (False, contact("ann"))
    mine.unlinked("ann", 0.0)
    mine.lan_seen(Contact("ann", ("10.9.9.9",), 1), (TAG,), serves=True)
    assert (ann.serves, ann.contact.port) == (True, 1)


def test_a_device_is_forgotten_when_nothing_shows_it_any_more() -> None:
    mine = membership()
    mine.lan_seen(contact("ann"), (TAG,), serves=True)
    mine.tracker_said(STREAM, (), named("ann", "bob"))
    mine.linked(contact("ann"), (STREAM,), serves=True)
    mine.lan_lost("ann")
    mine.lan_lost("nobody")
    assert mine.members(STREAM, 0.0) == ["ann", "bob", "me"]
    mine.tracker_said(STREAM, (), named("bob"))
    assert mine.members(STREAM, 0.0) == ["ann", "bob", "me"]
    mine.unlinked("ann", -Limits().dial_retry_s)
    mine.unlinked("nobody", 0.0)
    assert mine.known("ann") is None
    mine.forget_stream(STREAM)
    mine.forget_stream(STREAM)
    assert mine.known("bob") is None


def test_a_device_of_two_streams_stays_for_the_other() -> None:
    mine = membership()
    mine.tracker_said(STREAM, (), named("ann"))
    mine.tracker_said(OTHER, (), named("ann"))
    mine.forget_stream(STREAM)
    assert mine.members(OTHER, 0.0) == ["ann", "me"]


# ---- whom not to speak to


def test_one_that_could_not_be_reached_is_left_alone_for_a_while() -> None:
    mine = membership()
    mine.tracker_said(STREAM, (), named("ann"))
    mine.unlinked("ann", 0.0)
    assert not mine.reachable("ann", 4.9)
    assert mine.reachable("ann", 5.0)
    assert mine.members(STREAM, 4.9) == ["ann", "me"], "everybody must name the same homes"


def test_what_the_tracker_repeats_does_not_make_it_reachable() -> None:
    mine = membership()
    mine.tracker_said(STREAM, (), named("ann"))
    mine.unlinked("ann", 5.0)
    mine.tracker_said(STREAM, (), named("ann", "bob"))
    assert not mine.reachable("ann", 4.0)
    mine.tracker_said(STREAM, (), named("bob"))
    mine.tracker_said(STREAM, (), named("ann", "bob"))
    assert mine.reachable("ann", 4.0)


def test_one_that_did_not_answer_is_suspected_until_it_speaks() -> None:
    mine = membership()
    mine.linked(contact("ann"), (STREAM,), serves=True)
    mine.suspected("ann", 1.0)
    mine.suspected("nobody", 1.0)
    assert not mine.reachable("ann", 1.0 + Limits().suspect_s - 0.1)
    assert mine.reachable("ann", 1.0 + Limits().suspect_s)
    mine.heard_from("ann")
    mine.heard_from("nobody")
    assert mine.reachable("ann", 0.0)


def test_after_a_move_everybody_is_within_reach_again() -> None:
    mine = membership()
    mine.tracker_said(STREAM, (), named("ann"))
    mine.unlinked("ann", 5.0)
    mine.moved(Contact("me", ("10.7.7.7",), 7688))
    assert mine.reachable("ann", 0.0)
    found = mine.contact("me")
    assert found is not None
    assert found.addresses == ("10.7.7.7",)


def test_one_that_shows_itself_again_is_tried_again() -> None:
    mine = membership()
    mine.lan_seen(contact("ann"), (TAG,), serves=True)
    mine.unlinked("ann", 5.0)
    assert not mine.reachable("ann", 1.0)
    mine.lan_seen(contact("ann"), (TAG,), serves=True)
    assert mine.reachable("ann", 1.0)


def test_a_denied_device_is_in_no_answer() -> None:
    mine = membership()
    mine.tracker_said(STREAM, ("ann", "bob"), named("ann", "bob"))
    mine.linked(contact("ann"), (STREAM,), serves=True)
    mine.denied(frozenset({"ann"}))
    assert mine.members(STREAM, 0.0) == ["bob", "me"]
    assert "ann" not in mine.homes(STREAM, KEY, 0.0)
    mine.denied(frozenset())
    assert "ann" in mine.members(STREAM, 0.0)


# ---- who keeps the ledgers


def test_the_coordinators_committee_keeps_them() -> None:
    mine = membership()
    mine.tracker_said(STREAM, ("ann", "bob", "gone"), named("ann", "bob", "cat"))
    homes = {mine.homes(STREAM, key_of(number), 0.0)[0] for number in range(50)}
    assert homes == {"ann", "bob"}
    assert set(mine.homes(STREAM, KEY, 0.0)) == {"ann", "bob"}


def test_a_committee_of_which_nobody_is_left_is_replaced() -> None:
    mine = membership()
    mine.tracker_said(STREAM, ("gone",), named("ann"))
    assert set(mine.homes(STREAM, KEY, 0.0)) == {"ann", "me"}


def test_without_coordinator_it_is_seven_on_cables() -> None:
    mine = membership("wifi")
    for number in range(12):
        link: LinkKind = "wired" if number < 9 else "wifi"
        mine.lan_seen(contact(f"dev{number}", link), (TAG,), serves=True)
    homes = mine.homes(STREAM, KEY, 0.0)
    assert len(homes) == 7
    assert all(it in {f"dev{number}" for number in range(9)} for it in homes)
    assert {it for number in range(40) for it in mine.homes(STREAM, key_of(number), 0.0)} == set(homes)


def test_on_radio_alone_they_are_kept_all_the_same() -> None:
    mine = membership("wifi")
    mine.lan_seen(contact("ann", "wifi"), (TAG,), serves=True)
    assert set(mine.homes(STREAM, KEY, 0.0)) == {"ann", "me"}


def test_one_that_linked_and_watches_has_joined_since_the_list_was_made() -> None:
    mine = membership()
    mine.tracker_said(STREAM, ("ann",), named("ann", "bob"))
    mine.linked(contact("bob"), (STREAM,), serves=True)
    mine.linked(contact("cat", "wifi"), (STREAM,), serves=True)
    mine.linked(contact("dan"), (OTHER,), serves=True)
    assert mine.committee(STREAM, 0.0) == ["ann", "bob"]
    full = tuple(f"dev{number}" for number in range(7))
    mine.tracker_said(STREAM, full, named("ann", "bob", *full))
    assert mine.committee(STREAM, 0.0) == list(full)


def test_the_elders_are_who_older_lists_would_have_named() -> None:
    mine = membership()
    seniors = ("ann", "bob", "cat", "me")
    mine.tracker_said(STREAM, seniors, named("ann", "bob", "cat"))
    for number in range(50):
        key = key_of(number)
        elders = mine.elders(STREAM, key, 0.0)
        older = [max(seniors[:length], key=lambda it: rendezvous(it, key)) for length in range(4, 0, -1)]
        assert elders[: len(elders) - 1] == [it for it in dict.fromkeys(older) if it != "me"][: len(elders) - 1]
        assert "me" not in elders
        assert 1 <= len(elders) <= ELDERS_MAX
    assert membership().elders(STREAM, KEY, 0.0) == []


# ---- whom not to remember, and whom not to forget


BAN_ENDS = Limits().ban_s


@pytest.mark.parametrize("way", ["it dials", "it announces itself", "the tracker names it for another stream"])
def test_a_ban_is_over_when_it_is_over_and_not_when_the_banned_says_so(way: str) -> None:
    mine = membership()
    mine.banned("nobody", BAN_ENDS)
    mine.linked(contact("eve"), (STREAM,), serves=True)
    mine.banned("eve", BAN_ENDS)
    mine.unlinked("eve", 5.0)
    match way:
        case "it dials":
            mine.linked(contact("eve"), (STREAM,), serves=True)
        case "it announces itself":
            mine.lan_seen(contact("eve"), (TAG,), serves=True)
        case _:
            mine.tracker_said(OTHER, (), named("eve"))
    assert mine.is_barred("eve", BAN_ENDS - 0.1)
    assert mine.is_barred("eve", BAN_ENDS - 0.1)
    assert not mine.is_barred("eve", BAN_ENDS)


def test_invented_devices_fill_nobodys_memory() -> None:
    mine = Membership(contact("me"), Limits(neighbours_max=4))
    mine.linked(contact("ann"), (STREAM,), serves=True)
    mine.lan_seen(contact("bob"), (TAG,), serves=True)
    mine.tracker_said(STREAM, (), named("cat"))
    for number in range(50):
        mine.met(contact(f"ghost{number}"), "named by a ledger")
    assert [mine.known(f"ghost{number}") is not None for number in (0, 48, 49)] == [False, False, True]
    assert mine.members(STREAM, 0.0) == ["ann", "bob", "cat", "me"]
    mine.tracker_said(OTHER, (), named("dan", "eli", "fay"))
    assert sum(mine.known(it) is not None for it in ("ann", "bob", "cat", "dan", "eli", "fay")) == 4


def test_invented_devices_do_not_lift_a_ban() -> None:
    mine = Membership(contact("me"), Limits(neighbours_max=4))
    mine.linked(contact("eve"), (STREAM,), serves=True)
    mine.banned("eve", BAN_ENDS)
    mine.unlinked("eve", 5.0)
    for number in range(5):
        mine.met(contact(f"ghost{number}"), "named by a ledger")
    assert mine.is_barred("eve", 1.0)


# ---- the coordinator's last word, by a neighbour


def test_a_neighbours_word_of_the_committee_stands_until_the_coordinator_speaks() -> None:
    seen = membership()
    assert seen.keepers_told(STREAM, (contact("ann"), contact("me")))
    assert seen.committee(STREAM, 0.0) == ["ann", "me"]
    assert seen.keepers(STREAM) == (contact("ann"), contact("me"))
    assert not seen.keepers_told(STREAM, (contact("eve"),))
    seen.tracker_said(STREAM, ("bob",), named("bob"))
    assert seen.committee(STREAM, 0.0) == ["bob"]
    seen.keepers_silent(STREAM)  # the coordinator's own word is not given up for that
    assert seen.committee(STREAM, 0.0) == ["bob"]


def test_a_word_that_leads_nowhere_is_not_believed_any_longer() -> None:
    seen = membership()
    seen.keepers_told(STREAM, (contact("eve"),))
    seen.keepers_silent(STREAM)
    assert seen.committee(STREAM, 0.0) == ["me"]
    assert seen.keepers_told(STREAM, (contact("ann"),))
    seen.forget_stream(STREAM)
    assert seen.keepers(STREAM) == ()


# ---- the committee is remembered, and never older than what is known

DEVICES = tuple(f"dev{number}" for number in range(5))
HAPPENINGS: dict[str, Callable[[Membership, str, float], object]] = {
    "met": lambda seen, device, _: seen.met(contact(device), "so"),
    "elsewhere": lambda seen, device, _: seen.met(contact(device, "wifi"), "so"),
    "lan": lambda seen, device, _: seen.lan_seen(contact(device), (TAG,), serves=True),
    "lan lost": lambda seen, device, _: seen.lan_lost(device),
    "linked": lambda seen, device, _: seen.linked(contact(device), (STREAM,), serves=True),
    "watching": lambda seen, device, _: seen.watching(device, (STREAM,), serves=True),
    "stopped": lambda seen, device, _: seen.watching(device, (), serves=True),
    "unlinked": lambda seen, device, now: seen.unlinked(device, now + 1.0),
    "named": lambda seen, device, _: seen.tracker_said(STREAM, (device,), named(device)),
    "told": lambda seen, device, _: seen.keepers_told(STREAM, (contact(device),)),
    "silent": lambda seen, _device, _: seen.keepers_silent(STREAM),
    "forgotten": lambda seen, _device, _: seen.forget_stream(STREAM),
    "denied": lambda seen, device, _: seen.denied(frozenset({device})),
    "banned": lambda seen, device, now: seen.banned(device, now + 1.5),
    "moved": lambda seen, _device, _: seen.moved(contact("me", "wifi")),
    "later": lambda _seen, _device, _: None,
}


@given(st.lists(st.tuples(st.sampled_from(list(HAPPENINGS)), st.sampled_from(DEVICES)), max_size=25))
def test_whatever_happens_the_committee_is_that_of_now(happenings: list[tuple[str, str]]) -> None:
    seen, now = membership(), 0.0
    for what, device in happenings:
        now += what == "later"
        HAPPENINGS[what](seen, device, now)
        fresh = seen._find_committee(STREAM, now)
        assert seen.committee(STREAM, now) == fresh


def test_no_more_committees_are_remembered_than_streams_are_watched() -> None:
    seen = membership()
    for number in range(2 * COMMITTEES_MAX):
        assert seen.committee(f"{number:032x}", 0.0) == ["me"]
    assert len(seen._committees) <= COMMITTEES_MAX


# ---- client isolation


def test_a_link_that_does_not_open_in_a_moment_is_not_waited_for() -> None:
    mine = membership()
    mine.tracker_said(STREAM, (), named("ann"))
    mine.dialled("ann", 1.0)
    assert mine.reachable("ann", 1.0 + LINK_WAIT_S - 0.01)
    assert not mine.stalls("ann", 1.0 + LINK_WAIT_S - 0.01)
    assert not mine.reachable("ann", 1.0 + LINK_WAIT_S)
    assert mine.stalls("ann", 1.0 + LINK_WAIT_S)
    mine.linked(contact("ann"), (STREAM,), serves=True)
    assert mine.reachable("ann", 9.0)


def test_isolation_is_seen_by_those_beside_who_are_missed_and_heard() -> None:
    mine = membership()
    mine.tracker_said(STREAM, (), named("ann", "bob", "cat"))
    mine.linked(contact("cat"), (STREAM,), serves=True)
    mine.unlinked("ann", 0.0)
    mine.suspected("bob", 0.0)
    assert not mine.isolation.keeps_apart("cat", 0.4)
    assert mine.isolation.keeps_apart("cat", 0.5)
    mine.heard_from("cat")
    assert not mine.isolation.holds(1.0)
    mine.unlinked("ann", 9.0)
    mine.suspected("bob", 9.0)
    assert mine.isolation.holds(9.5)
    mine.moved(Contact("me", ("10.9.9.9",), 7688, "wired"))
    assert not mine.isolation.holds(9.5)
    assert not mine.isolation.keeps_apart("cat", 9.5), "it is on another network now"
