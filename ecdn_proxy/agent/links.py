"""All links of this agent: TLS where TCP reaches, WebRTC where it does not; to the node they look like one hub.

    Links(ourselves, listen, contexts, networks, told, webrtc)
        start() close()                    dial(contact)  hang_up(device, why)
        send(device, message)              is_full(device)
        set_streams(streams, serves)       set_contexts(contexts)   set_identity(identity)      stats()
        switchboard(connected)             heard(message)
        moved(addresses, link)             confine()

Which kind is dialled when is `core/connect/dialer`'s decision. This file performs it and moves links: as soon as a TLS
link stands beside a WebRTC one, both sides say everything further over TLS, say Bye over WebRTC as their last word
there, and read TLS only after the other's Bye, so that no message is lost and none overtakes another. The node is told
`opened` again, with the new kind.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ecdn_proxy.core.connect import dialer
from ecdn_proxy.core.connect.dialer import Dialer, Transport
from ecdn_proxy.io.identity import Identity
from ecdn_proxy.io.tls_links.contexts import Contexts
from ecdn_proxy.io.tls_links.hub import LinkEvents, LinkStats, Ourselves, TlsHub
from ecdn_proxy.io.tls_links.sockets import Networks, allowed
from ecdn_proxy.io.webrtc.channel import LEAVE_S, MOVED
from ecdn_proxy.io.webrtc.engine import EngineName
from ecdn_proxy.sansio.driver import Driver
from ecdn_proxy.wire.peer import Contact, LinkKind, PeerMessage
from ecdn_proxy.wire.signalling import Relayed, Undeliverable

if TYPE_CHECKING:
    from ecdn_proxy.io.webrtc.hub import WebrtcHub

HELD_MAX = 1_024
"""Messages kept while a link moves, either way; it takes one round trip."""


@dataclass(frozen=True, slots=True)
class Webrtc:
    """What WebRTC links need beyond TLS ones."""

    identity: Identity
    say: Callable[[Relayed], bool]
    """Gives the coordinator a message; False when it is away."""
    utc: Callable[[], float]
    stun_servers: tuple[str, ...] = ()
    engine: EngineName = "aiortc"
    forged: Callable[[str, str], None] = lambda device, why: None
    """device, why: somebody between changed an offer, or used one again."""
    no_way: Callable[[str, str], None] = lambda device, why: None
    """device, why: neither TCP nor WebRTC reaches it."""


@dataclass(slots=True)
class _Route:
    """What carries the link to one device."""

    kind: Transport | None
    """None only while it moves and TLS does not stand here yet."""
    stands: set[Transport]
    moved: bool = False
    """It was WebRTC before: words may be lost unless that link ends with `MOVED`."""
    holding: bool = False
    """TLS is read once the WebRTC link has ended."""
    ending: bool = False
    held: list[PeerMessage] = field(default_factory=list)
    pending: list[PeerMessage] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None


class Links:
    """See the head of this file; belongs to one event loop."""

    def __init__(
        self,
        ourselves: Ourselves,
        listen: tuple[str, int],
        contexts: Contexts,
        networks: Networks,
        told: LinkEvents,
        webrtc: Webrtc | None,
    ) -> None:
        self._told = told
        self._ourselves = ourselves
        self._networks = networks
        self._webrtc = webrtc
        self._routes: dict[str, _Route] = {}
        self._tcp = TlsHub(ourselves, listen, contexts, networks, self._tells("lan"))
        self._rtc: WebrtcHub | None = None
        """Made when it is first needed: aiortc costs 30 MB, and most offices do without."""
        self._said: tuple[tuple[str, ...], bool] = ((), True)
        self._dialling = Dialer(webrtc=webrtc is not None, network=" ".join(ourselves.addresses))
        self._driver: Driver[dialer.DialerEvent, dialer.DialerEffect] = Driver(
            self._dialling, self._perform, self._failed
        )
        self._closed = False

    @property
    def port(self) -> int:
        """Where TLS links are accepted; the real one after `start`."""
        return self._tcp.port

    async def start(self) -> None:
        """Listen.

        Raises:
            Unavailable: the address cannot be listened on.
        """
        await self._tcp.start()

    async def close(self) -> None:
        """Say Bye everywhere, close every socket, and wait until all are gone."""
        self._closed = True
        self._driver.close()
        closing = [self._tcp.close()] + ([] if self._rtc is None else [self._rtc.close()])
        await asyncio.gather(*closing)
        for route in self._routes.values():
            if route.timer is not None:
                route.timer.cancel()

    # ---- what the node wants

    def dial(self, contact: Contact) -> None:
        """Open a link, by whichever way stands first; ends in `opened` or `closed`."""
        if not self._closed:
            self._driver.feed(dialer.LinkWanted(contact))

    def hang_up(self, device: str, why: str) -> None:
        """Close a link; `closed` is told."""
        if (route := self._routes.get(device)) is not None:
            self._drop(device, route, why, misbehaved=False)

    def send(self, device: str, message: PeerMessage) -> None:
        """Send one message; it is dropped when the link has closed meanwhile."""
        route = self._routes.get(device)
        if route is None:
            return
        if route.kind is not None:
            self._hub(route.kind).send(device, message)
        elif len(route.pending) < HELD_MAX:
            route.pending.append(message)
        else:
            self._drop(device, route, "the link was lost while it moved", misbehaved=False)

    def is_full(self, device: str) -> bool:
        """Whether a link has more waiting than it should; `ready` follows."""
        route = self._routes.get(device)
        return route is not None and route.kind is not None and self._hub(route.kind).is_full(device)

    def set_streams(self, streams: tuple[str, ...], serves: bool) -> None:
        """What Hello says from now on; open links are told."""
        self._said = (streams, serves)
        self._tcp.set_streams(streams, serves)
        if self._rtc is not None:
            self._rtc.set_streams(streams, serves)

    def set_contexts(self, contexts: Contexts) -> None:
        """A renewed certificate, for TLS links opened from now on."""
        self._tcp.set_contexts(contexts)

    def set_identity(self, identity: Identity) -> None:
        """A renewed certificate, for WebRTC links opened from now on."""
        if self._webrtc is not None:
            self._webrtc = replace(self._webrtc, identity=identity)
        if self._rtc is not None:
            self._rtc.set_identity(identity)

    def stats(self) -> Mapping[str, LinkStats]:
        """Open links by device, each with its kind and the reason for it."""
        found: dict[str, LinkStats] = {}
        by_kind: dict[Transport, Mapping[str, LinkStats]] = {"lan": self._tcp.stats()}
        if self._rtc is not None:
            by_kind["webrtc"] = self._rtc.stats()
        for device, route in self._routes.items():
            stats = None if route.kind is None else by_kind[route.kind].get(device)
            if stats is not None:
                found[device] = replace(stats, why=self._dialling.why(device))
        return found

    def standing(self) -> tuple[int, int]:
        """How many links TLS carries, and WebRTC."""
        kinds = [route.kind for route in self._routes.values()]
        return kinds.count("lan"), kinds.count("webrtc")

    # ---- the machine

    def moved(self, addresses: tuple[str, ...], link: LinkKind) -> None:
        """This machine has other addresses: what is known of who is reached how begins anew."""
        self._ourselves = replace(self._ourselves, addresses=addresses, link=link)
        self._tcp.set_ourselves(self._ourselves)
        if self._rtc is not None:
            self._rtc.set_ourselves(self._ourselves)
        self._driver.feed(dialer.NetworkChanged(" ".join(addresses)))

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
        self._driver.feed(dialer.SignallingChanged(connected))

    def heard(self, message: Relayed | Undeliverable) -> None:
        """Another agent's message, through the coordinator."""
        if self._webrtc is not None and not self._closed:
            self._webrtc_hub(self._webrtc).heard(message)

    # ---- core/connect/dialer

    def _perform(self, effect: dialer.DialerEffect) -> None:
        match effect:
            case dialer.StartAttempt(contact, kind):
                self._hub(kind).dial(contact)
            case dialer.EndAttempt(device, kind, why):
                self._hub(kind).hang_up(device, why)
            case dialer.Unreachable(device, why, misbehaved, every_way):
                if every_way and self._webrtc is not None:
                    self._webrtc.no_way(device, why)
                self._told.closed(device, why, misbehaved)

    def _failed(self, error: Exception) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "dialling failed", "exception": error})

    def _hub(self, kind: Transport) -> "TlsHub | WebrtcHub":
        if kind == "lan" or self._webrtc is None:
            return self._tcp
        return self._webrtc_hub(self._webrtc)

    def _webrtc_hub(self, with_: Webrtc) -> "WebrtcHub":
        if self._rtc is not None:
            return self._rtc
        from ecdn_proxy.io.webrtc.hub import WebrtcEvents, WebrtcHub  # noqa: PLC0415 - see `_rtc`

        tells = self._tells("webrtc")
        told = WebrtcEvents(
            opened=tells.opened,
            closed=tells.closed,
            received=tells.received,
            ready=tells.ready,
            called=lambda contact: self._driver.feed(dialer.LinkCalled(contact)),
            passed_over=tells.passed_over,
            forged=with_.forged,
        )
        self._rtc = WebrtcHub(
            self._ourselves,
            with_.identity,
            self._tcp.port,
            self._networks,
            told,
            with_.say,
            with_.utc,
            with_.stun_servers,
            with_.engine,
        )
        self._rtc.set_streams(*self._said)
        return self._rtc

    # ---- what the hubs tell

    def _tells(self, kind: Transport) -> LinkEvents:
        return LinkEvents(
            opened=lambda contact, _, streams, serves, rtt_ms: self._opened(kind, contact, streams, serves, rtt_ms),
            closed=lambda device, why, misbehaved: self._ended(kind, device, why, misbehaved=misbehaved),
            received=lambda device, message: self._received(kind, device, message),
            ready=lambda device: self._ready(kind, device),
            refused=self._told.refused,
            passed_over=self._told.passed_over,
        )

    def _opened(self, kind: Transport, contact: Contact, streams: tuple[str, ...], serves: bool, rtt_ms: float) -> None:
        device = contact.device
        route = self._routes.get(device)
        if route is None:
            self._routes[device] = _Route(kind, {kind})
            self._driver.feed(dialer.AttemptOpened(device, kind, contact))
            self._told.opened(contact, kind, streams, serves, rtt_ms)
            return
        was = route.kind
        route.stands.add(kind)
        route.kind = "lan" if "lan" in route.stands else "webrtc"
        self._driver.feed(dialer.AttemptOpened(device, kind, contact))
        if len(route.stands) == 2 and self._rtc is not None:
            route.moved = was == "webrtc"
            route.holding = True
            self._rtc.leave(device)
        if route.kind == kind:
            self._moved(device, route, lambda: self._told.opened(contact, kind, streams, serves, rtt_ms))

    def _moved(self, device: str, route: _Route, tell: Callable[[], None]) -> None:
        """Another connection carries the link from now on."""
        if route.timer is not None:
            route.timer.cancel()
            route.timer = None
        pending, route.pending = route.pending, []
        tell()
        for message in pending:
            self.send(device, message)
        self._told.ready(device)  # what was full is not this link

    def _received(self, kind: Transport, device: str, message: PeerMessage) -> None:
        route = self._routes.get(device)
        if route is None or route.ending:
            return
        if kind == "webrtc" or not route.holding:
            self._told.received(device, message)
        elif len(route.held) < HELD_MAX:
            route.held.append(message)
        else:
            self._drop(device, route, "the link was lost while it moved", misbehaved=False)

    def _ready(self, kind: Transport, device: str) -> None:
        route = self._routes.get(device)
        if route is not None and route.kind == kind:
            self._told.ready(device)

    def _ended(self, kind: Transport, device: str, why: str, *, misbehaved: bool) -> None:
        route = self._routes.get(device)
        if route is None or kind not in route.stands:
            self._driver.feed(dialer.AttemptFailed(device, kind, why, misbehaved))
            return
        route.stands.discard(kind)
        self._driver.feed(dialer.TransportLost(device, kind))
        if route.ending:
            return
        if kind == "webrtc" and route.kind == "lan" and not misbehaved:
            self._released(device, route, why)
        elif kind == "webrtc" and why == MOVED:
            route.kind = None
            loop = asyncio.get_running_loop()
            lost = "the link was lost while it moved"
            route.timer = loop.call_later(LEAVE_S, lambda: self._drop(device, route, lost, misbehaved=False))
        else:
            self._drop(device, route, why, misbehaved=misbehaved)

    def _released(self, device: str, route: _Route, why: str) -> None:
        """The WebRTC link that was left has said its last word: read TLS."""
        if route.moved and why != MOVED:  # it died before: something may be missing, so the node begins anew
            self._drop(device, route, f"the link was lost while it moved: {why}", misbehaved=False)
            return
        route.holding = route.moved = False
        held, route.held = route.held, []
        for message in held:
            if self._routes.get(device) is route and not route.ending:
                self._told.received(device, message)

    def _drop(self, device: str, route: _Route, why: str, *, misbehaved: bool) -> None:
        """The link has ended, whatever carried it."""
        if route.ending or self._routes.get(device) is not route:
            return
        route.ending = True
        if route.timer is not None:
            route.timer.cancel()
        for kind in list(route.stands):
            self._hub(kind).hang_up(device, why)
        del self._routes[device]
        self._told.closed(device, why, misbehaved)
