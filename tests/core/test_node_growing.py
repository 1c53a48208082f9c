"""Segments that are made while they are sent (chunked CMAF): what has come goes on at once, and one copy serves all."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecdn_proxy.wire import peer
from tests.core.world import Origin, World, body_of

HOP_S = 0.03
"""What one machine more may add: the wait for a chunk's end (0.02 s), and the way."""
SLOW = (6_000, 0.5)
"""96 kbit/s in chunks of half a second: five chunks and a third make a piece."""
USUAL = (125_000, 0.5)
"""2 Mbit/s."""


def growing(count: int, chunks: tuple[int, float], size: int, **more: object) -> World:
    origin = Origin(first_byte_s=0.03, chunks=chunks, **more)  # type: ignore[arg-type]
    origin.sizes = {f"https://origin.test/{number}": size for number in range(40)}
    world = World(count, origin=origin)
    world.watch_all()
    return world


def late_by(world: World, viewers: list[int]) -> float:
    """By how much the last viewer had any chunk later than the first viewer to have it."""
    size, _ = world.origin.chunks or (1, 0.0)
    worst = 0.0
    answers = [world.answers[viewer] for viewer in viewers]
    for end in range(size, len(answers[0].data) + 1, size):
        had = [next(at for at, have in answer.came if have >= end) for answer in answers]
        worst = max(worst, max(had) - min(had))
    return worst


def whole(world: World, viewers: list[int], size: int) -> None:
    for viewer in viewers:
        assert world.answers[viewer].end == "finished", world.answers[viewer].why
        assert bytes(world.answers[viewer].data) == body_of(world.numbers[viewer], size)


@pytest.mark.parametrize("count", [1, 3, 10])
@pytest.mark.parametrize(("chunks", "size"), [(SLOW, 24_000), (SLOW, 60_000), (USUAL, 500_000), ((3_000, 0.1), 60_000)])
def test_one_copy_serves_all_and_each_chunk_goes_on_at_once(count: int, chunks: tuple[int, float], size: int) -> None:
    world = growing(count, chunks, size)
    for number in range(6):
        viewers = [world.play(device, number, duration_s=2.0) for device in world.nodes]
        world.run(size / chunks[0] * chunks[1] + 1.0)
        whole(world, viewers, size)
        assert world.copies(number) == 1.0
        assert len(world.origin.requests) == number + 1
        assert late_by(world, viewers) <= 3 * HOP_S, "at most three hops between ten machines"


@pytest.mark.parametrize("after_s", [0.3, 0.9, 1.7])
def test_who_joins_in_the_middle_has_at_once_what_is_there(after_s: float) -> None:
    world = growing(4, SLOW, 24_000)
    viewers = [world.play(device, 1) for device in list(world.nodes)[:2]]
    world.run(after_s)
    there = len(world.answers[viewers[0]].data)
    viewers += [world.play(device, 1) for device in list(world.nodes)[2:]]
    world.run(0.1)
    assert [len(world.answers[viewer].data) >= there for viewer in viewers] == [True] * 4
    world.run(4.0)
    whole(world, viewers, 24_000)
    assert world.copies(1) == 1.0


def test_a_pause_as_long_as_the_segment_is_the_streams_own() -> None:
    """The first of a rendition, of whose cadence nothing is known."""
    world = growing(4, (12_000, 1.9), 36_000)
    viewers = [world.play(device, 1) for device in world.nodes]
    world.run(8.0)
    whole(world, viewers, 36_000)
    assert len(world.origin.requests) == 1


@pytest.mark.parametrize("chunks", [SLOW, USUAL])
def test_a_fetcher_that_dies_is_replaced_and_no_answer_is_cut(chunks: tuple[int, float]) -> None:
    """The second fetch has no validator to show that it is the same version: equal bytes show it."""
    size = 8 * chunks[0]
    world = growing(4, chunks, size)
    viewers = [world.play(device, 1) for device in world.nodes]
    world.run(1.3)
    fetcher = world.origin.requests[0][1]
    world.kill(fetcher)
    world.run(8.0)
    rest = [viewer for viewer in viewers if world.answers[viewer].device != fetcher]
    whole(world, rest, size)
    assert len(world.origin.requests) == 2
    later = [world.play(device, 2) for device in world.nodes if device != fetcher]
    world.run(6.0)
    assert [world.answers[viewer].end for viewer in later] == ["finished"] * 3
    assert world.copies(2) == 1.0, "the rendition is still shared"


def test_a_body_that_stops_for_good_is_taken_over_by_one_other() -> None:
    world = growing(4, SLOW, 48_000)
    for number in range(3):
        for device in world.nodes:
            world.play(device, number)
        world.run(5.0)
    asked = len(world.origin.requests)
    world.origin.stops_after_chunks[asked] = 3
    viewers = [world.play(device, 5) for device in world.nodes]
    world.run(12.0)
    whole(world, viewers, 48_000)
    assert len(world.origin.requests) <= asked + 2
    assert world.origin.at_once["https://origin.test/5"] <= 2


def test_beside_an_agent_of_an_earlier_release_pieces_do_as_before() -> None:
    """It passes parts over, and has whole pieces."""
    world = growing(3, SLOW, 60_000)
    world.tamper = lambda _sender, _to, message: [] if isinstance(message, peer.Part | peer.Awaiting) else [message]
    viewers = [world.play(device, 1) for device in world.nodes]
    world.run(12.0)
    whole(world, viewers, 60_000)
    assert world.origin.at_once["https://origin.test/1"] <= 2


@pytest.mark.parametrize("what", ["data", "hash", "size"])
def test_a_part_that_was_changed_reaches_no_player(what: str) -> None:
    world = growing(3, SLOW, 48_000)

    def tamper(_sender: str, _to: str, message: peer.PeerMessage) -> list[peer.PeerMessage]:
        if not isinstance(message, peer.Part):
            return [message]
        if what == "data":
            return [msgspec.structs.replace(message, data=bytes([message.data[0] ^ 1]) + message.data[1:])]
        change = {"hash": bytes(32)} if what == "hash" else {"size_bytes": message.voucher.size_bytes + 1}
        return [msgspec.structs.replace(message, voucher=msgspec.structs.replace(message.voucher, **change))]

    world.tamper = tamper
    viewers = [world.play(device, 1) for device in world.nodes]
    world.run(12.0)
    whole(world, viewers, 48_000)
    assert any(code == "peer-misbehaved" for _, code, _ in world.conditions)


def test_parts_cost_little() -> None:
    """Between whole pieces at most 25 parts a second go to a child, and of an ordinary body none."""
    world = growing(2, (4_000, 0.01), 400_000)
    viewers = [world.play(device, 1) for device in world.nodes]
    world.run(4.0)
    whole(world, viewers, 400_000)
    assert world.frames.get("Part", 0) <= 2, "400 kB/s: a piece is whole sooner than a part would be signed"
    ordinary = World(2)
    ordinary.watch_all()
    for device in ordinary.nodes:
        ordinary.play(device, 1)
    ordinary.run(3.0)
    assert ordinary.frames.get("Part", 0) == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(2, 6),
    chunks=st.sampled_from([SLOW, USUAL, (3_000, 0.1), (40_000, 0.25)]),
    kills=st.lists(st.tuples(st.floats(0.0, 4.0), st.integers(0, 5)), max_size=2),
    cuts=st.lists(st.tuples(st.floats(0.0, 4.0), st.integers(0, 5), st.integers(0, 5)), max_size=3),
    polluter=st.one_of(st.none(), st.integers(0, 5)),
    stops=st.dictionaries(st.integers(0, 5), st.integers(1, 6), max_size=2),
)
def test_whatever_breaks_no_byte_is_wrong_and_every_answer_ends(
    seed: int,
    count: int,
    chunks: tuple[int, float],
    kills: list[tuple[float, int]],
    cuts: list[tuple[float, int, int]],
    polluter: int | None,
    stops: dict[int, int],
) -> None:
    size = 8 * chunks[0] + 100
    world = growing(count, chunks, size, stops_after_chunks=stops)
    world.random.seed(seed)
    names = list(world.nodes)

    def tamper(sender: str, _to: str, message: peer.PeerMessage) -> list[peer.PeerMessage]:
        bad = polluter is not None and polluter < count and sender == names[polluter]
        if bad and isinstance(message, peer.Part | peer.Piece) and world.random.random() < 0.3:
            return [msgspec.structs.replace(message, data=bytes([message.data[0] ^ 1]) + message.data[1:])]
        return [message]

    world.tamper = tamper
    for when, victim in kills:
        if victim < count:
            world.at(world.now + when, lambda victim=victim: world.kill(names[victim]))  # type: ignore[misc]
    for when, one, two in cuts:
        if one < count and two < count and one != two:
            pair = frozenset((names[one], names[two]))
            world.at(world.now + when, lambda pair=pair: world.pull(pair))  # type: ignore[misc]
    viewers = []
    for number in range(3):
        viewers += [world.play(device, number) for device in names if device not in world.dead]
        world.run(2.0)
    world.run(60.0)
    for viewer in viewers:
        answer = world.answers[viewer]
        assert body_of(world.numbers[viewer], size).startswith(bytes(answer.data))
        if answer.device not in world.dead:
            assert answer.end in ("finished", "passed", "aborted"), f"{answer.device} still waits"
            assert answer.end != "finished" or len(answer.data) == size
            if not stops and polluter is None:
                assert answer.end == "finished", f"cut: {answer.why}"
    if not kills and not cuts and polluter is None:
        assert all(most <= 2 for most in world.origin.at_once.values())
