"""What two agents say at the beginning of a link and to keep it up, the same whatever carries it; no socket, no clock.

    greeting ──Hello of the proven device──► open ──Bye──► over
        └──Bye, fault, other protocol────────────────────► over

    Ourselves                     what this agent says of itself: hello() and contact()
    Handshake(tenant, device)     of one connection, on this side
        judge(message, now_s)    one of the connection's own messages -> what to do about it
        ping(now_s)              the next Ping to send; the Pong measures `rtt_ms`
        count_passed_over()      a message that only a later release knows
    OWN                      the connection's own messages; all others are the node's, once the connection is open

io/link_connection has one for each connection. How bytes become messages, when to ping and how long silence may last
is decided by the two kinds of connection (io/tls_links/connection and io/webrtc/channel).
"""

from dataclasses import dataclass
from typing import Literal

from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.peer import Bye, Contact, Hello, LinkKind, PeerMessage, Ping, Pong
from ecdn_proxy.wire.version import PROTOCOL

OWN = frozenset({Hello, Ping, Pong, Bye})
ADDRESSES_MAX = 8
"""How many addresses a Contact names."""

_RTT_WEIGHT = 0.25
"""Of a new sample beside all before it."""


@dataclass(slots=True)
class Ourselves:
    """What this agent says of itself. Its hubs share one object, so that a change counts for all that is said later."""

    device: str
    tenant: str
    version: str
    addresses: tuple[str, ...]
    """Where others may dial it."""
    link: LinkKind = "wired"
    port: int = 0
    """Where it listens; io/tls_links/hub fills in the real one."""
    streams: tuple[str, ...] = ()
    """Which streams are watched here."""
    serves: bool = True
    """Whether others may ask this agent for segments."""

    def contact(self) -> Contact:
        """How others reach this agent."""
        return Contact(self.device, self.addresses[:ADDRESSES_MAX], self.port, self.link)

    def hello(self) -> Hello:
        """The first message of every connection."""
        return Hello(PROTOCOL, self.device, self.tenant, self.version, self.contact(), self.streams, self.serves)


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """How a connection ended."""

    why: str
    misbehaved: bool = False
    last_word: Literal["none", "bye", "parting"] = "none"
    """What the other end said last: nothing that shows that this was all; a Bye; or the Bye with which a link moves to
    another connection (core/connect/handover)."""


class Handshake:
    """One side's view of one connection.

    `device` is whom the certificate or the signature proves, "" until it is known.
    `parting` is the reason that a Bye gives when the link moves to another connection.
    """

    def __init__(self, tenant: str, device: str = "", parting: str = "") -> None:
        self._tenant = tenant
        self._parting = parting
        self._number = 0
        self._pinged_s: float | None = None
        self._measured = False
        self.device = device
        self.heard: Hello | None = None
        """The other end's Hello, once a good one has come."""
        self.rtt_ms = 1.0
        self.unanswered = 0
        """Pings since the last Pong."""
        self.passed_over = 0
        """Messages that only a later release knows."""

    @property
    def version(self) -> str:
        """The other end's release, "" before its Hello."""
        return "" if self.heard is None else self.heard.version

    def judge(self, message: PeerMessage, now_s: float) -> Hello | Pong | LinkEnd | None:
        """What to do about one of `OWN`, and about any message before a good Hello.

        A Hello is good: open the connection. A Pong: send it. A LinkEnd: end the connection. None: do nothing.

        Raises:
            PeerMisbehaved: nobody who keeps to the protocol says this, or not now.
        """
        match message:
            case Bye(why) if why and why == self._parting:
                return LinkEnd(why, last_word="parting")
            case Bye(why):
                return LinkEnd(why or "the other end said Bye", last_word="bye")
            case _ if self.heard is None:
                return self._greet(message)
            case Ping(number):
                return Pong(number)
            case Pong(number):
                self._pong_came(number, now_s)
            case Hello():
                raise PeerMisbehaved("a second Hello on one link")
        return None

    def ping(self, now_s: float) -> Ping:
        """The next Ping."""
        self._number = (self._number + 1) % 2**32
        self._pinged_s = now_s
        self.unanswered += 1
        return Ping(self._number)

    def count_passed_over(self) -> bool:
        """Count a message that only a later release knows; whether it is the first on this connection."""
        self.passed_over += 1
        return self.passed_over == 1

    def _greet(self, message: PeerMessage) -> Hello | LinkEnd:
        if not isinstance(message, Hello):
            raise PeerMisbehaved(f"a {type(message).__name__} before Hello")
        if message.device != self.device or message.contact.device != self.device:
            raise PeerMisbehaved("a Hello in the name of another device")
        if message.tenant != self._tenant:
            raise PeerMisbehaved("a Hello in the name of another tenant")
        if message.protocol != PROTOCOL:
            return LinkEnd(f"it speaks protocol {message.protocol}, this agent {PROTOCOL}")
        self.heard = message
        return message

    def _pong_came(self, number: int, now_s: float) -> None:
        self.unanswered = 0
        if number != self._number or self._pinged_s is None:
            return
        sample_ms = (now_s - self._pinged_s) * 1_000
        self._pinged_s = None
        self.rtt_ms = self.rtt_ms + _RTT_WEIGHT * (sample_ms - self.rtt_ms) if self._measured else sample_ms
        self._measured = True
