"""One machine: the shipped node, its player, its network card.

    feed(event)     the one way in: node.handle, then what it wants is done, then its alarm is set
    _DO             effect → method, as `ecdn_proxy.agent.performer` does it with sockets

What lies between machines (links, the origin, the coordinator) is the office's, which is handed in.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import msgspec

from ecdn_proxy.core import events, values
from ecdn_proxy.core.download.pacing import Pace
from ecdn_proxy.core.node import Node
from ecdn_proxy.sansio.machine import Impossible, Instant
from ecdn_proxy.sim.links import Flow, NetworkCard, Wire
from ecdn_proxy.sim.live_stream import STREAM, UTC_MINUS_NOW, LiveSegment
from ecdn_proxy.sim.player import Player
from ecdn_proxy.sim.virtual_clock import VirtualClock
from ecdn_proxy.wire.codec import pack
from ecdn_proxy.wire.peer import Contact, PeerMessage, Piece

IDLE_WAKES_MAX = 2_000
"""A node that wants to be woken so often at one instant does not get anywhere."""
_FRAME_BYTES = 24
"""A piece's frame around its bytes."""


class Around(Protocol):
    """The office, as its hosts see it."""

    clock: VirtualClock
    frames: dict[str, int]
    control_bytes: int
    strict: Callable[[PeerMessage], PeerMessage] | None

    def dial(self, host: "Host", contact: Contact) -> None:
        """Open a link."""
        ...

    def hang_up(self, host: "Host", device: str) -> None:
        """Close a link."""
        ...

    def fetch(self, host: "Host", effect: events.FetchOrigin) -> None:
        """Ask the origin."""
        ...

    def pass_on(self, host: "Host", player: Player) -> None:
        """A player asks the origin by itself."""
        ...

    def hand_over(self, host: "Host", player: Player, fetch: int) -> None:
        """A running fetch becomes a player's."""
        ...

    def announce(self, host: "Host") -> None:
        """Streams watched, or whether the host serves, changed."""
        ...

    def served(self, host: "Host", served: events.Served) -> None:
        """A segment reached a player."""
        ...

    def condition(self, host: "Host", code: str, detail: str) -> None:
        """Something is to be cured."""
        ...


class Host:
    """A machine of the office."""

    __slots__ = (
        "armed_at",
        "around",
        "asked_at",
        "contact",
        "device",
        "dialling",
        "fetches",
        "idle_wakes",
        "isolated",
        "life",
        "node",
        "number",
        "pace_kbps",
        "player",
        "pollutes",
        "reachable",
        "seen_bytes",
        "serves",
        "streams",
        "up_bytes",
        "uplink",
        "viewer",
        "wires",
    )

    def __init__(self, around: Around, number: int, contact: Contact, uplink: NetworkCard) -> None:
        self.around = around
        self.number = number
        self.contact = contact
        self.device = contact.device
        self.uplink = uplink
        self.node: Node | None = None
        self.player: Player | None = None
        self.viewer = 0
        """The number under which the node knows the player's present request."""
        self.life = 0
        """Counts starts: what was on its way to an earlier life is lost."""
        self.reachable = True
        self.wires: dict[str, Wire] = {}
        """Open links by device; each is the direction away from here."""
        self.dialling: set[str] = set()
        self.fetches: dict[int, Flow] = {}
        self.streams: tuple[str, ...] = ()
        self.serves = True
        self.isolated = False
        self.pollutes = False
        self.armed_at: Instant | None = None
        self.idle_wakes = 0
        self.seen_bytes = 0
        self.asked_at = 0.0
        self.pace_kbps = 0
        """Of the answer to the player's present request."""
        self.up_bytes = 0

    # ---- events in

    def feed(self, event: events.Event) -> None:
        """Something happened."""
        node = self.node
        if node is None:
            return
        for effect in node.handle(event, self.around.clock.now):
            _DO[type(effect)](self, effect)
        self._arm()

    def received(self, device: str, messages: list[PeerMessage]) -> None:
        """Messages arrived together."""
        node = self.node
        if node is None:
            return
        now = self.around.clock.now
        for message in messages:
            for effect in node.handle(events.Received(device, message), now):
                _DO[type(effect)](self, effect)
            if device not in self.wires:
                break
        self._arm()

    def _arm(self) -> None:
        node = self.node
        if node is None:
            return
        at = node.wake_at()
        if at is None:
            return
        armed_at = self.armed_at
        if armed_at is None or at < armed_at:
            clock = self.around.clock
            self.armed_at = at = max(at, clock.now)
            clock.at(at, self._wake, at, self.life)

    def _wake(self, at: Instant, life: int) -> None:
        node = self.node
        if node is None or self.armed_at != at or self.life != life:
            return
        self.armed_at = None
        now = self.around.clock.now
        due = node.wake_at()
        if due is not None and due <= now:
            for effect in node.wake(now):
                _DO[type(effect)](self, effect)
            again = node.wake_at()
            self.idle_wakes = self.idle_wakes + 1 if again is not None and again <= now else 0
            if self.idle_wakes > IDLE_WAKES_MAX:
                raise Impossible(f"{self.device} wants to be woken again and again at {now}: {node.downloading()}")
        self._arm()

    # ---- the player

    def ask(self, player: Player, segment: LiveSegment) -> None:
        """The player's request."""
        clock = self.around.clock
        if self.node is None or player is not self.player:
            return
        segment.wanted += 1
        self.viewer += 1
        self.seen_bytes = 0
        self.asked_at, self.pace_kbps = clock.now, 0
        self.feed(
            events.Wanted(
                viewer=self.viewer,
                stream=STREAM,
                rendition=segment.rendition,
                key=segment.key,
                number=segment.number,
                duration_s=self.player_segment_s(),
                live=True,
                resource_range=None,
                origin=values.OriginRequest(segment.url, ()),
                utc=clock.now + UTC_MINUS_NOW,
                best_kbps=player.best_kbps,
            )
        )

    def player_segment_s(self) -> float:
        """Seconds of a segment."""
        assert self.player is not None
        return self.player.segment_s

    def _waits(self, viewer: int) -> Player | None:
        player = self.player
        return player if player is not None and viewer == self.viewer and player.waiting_for is not None else None

    # ---- effects

    def _send(self, effect: events.Send) -> None:
        wire = self.wires.get(effect.device)
        if wire is None:
            return
        around, message = self.around, effect.message
        frames = around.frames
        kind = type(message)
        name = kind.__name__
        frames[name] = frames.get(name, 0) + 1
        if kind is Piece:
            assert isinstance(message, Piece)
            size = len(message.data) + _FRAME_BYTES
            self.up_bytes += size
            if self.pollutes:
                message = msgspec.structs.replace(message, data=bytes(len(message.data)))
            self.uplink.send(wire, message, size, bulk=True)
            return
        body = pack(message)
        if around.strict is not None:
            message = around.strict(message)
        around.control_bytes += len(body) + 4
        self.uplink.send(wire, message, len(body) + 4, bulk=False)

    def _answer(self, effect: events.BeginAnswer) -> None:
        if self._waits(effect.viewer) is not None:
            self.pace_kbps = effect.pace_kbps

    def _deliver(self, effect: events.Deliver) -> None:
        player = self._waits(effect.viewer)
        if player is None:
            return
        segment = player.waiting_for
        assert segment is not None
        at, size = self.seen_bytes, len(effect.data)
        if effect.data != segment.body[at : at + size]:
            raise Impossible(f"{self.device} gave its player wrong bytes of segment {segment.number} at {at}")
        self.seen_bytes = player.got_bytes = at + size

    def _finish(self, effect: events.Finish) -> None:
        player = self._waits(effect.viewer)
        if player is None or self.node is None:
            return
        segment = player.waiting_for
        assert segment is not None
        if self.seen_bytes != len(segment.body):
            raise Impossible(f"{self.device} gave its player {self.seen_bytes} of {len(segment.body)} bytes")
        stored = self.node.cache.peek(segment.key)
        if stored is not None and stored.body is not segment.body:
            # every node joins its pieces to a body of its own: keep one for all, memory is what limits a site's size
            self.node.cache.loaded(replace(stored, body=segment.body))
        clock = self.around.clock
        due = Pace(self.asked_at, self.pace_kbps).due(self.seen_bytes)
        if due > clock.now:
            clock.at(due, self._finished, player, effect.viewer)
        else:
            player.finished()

    def _finished(self, player: Player, viewer: int) -> None:
        if self._waits(viewer) is player:
            player.finished()

    def _abort(self, effect: events.Abort | events.AnswerStatus) -> None:
        if (player := self._waits(effect.viewer)) is not None:
            player.broken()

    def _pass_on(self, effect: events.PassOn) -> None:
        if (player := self._waits(effect.viewer)) is not None:
            self.around.pass_on(self, player)

    def _hand_over(self, effect: events.HandOver) -> None:
        if (player := self._waits(effect.viewer)) is not None:
            self.around.hand_over(self, player, effect.fetch)

    def _fetch(self, effect: events.FetchOrigin) -> None:
        self.around.fetch(self, effect)

    def _abort_origin(self, effect: events.AbortOrigin) -> None:
        flow = self.fetches.pop(effect.fetch, None)
        if flow is not None:
            flow.cancel()

    def _dial(self, effect: events.Dial) -> None:
        self.around.dial(self, effect.contact)

    def _hang_up(self, effect: events.HangUp) -> None:
        self.around.hang_up(self, effect.device)

    def _announce(self, effect: events.AnnounceStreams) -> None:
        self.streams, self.serves, self.isolated = effect.streams, effect.serves, effect.isolated
        self.around.announce(self)

    def _served(self, effect: events.Served) -> None:
        self.around.served(self, effect)

    def _condition(self, effect: events.RaiseCondition) -> None:
        self.around.condition(self, effect.code, effect.detail)

    def _nothing(self, _: events.Effect) -> None:
        """Needs no doing here."""


_DO: dict[type[Any], Callable[[Host, Any], None]] = {
    events.BeginAnswer: Host._answer,
    events.Deliver: Host._deliver,
    events.Finish: Host._finish,
    events.Abort: Host._abort,
    events.PassOn: Host._pass_on,
    events.HandOver: Host._hand_over,
    events.AnswerStatus: Host._abort,
    events.FetchOrigin: Host._fetch,
    events.AbortOrigin: Host._abort_origin,
    events.Dial: Host._dial,
    events.HangUp: Host._hang_up,
    events.Send: Host._send,
    events.AnnounceStreams: Host._announce,
    events.Save: Host._nothing,
    events.Load: Host._nothing,
    events.Erase: Host._nothing,
    events.RaiseCondition: Host._condition,
    events.ClearCondition: Host._nothing,
    events.Served: Host._served,
}
