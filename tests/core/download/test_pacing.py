"""A player that chooses among renditions sees its line's speed, whoever gives it the segment."""

import pytest

from ecdn_proxy.core.download.pacing import PLAYS_TIMES, Pace, pace_kbps
from tests.core.world import Origin, World, body_of

SIZE = 1_000_000
LINE_KBPS = 8_000


@pytest.mark.parametrize(
    ("told", "best", "total", "duration_s", "kbps"),
    [
        (4_000, 3_000, 250_000, 2.0, 4_000),
        (900, 3_000, 250_000, 2.0, round(PLAYS_TIMES * 1_000)),  # a neighbour that lies makes nobody stand still
        (4_500, 3_000, 250_000, 2.0, 0),  # the line carries the best that there is
        (4_000, 0, 250_000, 2.0, 0),
        (0, 3_000, 250_000, 2.0, 0),
        (4_000, 3_000, None, 2.0, 0),
        (4_000, 3_000, 250_000, 0.0, 0),
    ],
)
def test_as_fast_as_the_origin_and_never_too_slow_to_play(
    told: int, best: int, total: int | None, duration_s: float, kbps: int
) -> None:
    assert pace_kbps(told, best, total, duration_s) == kbps


def test_bytes_are_due_from_the_request_on() -> None:
    pace = Pace(100.0, 8_000)
    assert [pace.due(at) for at in (0, 500_000, 1_000_000)] == [100.0, 100.5, 101.0]
    assert Pace(100.0, 0).due(1_000_000) == 100.0


def paces(*, best_kbps: int, later_s: float, chunks: tuple[int, float] | None = None) -> list[int]:
    """Of three viewers, the second and the third so long after the one before, when everybody has had everything."""
    sizes = {"https://origin.test/1": SIZE}
    world = World(3, origin=Origin(bytes_per_s=LINE_KBPS * 1000 / 8, sizes=sizes, chunks=chunks))
    world.watch_all()
    viewers = []
    for device in world.nodes:
        viewers.append(world.play(device, 1, best_kbps=best_kbps))
        world.run(later_s)
    world.run(10.0)
    assert all(bytes(world.answers[viewer].data) == body_of(1, SIZE) for viewer in viewers)
    assert world.copies(1) == 1.0
    return [world.answers[viewer].pace_kbps for viewer in viewers]


def test_what_a_neighbour_has_is_given_at_the_speed_at_which_the_origin_gave_it_to_the_office() -> None:
    fetcher, *others = paces(best_kbps=6_000, later_s=3.0)
    assert fetcher == 0, "it comes at that speed by itself"
    # the third may read from the second, who never spoke with the origin
    assert others == [pytest.approx(LINE_KBPS, rel=0.05)] * 2


def test_who_asks_when_most_of_it_is_here_waits_for_it_too() -> None:
    assert paces(best_kbps=6_000, later_s=0.8)[1] == pytest.approx(LINE_KBPS, rel=0.05)


def test_who_asks_while_little_is_here_gets_all_that_comes() -> None:
    assert paces(best_kbps=6_000, later_s=0.2)[1] == 0


@pytest.mark.parametrize("best_kbps", [0, 5_000])
def test_where_there_is_nothing_to_choose_or_the_line_carries_it_all_nobody_waits(best_kbps: int) -> None:
    assert paces(best_kbps=best_kbps, later_s=3.0) == [0, 0, 0]


@pytest.mark.parametrize("chunks", [(250_000, 0.5), (25_000, 0.2)])
def test_the_speed_of_an_encoder_is_not_that_of_the_line(chunks: tuple[int, float]) -> None:
    """A segment that was made while it was sent took as long as it plays; who comes later need not wait for that."""
    _, *others = paces(best_kbps=3_000, later_s=10.0, chunks=chunks)
    assert others == [0, 0]
