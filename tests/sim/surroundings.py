"""Some hosts of the simulator on one LAN, and nothing else: for tests of their parts."""

import math

from ecdn_proxy.core import events
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.node import Node
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.sim.host import Host
from ecdn_proxy.sim.lan import Lan
from ecdn_proxy.sim.links import NetworkCard
from ecdn_proxy.sim.seal import QuickSeal
from ecdn_proxy.sim.virtual_clock import BEGINS, VirtualClock
from ecdn_proxy.wire.peer import Contact

STREAM = "ab" * 16


class HeardNode(Node):
    """The shipped node; `heard` is what it was told, and when."""

    heard: list[tuple[float, events.Event]]

    def handle(self, event: events.Event, now: Instant) -> list[events.Effect]:
        self.heard.append((round(now - BEGINS, 6), event))
        return super().handle(event, now)


class Surroundings:
    """Some hosts, 1 ms from each other; what they want of anything but the LAN is noted."""

    def __init__(self, *devices: str, links_max: int = 10, checked: bool = True) -> None:
        self.clock = VirtualClock()
        self.cut: set[frozenset[str]] = set()
        self.lan = Lan(self.clock, links_max=links_max, apart=lambda *pair: frozenset(pair) in self.cut)
        self.wanted: list[tuple[str, str]] = []
        for number, device in enumerate(devices):
            card = NetworkCard(self.clock, math.inf, math.inf, 0.001, 1.0)
            contact = Contact(device, ("10.0.0.1",), 7688, "wired")
            host = self.lan.hosts[device] = Host(self, number, contact, card, checked=checked)
            host.start(self.node(host))

    @staticmethod
    def node(host: Host, kind: type[HeardNode] = HeardNode) -> HeardNode:
        """A node for a host that starts."""
        node = kind(
            host.contact,
            QuickSeal(host.device),
            limits=Limits(),
            memory_bytes=1_000_000,
            disk_bytes=0,
            upload_mbps=20.0,
            share_after_watching_s=60.0,
        )
        node.heard = []
        return node

    def host(self, device: str) -> Host:
        return self.lan.hosts[device]

    def heard(self, device: str) -> list[tuple[float, events.Event]]:
        """What happened to a device's node, and when."""
        node = self.host(device).node
        assert isinstance(node, HeardNode)
        return node.heard

    def run(self, until_s: float) -> None:
        self.clock.run(BEGINS + until_s)

    def fetch(self, host: Host, effect: events.FetchOrigin) -> None:
        self.wanted.append((host.device, f"fetch {effect.request.url}"))

    def announce(self, host: Host) -> None:
        self.wanted.append((host.device, f"announce {len(host.streams)}"))

    def served(self, host: Host, served: events.Served) -> None:
        self.wanted.append((host.device, f"served {served.number}"))

    def condition(self, host: Host, code: str, detail: str) -> None:
        self.wanted.append((host.device, f"{code}: {detail}"))
