"""One link to each device, whatever connections there are: which one carries it, and moving it without losing a word.

    handle(event, now) -> effects        wake(now) -> effects        wake_at()        check()

Two agents may have several connections at once: both dialled at the same moment, or TCP got through where WebRTC was
needed before. Together they are one link. Neither end can ask the other which connection to take, so both follow the
same rules; a connection by itself keeps its messages in order, two connections beside each other do not.

**Rank.** Both ends rank connections alike: WebRTC lowest (it costs twenty times the CPU), above it TLS that the higher
device id dialled, above that TLS that the lower one dialled.
**Saying.** An end says everything on one connection, the carrier: the open one of highest rank. It moves upwards only,
and its last word on a connection that it leaves is the parting Bye. The other end, when it reads that, says the same.
**Reading.** A connection is read only when none of lower rank is left: the other end may have said something there
before it moved. Until then the words of the higher one wait in the sockets.
**Losing.** A connection that is left must end with the other end's parting Bye, or with any Bye if neither node has
said anything there. If it ends otherwise, a word may be lost: the link ends with every connection, and the node begins
anew.
**Beginning anew.** A connection that opens beside one of the same rank, or beside one that is older than `SAME_TIME_S`,
belongs to no race: the other agent has started anew, and the new connection makes a new link.
**Being sure.** An end that reads a parting Bye before the other connection is open here waits for it. Two things could
make it wait for the wrong one. The other end's link may have ended in the middle of the move: then that end takes no
new connection for `MOVE_S`. Or the other end may have moved to a connection that died before its Hello came here: then,
for `DOUBT_S`, a parting Bye ends the link.

                     greeted, none ranks higher                  a higher one greeted
    greeting ───────────────────────────────────► carrying ───────────────────────────► leaving ──ended──► gone
       ├── greeted, the carrier ranks higher ─────────┼─────────────────────────────────────┘
       └── ended ──► gone                             └── parting Bye of the other end, or ended ──► gone

`HELD_MAX` and `HANDOVER_S` bound what is kept and how long a move takes. A simulated office has one connection for each
link, so nothing is handed over there.
"""

from dataclasses import dataclass, field
from typing import Literal, assert_never

from ecdn_proxy.core.connect.dialer import Transport
from ecdn_proxy.sansio.machine import Impossible, Instant, earliest
from ecdn_proxy.wire.peer import PeerMessage

SAME_TIME_S = 5.0
"""Connections that open within this time of each other are a race of two dials, bounded by the dials' own time-outs."""
HANDOVER_S = 3.0
"""How long an end waits for the other one's part of a move; it takes one round trip."""
MOVE_S = HANDOVER_S + 1.0
"""After a parting Bye: a second until the other end reads it, and as long as that end then waits."""
DOUBT_S = 10.0
"""Longer than an end takes to notice that a connection has died (8 s)."""
HELD_MAX = 1_024
"""Messages kept for one device while nothing carries its link."""
LOST = "the link was lost while it moved"
REPLACED = "replaced by a newer link"

LastWord = Literal["none", "bye", "parting"]
"""What the other end said last on a connection: nothing that shows that this was all, a Bye (then every word before it
has come), or the parting Bye (then it has also read, or still reads, all that is said to it there)."""


@dataclass(frozen=True, slots=True)
class ConnectionBegun:
    """It is proven who is at the other end of a connection, and our Hello is said there."""

    connection: int
    device: str
    transport: Transport
    dialled: bool
    """This end dialled."""


@dataclass(frozen=True, slots=True)
class ConnectionGreeted:
    """The other end's Hello has come and is good: the connection is open."""

    connection: int


@dataclass(frozen=True, slots=True)
class ConnectionEnded:
    """A connection is over, from whichever end and in whatever way."""

    connection: int
    why: str
    misbehaved: bool = False
    last_word: LastWord = "none"
    heard: bool = False
    """The other end's node has said something there."""


@dataclass(frozen=True, slots=True)
class MessageHeld:
    """The node says something while nothing carries the link (after `HoldMessages`)."""

    device: str
    message: PeerMessage


@dataclass(frozen=True, slots=True)
class HangUpWanted:
    """The node wants the link to end."""

    device: str
    why: str


HandoverEvent = ConnectionBegun | ConnectionGreeted | ConnectionEnded | MessageHeld | HangUpWanted


@dataclass(frozen=True, slots=True)
class OpenLink:
    """Tell the node of a link; everything is said on this connection from now on."""

    device: str
    connection: int


@dataclass(frozen=True, slots=True)
class MoveLink:
    """Say these messages on this connection, and everything from now on."""

    device: str
    connection: int
    held: tuple[PeerMessage, ...] = ()


@dataclass(frozen=True, slots=True)
class HoldMessages:
    """The other end has moved already: from now until `MoveLink`, what the node says is a `MessageHeld`."""

    device: str


@dataclass(frozen=True, slots=True)
class SayParting:
    """Say the parting Bye, then nothing more, and go on reading until the other end has said its last word."""

    connection: int


@dataclass(frozen=True, slots=True)
class HoldReading:
    """Read nothing from this connection."""

    connection: int


@dataclass(frozen=True, slots=True)
class ResumeReading:
    """Read this connection again."""

    connection: int


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Close it, saying Bye unless the other end misbehaved; its `ConnectionEnded` changes nothing here any more."""

    connection: int
    why: str
    misbehaved: bool = False


@dataclass(frozen=True, slots=True)
class CloseLink:
    """Tell the node that the link has ended."""

    device: str
    why: str
    misbehaved: bool = False


HandoverEffect = (
    OpenLink | MoveLink | HoldMessages | SayParting | HoldReading | ResumeReading | CloseConnection | CloseLink
)


@dataclass(slots=True)
class _Connection:
    number: int
    transport: Transport
    rank: int
    begun_at: Instant
    state: Literal["greeting", "carrying", "leaving"] = "greeting"
    opened_at: Instant = 0.0
    carried: bool = False
    """This end's node may have said something there."""
    held: bool = False
    """It is not read for now."""
    due: Instant | None = None
    """Until when it may keep others from being read."""


@dataclass(slots=True)
class _PairLink:
    """The connections to one device, and what carries the link."""

    connections: dict[int, _Connection] = field(default_factory=dict)
    stands: bool = False
    """The node was told of the link."""
    carrier: _Connection | None = None
    """None before the link stands, and while the other end has moved to a connection that is not open here yet."""
    carried_rank: int = -1
    """Rank of the carrier, or of the last one."""
    held: list[PeerMessage] = field(default_factory=list)
    carrier_due: Instant | None = None
    """Until when a carrier must be found, while the link stands without one."""
    moves_until: Instant | None = None
    """This end has left a connection: until then the other end may wait for the one to which it has moved."""
    doubted_until: Instant | None = None
    """A connection ended before its Hello came: until then the other end may have moved there without knowing."""

    def due(self) -> Instant | None:
        limits = (self.carrier_due, self.moves_until, self.doubted_until)
        return earliest([*limits, *(each.due for each in self.connections.values())])


class Handover:
    """The links of the agent `device` to all others."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._links: dict[str, _PairLink] = {}
        self._devices: dict[int, str] = {}
        """Connection -> the device at its other end."""
        self._moving: set[str] = set()
        """Devices whose link waits for something that has a time limit."""

    def handle(self, event: HandoverEvent, now: Instant) -> list[HandoverEffect]:
        """Take one event."""
        match event:
            case ConnectionBegun(_, device):
                effects = self._begun(event, now)
            case ConnectionGreeted(number):
                device = self._devices.get(number, "")
                effects = self._greeted(device, number, now)
            case ConnectionEnded(number):
                device = self._devices.get(number, "")
                effects = self._ended(device, event, now)
            case MessageHeld(device, message):
                effects = self._message(device, message)
            case HangUpWanted(device, why):
                effects = self._drop(device, why)
            case _ as never:
                assert_never(never)
        return self._settled(device, effects, now)

    def wake_at(self) -> Instant | None:
        """When `wake` must be called at the latest."""
        return earliest(self._links[device].due() for device in self._moving)

    def wake(self, now: Instant) -> list[HandoverEffect]:
        """Give up what has taken too long."""
        effects: list[HandoverEffect] = []
        for device in sorted(self._moving):
            effects += self._settled(device, self._overdue(device, now), now)
        return effects

    def check(self) -> None:
        """Raise `Impossible` if anything is not as the head of this file says."""
        for device, link in self._links.items():
            each = link.connections.values()
            carrying = [it for it in each if it.state == "carrying"]
            leaving = [it for it in each if it.state == "leaving"]
            _must(carrying == ([] if link.carrier is None else [link.carrier]), "one connection carries a link")
            _must(link.stands or all(it.state == "greeting" for it in each), "what is open belongs to a link")
            _must(link.carrier is None or all(it.rank < link.carrier.rank for it in leaving), "a link moves upwards")
            _must(not link.held or (link.stands and link.carrier is None), "messages are held for want of a carrier")
            _must(len(link.held) <= HELD_MAX, "what is held is bounded")
            _must(all(it.due is not None for it in leaving), "leaving ends in time")
            _must((link.carrier_due is not None) == (link.stands and link.carrier is None), "a carrier comes in time")
            _must((device in self._moving) == (link.due() is not None), "what has a time limit is looked at")
            _must(all(it.held == any(_is_read_before(at, it) for at in each) for it in each), "who waits for whom")

    # ---- what happens to one link

    def _begun(self, event: ConnectionBegun, now: Instant) -> list[HandoverEffect]:
        number, device = event.connection, event.device
        by_lower = event.dialled == (self._device < device)
        rank = 0 if event.transport == "webrtc" else 1 + by_lower
        link = self._links.setdefault(device, _PairLink())
        if not link.stands and link.moves_until is not None:  # see *Being sure*
            return [CloseConnection(number, LOST)]
        link.connections[number] = _Connection(number, event.transport, rank, now)
        self._devices[number] = device
        return []

    def _greeted(self, device: str, number: int, now: Instant) -> list[HandoverEffect]:
        link = self._links.get(device)
        if link is None:
            return []
        newcomer, carrier = link.connections[number], link.carrier
        newcomer.opened_at, newcomer.due = now, None
        if not link.stands:
            return self._open(device, link, newcomer)
        if carrier is not None and not _is_race(carrier, newcomer):
            if link.moves_until is not None:  # see *Being sure*
                return self._drop(device, REPLACED)
            effects = self._drop(device, REPLACED, survivor=newcomer)
            return effects + self._open(device, self._links[device], newcomer)
        if newcomer.rank <= link.carried_rank:
            return self._leave(link, newcomer, now)
        return ([] if carrier is None else self._leave(link, carrier, now)) + self._move(device, link, newcomer)

    def _ended(self, device: str, event: ConnectionEnded, now: Instant) -> list[HandoverEffect]:
        link = self._links.get(device)
        if link is None:
            return []
        del self._devices[event.connection]
        former = link.connections.pop(event.connection)
        if former.state == "greeting" and event.last_word == "none":
            link.doubted_until = now + DOUBT_S
        if not link.stands:
            return []
        if event.misbehaved:
            return self._drop(device, event.why, misbehaved=True)
        match former.state:
            case "carrying" if event.last_word == "parting" and link.doubted_until is None and self._awaits(link):
                link.carrier, link.carrier_due = None, now + HANDOVER_S
                return [HoldMessages(device)]
            case "carrying":
                return self._drop(device, event.why)
            case "leaving" if event.last_word != "parting" and not _is_unused(former, event):
                return self._drop(device, f"{LOST}: {event.why}")
            case "greeting" if link.carrier is None and former.rank > link.carried_rank:
                return self._drop(device, f"{LOST}: {event.why}")
        return []

    def _message(self, device: str, message: PeerMessage) -> list[HandoverEffect]:
        link = self._links.get(device)
        if link is None or not link.stands:
            return []
        if link.carrier is not None:  # it has been found meanwhile
            return [MoveLink(device, link.carrier.number, (message,))]
        if len(link.held) >= HELD_MAX:
            return self._drop(device, LOST)
        link.held.append(message)
        return []

    def _overdue(self, device: str, now: Instant) -> list[HandoverEffect]:
        link = self._links[device]
        if link.moves_until is not None and link.moves_until <= now:
            link.moves_until = None
        if link.doubted_until is not None and link.doubted_until <= now:
            link.doubted_until = None
        if link.carrier_due is not None and link.carrier_due <= now:
            return self._drop(device, LOST)
        late = [it for it in link.connections.values() if it.due is not None and it.due <= now]
        if any(it.state == "leaving" for it in late):
            return self._drop(device, f"{LOST}: the other end did not part within {HANDOVER_S:g} s")
        for each in late:
            del link.connections[each.number], self._devices[each.number]
            link.doubted_until = now + DOUBT_S
        return [CloseConnection(each.number, f"no Hello within {HANDOVER_S:g} s") for each in late]

    @staticmethod
    def _awaits(link: _PairLink) -> bool:
        """Whether a connection may still open that ranks above the one that carried the link."""
        return any(it.state == "greeting" and it.rank > link.carried_rank for it in link.connections.values())

    @staticmethod
    def _open(device: str, link: _PairLink, first: _Connection) -> list[HandoverEffect]:
        link.stands, link.carrier, link.carried_rank = True, first, first.rank
        first.state, first.carried = "carrying", True
        return [OpenLink(device, first.number)]

    @staticmethod
    def _move(device: str, link: _PairLink, winner: _Connection) -> list[HandoverEffect]:
        link.carrier, link.carrier_due, link.carried_rank = winner, None, winner.rank
        winner.state, winner.carried = "carrying", True
        held, link.held = tuple(link.held), []
        return [MoveLink(device, winner.number, held)]

    @staticmethod
    def _leave(link: _PairLink, loser: _Connection, now: Instant) -> list[HandoverEffect]:
        loser.state, loser.due = "leaving", now + HANDOVER_S
        link.moves_until = now + MOVE_S
        return [SayParting(loser.number)]

    def _drop(
        self, device: str, why: str, *, misbehaved: bool = False, survivor: _Connection | None = None
    ) -> list[HandoverEffect]:
        """End the link with all its connections, except `survivor`, which belongs to no link then."""
        link = self._links.get(device)
        if link is None or not link.stands:
            return []
        ended = [number for number, it in link.connections.items() if it is not survivor]
        for number in ended:
            del self._devices[number]
        connections = {} if survivor is None else {survivor.number: survivor}
        self._links[device] = _PairLink(connections, moves_until=link.moves_until, doubted_until=link.doubted_until)
        return [*(CloseConnection(number, why, misbehaved) for number in ended), CloseLink(device, why, misbehaved)]

    def _settled(self, device: str, effects: list[HandoverEffect], now: Instant) -> list[HandoverEffect]:
        """`effects`, and behind them which connections are read from now on, and which no more."""
        link = self._links.get(device)
        if link is None:
            return effects
        for each in link.connections.values():
            before = [it for it in link.connections.values() if _is_read_before(it, each)]
            for it in before:
                it.due = now + HANDOVER_S if it.due is None else it.due
            if bool(before) != each.held:
                each.held = bool(before)
                effects.append(HoldReading(each.number) if before else ResumeReading(each.number))
        if not link.connections and link.due() is None:
            del self._links[device]
        if link.due() is None:
            self._moving.discard(device)
        else:
            self._moving.add(device)
        return effects


def _is_race(carrier: _Connection, newcomer: _Connection) -> bool:
    """Whether the two belong to one link, which one of them will carry."""
    if newcomer.rank == carrier.rank:
        return False
    if carrier.transport == "webrtc":  # TCP got through at last, however long that took
        return True
    return newcomer.opened_at - carrier.opened_at <= SAME_TIME_S


def _is_read_before(lower: _Connection, higher: _Connection) -> bool:
    """Whether `higher`, which is open, waits for what the other end may have said on `lower`."""
    if higher.state == "greeting" or lower.rank >= higher.rank:
        return False
    if lower.state == "greeting":
        return lower.begun_at - higher.opened_at <= SAME_TIME_S
    return lower.state == "leaving"


def _is_unused(left: _Connection, event: ConnectionEnded) -> bool:
    """Whether neither node has said anything on a connection that was left."""
    return event.last_word == "bye" and not event.heard and not left.carried


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise Impossible(what)
