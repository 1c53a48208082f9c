"""An origin that thinks for long before it answers: it is asked once, and everybody waits no longer than without us."""

import pytest

from ecdn_proxy.core.download.timeouts import ORIGIN_THINKS_S, SAY_SO_S
from ecdn_proxy.wire import peer
from tests.core.world import Origin, World, body_of

DIRECT_S = 0.15
"""What a segment takes besides its first byte: 300 kB at 20 Mbit/s, and a chunk's time."""
SMALL_S = 0.15
"""What the office may add to that."""


def waits(world: World, viewers: list[int]) -> list[float]:
    """How long each viewer waited for the whole segment; all of them got it."""
    for viewer in viewers:
        assert world.answers[viewer].end == "finished", world.answers[viewer]
        assert bytes(world.answers[viewer].data) == body_of(world.numbers[viewer])
    return [(world.answers[it].ended_at or 1e9) - world.answers[it].asked_at for it in viewers]


def warmed(count: int, origin: Origin) -> World:
    """An office that has watched for a while, and knows how fast the origin usually is."""
    world = World(count, origin=origin)
    world.watch_all()
    for number in range(100, 104):
        for device in world.nodes:
            world.play(device, number)
        world.run(2.0)
    origin.requests.clear()
    return world


@pytest.mark.parametrize("count", [1, 3, 10])
@pytest.mark.parametrize("first_byte_s", [4.0, 13.0, 100.0])
@pytest.mark.parametrize("known", [False, True], ids=["first segment", "usually fast"])
def test_an_origin_that_thinks_long_is_asked_once(count: int, first_byte_s: float, *, known: bool) -> None:
    origin = Origin(first_byte_s=0.03)
    world = warmed(count, origin) if known else World(count, origin=origin)
    if not known:
        world.watch_all()
    origin.first_byte_s = first_byte_s
    viewers = [world.play(device, 1) for device in world.nodes]
    world.run(first_byte_s + 3.0)
    assert max(waits(world, viewers)) < first_byte_s + DIRECT_S + SMALL_S
    assert len(origin.requests) == 1


@pytest.mark.parametrize("count", [1, 3, 10])
@pytest.mark.parametrize("part_s", [0.2, 0.33, 1.0, 2.0])
def test_parts_for_which_everybody_waits_at_the_origin_come_once(count: int, part_s: float) -> None:
    """Preload hints of low-latency HLS: a part is asked for when the part before it has come, and is made meanwhile."""
    origin = Origin(first_byte_s=part_s)
    origin.sizes = {f"https://origin.test/{number}": round(250_000 * part_s) for number in range(1, 21)}
    world = World(count, origin=origin)
    world.watch_all()
    for number in range(1, 21):
        viewers = [world.play(device, number, duration_s=part_s) for device in world.nodes]
        world.run(part_s + 2 * DIRECT_S)
        for viewer in viewers:
            answer = world.answers[viewer]
            assert answer.end == "finished", answer
            assert bytes(answer.data) == body_of(number, round(250_000 * part_s))
    assert len(origin.requests) == 20


@pytest.mark.parametrize("after_s", [0.05, 0.5, 2.0, 3.9])
def test_who_asks_later_waits_for_the_same_fetch(after_s: float) -> None:
    origin = Origin(first_byte_s=4.0)
    world = World(6, origin=origin)
    world.watch_all()
    viewers = [world.play("dev000", 1)]
    for device in list(world.nodes)[1:]:
        world.run(after_s / 5)
        viewers.append(world.play(device, 1))
    world.run(8.0)
    assert max(waits(world, viewers)) < 4.0 + DIRECT_S + SMALL_S
    assert len(origin.requests) == 1


def test_waiting_costs_few_messages() -> None:
    """A fetch that waits ten seconds says so fifty times, to its home and to each that reads from it."""
    world = World(10, origin=Origin(first_byte_s=10.0))
    world.watch_all()
    before = dict(world.frames)
    viewers = [world.play(device, 1) for device in world.nodes]
    world.run(12.0)
    waits(world, viewers)
    said = 10.0 / SAY_SO_S
    sent = {kind: world.frames.get(kind, 0) - before.get(kind, 0) for kind in ("Awaiting", "Progress", "Ask", "Get")}
    assert sent["Awaiting"] <= 9 * (said + 1)
    assert sent["Progress"] <= said + 10
    assert sent["Ask"] + sent["Get"] < 12 * 9


@pytest.mark.parametrize("at", [0.05, 0.4, 2.0])
def test_a_fetcher_that_dies_while_it_waits_is_replaced(at: float) -> None:
    origin = Origin(first_byte_s=4.0)
    world = World(4, origin=origin)
    world.watch_all()
    viewers = [world.play(device, 1) for device in world.nodes]
    world.run(at)
    fetcher = origin.requests[0][1]
    world.kill(fetcher)
    origin.first_byte_s = 0.05
    world.run(9.0)
    rest = [viewer for viewer in viewers if world.answers[viewer].device != fetcher]
    assert max(waits(world, rest)) < at + 0.8
    assert len(origin.requests) == 2


def test_a_fetcher_whose_cable_is_pulled_is_replaced_though_no_link_was_closed() -> None:
    """Nothing is heard of it any more; its lease and its children's patience end with its last word."""
    origin = Origin(first_byte_s=20.0)
    world = World(4, origin=origin)
    world.watch_all()
    viewers = [world.play(device, 1) for device in world.nodes]
    world.run(3.0)
    fetcher = origin.requests[0][1]
    world.tamper = lambda sender, to, message: [] if fetcher in (sender, to) else [message]
    origin.first_byte_s = 0.05
    world.run(9.0)
    rest = [viewer for viewer in viewers if world.answers[viewer].device != fetcher]
    assert max(waits(world, rest)) < 3.0 + 2.5
    assert origin.at_once["https://origin.test/1"] == 2


def test_beside_agents_that_do_not_say_that_they_wait_there_are_two_fetches_at_most() -> None:
    """As with agents of an earlier release, the home and the children see a fetcher that says nothing."""
    origin = Origin(first_byte_s=2.0)
    world = World(6, origin=origin)
    world.watch_all()

    def tamper(_sender: str, _to: str, message: peer.PeerMessage) -> list[peer.PeerMessage]:
        waiting = isinstance(message, peer.Awaiting) or (
            isinstance(message, peer.Progress) and not message.received_bytes
        )
        return [] if waiting else [message]

    world.tamper = tamper
    viewers = [world.play(device, 1) for device in world.nodes]
    world.run(8.0)
    assert max(waits(world, viewers)) < 2.0 + 1.5
    assert origin.at_once["https://origin.test/1"] <= 2


def test_an_origin_that_does_not_answer_for_minutes_leaves_a_viewer_its_own_request() -> None:
    world = World(3, origin=Origin(first_byte_s=2 * ORIGIN_THINKS_S))
    world.watch_all()
    viewers = [world.play(device, 1) for device in world.nodes]
    world.run(ORIGIN_THINKS_S - 1.0)
    assert len(world.origin.requests) == 1
    assert not any(world.answers[viewer].end for viewer in viewers)
    world.run(5.0)
    fetcher = world.origin.requests[0][1]
    ends = {world.answers[viewer].device: world.answers[viewer].end for viewer in viewers}
    assert ends == {device: "passed" if device == fetcher else "" for device in world.nodes}
    assert len(world.origin.requests) == 2, "the others wait for one of them"
