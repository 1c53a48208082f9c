"""One machine under virtual time: what becomes of its node's effects, when it wakes, what is left when it stops."""

from dataclasses import dataclass, field

import msgspec
import pytest

from ecdn_proxy.core import events, values
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.sansio.machine import Impossible, Instant
from ecdn_proxy.sim.host import FRAME_BYTES
from ecdn_proxy.sim.links import Flow, SharedLink
from ecdn_proxy.sim.virtual_clock import BEGINS, UTC_MINUS_NOW
from ecdn_proxy.wire.integrity import SegmentHead
from ecdn_proxy.wire.peer import PeerMessage, Piece, Watching
from tests.sim.surroundings import STREAM, HeardNode, Surroundings

KEY = "cd" * 32
HEAD = SegmentHead(3, "video/mp2t", None, None, UTC_MINUS_NOW, 60.0, "none")


@dataclass
class Told:
    """A viewer that writes down what it is told."""

    what: list[str] = field(default_factory=list)

    def answer_begins(self, effect: events.BeginAnswer) -> None:
        self.what.append(f"from {effect.source}")

    def bytes_came(self, data: bytes | memoryview) -> None:
        self.what.append(bytes(data).decode())

    def answer_finished(self) -> None:
        self.what.append("finished")

    def answer_failed(self, status: int, why: str) -> None:
        self.what.append(f"failed {status} {why}")

    def passed_on(self, why: str) -> None:
        self.what.append(f"passed on {why}")

    def handed_over(self, fetch: int, why: str) -> None:
        self.what.append(f"handed over {fetch} {why}")


def wanted(viewer: int) -> events.Wanted:
    origin = values.OriginRequest("https://origin.test/1", ())
    return events.Wanted(viewer, STREAM, "v1", KEY, 1, 2.0, True, None, origin, UTC_MINUS_NOW + BEGINS)


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (events.Finish(1), "finished"),
        (events.Abort(1, "so"), "failed 0 so"),
        (events.AnswerStatus(1, 404, "so"), "failed 404 so"),
        (events.PassOn(1, "so"), "passed on so"),
        (events.HandOver(1, 7, "so"), "handed over 7 so"),
    ],
)
def test_a_viewer_is_told_what_becomes_of_its_request_and_then_nothing_more(last: events.Effect, told: str) -> None:
    host = Surroundings("ann").host("ann")
    viewer = Told()
    host.ask(wanted(1), viewer)
    host.perform(events.BeginAnswer(1, HEAD, "origin", "so"))
    host.perform(events.Deliver(1, b"abc"))
    host.perform(last)
    assert viewer.what == ["from origin", "abc", told]
    with pytest.raises(KeyError):
        host.perform(events.Deliver(1, b"d"))


def test_what_is_for_the_surroundings_reaches_them() -> None:
    office = Surroundings("ann")
    host = office.host("ann")
    host.perform(events.RaiseCondition("client-isolation", "so"))
    host.perform(events.Served(KEY, STREAM, "v1", 5, "origin", "so", 1.0, ()))
    host.perform(events.AnnounceStreams((STREAM,), serves=False, isolated=True))
    for nothing in (events.ClearCondition("so"), events.Load(KEY), events.Erase(KEY)):
        host.perform(nothing)
    assert office.wanted == [("ann", "client-isolation: so"), ("ann", "served 5"), ("ann", "announce 1")]
    assert (host.streams, host.serves, host.isolated) == ((STREAM,), False, True)


def test_a_node_wakes_when_it_wants_to_and_not_after_its_machine_stopped() -> None:
    office = Surroundings("ann")
    host = office.host("ann")
    host.feed(events.StreamOpened(STREAM))
    host.ask(wanted(1), Told())
    join_wait_s = Limits().join_wait_s
    office.run(join_wait_s - 0.01)
    assert ("ann", "fetch https://origin.test/1") not in office.wanted
    office.run(join_wait_s + 0.01)
    assert ("ann", "fetch https://origin.test/1") in office.wanted
    host.ask(wanted(2), Told())
    host.stop()
    office.run(20.0)
    assert (host.viewers, host.fetches, host.streams) == ({}, {}, ())


def test_a_machine_that_stops_ends_its_fetches() -> None:
    office = Surroundings("ann", "bob")
    link = SharedLink(office.clock, 1_000.0)
    carried: list[float] = []
    for device in ("ann", "bob"):
        flow = office.host(device).fetches[1] = Flow(link, 1_000, lambda _: None, carried.append)
        link.add(flow)
    office.host("bob").perform(events.AbortOrigin(1))
    office.host("bob").perform(events.AbortOrigin(1))
    office.run(0.5)
    office.host("ann").stop()
    office.run(5.0)
    assert sum(carried) == pytest.approx(500.0)


def test_an_event_of_a_machine_that_is_off_is_lost() -> None:
    office = Surroundings("ann")
    host = office.host("ann")
    host.stop()
    host.feed(events.StreamOpened(STREAM))
    host.received("bob", [])
    host.ask(wanted(1), Told())
    assert (office.wanted, host.asked) == ([], 0)


def test_what_is_tampered_with_is_what_leaves_and_what_was_meant_is_counted() -> None:
    office = Surroundings("ann", "bob")
    ann = office.host("ann")
    office.lan.dial(ann, "bob")
    office.run(0.1)

    def tamper(device: str, message: PeerMessage) -> list[PeerMessage]:
        assert device == "bob"
        return [msgspec.structs.replace(message, data=b"xxx")] * 2 if isinstance(message, Piece) else []

    ann.tamper = tamper
    office.lan.frames.clear()
    ann.perform(events.Send("bob", Piece(1, 0, b"abc")))
    ann.perform(events.Send("bob", Watching((STREAM,), serves=True)))
    ann.perform(events.Send("eve", Watching((STREAM,), serves=True)))
    office.run(0.2)
    heard = [event.message for _, event in office.heard("bob") if isinstance(event, events.Received)]
    assert heard == [Piece(1, 0, b"xxx")] * 2
    assert office.lan.frames == {"Piece": 1, "Watching": 1}
    assert ann.up_bytes == 2 * (3 + FRAME_BYTES)


def test_a_message_that_is_read_as_another_one_is_our_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Surroundings("ann", "bob")
    office.lan.dial(office.host("ann"), "bob")
    office.run(0.1)
    monkeypatch.setattr("ecdn_proxy.sim.host.read_peer_message", lambda _: Piece(1, 0, b"abd"))
    with pytest.raises(Impossible, match="is read as"):
        office.host("ann").perform(events.Send("bob", Piece(1, 0, b"abc")))


class Restless(HeardNode):
    """It always wants to be woken now."""

    def wake_at(self) -> Instant | None:
        return 0.0


def test_a_node_that_makes_no_progress_ends_the_run() -> None:
    office = Surroundings("ann")
    host = office.host("ann")
    host.start(office.node(host, Restless))
    host.feed(events.StreamOpened(STREAM))
    with pytest.raises(Impossible, match="again and again"):
        office.run(1.0)
