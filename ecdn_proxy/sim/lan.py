"""The links between the hosts of one office: how a link opens, closes, and falls silent.

    Lan.dial(host, device)          a link after three round trips and a handshake, or LinkClosed
    Lan.hang_up(host, device)       both ends find the link closed
    Lan.silence(host, device, …)    one end of a broken link notices after some time
    Lan.unplug(host, …)             all links of a machine that went away break
    Lan.announce(host)              all neighbours are told what a host watches

What a link carries, and how fast, is in `ecdn_proxy.sim.links`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ecdn_proxy.core import events
from ecdn_proxy.sim.links import Wire
from ecdn_proxy.sim.virtual_clock import VirtualClock
from ecdn_proxy.wire.peer import PeerMessage, Watching

if TYPE_CHECKING:
    from ecdn_proxy.sim.host import Host

HANDSHAKE_S = 0.004
"""CPU of both ends for mutual TLS 1.3 with P-256."""
CONNECT_S = 1.5
"""A dial to a machine that does not answer ends after this time, as in io/tls_links/dialer."""
WATCHING_BYTES = 64
"""A Watching message with one stream and its frame."""


class Lan:
    """All links of one office.

    Args:
        clock: virtual time.
        links_max: links that a host keeps at once.
        apart: whether nothing passes between two devices at present.
    """

    def __init__(self, clock: VirtualClock, *, links_max: int, apart: Callable[[str, str], bool]) -> None:
        self.hosts: dict[str, Host] = {}
        """By device."""
        self.frames: dict[str, int] = {}
        """Messages sent, by kind."""
        self.control_bytes = 0
        """Bytes of all messages but pieces and announcements."""
        self.links_most = 0
        """Links that any host had at once."""
        self.no_room = 0
        """Dials that were refused because one of both had `links_max` links."""
        self._clock = clock
        self._links_max = links_max
        self._apart = apart

    def count(self, message: PeerMessage) -> None:
        """Note a message that leaves a host."""
        name = type(message).__name__
        self.frames[name] = self.frames.get(name, 0) + 1

    # ---- opening

    def dial(self, host: "Host", device: str) -> None:
        """Open a link, unless a dial to this device is under way.

        It ends in LinkOpened at both ends, in LinkClosed here, or in nothing where the link stands already.
        """
        if device in host.dialling:
            return
        host.dialling.add(device)
        other = self.hosts.get(device)
        silent = other is None or (other.node is None and not other.reachable)
        if other is None or silent or self._apart(host.device, device):
            wait = CONNECT_S
        else:
            wait = 3 * (host.uplink.delay_s + other.uplink.delay_s) + HANDSHAKE_S
        self._clock.at(self._clock.now + wait, self._dialled, host, host.life, device)

    def _dialled(self, host: "Host", life: int, device: str) -> None:
        if host.life != life:
            return
        host.dialling.discard(device)
        other = self.hosts.get(device)
        if other is None or other.node is None or self._apart(host.device, device):
            host.feed(events.LinkClosed(device, "it could not be reached"))
            return
        if device in host.wires and host.wires[device].is_open:
            return
        if len(host.wires) >= self._links_max or len(other.wires) >= self._links_max:
            self.no_room += 1
            host.feed(events.LinkClosed(device, "there are links enough"))
            return
        for one, two in ((host, other), (other, host)):
            if (stale := one.wires.pop(two.device, None)) is not None:
                stale.is_open = False
                one.feed(events.LinkClosed(two.device, "replaced by a newer link"))
        for one, two in ((host, other), (other, host)):
            one.wires[two.device] = self._wire(one, two)
            self.links_most = max(self.links_most, len(one.wires))
        rtt_ms = 1e3 * (host.uplink.delay_s + other.uplink.delay_s)
        for one, two in ((host, other), (other, host)):
            one.feed(events.LinkOpened(two.contact, "lan", two.streams, serves=two.serves, rtt_ms=rtt_ms))

    @staticmethod
    def _wire(one: "Host", two: "Host") -> Wire:
        def deliver(messages: list[PeerMessage]) -> None:
            two.received(one.device, messages)

        def say_full(full: bool) -> None:
            one.feed(events.LinkFull(two.device) if full else events.LinkReady(two.device))

        return Wire(two.uplink, deliver, say_full)

    # ---- closing

    def hang_up(self, host: "Host", device: str) -> None:
        """Close a link; the other end finds out when the host's word has reached it."""
        other = self.hosts[device]
        for one, two in ((host, other), (other, host)):
            wire = one.wires.get(two.device)
            if wire is not None:
                wire.is_open = False
                wait = 0.0 if one is host else host.uplink.delay_s
                self._clock.at(self._clock.now + wait, self._lost, one, one.life, two.device, wire, "it hung up")

    def silence(self, host: "Host", device: str, noticed_s: float) -> None:
        """Nothing leaves the host for a device any longer; the host notices after `noticed_s`."""
        wire = host.wires[device]
        wire.is_open = False
        self._clock.at(self._clock.now + noticed_s, self._lost, host, host.life, device, wire, "it went away")

    def unplug(self, host: "Host", noticed_s: float) -> None:
        """A machine that went away has no links; their other ends notice after `noticed_s`."""
        for device, wire in host.wires.items():
            wire.is_open = False
            other = self.hosts[device]
            if host.device in other.wires:
                self.silence(other, host.device, noticed_s)
        host.wires.clear()

    def _lost(self, host: "Host", life: int, device: str, wire: Wire, why: str) -> None:
        if host.life == life and host.wires.get(device) is wire:
            del host.wires[device]
            host.feed(events.LinkClosed(device, why))

    # ---- what hosts say to all

    def announce(self, host: "Host") -> None:
        """Tell every link which streams the host watches, and whether it serves."""
        for wire in host.wires.values():
            watching = Watching(host.streams, host.serves)
            self.count(watching)
            host.uplink.send(wire, watching, WATCHING_BYTES, bulk=False)
