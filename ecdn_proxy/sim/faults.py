"""What goes wrong in a simulated office, and when.

FaultInjector.plan()      before the start: every fault whose time the scenario says
FaultInjector.kill()      a machine goes away, and comes back after the scenario's time
FaultInjector.fetched()   the machine that fetches a doomed segment goes away half-way
FaultInjector.hidden()    split views: who is not told of whom
FaultInjector.apart()     client isolation: who does not reach whom
"""

from typing import TYPE_CHECKING
from zlib import crc32

import msgspec

from ecdn_proxy.core import events
from ecdn_proxy.sim.links import Flow
from ecdn_proxy.sim.live_stream import STREAM, LiveSegment
from ecdn_proxy.sim.virtual_clock import BEGINS
from ecdn_proxy.wire.peer import PeerMessage, Piece

if TYPE_CHECKING:
    from ecdn_proxy.sim.host import Host
    from ecdn_proxy.sim.office import Office

UNHEARD_S = 6.0
"""Seconds until the others close the links of a machine that fell silent: three unanswered pings, two seconds apart
(io/tls_links/connection)."""
RECONNECT_S = (1.0, 10.0)
"""Between these many seconds after a coordinator is back each agent connects again, at random."""


def _polluted(device: str, message: PeerMessage) -> list[PeerMessage]:
    """A polluter sends zeros in place of a piece's bytes, whomever the piece is for."""
    del device
    return [msgspec.structs.replace(message, data=bytes(len(message.data))) if isinstance(message, Piece) else message]


class FaultInjector:
    """Everything that the scenario lets go wrong in one office.

    Args:
        office: with its hosts; the contacts of those behind an isolating access point get addresses of their own.
    """

    def __init__(self, office: "Office") -> None:
        self._office = office
        self._spec = office.scenario.faults
        self._isolates = self._spec.isolation_s is None
        """Whether access points keep their clients apart at present."""
        self._access_point = self._access_points()

    def _access_points(self) -> dict[str, int]:
        """Device -> the access point that keeps it apart from its other clients; each access point is a network."""
        hosts = [it for it in self._office.hosts if it.contact.link == "wifi"] or self._office.hosts
        found: dict[str, int] = {}
        for point, percent in enumerate(self._office.site.isolated_percent):
            behind = hosts[len(found) : len(found) + round(percent / 100 * len(hosts))]
            for at, host in enumerate(behind):
                address = f"10.{point + 1}.{at // 250}.{at % 250 + 1}"
                host.contact = msgspec.structs.replace(host.contact, addresses=(address,))
                found[host.device] = point
        return found

    def apart(self, one: str, other: str) -> bool:
        """Whether an access point lets nothing pass between two devices."""
        point = self._access_point.get(one)
        return self._isolates and point is not None and point == self._access_point.get(other)

    def hidden(self, host: "Host", device: str) -> bool:
        """Whether a host is never told of a device: the same pairs for the same seed."""
        split_percent = self._spec.split_percent
        if not split_percent:
            return False
        pair = f"{self._office.scenario.seed}|{host.device}|{device}"
        return crc32(pair.encode()) / 2**32 * 100 < split_percent

    def plan(self) -> None:
        """Choose who is affected, and set the clock for every fault whose time is known."""
        office, spec = self._office, self._spec
        clock, dice, hosts = office.clock, office.dice, office.hosts
        for host in dice.sample(hosts, min(spec.polluters, len(hosts))):
            host.tamper = _polluted
        for host in dice.sample(hosts, round(spec.slow_peers_percent / 100 * len(hosts))):
            mbps = spec.slow_factor * max(office.scenario.stream.bitrates_mbps)
            host.uplink.up_bytes_per_s = mbps * 1e6 / 8 / office.scenario.scale
        for after_s in spec.home_crashes_at_s:
            clock.at(BEGINS + after_s, self._home_crashes)
        if spec.coordinator_out_s is not None:
            clock.at(BEGINS + spec.coordinator_out_s[0], self._coordinator_goes)
            clock.at(BEGINS + spec.coordinator_out_s[1], self._coordinator_comes)
        if spec.isolation_s is not None:
            clock.at(BEGINS + spec.isolation_s[0], self._isolate)
            clock.at(BEGINS + spec.isolation_s[1], self._join_again)
        if not spec.peers_failing_percent and not spec.fetcher_dies_every:
            return
        first = office.live_stream.edge(BEGINS + office.within_s) + 1
        for number in range(first, office.last + 1):
            clock.at(office.live_stream.published_at(number) - 1e-6, self._segment, number)

    def _segment(self, number: int) -> None:
        """What goes wrong with one segment: its fetchers are doomed, some machines go away while it is new."""
        office, spec = self._office, self._spec
        if spec.fetcher_dies_every and number % spec.fetcher_dies_every == 0:
            for rendition in range(len(office.live_stream.bitrates_mbps)):
                office.live_stream.segment(rendition, number).doomed = True
        if not spec.peers_failing_percent:
            return
        for host in office.hosts:
            if host.node is not None and office.dice.random() * 100 < spec.peers_failing_percent:
                when = office.clock.now + office.dice.uniform(0, office.live_stream.segment_s)
                office.clock.at(when, self.kill, host, host.life)

    def kill(self, host: "Host", life: int) -> None:
        """A machine goes away, unless it did so in its life number `life` already."""
        office = self._office
        if host.life != life or host.node is None:
            return
        office.stop(host, silent=self._spec.failure == "silent")
        if office.clock.now + self._spec.back_after_s < office.live_stream.published_at(office.last):
            office.clock.at(office.clock.now + self._spec.back_after_s, self._back, host, host.life)

    def _back(self, host: "Host", life: int) -> None:
        if host.life == life:
            self._office.start(host)

    def _home_crashes(self) -> None:
        """A member of the committee goes away: a home of the first machine that is on."""
        office = self._office
        for host in office.hosts:
            if host.node is not None:
                home = office.lan.hosts[host.node.home_of(STREAM, "home", office.clock.now)]
                self.kill(home, home.life)
                return

    def fetched(self, host: "Host", segment: LiveSegment, flow: Flow) -> None:
        """A host began to fetch a segment; if the segment is doomed, the host dies when half of the body has come."""
        if not segment.doomed:
            return
        office, arrived, size = self._office, flow.arrived, len(segment.body)

        def dies_half_way(size_bytes: int) -> None:
            arrived(size_bytes)
            under_way = flow.left_bytes or not flow.wanted
            if segment.doomed and under_way and 2 * flow.left_bytes <= size:
                segment.doomed = False
                office.clock.at(office.clock.now, self.kill, host, host.life)

        flow.arrived = dies_half_way

    def _isolate(self) -> None:
        """Access points begin to isolate: links fall silent, and their ends notice as with a cable that was pulled."""
        self._isolates = True
        for host in self._office.hosts:
            for device in host.wires:
                if self.apart(host.device, device):
                    self._office.lan.silence(host, device, UNHEARD_S)

    def _join_again(self) -> None:
        self._isolates = False

    def _coordinator_goes(self) -> None:
        office = self._office
        office.coordinator.connected = False
        for host in office.hosts:
            host.feed(events.TrackerChanged(connected=False))

    def _coordinator_comes(self) -> None:
        office = self._office
        office.coordinator.restart()
        for host in office.hosts:
            office.clock.at(office.clock.now + office.dice.uniform(*RECONNECT_S), self._reconnects, host, host.life)

    def _reconnects(self, host: "Host", life: int) -> None:
        if host.life == life and host.node is not None:
            host.feed(events.TrackerChanged(connected=True))
            self._office.coordinator.hear(host, life)
