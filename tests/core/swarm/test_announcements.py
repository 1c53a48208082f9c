"""Which streams are watched here, who hears of it, and what new ledgers learn."""

from ecdn_proxy.core.events import AnnounceStreams, ClearCondition, Dial, RaiseCondition, Send
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.announcements import RECENT_KEYS, STREAMS_MAX, Announcements
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.wire.peer import Held, Keepers
from tests.core.makers import KEY, contact, context, linked
from tests.core.world import STREAM, key_of

OTHER = "cd" * 16
LIMITS = Limits()


def announcements(share_s: float = 60.0) -> tuple[Announcements, NodeContext]:
    here = context()
    return Announcements(here, share_s), here


def announced(here: NodeContext) -> list[tuple[str, ...]]:
    return [it.streams for it in here.out if isinstance(it, AnnounceStreams)]


def held(here: NodeContext) -> list[tuple[str, str]]:
    return [(it.device, it.message.key) for it in here.out if isinstance(it, Send) and isinstance(it.message, Held)]


def key_of_home(here: NodeContext, home: str) -> str:
    """A key whose ledger is kept by `home`."""
    return next(key for key in map(key_of, range(1_000)) if here.membership.homes(STREAM, key, 0.0)[0] == home)


def test_a_stream_is_announced_once_and_no_longer_when_nobody_watches() -> None:
    keeper, here = announcements()
    assert keeper.wake_at([]) is None
    keeper.watch(STREAM, 0.0)
    keeper.watch(STREAM, 30.0)
    assert announced(here) == [(STREAM,)]
    assert keeper.wake_at([]) == 90.0
    keeper.wake(89.9)
    assert keeper.shares(STREAM)
    keeper.wake(90.0)
    assert not keeper.shares(STREAM)
    assert announced(here) == [(STREAM,), ()]
    assert keeper.wake_at([]) is None


def test_the_one_watched_longest_ago_goes_first() -> None:
    keeper, here = announcements()
    keeper.watch(STREAM, 0.0)
    keeper.watch(OTHER, 1.0)
    keeper.watch(STREAM, 2.0)
    assert keeper.watched() == (OTHER, STREAM)
    keeper.wake(61.0)
    assert keeper.watched() == (STREAM,)
    assert announced(here)[-1] == (STREAM,)


def test_streams_are_bounded() -> None:
    keeper, here = announcements()
    for number in range(STREAMS_MAX + 1):
        keeper.watch(f"{number:032x}", 0.0)
    assert len(keeper.watched()) == len(announced(here)[-1]) == STREAMS_MAX
    assert not keeper.shares(f"{0:032x}")


def test_a_new_stream_waits_once_for_the_neighbours_names() -> None:
    keeper, _ = announcements()
    keeper.watch(STREAM, 10.0)
    assert keeper.joining(STREAM, 10.0)
    assert keeper.wake_at([STREAM, "not watched"]) == 10.0 + LIMITS.join_wait_s
    assert not keeper.joining(STREAM, 10.0 + LIMITS.join_wait_s)
    keeper.watch(STREAM, 20.0)
    assert not keeper.joining(STREAM, 20.0)


def test_it_waits_no_longer_once_they_are_named_nor_when_sharing_is_off() -> None:
    keeper, here = announcements()
    keeper.watch(STREAM, 10.0)
    keeper.named(STREAM)
    assert not keeper.joining(STREAM, 10.0)
    keeper.watch(OTHER, 10.0)
    here.sharing = False
    assert not keeper.joining(OTHER, 10.0)


def test_a_coordinator_that_is_there_is_waited_for_longer() -> None:
    keeper, _ = announcements()
    keeper.watch(STREAM, 10.0)
    keeper.tracker_connected = True
    assert keeper.joining(STREAM, 10.0 + LIMITS.join_wait_s)
    assert not keeper.joining(STREAM, 10.0 + LIMITS.join_wait_tracker_s)
    assert keeper.wake_at([STREAM]) == 10.0 + LIMITS.join_wait_tracker_s


def test_a_committee_is_unsettled_for_a_while_after_each_change() -> None:
    keeper, here = announcements()
    keeper.watch(STREAM, 10.0)
    assert keeper.is_unsettled(STREAM, 9.9 + LIMITS.unsettled_s)
    assert not keeper.is_unsettled(STREAM, 10.0 + LIMITS.unsettled_s)
    keeper.register((STREAM, OTHER), 50.0)
    linked(here, "ann")
    keeper.register((STREAM,), 60.0)
    keeper.register((STREAM,), 61.0)
    assert keeper.is_unsettled(STREAM, 59.9 + LIMITS.unsettled_s)
    assert not keeper.is_unsettled(STREAM, 60.1 + LIMITS.unsettled_s)


def test_a_home_learns_once_what_this_machine_has() -> None:
    keeper, here = announcements()
    linked(here, "ann")
    keeper.watch(STREAM, 0.0)
    mine, anns = key_of_home(here, "me"), key_of_home(here, "ann")
    keeper.completed(mine, STREAM, 0.0)
    keeper.completed(anns, STREAM, 0.0)
    keeper.register((STREAM,), 0.0)
    assert here.ledger.knows_key(mine)
    assert not here.ledger.knows_key(anns)
    assert held(here) == [("ann", anns)]


def test_a_new_home_is_told_and_of_this_stream_only() -> None:
    keeper, here = announcements()
    keeper.watch(STREAM, 0.0)
    keeper.watch(OTHER, 0.0)
    keeper.completed(KEY, STREAM, 0.0)
    keeper.completed(key_of(2), OTHER, 0.0)
    for number in range(40):
        linked(here, f"dev{number}")
        if here.membership.homes(STREAM, KEY, 0.0)[0] != "me":
            break
    keeper.register((OTHER,), 1.0)
    assert held(here) == []
    keeper.register((STREAM,), 1.0)
    assert held(here) == [(f"dev{number}", KEY)]


def test_a_home_that_is_not_linked_yet_is_dialled() -> None:
    keeper, here = announcements()
    keeper.watch(STREAM, 0.0)
    here.membership.tracker_said(STREAM, (), ((contact("ann"), "same subnet"),))
    keeper.completed(key_of_home(here, "ann"), STREAM, 0.0)
    assert [it.contact.device for it in here.out if isinstance(it, Dial)] == ["ann"]


def test_who_serves_nobody_tells_nobody() -> None:
    keeper, here = announcements()
    linked(here, "ann")
    keeper.watch(STREAM, 0.0)
    here.membership.serves = False
    keeper.completed(key_of_home(here, "ann"), STREAM, 0.0)
    assert held(here) == []


def test_without_sharing_nobody_is_told_not_even_the_ledger_here() -> None:
    keeper, here = announcements()
    here.sharing = False
    keeper.watch(STREAM, 0.0)
    keeper.completed(KEY, STREAM, 0.0)
    assert not here.ledger.knows_key(KEY)


def test_only_the_live_window_is_told_to_a_new_home() -> None:
    keeper, here = announcements()
    keeper.watch(STREAM, 0.0)
    for number in range(RECENT_KEYS + 6):
        keeper.completed(key_of(number), STREAM, 0.0)
    for number in range(9):
        linked(here, f"dev{number}")
    keeper.register((STREAM,), 1.0)
    assert {key for _, key in held(here)} <= {key_of(number) for number in range(6, RECENT_KEYS + 6)}


# ---- while the coordinator is away


def keepers_told(here: NodeContext) -> list[tuple[str, Keepers]]:
    return [(it.device, it.message) for it in here.out if isinstance(it, Send) and isinstance(it.message, Keepers)]


def test_one_that_may_have_come_since_hears_who_keeps_the_ledgers() -> None:
    keeper, here = announcements()
    linked(here, "ann")
    keeper.watch(STREAM, 0.0)
    keeper.tell_keepers("ann", (STREAM, OTHER))
    assert keepers_told(here) == []  # nothing is known of it
    here.membership.tracker_said(STREAM, ("bob", "me"), ((contact("bob"), "same subnet"),))
    keeper.tracker_connected = True
    keeper.tell_keepers("ann", (STREAM,))
    assert keepers_told(here) == []  # the coordinator tells it
    keeper.tracker_connected = False
    keeper.tell_keepers("ann", (STREAM, OTHER))
    assert keepers_told(here) == [("ann", Keepers(STREAM, (contact("bob"), contact("me"))))]


def test_a_neighbours_word_counts_while_the_coordinator_is_away_and_has_said_nothing() -> None:
    told = Keepers(STREAM, (contact("bob"),))
    keeper, here = announcements()
    keeper.keepers_told(told, 0.0)
    assert here.membership.keepers(STREAM) == ()  # nobody watches it here
    keeper.watch(STREAM, 0.0)
    keeper.tracker_connected = True
    keeper.keepers_told(told, 0.0)
    assert here.membership.keepers(STREAM) == ()
    keeper.tracker_connected = False
    keeper.keepers_told(told, 5.0)
    assert here.membership.committee(STREAM, 5.0) == ["bob"]
    assert keeper.is_unsettled(STREAM, 5.0 + LIMITS.unsettled_s - 0.1)
    keeper.keepers_told(Keepers(STREAM, (contact("eve"),)), 6.0)
    assert here.membership.committee(STREAM, 6.0) == ["bob"]  # the first word stands


def test_client_isolation_is_told_with_each_new_evidence_and_taken_back_once() -> None:
    keeper, here = announcements()
    for device in ("ann", "bob"):
        here.membership.met(contact(device), "so")
    here.membership.isolation.missed("ann")
    keeper.look_around(0.0)
    assert [it.isolated for it in here.out if isinstance(it, AnnounceStreams)] == [True]
    assert not any(isinstance(it, RaiseCondition) for it in here.out), "one may be switched off"
    for times in (1, 2):
        here.membership.isolation.missed("bob")
        keeper.look_around(0.0)
        keeper.look_around(0.0)
        assert raised(here) == times * ["client-isolation"]
    here.membership.isolation.heard("ann")
    keeper.look_around(0.0)
    keeper.look_around(0.0)
    assert [it for it in here.out if isinstance(it, ClearCondition)] == [ClearCondition("client-isolation")]
    assert [it.isolated for it in here.out if isinstance(it, AnnounceStreams)] == [True, False]


def raised(here: NodeContext) -> list[str]:
    return [it.code for it in here.out if isinstance(it, RaiseCondition)]
