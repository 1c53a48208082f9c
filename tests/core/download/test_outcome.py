"""One segment as those who wait for it see it."""

from ecdn_proxy.core import events
from ecdn_proxy.core.download.outcome import Delivery
from tests.core.makers import KEY, context, fetched, seal, stored, wanted
from tests.core.world import STREAM

BODY = bytes(range(256)) * 300
NOW = 100.0


class Hand(Delivery):
    """A delivery whose bytes the test puts in."""

    def give(self) -> None:
        self._hand_out("lan")

    def finish(self) -> None:
        self._finish(NOW + 1.0)

    def release(self, status: int) -> None:
        self._release("so", status, NOW)


def waited_for() -> Hand:
    hand = Hand(context(), KEY, STREAM)
    hand.viewers.join(wanted(1), 4.0, NOW)
    return hand


def test_what_is_here_is_handed_out_once_and_kept_whole_in_the_end() -> None:
    hand = waited_for()
    hand.assembly = fetched(seal("ann"), BODY, key=KEY)
    hand.give()
    hand.give()
    assert b"".join(it.data for it in hand._context.out if isinstance(it, events.Deliver)) == BODY
    assert hand.assembly.announced
    hand.finish()
    assert hand.ended
    assert hand.finished is not None
    assert (hand.finished.body, hand.finished.head.total_bytes) == (BODY, len(BODY))
    assert not hand.from_disk


def test_what_the_disk_had_is_everything() -> None:
    hand = waited_for()
    hand.loaded(stored(BODY), NOW)
    assert (hand.ended, hand.from_disk) == (True, True)
    assert [it.viewer for it in hand._context.out if isinstance(it, events.Finish)] == [1]


def test_everybody_for_himself() -> None:
    hand = waited_for()
    hand.release(404)
    assert hand.ended
    assert hand.finished is None
    assert [it.status for it in hand._context.out if isinstance(it, events.AnswerStatus)] == [404]
