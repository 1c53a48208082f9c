"""What is logged of a node's last events: every kind of event, in words, without a secret and without a segment."""

import pytest

from ecdn_proxy.agent.story import LINE_CHARS_MAX, NodeStory
from ecdn_proxy.core import events
from ecdn_proxy.wire.integrity import PartVoucher
from ecdn_proxy.wire.peer import Cancel, Part, Piece, Vouched
from tests.core.makers import KEY, contact, fetched, seal, stored, wanted
from tests.core.world import STREAM, UTC

BODY = b"a segment's bytes"
PART = PartVoucher("ann", KEY, "g1", 0, len(BODY), bytes(32), None, bytes(64), b"certificate")
EVENTS: tuple[tuple[events.Event, str], ...] = (
    (events.StreamOpened(STREAM), f"StreamOpened stream={STREAM}"),
    (wanted(7), "Wanted viewer=7"),
    (events.ViewerLeft(7), "ViewerLeft viewer=7"),
    (events.Invalidated("ab" * 32), f"Invalidated key={'ab' * 32}"),
    (events.OriginReached(1), "OriginReached fetch=1"),
    (events.OriginAnswered(1, 200, (("set-cookie", "id=canary"), ("age", "3")), UTC), "OriginAnswered fetch=1"),
    (events.OriginSent(1, BODY), "OriginSent fetch=1 17 bytes"),
    (events.OriginEnded(1), "OriginEnded fetch=1"),
    (events.OriginFailed(1, "silent"), "OriginFailed fetch=1 why=silent"),
    (events.LinkOpened(contact("ann"), "lan", (STREAM,), serves=True, rtt_ms=1.0), "LinkOpened contact="),
    (events.LinkClosed("ann", "gone"), "LinkClosed device=ann why=gone misbehaved=False"),
    (events.LinkFull("ann"), "LinkFull device=ann"),
    (events.LinkReady("ann"), "LinkReady device=ann"),
    (events.Received("ann", Cancel(1)), "Received device=ann message="),
    (events.Received("ann", Piece(4, 2, BODY)), "Received device=ann Piece request=4 index=2 17 bytes"),
    (events.Received("ann", Part(4, 0, BODY, PART)), "Received device=ann message="),
    (events.Received("ann", Vouched(4, fetched(seal("ann"), BODY).vouchers[0])), "Received device=ann message="),
    (events.LanSeen(contact("ann"), (STREAM[:8],)), "LanSeen contact="),
    (events.LanLost("ann"), "LanLost device=ann"),
    (events.TrackerSaid(STREAM, ("ann",), ((contact("ann"), "near"),)), f"TrackerSaid stream={STREAM}"),
    (events.TrackerChanged(connected=True), "TrackerChanged connected=True"),
    (events.DevicesDenied(frozenset({"eve"})), "DevicesDenied devices="),
    (events.Moved(contact("me")), "Moved me="),
    (events.PolicyChanged(sharing=True, uploads=False, why="settings"), "PolicyChanged sharing=True uploads=False"),
    (events.Loaded(KEY, None), f"Loaded key={KEY} stored=None"),
    (events.Loaded(KEY, stored(BODY)), f"Loaded key={KEY} stored="),
)  # fmt: skip


def line(event: object) -> str:
    story = NodeStory()
    story.tell(1.5, event)
    return str(story)


@pytest.mark.parametrize(("event", "begins"), EVENTS, ids=lambda it: type(it).__name__)
def test_every_event_is_one_line_of_words(event: events.Event, begins: str) -> None:
    text = line(event)
    assert text.startswith(f"       1.500  {begins}"), text
    assert "\n" not in text
    assert len(text) <= LINE_CHARS_MAX + 14
    for secret in ("https://", "user=me", "canary", "segment's", BODY.hex()):
        assert secret not in text


def test_no_kind_of_event_is_left_out() -> None:
    assert {type(event) for event, _ in EVENTS} == set(events.Event.__args__)


def test_a_wake_is_part_of_the_story() -> None:
    assert line("wake").endswith("  wake")


def test_neither_secrets_nor_segments_are_kept() -> None:
    """What holds them is put into words when it is told, not when a fault is logged."""
    story = NodeStory()
    for event, _ in EVENTS:
        story.tell(0.0, event)
    kept = {type(what) for _, what in story.told}
    assert not kept & {events.Wanted, events.OriginAnswered, events.OriginSent, events.Loaded}
    messages = [what.message for _, what in story.told if isinstance(what, events.Received)]
    assert not any(isinstance(message, Piece | Part) for message in messages)


def test_what_cannot_be_put_into_words_has_its_name() -> None:
    assert line(object()).endswith("  object")
