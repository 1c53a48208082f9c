"""Offices whose access points keep their clients apart: who reaches somebody gets the one copy all the same."""

from itertools import combinations, pairwise

import pytest

from tests.core.world import World


def office(*groups: int, free: int = 0, seed: int = 1) -> World:
    """Groups of isolated clients, each on a network of its own, and some machines that reach everybody."""
    bounds = [sum(groups[:at]) for at in range(len(groups) + 1)]

    def network(number: int) -> int:
        return next((at for at, end in enumerate(bounds[1:]) if number < end), len(groups))

    world = World(
        sum(groups) + free,
        seed=seed,
        address=lambda number: f"10.{network(number)}.0.{number + 1}",
        tracker_spacing_s=0.1,
    )
    names = list(world.nodes)
    for begin, end in pairwise(bounds):
        world.cut |= {frozenset(pair) for pair in combinations(names[begin:end], 2)}
    return world


def watched(world: World, *, segments: int = 10, apart_s: float = 0.23) -> None:
    """Everybody starts, one after the other, and watches to the end."""
    for at, device in enumerate(world.nodes):
        world.at(world.now + at * apart_s, lambda device=device: world.watch(device, 10, segments))  # type: ignore[misc]
    world.run(segments * 2.0 + 15.0)
    for viewer, got in world.answers.items():
        assert got.end == "finished", (viewer, got.end, got.why)
        assert bytes(got.data) == world.origin.body(f"https://origin.test/{world.numbers[viewer]}")


def at_once(world: World, number: int) -> int:
    return world.origin.at_once[f"https://origin.test/{number}"]


@pytest.mark.parametrize("groups", [(6, 2), (4, 4), (7, 1), (5, 3)])
def test_groups_that_reach_each_other_share_one_copy_or_two(groups: tuple[int, ...]) -> None:
    world = office(*groups)
    watched(world)
    settled = [world.copies(number) for number in range(15, 20)]
    assert max(settled) <= 2.0
    assert sum(settled) / len(settled) <= 1.5
    assert max(at_once(world, number) for number in range(14, 20)) <= 2, "once everybody is there"


def test_where_three_networks_are_isolated_everybody_plays_and_most_is_shared() -> None:
    world = office(3, 3, 2)
    watched(world)
    settled = [world.copies(number) for number in range(15, 20)]
    assert sum(settled) / len(settled) <= 2.0


@pytest.mark.parametrize("seed", range(3))
def test_a_few_by_wire_are_enough_for_those_on_an_isolating_access_point(seed: int) -> None:
    world = office(7, free=3, seed=seed)
    watched(world)
    assert [world.copies(number) for number in range(15, 20)] == [1.0] * 5
    assert max(at_once(world, number) for number in range(14, 20)) <= 2, "once everybody is there"


def test_where_nobody_reaches_anybody_each_plays_from_the_origin_and_it_is_told() -> None:
    world = office(4)
    watched(world, segments=5)
    assert {code for _, code, _ in world.conditions} == {"client-isolation"}
    assert world.copies(13) == 4.0


def test_when_the_clients_are_let_together_again_they_share() -> None:
    world = office(5)
    world.at(world.now + 8.0, world.cut.clear)
    watched(world, segments=20)
    assert [world.copies(number) for number in range(26, 30)] == [1.0] * 4


@pytest.mark.parametrize("first_byte_s", [0.3, 0.7, 1.5, 3.0])
def test_an_origin_that_is_slow_does_not_look_like_an_access_point(first_byte_s: float) -> None:
    """Whoever waits for a neighbour that waits for the origin took it for out of reach."""
    world = World(8, address=lambda number: f"10.1.0.{number + 1}" if number < 6 else f"10.2.0.{number + 1}")
    world.at(world.now + 8.0, lambda: setattr(world.origin, "first_byte_s", first_byte_s))
    watched(world)
    assert world.conditions == []
    assert not any("isolated=True" in line for line in world.log)
