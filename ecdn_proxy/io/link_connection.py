"""One connection to another agent, whatever carries its bytes: greeting, its own messages, leaving and its end.

    greeting ──Hello of the proven device, ours said──► open ──Bye, fault, silence, loss──► ended
        │                                                 └──leave: parting Bye said, reading on──┘
        └──Bye, fault, other protocol, no Hello in time───────────────────────────────────► ended

    LinkConnection      send close leave hold_reading resume_reading statistics
                        io/tls_links/connection (TLS) and io/webrtc/channel (WebRTC) are the two kinds
    ConnectionOwner     made the connection and hears what becomes of it: a hub
    LinkOwner           has the links that connections carry, and hears of them from both hubs: agent/links
    MessageConsumer     gets what the other end's node says, from the connection itself: a piece passes nobody between

Which of several connections to one device carries the link is decided in core/connect/handover.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import ClassVar, Literal, Protocol

from ecdn_proxy.io.clock import monotonic
from ecdn_proxy.io.handshake import OWN, Handshake, LinkEnd
from ecdn_proxy.sansio.machine import impossible
from ecdn_proxy.wire.faults import UnknownMessage
from ecdn_proxy.wire.ids import sentence
from ecdn_proxy.wire.peer import Bye, Contact, Hello, PeerMessage, Pong

ConnectionKind = Literal["lan", "webrtc"]

_numbers = count(1)


class MessageConsumer(Protocol):
    """Whoever is told what other agents' nodes say."""

    def link_received(self, device: str, message: PeerMessage, /) -> None:
        """A message on an open link."""
        ...

    def link_passed_over(self, device: str, version: str, tag: int, /) -> None:
        """The first message on a connection that only a later release knows; the further ones are counted.

        `version` is the other end's release, "" before its Hello; `tag` is the message's number in the protocol.
        """
        ...


class ConnectionOwner(Protocol):
    """Whoever made a connection and hears what becomes of it."""

    def hello(self) -> Hello:
        """What this agent says of itself now."""
        ...

    def began(self, connection: "LinkConnection", /) -> None:
        """It is proven who is at the other end, and our Hello is said."""
        ...

    def greeted(self, connection: "LinkConnection", hello: Hello, /) -> None:
        """The other end's Hello is good; the connection is open."""
        ...

    def drained(self, connection: "LinkConnection", /) -> None:
        """A connection that was full can take more."""
        ...

    def ended(self, connection: "LinkConnection", end: LinkEnd, /) -> None:
        """The connection is closed for use."""
        ...


class LinkOwner(Protocol):
    """Whoever has the links that connections carry."""

    def began(self, connection: "LinkConnection", /) -> None:
        """It is proven who is at the other end, and our Hello is said."""
        ...

    def greeted(self, connection: "LinkConnection", contact: Contact, hello: Hello, /) -> None:
        """The connection is open, and its hub has room for it; `contact` is how the other agent may be dialled."""
        ...

    def drained(self, connection: "LinkConnection", /) -> None:
        """A connection that was full can take more."""
        ...

    def ended(self, connection: "LinkConnection", end: LinkEnd, /) -> None:
        """A connection that has begun is over."""
        ...

    def dial_failed(self, kind: ConnectionKind, device: str, why: str, misbehaved: bool, /) -> None:
        """A dial of this agent came to nothing."""
        ...


@dataclass(frozen=True, slots=True)
class LinkStats:
    """One link as the status page shows it."""

    address: str
    rtt_ms: float
    bytes_in: int
    bytes_out: int
    dialled: bool
    """This end has dialled; over WebRTC, has made the offer."""
    kind: ConnectionKind = "lan"
    why: str = ""
    """Why it is of this kind."""
    version: str = ""
    """The other end's release."""
    passed_over: int = 0
    """Messages of it that only a later release knows."""


class LinkConnection(ABC):
    """One connection to `device`, which is "" until the other end's certificate is known."""

    kind: ClassVar[ConnectionKind]
    parting: ClassVar[str]
    """The reason in the Bye of a connection that is left for another one; both releases know it by heart."""

    def __init__(
        self, owner: ConnectionOwner, consumer: MessageConsumer, tenant: str, device: str, *, dialled: bool
    ) -> None:
        self._owner = owner
        self._consumer = consumer
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._leaving = False
        self._deliver: Callable[[str, PeerMessage], None] = self._deliver_first
        self.number = next(_numbers)
        self.handshake = Handshake(tenant, device, self.parting)
        self.device = device
        self.dialled = dialled
        self.address = ""
        """The other end's."""
        self.said: Hello | None = None
        """Our Hello, as it was sent."""
        self.settled = asyncio.Event()
        """Set when the connection is open, or will never be."""
        self.open = False
        """The other end's Hello was good; stays so after the end."""
        self.heard = False
        """The other end's node has said something here."""
        self.full = False
        """More waits to be sent than should; the owner is told when it has `drained`."""
        self.end: LinkEnd | None = None
        self.bytes_in = 0
        self.bytes_out = 0

    # ---- what the owner may do

    @abstractmethod
    def send(self, message: PeerMessage) -> None:
        """Send one message; nothing happens when the connection was left or has ended."""

    def close(self, why: str, *, misbehaved: bool = False) -> None:
        """Say Bye and end; an other end that misbehaved hears nothing more."""
        if self.end is None and self.said is not None and not misbehaved:
            self.send(Bye(sentence(why)))
        self._finish(LinkEnd(why, misbehaved), at_once=misbehaved)

    def leave(self) -> None:
        """Say the parting Bye and nothing more, but read on until the other end has said its last word."""
        if self.end is None and not self._leaving:
            self.send(Bye(self.parting))
            self._leaving = True
            self._stop_timer()

    def hold_reading(self) -> None:
        """Read nothing until `resume_reading`, so that what the other end says waits in the sockets."""
        impossible("only a TLS connection has others to wait for: WebRTC ranks lowest")

    def resume_reading(self) -> None:
        """Read again."""
        impossible("only a TLS connection can be held")

    def statistics(self) -> LinkStats:
        """What the status page shows of it."""
        return LinkStats(
            self.address,
            self.handshake.rtt_ms,
            self.bytes_in,
            self.bytes_out,
            self.dialled,
            self.kind,
            version=self.handshake.version,
            passed_over=self.handshake.passed_over,
        )

    # ---- what the two kinds do in their own way

    @abstractmethod
    def _keep_up(self) -> None:
        """The connection opens: begin to look whether the other end lives."""

    @abstractmethod
    def _release(self, *, at_once: bool) -> None:
        """Let go of what is below; unless `at_once`, what was said before still goes out."""

    # ---- what the two kinds have in common

    def _begin(self) -> None:
        """It is proven who is at the other end: say Hello."""
        self.said = self._owner.hello()
        self.send(self.said)
        self._owner.began(self)

    def _take_message(self, message: PeerMessage) -> None:
        if self.open and type(message) not in OWN:
            self._deliver(self.device, message)
            return
        match self.handshake.judge(message, monotonic()):  # uvloop's own time has whole milliseconds only
            case Pong() as pong:
                self.send(pong)
            case Hello() as hello:
                self._keep_up()
                if self.end is None:
                    self.open = True
                    self.settled.set()
                    self._owner.greeted(self, hello)
            case LinkEnd() as end:
                if end.last_word == "parting":
                    self.send(Bye(self.parting))  # unless that was said before: our last word here, too
                self._finish(end, at_once=False)

    def _deliver_first(self, device: str, message: PeerMessage) -> None:
        self.heard = True
        self._deliver = self._consumer.link_received
        self._deliver(device, message)

    def _pass_over(self, unknown: UnknownMessage) -> None:
        if self.handshake.count_passed_over():
            self._consumer.link_passed_over(self.device, self.handshake.version, unknown.tag)

    def _finish(self, end: LinkEnd, *, at_once: bool) -> None:
        """End the connection, the first time only; the owner hears of it before the socket is gone."""
        if self.end is not None:
            return
        self.end = end
        self._stop_timer()
        self.settled.set()
        self._release(at_once=at_once)
        self._owner.ended(self, end)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
