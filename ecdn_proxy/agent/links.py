"""All links of this agent: TLS where TCP reaches, WebRTC where it does not; to the node they look alike.

    Links(ourselves, listen, contexts, networks, consumer, webrtc)
        start() close()                    dial(contact)  hang_up(device, why)  hang_up_all(why)
        send(device, message)              is_full(device)
        set_streams(streams, serves)       set_contexts(contexts)  set_identity(identity)      stats()  standing()
        switchboard(connected)             heard(message)
        moved(addresses, link)             confine()
    consumer    LinkConsumer: hears of links, and gets what other nodes say from the connections themselves

Two machines decide and this file performs: core/connect/dialer says which kind is dialled when, core/connect/handover
says which of the connections to a device carries its link. Connections come from io/tls_links/hub and io/webrtc/hub.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, assert_never

from ecdn_proxy.core.connect import dialer, handover
from ecdn_proxy.core.connect.dialer import Dialer, Transport
from ecdn_proxy.core.connect.handover import Handover
from ecdn_proxy.io.handshake import LinkEnd, Ourselves
from ecdn_proxy.io.identity import Identity
from ecdn_proxy.io.link_connection import ConnectionKind, LinkConnection, LinkStats, MessageConsumer
from ecdn_proxy.io.tls_links.contexts import Contexts
from ecdn_proxy.io.tls_links.hub import TlsHub
from ecdn_proxy.io.tls_links.sockets import Networks, allowed
from ecdn_proxy.io.webrtc.engine import EngineName
from ecdn_proxy.sansio.driver import Driver
from ecdn_proxy.wire.peer import Contact, Hello, LinkKind, PeerMessage, Watching
from ecdn_proxy.wire.signalling import Relayed, Undeliverable

if TYPE_CHECKING:
    from ecdn_proxy.io.webrtc.hub import WebrtcHub


class LinkConsumer(MessageConsumer, Protocol):
    """Whoever has a use for links; told on the event loop, never awaited."""

    def link_opened(
        self, contact: Contact, kind: ConnectionKind, streams: tuple[str, ...], serves: bool, rtt_ms: float, /
    ) -> None:
        """A link stands, or goes on over a connection of another kind.

        `contact` is how the other agent may be dialled, `streams` what is watched there, `serves` whether it may be
        asked for segments.
        """
        ...

    def link_closed(self, device: str, why: str, misbehaved: bool, /) -> None:
        """A link has ended, or a dial came to nothing, or an agent that dialled this one broke the protocol."""
        ...

    def link_ready(self, device: str, /) -> None:
        """A link that was full can take more."""
        ...

    def connection_refused(self, address: str, why: str, /) -> None:
        """Somebody at this address connected and was turned away; "" if no connection could be accepted."""
        ...

    def offer_forged(self, device: str, why: str, /) -> None:
        """Somebody between changed a WebRTC description in this device's name, or used one again."""
        ...

    def out_of_reach(self, device: str, why: str, /) -> None:
        """Neither TCP nor WebRTC reaches this device."""
        ...


@dataclass(frozen=True, slots=True)
class Webrtc:
    """What WebRTC links need beyond TLS ones."""

    identity: Identity
    say: Callable[[Relayed], bool]
    """Gives the coordinator a message; False when it is away."""
    utc: Callable[[], float]
    stun_servers: tuple[str, ...] = ()
    engine: EngineName = "aiortc"


@dataclass(slots=True)
class _Known:
    """A connection that has begun; the rest is known once it is open."""

    connection: LinkConnection
    contact: Contact | None = None
    hello: Hello | None = None


@dataclass(slots=True)
class _Link:
    """A link that the node knows."""

    kind: ConnectionKind
    carrier: LinkConnection | None
    """None while the other end has moved to a connection that is not open here yet."""


class Links:
    """All links of this agent; belongs to one event loop."""

    def __init__(
        self,
        ourselves: Ourselves,
        listen: tuple[str, int],
        contexts: Contexts,
        networks: Networks,
        consumer: LinkConsumer,
        webrtc: Webrtc | None,
    ) -> None:
        self._consumer = consumer
        self._ourselves = ourselves
        self._networks = networks
        self._webrtc = webrtc
        self._tls_hub = TlsHub(ourselves, listen, contexts, networks, self, consumer)
        self._webrtc_hub: WebrtcHub | None = None
        """Made when it is first needed: aiortc costs 30 MB, and most offices do without."""
        self._connections: dict[int, _Known] = {}
        self._open: dict[tuple[str, ConnectionKind], int] = {}
        """How many open connections of a kind there are to a device."""
        self._links: dict[str, _Link] = {}
        self._dialling = Dialer(webrtc=webrtc is not None, network=" ".join(ourselves.addresses))
        self._dialler: Driver[dialer.DialerEvent, dialer.DialerEffect] = Driver(
            self._dialling, self._perform_dialling, self._failed
        )
        self._mover: Driver[handover.HandoverEvent, handover.HandoverEffect] = Driver(
            Handover(ourselves.device), self._perform_handover, self._failed
        )
        self._closed = False

    @property
    def port(self) -> int:
        """Where TLS links are accepted; the real one after `start`."""
        return self._tls_hub.port

    async def start(self) -> None:
        """Listen.

        Raises:
            Unavailable: the address cannot be listened on.
        """
        await self._tls_hub.start()

    async def close(self) -> None:
        """Say Bye everywhere, close every socket, and wait until all are gone."""
        self._closed = True
        self._dialler.close()
        closing = [self._tls_hub.close()] + ([] if self._webrtc_hub is None else [self._webrtc_hub.close()])
        await asyncio.gather(*closing)
        self._mover.close()

    # ---- what the node wants

    def dial(self, contact: Contact) -> None:
        """Open a link, by whichever way stands first; ends in `link_opened` or `link_closed`."""
        if not self._closed:
            self._dialler.feed(dialer.LinkWanted(contact))

    def hang_up(self, device: str, why: str) -> None:
        """Close a link; `link_closed` is told."""
        self._mover.feed(handover.HangUpWanted(device, why))

    def hang_up_all(self, why: str) -> None:
        """Close every link; `link_closed` is told of each."""
        for device in list(self._links):
            self.hang_up(device, why)

    def send(self, device: str, message: PeerMessage) -> None:
        """Send one message; it is dropped when the link has closed meanwhile."""
        link = self._links.get(device)
        if link is None:
            return
        if link.carrier is not None:
            link.carrier.send(message)
        else:
            self._mover.feed(handover.MessageHeld(device, message))

    def is_full(self, device: str) -> bool:
        """Whether a link has more waiting than it should; `link_ready` follows."""
        link = self._links.get(device)
        return link is not None and link.carrier is not None and link.carrier.full

    def set_streams(self, streams: tuple[str, ...], serves: bool) -> None:
        """What Hello says from now on; open links are told."""
        us = self._ourselves
        if (streams, serves) == (us.streams, us.serves):
            return
        us.streams, us.serves = streams, serves
        for device in list(self._links):
            self.send(device, Watching(streams, serves))

    def set_contexts(self, contexts: Contexts) -> None:
        """A renewed certificate, for TLS links opened from now on."""
        self._tls_hub.set_contexts(contexts)

    def set_identity(self, identity: Identity) -> None:
        """A renewed certificate, for WebRTC links opened from now on."""
        if self._webrtc is not None:
            self._webrtc = replace(self._webrtc, identity=identity)
        if self._webrtc_hub is not None:
            self._webrtc_hub.set_identity(identity)

    def stats(self) -> Mapping[str, LinkStats]:
        """Links by device, each with its kind and the reason for it; without those that are just moving."""
        return {
            device: replace(link.carrier.statistics(), why=self._dialling.why(device))
            for device, link in self._links.items()
            if link.carrier is not None
        }

    def standing(self) -> tuple[int, int]:
        """How many links TLS carries, and WebRTC."""
        kinds = [link.carrier.kind for link in self._links.values() if link.carrier is not None]
        return kinds.count("lan"), kinds.count("webrtc")

    # ---- the machine

    def moved(self, addresses: tuple[str, ...], link: LinkKind) -> None:
        """This machine has other addresses: what is known of who is reached how begins anew."""
        self._ourselves.addresses, self._ourselves.link = addresses, link
        self._dialler.feed(dialer.NetworkChanged(" ".join(addresses)))

    def confine(self) -> None:
        """The allowed networks are others: end what lies outside."""
        through_nat = self._webrtc is not None and bool(self._webrtc.stun_servers)
        for device, link in self.stats().items():
            if (
                link.address
                and not allowed(link.address, self._networks)
                and not (through_nat and link.kind == "webrtc")
            ):
                self.hang_up(device, f"{link.address} is no longer in a network that this agent shares in")

    # ---- the coordinator

    def switchboard(self, connected: bool) -> None:
        """The coordinator came or went."""
        self._dialler.feed(dialer.SignallingChanged(connected))

    def heard(self, message: Relayed | Undeliverable) -> None:
        """Another agent's message, through the coordinator."""
        if self._webrtc is not None and not self._closed:
            self._hub_for(self._webrtc).heard(message)

    # ---- what core/connect/dialer decides

    def _perform_dialling(self, effect: dialer.DialerEffect) -> None:
        match effect:
            case dialer.StartAttempt(contact, kind):
                self._start_attempt(contact, kind)
            case dialer.EndAttempt(device, _, why):
                if self._webrtc_hub is not None:
                    self._webrtc_hub.end_attempt(device, why)
            case dialer.Unreachable(device, why, misbehaved, every_way):
                if every_way:
                    self._consumer.out_of_reach(device, why)
                self._consumer.link_closed(device, why, misbehaved)
            case _ as never:
                assert_never(never)

    def _start_attempt(self, contact: Contact, kind: Transport) -> None:
        if kind == "webrtc" and self._webrtc is not None:
            self._hub_for(self._webrtc).dial(contact)
        else:
            self._tls_hub.dial(contact)

    def _hub_for(self, webrtc: Webrtc) -> "WebrtcHub":
        if self._webrtc_hub is None:
            from ecdn_proxy.io.webrtc.hub import WebrtcHub  # noqa: PLC0415 - see `_webrtc_hub`

            self._webrtc_hub = WebrtcHub(
                self._ourselves,
                webrtc.identity,
                self._networks,
                self,
                self._consumer,
                webrtc.say,
                webrtc.utc,
                webrtc.stun_servers,
                webrtc.engine,
            )
        return self._webrtc_hub

    # ---- what core/connect/handover decides

    def _perform_handover(self, effect: handover.HandoverEffect) -> None:
        match effect:
            case handover.OpenLink(device, number):
                self._links[device] = _Link(self._connections[number].connection.kind, None)
                self._carry(device, number, (), again=True)
            case handover.MoveLink(device, number, held):
                moves = self._connections[number].connection.kind != self._links[device].kind
                self._carry(device, number, held, again=moves)
                self._consumer.link_ready(device)  # what was full is not this connection
            case handover.HoldMessages(device):
                self._links[device].carrier = None
            case (
                handover.SayParting(number)
                | handover.HoldReading(number)
                | handover.ResumeReading(number)
                | handover.CloseConnection(number)
            ) if number not in self._connections:
                pass  # it has ended meanwhile
            case handover.SayParting(number):
                self._connections[number].connection.leave()
            case handover.HoldReading(number):
                self._connections[number].connection.hold_reading()
            case handover.ResumeReading(number):
                self._connections[number].connection.resume_reading()
            case handover.CloseConnection(number, why, misbehaved):
                self._connections[number].connection.close(why, misbehaved=misbehaved)
            case handover.CloseLink(device, why, misbehaved):
                del self._links[device]
                self._consumer.link_closed(device, why, misbehaved)
            case _ as never:
                assert_never(never)

    def _carry(self, device: str, number: int, held: tuple[PeerMessage, ...], *, again: bool) -> None:
        """Say everything on this connection from now on; the node is told if it does not know this kind of link yet."""
        known, link, us = self._connections[number], self._links[device], self._ourselves
        connection, said = known.connection, known.connection.said
        link.kind, link.carrier = connection.kind, connection
        if said is not None and (said.streams, said.serves) != (us.streams, us.serves):
            connection.send(Watching(us.streams, us.serves))
        for message in held:
            connection.send(message)
        if again and known.contact is not None and known.hello is not None:
            hello, rtt_ms = known.hello, connection.handshake.rtt_ms
            self._consumer.link_opened(known.contact, connection.kind, hello.streams, hello.serves, rtt_ms)

    # ---- what the hubs tell (TlsLinkOwner, WebrtcLinkOwner)

    def began(self, connection: LinkConnection) -> None:
        """It is proven who is at the other end, and our Hello is said."""
        self._connections[connection.number] = _Known(connection)
        kind, dialled = connection.kind, connection.dialled
        self._mover.feed(handover.ConnectionBegun(connection.number, connection.device, kind, dialled))

    def greeted(self, connection: LinkConnection, contact: Contact, hello: Hello) -> None:
        """A connection is open."""
        known = self._connections[connection.number]
        known.contact, known.hello = contact, hello
        which = (connection.device, connection.kind)
        self._open[which] = self._open.get(which, 0) + 1
        if self._open[which] == 1:
            self._dialler.feed(dialer.AttemptOpened(connection.device, connection.kind, contact))
        self._mover.feed(handover.ConnectionGreeted(connection.number))

    def drained(self, connection: LinkConnection) -> None:
        """A connection that was full can take more."""
        link = self._links.get(connection.device)
        if link is not None and link.carrier is connection:
            self._consumer.link_ready(connection.device)

    def ended(self, connection: LinkConnection, end: LinkEnd) -> None:
        """A connection is over."""
        known = self._connections.pop(connection.number)
        device, which = connection.device, (connection.device, connection.kind)
        if known.contact is not None:
            self._open[which] -= 1
            if not self._open[which]:
                del self._open[which]
                self._dialler.feed(dialer.TransportLost(device, connection.kind))
        elif end.misbehaved and device not in self._links and not connection.dialled:
            self._consumer.link_closed(device, end.why, True)
        self._mover.feed(
            handover.ConnectionEnded(connection.number, end.why, end.misbehaved, end.last_word, connection.heard)
        )

    def dial_failed(self, kind: ConnectionKind, device: str, why: str, misbehaved: bool) -> None:
        """A dial came to nothing."""
        self._dialler.feed(dialer.AttemptFailed(device, kind, why, misbehaved))

    def refused(self, address: str, why: str) -> None:
        """Somebody was turned away."""
        self._consumer.connection_refused(address, why)

    def called(self, contact: Contact) -> None:
        """A higher device id wants this agent to dial it."""
        self._dialler.feed(dialer.LinkCalled(contact))

    def offer_forged(self, device: str, why: str) -> None:
        """A WebRTC description was not what its device had signed."""
        self._consumer.offer_forged(device, why)

    def _failed(self, error: Exception) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "a link's machine failed", "exception": error})
