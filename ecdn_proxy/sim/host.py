"""One machine under virtual time: the shipped node, and the one place that performs the node's effects.

    Host.feed(event)          the node takes an event, its effects are performed, its alarm is set
    Host.ask(wanted, viewer)  a viewer asks for a segment; what comes of it goes to `viewer`
    Host.perform(effect)      one match, as `ecdn_proxy.agent.performer` has it with sockets

The simulator's offices (`ecdn_proxy.sim.office`) and the world of the core's tests (`tests.core.world`) are made of
hosts. What lies between hosts comes from outside: links from a `Lan`, all else from `HostSurroundings`.
"""

from collections.abc import Callable
from typing import Protocol, assert_never

from ecdn_proxy.core import events
from ecdn_proxy.core.node import Node
from ecdn_proxy.sansio.machine import Impossible, Instant
from ecdn_proxy.sim.lan import Lan
from ecdn_proxy.sim.links import Flow, NetworkCard, Wire
from ecdn_proxy.sim.virtual_clock import VirtualClock
from ecdn_proxy.wire.codec import pack
from ecdn_proxy.wire.peer import Contact, PeerMessage, Piece, read_peer_message

IDLE_WAKES_MAX = 2_000
"""A node that wants to be woken more often than this at one instant makes no progress."""
FRAME_BYTES = 24
"""The frame around a piece's bytes on a link."""

Tamper = Callable[[str, PeerMessage], list[PeerMessage]]
"""(device, message) -> what really leaves the host in place of this message to this device."""


class HostViewer(Protocol):
    """A viewer that has asked for a segment: what the node does with its request is told here.

    `answer_finished`, `answer_failed`, `passed_on` and `handed_over` end the request: no other call follows.
    """

    def answer_begins(self, effect: events.BeginAnswer) -> None:
        """The answer's head is there."""
        ...

    def bytes_came(self, data: bytes | memoryview) -> None:
        """The next bytes of the segment are there."""
        ...

    def answer_finished(self) -> None:
        """The segment is whole."""
        ...

    def answer_failed(self, status: int, why: str) -> None:
        """The answer was broken off (status 0), or the viewer is told the status that the origin gave to others."""
        ...

    def passed_on(self, why: str) -> None:
        """The viewer is to ask the origin by itself."""
        ...

    def handed_over(self, fetch: int, why: str) -> None:
        """A running fetch of the node (in `Host.fetches`) is the viewer's own from now on."""
        ...


class HostSurroundings(Protocol):
    """What hosts stand in: an office of the simulator, or the world of a test."""

    clock: VirtualClock
    lan: Lan

    def fetch(self, host: "Host", effect: events.FetchOrigin) -> None:
        """Ask the origin; the running fetch stands in `Host.fetches`."""
        ...

    def announce(self, host: "Host") -> None:
        """Make known that the host's `streams`, `serves` or `isolated` changed."""
        ...

    def served(self, host: "Host", served: events.Served) -> None:
        """Note that a segment reached a viewer of the host."""
        ...

    def condition(self, host: "Host", code: str, detail: str) -> None:
        """Note a condition that the host's node raised."""
        ...


class Host:
    """A machine with its node, its network card, its links and the viewers that wait there.

    Args:
        surroundings: what the host stands in.
        number: the host's own, in the order of the office.
        contact: how others reach the host.
        uplink: the host's network card.
        checked: after every event the node's invariants are checked, and every message is read as its receiver would
            read it; takes several times as long.
    """

    __slots__ = (
        "armed_at",
        "asked",
        "checked",
        "contact",
        "device",
        "dialling",
        "fetches",
        "idle_wakes",
        "isolated",
        "life",
        "node",
        "number",
        "reachable",
        "serves",
        "streams",
        "surroundings",
        "tamper",
        "up_bytes",
        "uplink",
        "viewers",
        "wires",
    )

    def __init__(
        self,
        surroundings: HostSurroundings,
        number: int,
        contact: Contact,
        uplink: NetworkCard,
        *,
        checked: bool = False,
    ) -> None:
        self.surroundings = surroundings
        self.number = number
        self.contact = contact
        self.device = contact.device
        self.uplink = uplink
        self.checked = checked
        self.node: Node | None = None
        """None while the machine is off."""
        self.life = 0
        """Counts starts and stops: what was on its way to an earlier life is lost."""
        self.reachable = True
        """Whether a dial to the machine fails at once while it is off (the port is closed), or is not answered."""
        self.wires: dict[str, Wire] = {}
        """Open links by device; each is the direction away from here."""
        self.dialling: set[str] = set()
        self.fetches: dict[int, Flow] = {}
        """Running fetches, by the node's number; of a viewer that was passed on, by the viewer's number, negative."""
        self.viewers: dict[int, HostViewer] = {}
        """Whose requests have not ended, by the number in their `Wanted`."""
        self.asked = 0
        """How many viewers have asked here, in all lives."""
        self.streams: tuple[str, ...] = ()
        self.serves = True
        self.isolated = False
        self.tamper: Tamper | None = None
        """What changes messages on their way out: a polluter's, or a test's."""
        self.armed_at: Instant | None = None
        """When the alarm rings that was set last."""
        self.idle_wakes = 0
        """Wakes in a row after which the node wanted to be woken at the same instant again."""
        self.up_bytes = 0
        """Bytes of pieces sent to others, with their frames."""

    # ---- on and off

    def start(self, node: Node) -> None:
        """The machine is switched on, with this node."""
        self.life += 1
        self.reachable = True
        self.armed_at = None
        self.node = node

    def stop(self, *, reachable: bool = True) -> None:
        """The machine is off, with all that ran on it; `Lan.unplug` ends its links."""
        self.node = None
        self.life += 1
        self.reachable = reachable
        for flow in list(self.fetches.values()):
            flow.cancel()
        self.fetches.clear()
        self.viewers.clear()
        self.dialling.clear()
        self.streams = ()

    # ---- events in

    def feed(self, event: events.Event) -> None:
        """Hand the node an event and perform what it wants done; without effect while the machine is off."""
        node = self.node
        if node is None:
            return
        for effect in node.handle(event, self.surroundings.clock.now):
            self.perform(effect)
        if self.checked:
            node.check()
        self._arm()

    def received(self, device: str, messages: list[PeerMessage]) -> None:
        """Hand the node messages that arrived together; those after one that ended the link are not read."""
        node = self.node
        if node is None:
            return
        now = self.surroundings.clock.now
        for message in messages:
            for effect in node.handle(events.Received(device, message), now):
                self.perform(effect)
            if self.checked:
                node.check()
            if device not in self.wires:
                break
        self._arm()

    def ask(self, wanted: events.Wanted, viewer: HostViewer) -> None:
        """A viewer asks for a segment; `wanted.viewer` is a number that no other viewer of this host has."""
        if self.node is None:
            return
        self.asked += 1
        self.viewers[wanted.viewer] = viewer
        self.feed(wanted)

    def _arm(self) -> None:
        """Set the alarm for the node's next wake; an alarm that rings too early finds nothing due and sets the next."""
        node = self.node
        if node is None:
            return
        at = node.wake_at()
        if at is None:
            return
        armed_at = self.armed_at
        if armed_at is None or at < armed_at:
            clock = self.surroundings.clock
            self.armed_at = at = max(at, clock.now)
            clock.at(at, self._wake, at, self.life)

    def _wake(self, at: Instant, life: int) -> None:
        node = self.node
        if node is None or self.armed_at != at or self.life != life:
            return
        self.armed_at = None
        now = self.surroundings.clock.now
        due = node.wake_at()
        if due is not None and due <= now:
            for effect in node.wake(now):
                self.perform(effect)
            if self.checked:
                node.check()
            again = node.wake_at()
            self.idle_wakes = self.idle_wakes + 1 if again is not None and again <= now else 0
            if self.idle_wakes > IDLE_WAKES_MAX:
                raise Impossible(f"{self.device} wants to be woken again and again at {now}: {node.downloading()}")
        self._arm()

    # ---- effects

    def perform(self, effect: events.Effect) -> None:  # noqa: C901, PLR0912 - the one big match
        """Do what the node wants; the most frequent effects stand first, and are not taken apart by the match (slow).

        Raises:
            KeyError: the effect names a viewer whose request has ended, or never was: a fault of ours.
        """
        match effect:
            case events.Send():
                self._send(effect)
            case events.Deliver():
                self.viewers[effect.viewer].bytes_came(effect.data)
            case events.Finish():
                self.viewers.pop(effect.viewer).answer_finished()
            case events.BeginAnswer():
                self.viewers[effect.viewer].answer_begins(effect)
            case events.Served():
                self.surroundings.served(self, effect)
            case events.Dial(contact):
                self.surroundings.lan.dial(self, contact.device)
            case events.HangUp(device):
                self.surroundings.lan.hang_up(self, device)
            case events.FetchOrigin():
                self.surroundings.fetch(self, effect)
            case events.AbortOrigin(fetch):
                if (flow := self.fetches.pop(fetch, None)) is not None:
                    flow.cancel()
            case events.Abort(viewer, why):
                self.viewers.pop(viewer).answer_failed(0, why)
            case events.AnswerStatus(viewer, status, why):
                self.viewers.pop(viewer).answer_failed(status, why)
            case events.PassOn(viewer, why):
                self.viewers.pop(viewer).passed_on(why)
            case events.HandOver(viewer, fetch, why):
                self.viewers.pop(viewer).handed_over(fetch, why)
            case events.AnnounceStreams(streams, serves, isolated):
                self.streams, self.serves, self.isolated = streams, serves, isolated
                self.surroundings.announce(self)
            case events.RaiseCondition(code, detail):
                self.surroundings.condition(self, code, detail)
            case events.ClearCondition() | events.Save() | events.Load() | events.Erase():
                pass  # nobody counts how long a condition holds, and these machines have no disk
            case _:
                assert_never(effect)

    def _send(self, effect: events.Send) -> None:
        message = effect.message
        wire = self.wires.get(effect.device)
        if wire is None:
            return
        lan = self.surroundings.lan
        lan.count(message)
        if self.checked:
            read = read_peer_message(pack(message))
            if read != message:
                raise Impossible(f"{message!r} is read as {read!r}")
        for one in (message,) if self.tamper is None else self.tamper(effect.device, message):
            if type(one) is Piece:
                size = len(one.data) + FRAME_BYTES
                self.up_bytes += size
                self.uplink.send(wire, one, size, bulk=True)
            else:
                size = len(pack(one)) + 4
                lan.control_bytes += size
                self.uplink.send(wire, one, size, bulk=False)
