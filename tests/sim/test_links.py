"""Fluid links: what shares a rate, what waits for what."""

import pytest

from ecdn_proxy.sim.links import CHUNK_BYTES, Flow, NetworkCard, SharedLink, Wire, connection_cap
from ecdn_proxy.sim.virtual_clock import BEGINS, VirtualClock
from ecdn_proxy.wire.peer import PeerMessage, Piece, Ping


def flow_of(link: SharedLink, size: int, ends: list[float], clock: VirtualClock, carried: list[float]) -> Flow:
    flow = Flow(link, size, lambda _: None, carried.append)
    flow.arrived = lambda _: ends.append(clock.now - BEGINS) if not flow.left_bytes else None
    return flow


def test_one_flow_has_all_of_a_link_and_two_have_half() -> None:
    clock = VirtualClock()
    link = SharedLink(clock, 1_000_000)
    ends: list[float] = []
    carried: list[float] = []
    link.add(flow_of(link, 500_000, ends, clock, carried))
    clock.at(BEGINS + 0.25, lambda: link.add(flow_of(link, 250_000, ends, clock, carried)))
    clock.run(BEGINS + 10)
    assert ends == [pytest.approx(0.75), pytest.approx(0.75)]
    assert sum(carried) == pytest.approx(750_000)


def test_loss_caps_a_connection_and_leaves_the_rest_to_others() -> None:
    clock = VirtualClock()
    link = SharedLink(clock, 1_000_000, 200_000)
    ends: list[float] = []
    for _ in range(2):
        link.add(flow_of(link, 100_000, ends, clock, []))
    clock.run(BEGINS + 10)
    assert ends == [pytest.approx(0.5), pytest.approx(0.5)]
    assert connection_cap(0.03, 0.0) == float("inf")
    assert connection_cap(0.03, 0.01) == pytest.approx(1_448 * 1.22 / 0.003)


def test_an_aborted_flow_has_used_what_it_used() -> None:
    clock = VirtualClock()
    link = SharedLink(clock, 1_000_000)
    carried: list[float] = []
    ends: list[float] = []
    flow = flow_of(link, 1_000_000, ends, clock, carried)
    link.add(flow)
    clock.at(BEGINS + 0.1, flow.cancel)
    clock.run(BEGINS + 10)
    assert not ends
    assert sum(carried) == pytest.approx(100_000)
    assert not flow.wanted


def test_a_flow_cancelled_before_its_first_byte_costs_nothing() -> None:
    clock = VirtualClock()
    link = SharedLink(clock, 1_000_000)
    flow = Flow(link, CHUNK_BYTES, lambda _: None, lambda _: pytest.fail("it used the link"))
    flow.cancel()
    clock.run(BEGINS + 1)


def pair(
    clock: VirtualClock, up: float, *, down: float = 1e9
) -> tuple[NetworkCard, list[tuple[float, str]], Wire, Wire, list[bool]]:
    heard: list[tuple[float, str]] = []
    full: list[bool] = []
    one = NetworkCard(clock, up, 1e9, 0.001, 1.0)

    def wire(name: str) -> Wire:
        to = NetworkCard(clock, 1e9, down, 0.001, 1.0)

        def deliver(messages: list[PeerMessage]) -> None:
            heard.extend((round(clock.now - BEGINS, 6), f"{name} {type(it).__name__}") for it in messages)

        return Wire(to, deliver, full.append)

    return one, heard, wire("a"), wire("b"), full


def test_wires_take_turns_and_keep_their_own_order() -> None:
    clock = VirtualClock()
    one, heard, a, b, _ = pair(clock, 100_000)
    for index in range(3):
        one.send(a, Piece(1, index, b""), 1_000, bulk=True)
    one.send(a, Ping(1), 0, bulk=False)
    one.send(b, Piece(1, 0, b""), 1_000, bulk=True)
    clock.run(BEGINS + 1)
    assert heard == [
        (0.011, "a Piece"),
        (0.021, "a Piece"),
        (0.031, "b Piece"),
        (0.041, "a Piece"),
        (0.041, "a Ping"),
    ]


def test_a_small_message_does_not_wait_for_another_wires_pieces() -> None:
    clock = VirtualClock()
    one, heard, a, b, _ = pair(clock, 1_000)
    one.send(a, Piece(1, 0, b""), 1_000, bulk=True)
    one.send(b, Ping(1), 50, bulk=False)
    clock.run(BEGINS + 5)
    assert heard == [(0.001, "b Ping"), (1.001, "a Piece")]


def test_a_slow_downlink_holds_pieces_up() -> None:
    clock = VirtualClock()
    one, heard, a, _, _ = pair(clock, 1_000_000, down=10_000)
    for index in range(3):
        one.send(a, Piece(1, index, b""), 1_000, bulk=True)
    clock.run(BEGINS + 5)
    assert [at for at, _ in heard] == [pytest.approx(0.1, abs=0.01), pytest.approx(0.2, abs=0.01),
                                       pytest.approx(0.3, abs=0.01)]  # fmt: skip


def test_a_slow_sender_leaves_the_receivers_downlink_to_others() -> None:
    """A piece that takes seconds to send takes the downlink for no longer than it needs there."""
    clock = VirtualClock()
    slow, heard, wire, _, _ = pair(clock, 1_000)
    fast = NetworkCard(clock, 1e6, 1e9, 0.001, 1.0)
    other = Wire(wire.to, lambda _: heard.append((round(clock.now - BEGINS, 6), "fast Piece")), lambda _: None)
    slow.send(wire, Piece(1, 0, b""), 1_000, bulk=True)
    fast.send(other, Piece(1, 0, b""), 1_000, bulk=True)
    clock.run(BEGINS + 5)
    assert heard == [(0.002, "fast Piece"), (1.001, "a Piece")]


def test_a_full_downlink_does_not_hold_up_what_its_sender_gives_to_others() -> None:
    clock = VirtualClock()
    one, heard, a, b, _ = pair(clock, 1_000_000)
    a.to.down_bytes_per_s = 1_000.0
    one.send(a, Piece(1, 0, b""), 1_000, bulk=True)
    one.send(a, Ping(1), 50, bulk=False)
    one.send(b, Piece(1, 0, b""), 1_000, bulk=True)
    clock.run(BEGINS + 5)
    assert [who for _, who in heard] == ["b Piece", "a Piece", "a Ping"]


def test_a_buffer_says_when_it_is_full_and_when_it_has_room() -> None:
    clock = VirtualClock()
    one, _, a, _, full = pair(clock, 1_000_000)
    for index in range(40):
        one.send(a, Piece(1, index, b""), 32_768, bulk=True)
    clock.run(BEGINS + 0.01)
    assert full == [True]
    clock.run(BEGINS + 5)
    assert full == [True, False]


def test_nothing_arrives_through_a_wire_that_closed() -> None:
    clock = VirtualClock()
    one, heard, a, b, _ = pair(clock, 1_000)
    one.send(a, Piece(1, 0, b""), 1_000, bulk=True)
    one.send(a, Piece(1, 1, b""), 1_000, bulk=True)
    one.send(b, Piece(1, 0, b""), 1_000, bulk=True)
    a.is_open = False
    clock.run(BEGINS + 5)
    assert heard == [(2.001, "b Piece")]
