"""Which way to another agent: TCP first, WebRTC a moment later, and what has been learnt of each pair of agents.

    handle(event, now) -> effects        wake(now) -> effects        wake_at()        why(device)

As browsers race address families (RFC 8305): TCP has a head start of `HEAD_START_S`, then WebRTC starts too, and the
first connection that opens makes the link. Two agents that only WebRTC has connected on this network try both at once
the next time. While WebRTC carries a link, TCP is tried again now and then, ever more rarely; when TCP answers, the
link moves there (core/connect/handover). After each WebRTC attempt that fails the next one waits longer, so that two
machines behind symmetric NATs make no storm.

        LinkWanted, LinkCalled       0.3 s or AttemptFailed           AttemptOpened
    idle ──────────────────► TCP ───────────────────────► TCP+WebRTC ─────────────► linked ──TransportLost──► idle
                              └─────AttemptOpened─────────► linked   all failed ──► Unreachable, idle
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal, assert_never

from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.peer import Contact

Transport = Literal["lan", "webrtc"]

HEAD_START_S = 0.3
"""TLS costs a twentieth of WebRTC's CPU; on a LAN it stands within 10 ms, on busy laptops within tenths of a second."""
REMEMBERED_S = 3_600.0
"""How long it is remembered that a pair needs WebRTC; firewall rules change by the day, not by the minute."""
PROBE_FIRST_S = 20.0
"""While WebRTC carries a link, TCP is tried again after this long; each further wait is twice as long."""
PROBE_MOST_S = 600.0
"""The longest of these waits."""
RETRY_FIRST_S = 10.0
"""After a WebRTC attempt that failed, this pair makes none for so long; each further wait is twice as long."""
RETRY_MOST_S = 600.0
"""The longest of these waits."""
PAIRS_MAX = 1_024
"""How many pairs are remembered; what is longest unused goes first, unless something is under way."""


@dataclass(frozen=True, slots=True)
class LinkWanted:
    """The node wants a link."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class LinkCalled:
    """Another agent, which has a higher device id, wants this one to dial it: by TCP or by WebRTC."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class AttemptOpened:
    """A connection of this kind is open; `contact` is what the other agent said of itself."""

    device: str
    kind: Transport
    contact: Contact | None = None


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """A dial of this kind came to nothing."""

    device: str
    kind: Transport
    why: str
    misbehaved: bool = False


@dataclass(frozen=True, slots=True)
class TransportLost:
    """The last connection of this kind has ended."""

    device: str
    kind: Transport


@dataclass(frozen=True, slots=True)
class SignallingChanged:
    """The coordinator that arranges WebRTC links came or went."""

    connected: bool


@dataclass(frozen=True, slots=True)
class NetworkChanged:
    """This machine has other addresses: what was learnt of who is reached how belongs to the former ones."""

    network: str


DialerEvent = (
    LinkWanted | LinkCalled | AttemptOpened | AttemptFailed | TransportLost | SignallingChanged | NetworkChanged
)


@dataclass(frozen=True, slots=True)
class StartAttempt:
    """Try this kind now; ends in AttemptOpened or AttemptFailed."""

    contact: Contact
    kind: Transport


@dataclass(frozen=True, slots=True)
class EndAttempt:
    """End an attempt that is not needed any more."""

    device: str
    kind: Transport
    why: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Tell the node that it will not have the link it wanted; `every_way` when WebRTC was tried too."""

    device: str
    why: str
    misbehaved: bool
    every_way: bool


DialerEffect = StartAttempt | EndAttempt | Unreachable


@dataclass(slots=True)
class _Way:
    """How things stand with one kind of connection to one device."""

    state: Literal["idle", "dialling", "open"] = "idle"
    why: str = ""
    """Why it does not stand, when it does not."""


@dataclass(slots=True)
class _Pair:
    """What goes on with one device, and what is known of it, on one network."""

    contact: Contact
    tcp: _Way = field(default_factory=_Way)
    webrtc: _Way = field(default_factory=_Way)
    wanted: bool = False
    started_at: Instant = 0.0
    webrtc_at: Instant | None = None
    """When WebRTC starts, unless TCP has opened a connection before."""
    webrtc_again_at: Instant = 0.0
    webrtc_wait_s: float = 0.0
    webrtc_tried: bool = False
    tcp_tried: bool = False
    needs_webrtc_until: Instant = 0.0
    """TCP failed where WebRTC succeeded; this is remembered until then."""
    probe_at: Instant | None = None
    probe_wait_s: float = PROBE_FIRST_S

    def way(self, kind: Transport) -> _Way:
        return self.tcp if kind == "lan" else self.webrtc

    @property
    def busy(self) -> bool:
        return self.tcp.state != "idle" or self.webrtc.state != "idle" or self.webrtc_at is not None


class Dialer:
    """Decides for all pairs of this agent and another one; `network` names the network that this machine is in."""

    def __init__(self, *, webrtc: bool, network: str) -> None:
        self._webrtc = webrtc
        self._network = network
        self._connected = False
        self._pairs: OrderedDict[tuple[str, str], _Pair] = OrderedDict()

    def why(self, device: str) -> str:
        """Why the link to a device is of the kind that it is."""
        pair = self._pairs.get((self._network, device))
        if pair is None:
            return ""
        if pair.tcp.state == "open":
            return "TCP and TLS"
        if pair.tcp.why:
            return pair.tcp.why
        if not pair.tcp_tried:
            return "it offered WebRTC; TCP has not been tried from here yet"
        where = pair.contact.addresses[0] if pair.contact.addresses else device[:8]
        return f"TCP {pair.contact.port} to {where} did not answer within {HEAD_START_S * 1000:.0f} ms"

    def handle(self, event: DialerEvent, now: Instant) -> list[DialerEffect]:
        """Take one event."""
        match event:
            case LinkWanted(contact):
                return self._want(contact, now, wanted=True)
            case LinkCalled(contact):
                return self._want(contact, now, wanted=False)
            case AttemptOpened(device, kind, contact):
                pair = self._pair(device, contact)
                pair.contact = contact or pair.contact
                return self._opened(pair, kind, now)
            case AttemptFailed(device, kind, why, misbehaved):
                return self._failed(self._pair(device), kind, why, now, misbehaved=misbehaved)
            case TransportLost(device, kind):
                return self._lost(self._pair(device), kind, now)
            case SignallingChanged(connected):
                self._connected = connected
                return []
            case NetworkChanged(network):
                self._changed(network, now)
                return []
            case _ as never:
                assert_never(never)

    def wake_at(self) -> Instant | None:
        """When `wake` must be called at the latest."""
        times = [at for pair in self._here() for at in (pair.webrtc_at, pair.probe_at) if at is not None]
        return min(times, default=None)

    def wake(self, now: Instant) -> list[DialerEffect]:
        """Start what has become due."""
        effects: list[DialerEffect] = []
        for pair in self._here():
            if pair.webrtc_at is not None and pair.webrtc_at <= now:
                effects += self._start_webrtc(pair, now)
            if pair.probe_at is not None and pair.probe_at <= now:
                pair.probe_at = None
                effects += self._dial(pair, "lan")
        return effects

    def _changed(self, network: str, now: Instant) -> None:
        """Links and attempts go on in the new network; what was learnt stays with the network where it was learnt."""
        if network == self._network:
            return
        going_on = [(device, pair) for (at, device), pair in self._pairs.items() if at == self._network and pair.busy]
        self._network = network
        for device, before in going_on:
            pair = self._pair(device, before.contact)
            pair.contact, pair.wanted, pair.started_at = before.contact, before.wanted, before.started_at
            pair.tcp, pair.webrtc, pair.webrtc_at = before.tcp, before.webrtc, before.webrtc_at
            pair.webrtc_tried, pair.tcp_tried = before.webrtc_tried, before.tcp_tried
            pair.probe_at, pair.probe_wait_s = None, PROBE_FIRST_S
            if pair.webrtc.state == "open" and pair.tcp.state == "idle":
                pair.probe_at = now  # TCP may reach it from here
            before.tcp, before.webrtc = _Way(why=before.tcp.why), _Way(why=before.webrtc.why)
            before.wanted, before.webrtc_at, before.probe_at = False, None, None

    # ---- what happens to one pair

    def _want(self, contact: Contact, now: Instant, *, wanted: bool) -> list[DialerEffect]:
        pair = self._pair(contact.device, contact)
        if "open" in (pair.tcp.state, pair.webrtc.state):
            return []
        pair.contact = contact
        pair.wanted = pair.wanted or wanted
        if pair.busy:
            return []
        pair.started_at, pair.webrtc_tried = now, False
        effects = self._dial(pair, "lan")
        if self._may_webrtc(pair, now):
            at_once = pair.needs_webrtc_until > now or not wanted  # whoever calls has given TCP its head start
            pair.webrtc_at = now if at_once else now + HEAD_START_S
            if pair.webrtc_at <= now:
                effects += self._start_webrtc(pair, now)
        return effects

    def _opened(self, pair: _Pair, kind: Transport, now: Instant) -> list[DialerEffect]:
        way = pair.way(kind)
        way.state, way.why = "open", ""
        pair.wanted, pair.webrtc_at = False, None
        if kind == "webrtc":
            pair.webrtc_wait_s, pair.webrtc_again_at = 0.0, 0.0
            if pair.tcp.state == "idle":
                self._note_webrtc_needed(pair, now)
            return []
        pair.needs_webrtc_until, pair.probe_at, pair.probe_wait_s = 0.0, None, PROBE_FIRST_S
        if pair.webrtc.state == "dialling":
            pair.webrtc.state = "idle"
            return [EndAttempt(pair.contact.device, "webrtc", "a TLS link stands")]
        return []

    def _failed(self, pair: _Pair, kind: Transport, why: str, now: Instant, *, misbehaved: bool) -> list[DialerEffect]:
        way = pair.way(kind)
        if way.state == "open":
            return []
        way.state, way.why = "idle", why
        if kind == "webrtc" and pair.tcp.state == "open":
            return []  # it was given up
        if kind == "webrtc":
            pair.webrtc_wait_s = min(RETRY_MOST_S, max(RETRY_FIRST_S, 2 * pair.webrtc_wait_s))
            pair.webrtc_again_at = now + pair.webrtc_wait_s
        if misbehaved:
            pair.webrtc_at = None
            return self._unreachable(pair, misbehaved=True)
        if kind == "lan" and pair.webrtc.state == "open":
            self._note_webrtc_needed(pair, now)
            return []
        if kind == "lan" and pair.webrtc_at is not None:
            return self._start_webrtc(pair, now)
        return [] if pair.busy else self._unreachable(pair, misbehaved=False)

    def _lost(self, pair: _Pair, kind: Transport, now: Instant) -> list[DialerEffect]:
        pair.way(kind).state = "idle"
        if kind == "webrtc":
            pair.probe_at = None
        return []

    def _note_webrtc_needed(self, pair: _Pair, now: Instant) -> None:
        """TCP has failed where WebRTC has opened a connection: remember that, and when to try TCP again."""
        pair.needs_webrtc_until = now + REMEMBERED_S
        if not pair.tcp_tried:  # the other one offered: TCP may well answer from this side
            pair.probe_at = now + HEAD_START_S
            return
        pair.probe_at = now + pair.probe_wait_s
        pair.probe_wait_s = min(PROBE_MOST_S, 2 * pair.probe_wait_s)

    def _unreachable(self, pair: _Pair, *, misbehaved: bool) -> list[DialerEffect]:
        if not pair.wanted:
            return []
        pair.wanted = False
        if not self._webrtc:
            other = ""
        elif pair.webrtc.why:
            other = f"; {pair.webrtc.why}"
        else:
            other = "; WebRTC needs the coordinator, which is away"
        why = f"{pair.tcp.why or 'TCP was not tried'}{other}"
        return [Unreachable(pair.contact.device, why, misbehaved, pair.webrtc_tried)]

    def _may_webrtc(self, pair: _Pair, now: Instant) -> bool:
        return self._webrtc and self._connected and pair.webrtc_again_at <= now

    def _start_webrtc(self, pair: _Pair, now: Instant) -> list[DialerEffect]:
        pair.webrtc_at = None
        if not self._may_webrtc(pair, now):
            return [] if pair.busy else self._unreachable(pair, misbehaved=False)
        pair.webrtc_tried = True
        return self._dial(pair, "webrtc")

    @staticmethod
    def _dial(pair: _Pair, kind: Transport) -> list[DialerEffect]:
        way = pair.way(kind)
        if way.state != "idle":
            return []
        way.state = "dialling"
        pair.tcp_tried = pair.tcp_tried or kind == "lan"
        return [StartAttempt(pair.contact, kind)]

    def _here(self) -> list[_Pair]:
        return [pair for (network, _), pair in self._pairs.items() if network == self._network]

    def _pair(self, device: str, contact: Contact | None = None) -> _Pair:
        key = (self._network, device)
        pair = self._pairs.get(key)
        if pair is None:
            pair = self._pairs[key] = _Pair(contact or Contact(device, (), 1))
            surplus = max(0, len(self._pairs) - PAIRS_MAX)
            for old in [it for it, known in self._pairs.items() if known is not pair and not known.busy][:surplus]:
                del self._pairs[old]
        self._pairs.move_to_end(key)
        return pair
