"""What neighbours get: all of it, in order, within the host's budget, and nobody holds up another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecdn_proxy.core.download.assembly import Assembly
from ecdn_proxy.core.events import Send
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.swarm.context import NodeContext
from ecdn_proxy.core.upload.uplink import WINDOW_S
from ecdn_proxy.core.upload.uploads import FAN_OUT_SLACK, OVER_MAX, Bucket, Servable, Uploads
from ecdn_proxy.wire.integrity import PIECE_BYTES
from ecdn_proxy.wire.peer import End, Get, LinkKind, PeerMessage, Piece, Refused, Vouched
from tests.core.makers import KEY, context, fetched, linked, seal
from tests.core.world import STREAM, key_of

BODY = bytes(range(256)) * 1_300  # 10 pieces and a bit


class Desk:
    """Uploads of one machine, and what went out."""

    def __init__(self, *, mbps: float = 1_000.0, limits: Limits | None = None, link: LinkKind = "wired") -> None:
        self.context: NodeContext = context("me", limits, link)
        self.uploads = Uploads(self.context, limits or Limits(), mbps)
        self.offers: dict[str, Servable | None] = {}
        linked(self.context, "ann", "bob", "cat")

    def offer(self, assembly: Assembly, pieces: int | None = None) -> None:
        whole = pieces is None
        count = len(assembly.pieces) if pieces is None else pieces
        self.offers[assembly.key] = Servable(assembly.vouchers, assembly.pieces.__getitem__, count, whole=whole)

    def get(self, device: str, request: int = 1, *, first: int = 0, count: int | None = None, key: str = KEY) -> bool:
        return self.uploads.begin_upload(device, Get(request, key, STREAM, first, count))

    def pump(self, now: float = 0.0) -> list[tuple[str, PeerMessage]]:
        self.uploads.pump(self.offers.get, now)
        sent = [(it.device, it.message) for it in self.context.out if isinstance(it, Send)]
        self.context.out.clear()
        return sent


def indexes(sent: list[tuple[str, PeerMessage]], device: str = "ann") -> list[int]:
    return [message.index for to, message in sent if to == device and isinstance(message, Piece)]


def names(sent: list[tuple[str, PeerMessage]], device: str = "ann") -> str:
    return " ".join(type(message).__name__ for to, message in sent if to == device)


# ---- the budget


@given(
    rate=st.floats(20_000, 10_000_000),
    burst_s=st.floats(0, 3),
    asks=st.lists(st.tuples(st.floats(0, 1), st.integers(1, PIECE_BYTES)), max_size=60),
)
def test_never_more_than_the_rate_and_one_burst(rate: float, burst_s: float, asks: list[tuple[float, int]]) -> None:
    bucket, now, sent = Bucket(rate, burst_s), 0.0, 0
    burst = max(rate * burst_s, 2.0 * PIECE_BYTES)
    for wait, amount in asks:
        now += wait
        if bucket.take(amount, now):
            sent += amount
        assert sent <= rate * now + burst + 1


@given(st.floats(20_000, 10_000_000), st.integers(1, PIECE_BYTES), st.floats(0, 1e6))
def test_when_it_says_ready_it_is(rate: float, amount: int, start: float) -> None:
    bucket = Bucket(rate, 0.0)
    while bucket.take(PIECE_BYTES, start):
        pass
    ready = bucket.ready_at(amount, start)
    assert ready >= start
    assert bucket.take(amount, ready)


def test_a_budget_that_is_used_up_says_when_it_goes_on() -> None:
    desk = Desk(mbps=0.8, limits=Limits(upload_burst_s=0.0))  # 100 kB a second, two pieces at once
    desk.offer(fetched(seal("me"), BODY))
    assert desk.get("ann")
    assert desk.get("bob")
    assert indexes(sent := desk.pump(0.0), "ann") + indexes(sent, "bob") == [0, 0]
    due = desk.uploads.wake_at()
    assert due is not None
    assert due == pytest.approx(PIECE_BYTES / 100_000)
    assert indexes(desk.pump(due - 0.01)) == []
    assert indexes(desk.pump(due), "ann") == [1]
    assert desk.uploads.sent_bytes == 3 * PIECE_BYTES


# ---- one child


def test_a_segment_goes_out_with_its_vouchers_first_and_its_end() -> None:
    desk = Desk()
    desk.offer(fetched(seal("me"), BODY))
    assert desk.get("ann")
    sent = desk.pump()
    assert names(sent) == "Vouched Vouched " + "Piece " * 11 + "End"
    assert b"".join(it.data for _, it in sent if isinstance(it, Piece)) == BODY
    assert (len(desk.uploads), desk.uploads.wake_at()) == (0, None)
    assert desk.uploads.sent_bytes == len(BODY)


def test_pieces_go_out_as_they_come_and_only_once() -> None:
    desk, source = Desk(), fetched(seal("me"), BODY)
    assert desk.get("ann")
    desk.offer(source, pieces=0)
    assert indexes(desk.pump()) == []
    desk.offer(source, pieces=3)
    assert indexes(desk.pump()) == [0, 1, 2]
    assert desk.pump() == []
    desk.offer(source, pieces=5)
    assert indexes(desk.pump()) == [3, 4]
    desk.offer(source)
    assert names(desk.pump()) == "Piece " * 6 + "End"


def test_every_voucher_travels_with_its_signers_certificate() -> None:
    """A relay's child may never have met the signer, and the frame that introduced it may have gone unread."""
    desk = Desk()
    desk.offer(fetched(seal("eve"), BODY))
    for device in ("ann", "bob", "ann"):
        assert desk.get(device)
        shown = [it.voucher.certificate for _, it in desk.pump() if isinstance(it, Vouched)]
        assert shown == [b"eve", b"eve"]


def test_segments_over_webrtc_are_few_and_weigh_more() -> None:
    limits = Limits(fan_out_webrtc=1)
    desk = Desk(limits=limits)
    for device in ("ann", "bob"):
        desk.context.links[device].kind = "webrtc"
    assert desk.get("ann")
    assert not desk.get("bob", key=key_of(2)), "one at a time, whatever it is"
    assert desk.get("cat"), "TLS is another matter"
    assert desk.context.apart("ann", "cat")
    assert not desk.context.apart("ann", "bob")
    assert not desk.context.apart("cat", "me")


def test_what_goes_by_webrtc_is_counted_apart() -> None:
    desk = Desk()
    desk.offer(fetched(seal("me"), BODY))
    desk.context.links["ann"].kind = "webrtc"
    for device in ("ann", "bob"):
        assert desk.get(device)
        desk.pump()
    assert (desk.uploads.sent_bytes, desk.uploads.sent_webrtc_bytes) == (2 * len(BODY), len(BODY))


@pytest.mark.parametrize(
    ("first", "count", "got"),
    [(0, 3, [0, 1, 2]), (4, 2, [4, 5]), (9, None, [9, 10]), (9, 50, [9, 10]), (3, 0, []), (11, None, []), (99, 1, [])],
)
def test_a_part_of_it(first: int, count: int | None, got: list[int]) -> None:
    desk = Desk()
    desk.offer(fetched(seal("me"), BODY))
    assert desk.get("ann", first=first, count=count)
    sent = desk.pump()
    assert indexes(sent) == got
    assert isinstance(sent[-1][1], End)
    assert len(desk.uploads) == 0


def test_a_part_may_end_before_the_segment_is_whole() -> None:
    desk = Desk()
    desk.offer(fetched(seal("me"), BODY), pieces=3)
    assert desk.get("ann", count=2)
    assert names(desk.pump()).endswith("Piece Piece End")


# ---- many children


def test_there_are_only_so_many_children_of_one_segment() -> None:
    for link, most in [("wired", 3), ("wifi", 2), ("metered", 0)]:
        desk = Desk(link=link)  # type: ignore[arg-type]
        taken = [desk.get("ann", number) for number in range(9)]
        assert taken.count(True) == most + FAN_OUT_SLACK
        assert desk.get("ann", 10, key=key_of(2))
        assert desk.uploads.children_of(KEY) == most + FAN_OUT_SLACK
        assert desk.uploads.keys() == {KEY, key_of(2)}


def test_one_device_may_ask_for_so_much_at_once() -> None:
    desk = Desk(limits=Limits(gets_per_device_max=3))
    assert [desk.get("ann", number, key=key_of(number)) for number in range(4)] == [True, True, True, False]
    assert desk.get("bob", key=key_of(9))


def test_a_full_link_holds_up_nobody_else() -> None:
    desk = Desk()
    desk.offer(fetched(seal("me"), BODY))
    assert desk.get("ann")
    assert desk.get("bob")
    desk.context.links["ann"].full = True
    sent = desk.pump()
    assert (indexes(sent, "ann"), len(indexes(sent, "bob"))) == ([], 11)
    desk.context.links["ann"].full = False
    assert len(indexes(desk.pump(), "ann")) == 11


def test_children_take_turns() -> None:
    desk = Desk(limits=Limits(piece_burst=6))
    desk.offer(fetched(seal("me"), BODY))
    for device in ("ann", "bob", "cat"):
        assert desk.get(device)
    sent = desk.pump(7.0)
    assert [indexes(sent, device) for device in ("ann", "bob", "cat")] == [[0, 1]] * 3
    assert desk.uploads.wake_at() == 7.0


def test_who_waits_for_a_link_that_is_gone_gets_nothing() -> None:
    desk = Desk()
    desk.offer(fetched(seal("me"), BODY))
    assert desk.get("dan")
    assert desk.pump() == []


# ---- the end of it


def test_what_is_lost_is_refused() -> None:
    desk = Desk()
    desk.offers[KEY] = None
    assert desk.get("ann", 5)
    assert desk.pump() == [("ann", Refused(5, "lost"))]
    assert len(desk.uploads) == 0


def test_all_of_a_segment_are_refused_with_the_reason() -> None:
    desk = Desk()
    assert desk.get("ann", 1)
    assert desk.get("bob", 2)
    assert desk.get("bob", 3, key=key_of(2))
    desk.uploads.refuse_children(KEY, "private")
    sent = [(it.device, it.message) for it in desk.context.out if isinstance(it, Send)]
    assert sent == [("ann", Refused(1, "private")), ("bob", Refused(2, "private"))]
    assert desk.uploads.keys() == {key_of(2)}


def test_one_that_needs_no_more_is_sent_no_more() -> None:
    desk = Desk()
    desk.offer(fetched(seal("me"), BODY), pieces=1)
    assert desk.get("ann", 1)
    assert desk.get("bob", 1)
    assert desk.uploads.cancel_upload("cat", 1, 0.0) is None
    assert desk.uploads.cancel_upload("ann", 2, 0.0) is None
    assert desk.uploads.cancel_upload("ann", 1, 0.0) == KEY
    assert indexes(sent := desk.pump(), "ann") == []
    assert indexes(sent, "bob") == [0]


def test_a_device_that_left_takes_all_its_requests_along() -> None:
    desk = Desk()
    assert desk.get("ann", 1)
    assert desk.get("ann", 2, key=key_of(2))
    assert desk.get("bob", 1)
    assert desk.uploads.device_left("ann") == {KEY, key_of(2)}
    assert desk.uploads.device_left("cat") == set()
    assert len(desk.uploads) == 1


# ---- who leaves because it came too slowly


def served(*devices: str, at: float = 0.0) -> Desk:
    """All of a segment was handed to these; this machine plays five pieces a second."""
    desk = Desk()
    desk.uploads.uplink.plays(10 * PIECE_BYTES, 2.0)
    desk.offer(fetched(seal("me"), BODY))
    for device in devices:
        assert desk.get(device)
    assert all(len(indexes(desk.pump(at), device)) in (0, 11) for device in devices)
    return desk


def test_two_who_have_little_of_what_was_sent_long_ago_make_the_uplink_a_slow_one() -> None:
    desk = served("ann", "bob")
    assert not desk.uploads.left_late("ann", 1, 0, 2.0, 2.1)
    assert desk.uploads.left_late("bob", 1, 1, 2.0, 2.1)
    assert desk.uploads.uplink.is_slow(2.2)


def test_who_had_its_fair_share_proves_nothing() -> None:
    desk = served("ann", "bob", "cat")
    for device in ("ann", "bob", "cat"):
        assert not desk.uploads.left_late(device, 1, 3, 2.0, 2.1)


def test_a_word_that_comes_late_is_weighed_by_when_it_was_said() -> None:
    """The leaver's own uplink may hold it up: 0.3 s after the beginning nobody could have had more."""
    desk = served("ann", "bob")
    assert not desk.uploads.left_late("ann", 1, 0, 0.3, 6.0)
    assert not desk.uploads.left_late("bob", 1, 0, 0.3, 6.0)


def test_who_leaves_while_this_machine_has_no_more_to_give_proves_nothing() -> None:
    desk = Desk()
    desk.uploads.uplink.plays(10 * PIECE_BYTES, 2.0)
    desk.offer(fetched(seal("me"), BODY), pieces=1)
    for device in ("ann", "bob"):
        assert desk.get(device)
    desk.pump(0.0)
    assert not desk.uploads.left_late("ann", 1, 1, 2.0, 2.1)
    assert not desk.uploads.left_late("bob", 1, 1, 2.0, 2.1)
    desk.get("cat")
    assert not desk.uploads.left_late("cat", 1, 0, 2.0, 2.1)  # it has been sent nothing
    assert not desk.uploads.left_late("nobody", 1, 0, 2.0, 2.1)


def test_before_anything_was_played_there_is_no_measure() -> None:
    desk = Desk()
    desk.offer(fetched(seal("me"), BODY))
    for device in ("ann", "bob"):
        assert desk.get(device)
    desk.pump(0.0)
    assert not any(desk.uploads.left_late(device, 1, 0, 2.0, 2.1) for device in ("ann", "bob"))


def test_transfers_that_went_well_speak_for_the_uplink() -> None:
    desk = served("ann", "bob")
    for number in range(2, 5):
        assert desk.get("cat", number)
        desk.pump(0.5)
    assert not desk.uploads.left_late("ann", 1, 0, 2.0, 3.0)
    assert not desk.uploads.left_late("bob", 1, 0, 2.0, 3.0)


def test_transfers_that_are_over_are_forgotten_in_the_end() -> None:
    desk = served("ann")
    assert not desk.uploads.left_late("ann", 1, 0, 2.0, 2.0 + WINDOW_S)
    desk = served("ann")
    for number in range(2, 2 + OVER_MAX):
        assert desk.get("bob", number)
        desk.pump(0.0)
    assert not desk.uploads.left_late("ann", 1, 0, 2.0, 2.1)


def test_one_that_is_cut_off_half_way_may_say_why() -> None:
    desk = served("bob")
    desk.offer(fetched(seal("me"), BODY), pieces=9)
    assert desk.get("ann")
    desk.pump(0.0)
    assert not desk.uploads.left_late("ann", 1, 0, 2.0, 2.1)
    assert desk.uploads.cancel_upload("ann", 1, 2.1) == KEY
    assert desk.uploads.left_late("bob", 1, 0, 2.0, 2.1)


def test_one_that_needs_no_more_is_no_praise() -> None:
    """Its viewer may have left, or it never heard a word: nothing of it went well."""
    desk = served("ann", "bob")
    for number in range(2, 5):
        assert desk.get("cat", number)
        desk.pump(0.5)
        assert desk.uploads.cancel_upload("cat", number, 0.6) is None
    assert not desk.uploads.left_late("ann", 1, 0, 2.0, 3.0)
    assert desk.uploads.left_late("bob", 1, 0, 2.0, 3.0)
