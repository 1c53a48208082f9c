"""The swarm's promises, each as a timetable under a virtual clock."""

import pytest

from ecdn_proxy.core.events import TrackerChanged, ViewerLeft
from tests.core.world import Origin, World, body_of


def whole(world: World, viewer: int, number: int) -> bool:
    return world.answers[viewer].end == "finished" and bytes(world.answers[viewer].data) == body_of(number)


@pytest.mark.parametrize("count", [1, 2, 4, 10])
def test_one_copy_reaches_everyone(count: int) -> None:
    world = World(count)
    world.watch_all()
    for number in range(3):
        viewers = [world.play(device, number) for device in world.nodes]
        world.run(2.0)
        assert all(whole(world, viewer, number) for viewer in viewers)
        assert world.copies(number) == 1.0


def test_a_relay_gives_pieces_before_it_has_the_segment() -> None:
    size = 1_000_000
    world = World(3, origin=Origin(sizes={"https://origin.test/1": size}))
    world.watch_all()
    viewers = [world.play(device, 1) for device in world.nodes]
    world.run(0.3)
    early = [len(world.answers[viewer].data) for viewer in viewers]
    world.run(2.0)
    assert 0 < min(early) <= max(early) < size
    assert all(bytes(world.answers[viewer].data) == body_of(1, size) for viewer in viewers)


def test_all_join_at_once_and_still_fetch_one_copy() -> None:
    world = World(4)
    for device in world.nodes:
        world.play(device, 1)
    world.run(3.0)
    assert all(whole(world, viewer, 1) for viewer in world.answers)
    assert world.copies(1) == 1.0


@pytest.mark.parametrize("count", [4, 8])
@pytest.mark.parametrize("stagger_s", [0.02, 0.1, 0.15, 0.25, 0.4])
@pytest.mark.parametrize("spacing_s", [0.0, 0.1])
def test_viewers_that_come_one_by_one_by_old_lists_fetch_one_copy(
    count: int, stagger_s: float, spacing_s: float
) -> None:
    """While the tracker's lists are behind, homes differ; elders make up for it."""
    world = World(count, tracker_spacing_s=spacing_s)
    for nth, device in enumerate(world.nodes):
        world.at(world.now + nth * stagger_s, lambda device=device: world.watch(device, 0, 8))  # type: ignore[misc]
    world.run(20.0)
    assert all(whole(world, viewer, world.numbers[viewer]) for viewer in world.answers)
    assert [world.copies(number) for number in range(8)] == [1.0] * 8


def test_the_fetcher_dies_half_way() -> None:
    world = World(4)
    world.watch_all()
    viewers = {world.play(device, 1): device for device in world.nodes}
    world.run(0.1)
    fetcher = world.origin.requests[0][1]
    world.kill(fetcher)
    world.run(3.0)
    alive = [viewer for viewer, device in viewers.items() if device != fetcher]
    assert all(whole(world, viewer, 1) for viewer in alive)
    assert world.copies(1) <= 2.0
    assert len(world.origin.requests) == 2
    assert all(got.ended_at is not None and got.ended_at - got.asked_at < 1.0
               for viewer, got in world.answers.items() if viewer in alive)  # fmt: skip


@pytest.mark.parametrize("victim", ["dev000", "dev001", "dev002", "dev003"])
def test_any_one_dies_and_the_others_play_on(victim: str) -> None:
    world = World(4)
    world.watch_all()
    for number in range(6):
        viewers = {world.play(device, number): device for device in world.nodes if device not in world.dead}
        world.run(0.08 if number == 2 else 2.0)
        if number == 2:
            world.kill(victim)
            world.run(1.92)
        assert all(whole(world, viewer, number) for viewer, device in viewers.items() if device not in world.dead)
    assert sum(world.copies(number) for number in range(6)) <= 7.0


def test_the_coordinator_goes_away_and_sharing_goes_on() -> None:
    world = World(4)
    world.watch_all()
    for device in world.nodes:
        world.feed(device, TrackerChanged(connected=False))
    viewers = [world.play(device, 5) for device in world.nodes]
    world.run(2.0)
    assert all(whole(world, viewer, 5) for viewer in viewers)
    assert world.copies(5) == 1.0


def test_a_viewer_that_leaves_cancels_only_what_nobody_waits_for() -> None:
    world = World(3)
    world.watch_all()
    viewers = {device: world.play(device, 1) for device in world.nodes}
    world.run(0.07)
    fetcher = world.origin.requests[0][1]
    world.feed(fetcher, ViewerLeft(viewers[fetcher]))
    world.run(2.0)
    assert all(whole(world, viewer, 1) for device, viewer in viewers.items() if device != fetcher)
    assert world.copies(1) == 1.0


def test_a_lone_viewer_that_leaves_ends_the_fetch() -> None:
    world = World(1)
    world.watch_all()
    viewer = world.play("dev000", 1)
    world.run(0.1)
    world.feed("dev000", ViewerLeft(viewer))
    world.run(1.0)
    assert world.copies(1) < 0.8
    assert not world.nodes["dev000"].downloading()


def test_a_second_viewer_on_the_machine_reads_along() -> None:
    world = World(1)
    world.watch_all()
    first = world.play("dev000", 1)
    world.run(0.1)
    second = world.play("dev000", 1)
    world.run(1.0)
    third = world.play("dev000", 1)
    assert whole(world, first, 1)
    assert whole(world, second, 1)
    assert whole(world, third, 1)
    assert world.copies(1) == 1.0
    assert world.answers[third].source == "cache"
