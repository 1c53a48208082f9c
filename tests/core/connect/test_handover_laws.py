"""Two ends and their connections, in any order that the two may see: no word is lost, told twice or overtaken.

A pair is a small world: connections with one queue each way, two machines, and whatever hypothesis lets happen next.
Each end numbers its words anew in every link that its node was told of. A word may be missing only in a link that ends.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from ecdn_proxy.core.connect import handover as h
from ecdn_proxy.core.connect.dialer import Transport
from ecdn_proxy.wire.peer import Cancel

HELLO_S = 3.0
"""After this long without a Hello a connection gives up, as those of io do."""

TRANSIT_S = 1.0
"""What is said arrives within this, unless it is not read."""

What = Literal["hello", "word", "parting", "bye", "eof", "lost"]
Item = tuple[What, int, float]
"""What lies in a queue, the number of a word (which says whose link it is of), and since when."""
A_LINK = 1_000
"""Words of an end's second link are numbered from twice this."""


@dataclass(eq=False)
class Side:
    """One end's view of a connection."""

    coming: deque[Item] = field(default_factory=deque)
    begun_at: float | None = None
    open: bool = False
    parting: bool = False
    heard: bool = False
    ended: bool = False
    held: bool = False


@dataclass(eq=False)
class Connection:
    number: int
    transport: Transport
    dialler: int
    dialled_at: float
    sides: tuple[Side, Side] = field(default_factory=lambda: (Side(), Side()))


class End:
    """A machine, what its node said and heard, and its effects performed on the pair's connections."""

    def __init__(self, pair: "Pair", mine: int) -> None:
        self.pair, self.mine = pair, mine
        self.machine = h.Handover("ab"[mine])
        self.links = 0
        """How many links the node was told of."""
        self.stands = False
        self.carrier: Connection | None = None
        self.said: list[int] = []
        """In the link that stands."""
        self.heard: list[int] = []
        self.ever_heard: list[int] = []

    def feed(self, event: h.HandoverEvent) -> None:
        self.perform(self.machine.handle(event, self.pair.now))

    def perform(self, effects: list[h.HandoverEffect]) -> None:
        self.machine.check()
        for effect in effects:
            match effect:
                case h.OpenLink(_, number):
                    assert not self.stands
                    self.stands, self.links, self.carrier = True, self.links + 1, self.pair.connections[number]
                    self.said, self.heard = [], []
                case h.MoveLink(_, number, held):
                    self.carrier = self.pair.connections[number]
                    for message in held:
                        assert isinstance(message, Cancel)
                        self.put(self.carrier, "word", message.request)
                case h.HoldMessages():
                    self.carrier = None
                case h.SayParting(number):
                    self.part(self.pair.connections[number])
                case h.HoldReading(number):
                    self.side(number).held = True
                case h.ResumeReading(number):
                    self.side(number).held = False
                case h.CloseConnection(number, _, misbehaved):
                    self.close(self.pair.connections[number], misbehaved=misbehaved)
                case h.CloseLink():
                    self.stands, self.carrier = False, None

    def side(self, number: int) -> Side:
        return self.pair.connections[number].sides[self.mine]

    def put(self, connection: Connection, what: What, word: int = 0) -> None:
        connection.sides[1 - self.mine].coming.append((what, word, self.pair.now))

    def say(self) -> None:
        word = self.links * A_LINK + len(self.said)
        self.said.append(word)
        if self.carrier is None:
            self.feed(h.MessageHeld("ba"[self.mine], Cancel(word)))
        elif not self.carrier.sides[self.mine].ended:
            self.put(self.carrier, "word", word)

    def part(self, connection: Connection) -> None:
        if not connection.sides[self.mine].parting:
            connection.sides[self.mine].parting = True
            self.put(connection, "parting")

    def begin(self, connection: Connection) -> None:
        connection.sides[self.mine].begun_at = self.pair.now
        self.put(connection, "hello")
        mine = connection.dialler == self.mine
        self.feed(h.ConnectionBegun(connection.number, "ba"[self.mine], connection.transport, dialled=mine))

    def close(self, connection: Connection, *, misbehaved: bool = False) -> None:
        side = connection.sides[self.mine]
        if not side.ended:
            if side.begun_at is not None and not side.parting and not misbehaved:
                self.put(connection, "bye")
            self.over(connection, "none")

    def over(self, connection: Connection, last_word: h.LastWord) -> None:
        side = connection.sides[self.mine]
        side.ended = True
        self.put(connection, "eof")
        if side.begun_at is not None:
            self.feed(h.ConnectionEnded(connection.number, "it ended", last_word=last_word, heard=side.heard))

    def read(self, connection: Connection) -> None:
        side = connection.sides[self.mine]
        what, word, _ = side.coming.popleft()
        match what:
            case "hello":
                side.open = True
                self.feed(h.ConnectionGreeted(connection.number))
            case "word":
                side.heard = True
                self.heard.append(word)
                self.ever_heard.append(word)
            case "parting":
                self.part(connection)
                self.over(connection, "parting")
            case "bye":
                self.over(connection, "bye")
            case "eof":
                in_order = side.parting and connection.transport == "lan"
                self.over(connection, "parting" if in_order else "none")
            case "lost":
                self.over(connection, "none")


class Pair:
    """Two ends, their connections, and the time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.connections: dict[int, Connection] = {}
        self.ends = End(self, 0), End(self, 1)

    def may_read(self, end: End, connection: Connection) -> bool:
        side = connection.sides[end.mine]
        return bool(side.coming) and side.begun_at is not None and not side.ended and not side.held

    def may_wait(self, seconds: float) -> bool:
        """Whether nothing would have been on its way for longer than `TRANSIT_S`."""
        since = [self.now]
        for end in self.ends:
            for each in self.connections.values():
                side = each.sides[end.mine]
                if self.may_read(end, each):
                    since.append(side.coming[0][2])
                elif side.begun_at is None and not side.ended:
                    since.append(each.dialled_at)
        return len(since) == 1 or self.now + seconds - min(since) <= TRANSIT_S

    def actions(self, *, calm: bool) -> list[Callable[[], None]]:
        """Everything that may happen next, what matters more than once; in a calm world nothing is lost or hung up."""
        found: list[Callable[[], None]] = [partial(self.wait, it) for it in (0.1, 2.0) if self.may_wait(it)]
        for end in self.ends:
            mine = [it for it in self.connections.values() if not it.sides[end.mine].ended]
            if not any(it.transport == "lan" and (it.dialler == end.mine or it.sides[end.mine].open) for it in mine):
                found.append(partial(self.dial, "lan", end.mine))
            if end.mine == 0 and not any(it.transport == "webrtc" for it in mine):
                found.append(partial(self.dial, "webrtc", 0))
            if end.stands:
                found += [end.say] * 6
                if not calm:
                    found.append(partial(end.feed, h.HangUpWanted("ba"[end.mine], "enough")))
            for each in mine:
                if each.sides[end.mine].begun_at is None:
                    found += [partial(end.begin, each)] * 6
                elif self.may_read(end, each):
                    found += [partial(end.read, each)] * 6
        if not calm:
            found += [partial(self.lose, it) for it in self.connections.values() if not all(e.ended for e in it.sides)]
        return found

    def dial(self, transport: Transport, dialler: int) -> None:
        number = len(self.connections) + 1
        self.connections[number] = Connection(number, transport, dialler, self.now)

    def lose(self, connection: Connection) -> None:
        """Nothing more comes through, neither what is on its way nor anything said later."""
        for side in connection.sides:
            if not side.ended:
                side.coming.clear()
                side.coming.append(("lost", 0, self.now))

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while True:
            times = [(at, end) for end in self.ends if (at := end.machine.wake_at()) is not None and at <= until]
            if not times:
                break
            self.now, end = min(times, key=lambda it: it[0])
            end.perform(end.machine.wake(self.now))
        self.now = until
        for end in self.ends:
            for each in self.connections.values():
                side = each.sides[end.mine]
                if not side.open and not side.ended and (side.begun_at or 0.0) + HELLO_S <= self.now:
                    end.close(each)

    def settle(self) -> None:
        """Let everything arrive that is under way, and time pass."""
        for _ in range(12):
            busy = True
            while busy:
                busy = False
                for end in self.ends:
                    for each in list(self.connections.values()):
                        side = each.sides[end.mine]
                        if side.begun_at is None and not side.ended:
                            end.begin(each)
                            busy = True
                        if self.may_read(end, each):
                            end.read(each)
                            busy = True
            self.wait(h.HANDOVER_S)


DIALS: list[list[tuple[Transport, int]]] = [
    [],
    [("lan", 0), ("lan", 1)],
    [("webrtc", 0), ("lan", 0)],
    [("webrtc", 0), ("lan", 1)],
    [("webrtc", 0), ("lan", 0), ("lan", 1)],
]
"""What may be under way from the beginning; by themselves the choices would seldom make a race."""


@settings(max_examples=1_000, deadline=None)
@given(st.sampled_from(DIALS), st.booleans(), st.randoms(use_true_random=False), st.integers(0, 80))
def test_no_word_is_lost_told_twice_or_overtaken(
    dials: list[tuple[Transport, int]], calm: bool, chance: Random, steps: int
) -> None:
    pair = Pair()
    for transport, dialler in dials:
        pair.dial(transport, dialler)
    for _ in range(steps):
        chance.choice(pair.actions(calm=calm))()
    pair.settle()
    for end, other in (pair.ends, pair.ends[::-1]):
        assert end.stands == other.stands
        assert end.machine.wake_at() is None, "whatever waits, waits no longer"
        assert len(set(end.ever_heard)) == len(end.ever_heard), "twice"
        if end.stands:
            assert end.heard == other.said, "what was said in a link that stands has come, in order"
            assert end.carrier is not None
            assert end.carrier is other.carrier
            assert not any(it.held for each in pair.connections.values() for it in each.sides if not it.ended)
