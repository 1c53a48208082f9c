"""What two agents say at the beginning of a link and to keep it up, the same whatever carries it; no socket, no clock.

    greeting ──Hello of the proven device──► open ──Bye──► over
        └──Bye, fault, other protocol────────────────────► over

    Handshake(tenant, device)     of one link, on this side
        take(message, now_s)     one of the link's own messages -> what its carrier does
        ping(now_s)              the next Ping to send; the Pong measures `rtt_ms`
        passes_over()            a message that only a later release knows
    OWN                      the link's own messages; all others are the node's, once the link is open

The carriers are io/tls_links/connection (TLS) and io/webrtc/channel (WebRTC). Theirs is how bytes become messages, when
to ping, how long silence may last, and how a link ends. Both tell an `Owner`, which for either is a hub
(io/tls_links/hub, io/webrtc/hub).
"""

from dataclasses import dataclass
from typing import Protocol

from ecdn_proxy.wire.faults import PeerMisbehaved
from ecdn_proxy.wire.peer import Bye, Hello, PeerMessage, Ping, Pong
from ecdn_proxy.wire.version import PROTOCOL

OWN = frozenset({Hello, Ping, Pong, Bye})

_RTT_WEIGHT = 0.25
"""Of a new sample beside all before it."""


class Owner[L](Protocol):
    """Whoever opens links and hears of them; `L` is what carries one."""

    def hello(self) -> Hello:
        """What we say of ourselves now."""
        ...

    def greeted(self, link: L, hello: Hello, /) -> None:
        """The other end's Hello is good; the link is open."""
        ...

    def received(self, link: L, message: PeerMessage, /) -> None:
        """A message on an open link."""
        ...

    def passed_over(self, link: L, tag: int, /) -> None:
        """The first message that this release does not know; the further ones are only counted."""
        ...

    def drained(self, link: L, /) -> None:
        """A link that was full can take more."""
        ...

    def ended(self, link: L, end: "LinkEnd", /) -> None:
        """The link is closed for use."""
        ...


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """How a link ended."""

    why: str
    misbehaved: bool = False


class Handshake:
    """One side's; `device` is whom the certificate or the signature proves, "" until it is known."""

    def __init__(self, tenant: str, device: str = "") -> None:
        self._tenant = tenant
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

    def take(self, message: PeerMessage, now_s: float) -> Hello | Pong | LinkEnd | None:
        """What to do about one of `OWN`, and about any message before a good Hello.

        Hello: it is good, open the link; Pong: send it; End: end the link; None: nothing.

        Raises:
            PeerMisbehaved: nobody who keeps to the protocol says this, or not now.
        """
        match message:
            case Bye(why):
                return LinkEnd(why or "the other end said Bye")
            case _ if self.heard is None:
                return self._greet(message)
            case Ping(number):
                return Pong(number)
            case Pong(number):
                self._answered(number, now_s)
            case Hello():
                raise PeerMisbehaved("a second Hello on one link")
        return None

    def ping(self, now_s: float) -> Ping:
        """The next Ping."""
        self._number = (self._number + 1) % 2**32
        self._pinged_s = now_s
        self.unanswered += 1
        return Ping(self._number)

    def passes_over(self) -> bool:
        """Count a message that only a later release knows; whether it is the first, of which the owner is told."""
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

    def _answered(self, number: int, now_s: float) -> None:
        self.unanswered = 0
        if number != self._number or self._pinged_s is None:
            return
        sample_ms = (now_s - self._pinged_s) * 1_000
        self._pinged_s = None
        self.rtt_ms = self.rtt_ms + _RTT_WEIGHT * (sample_ms - self.rtt_ms) if self._measured else sample_ms
        self._measured = True
