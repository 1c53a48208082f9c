"""A player under the virtual clock: cadence, stalls, retries."""

import pytest

from ecdn_proxy.sim.live_stream import LiveSegment, LiveStream
from ecdn_proxy.sim.player import MANIFEST_S, RETRY_S, WINDOW_SEGMENTS, PlayedSegment, Player
from ecdn_proxy.sim.scenario import read
from ecdn_proxy.sim.virtual_clock import BEGINS, VirtualClock


class Watching:
    """A player whose every request takes as long as `takes` says for its number; None breaks."""

    def __init__(self, takes: dict[int, float | None], *, together: bool = False, joins: float = 8.5) -> None:
        self.clock = VirtualClock()
        scenario = read("[stream]\nmanifest_bytes = 0\n[[sites]]\nviewers = 1", "x")
        self.live_stream = LiveStream(scenario, BEGINS)
        self.takes = takes
        self.asked: list[tuple[float, int]] = []
        self.outcomes: list[PlayedSegment] = []
        self.clock.now = BEGINS + joins
        self.player = Player(
            self.clock,
            self.live_stream,
            self.ask,
            self.outcomes.append,
            rendition=0,
            abr=False,
            together=together,
            behind=3,
            last=9,
        )
        self.player.join()

    def ask(self, player: Player, segment: LiveSegment) -> None:
        self.asked.append((round(self.clock.now - BEGINS, 3), segment.number))
        takes = self.takes.get(segment.number, 0.1)
        if takes is None:
            self.takes[segment.number] = 0.1
            self.clock.at(self.clock.now, player.broken)
            return
        self.clock.at(self.clock.now + takes, self.whole, segment)

    def whole(self, segment: LiveSegment) -> None:
        if self.player.waiting_for is segment:
            self.player.finished()


def test_it_fills_its_buffer_and_then_keeps_its_own_cadence() -> None:
    it = Watching({})
    it.clock.run(BEGINS + 30)
    start = 8.5 + MANIFEST_S
    assert it.asked[:4] == [(start, 2), (start + 0.1, 3), (start + 0.2, 4), (10.5, 5)]
    assert [number for _, number in it.asked] == list(range(2, 10))
    assert [at for at, _ in it.asked[3:]] == [10.5, 12.5, 14.5, 16.5, 18.5]
    assert [outcome.startup for outcome in it.outcomes][:4] == [True, True, True, False]
    assert it.player.done
    assert not any(outcome.stalled_s for outcome in it.outcomes)


def test_together_they_ask_when_a_segment_appears() -> None:
    it = Watching({}, together=True)
    it.clock.run(BEGINS + 30)
    assert it.asked[3:] == [(10.0, 5), (12.0, 6), (14.0, 7), (16.0, 8), (18.0, 9)]


def test_a_late_segment_stops_the_picture_for_as_long() -> None:
    it = Watching({5: 6.0})
    it.clock.run(BEGINS + 30)
    late = next(outcome for outcome in it.outcomes if outcome.segment.number == 5)
    # three segments bought six seconds from 8.65 on; it came at 16.5
    assert late.stalled_s == pytest.approx(16.5 - 14.65)
    assert late.took_s == pytest.approx(6.0)


def test_a_broken_answer_is_asked_for_again() -> None:
    it = Watching({3: None})
    it.clock.run(BEGINS + 30)
    asked = [at for at, number in it.asked if number == 3]
    assert asked == [8.65, pytest.approx(8.65 + RETRY_S)]


def test_who_falls_out_of_the_playlist_jumps_to_the_edge() -> None:
    it = Watching({2: WINDOW_SEGMENTS * 2.0 + 1}, joins=6.5)
    it.clock.run(BEGINS + 60)
    numbers = [number for _, number in it.asked]
    assert numbers[0] == 1
    assert it.player.done


def test_who_leaves_tells_of_the_picture_that_stands() -> None:
    it = Watching({5: 60.0})
    it.clock.run(BEGINS + 20)
    assert it.player.left(it.clock.now) == pytest.approx(20 - 14.65)
    it.clock.run(BEGINS + 90)
    assert [number for _, number in it.asked][-1] == 5
