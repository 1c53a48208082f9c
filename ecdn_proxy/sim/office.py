"""One site: hosts, the links between them, the way to the origin and to the coordinator.

    Office(site, scenario, number).run() -> SiteFigures

Links open in three round trips and the time of a handshake; a link that is to close tells both ends. The origin answers
after its first byte's time and shares the site's link evenly. What goes wrong is in `faults`.
"""

import math
import random
import time
from collections.abc import Callable

from ecdn_proxy.core import events
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.node import Node
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.sim.faults import FaultInjector
from ecdn_proxy.sim.figures import SiteFigures
from ecdn_proxy.sim.host import Host
from ecdn_proxy.sim.links import NetworkCard, SharedLink, Wire, connection_cap
from ecdn_proxy.sim.live_stream import STREAM, LiveStream
from ecdn_proxy.sim.origin import Origin
from ecdn_proxy.sim.player import PlayedSegment, Player
from ecdn_proxy.sim.scenario import Scenario, SiteSpec
from ecdn_proxy.sim.seal import QuickSeal
from ecdn_proxy.sim.tracker import NeighbourList, SeniorityTracker, Tracker
from ecdn_proxy.sim.virtual_clock import BEGINS, VirtualClock
from ecdn_proxy.wire.peer import Contact, PeerMessage, Watching

HANDSHAKE_S = 0.004
"""CPU of both ends for mutual TLS 1.3 with P-256."""
CONNECT_S = 1.5
"""A dial to a machine that does not answer ends after this, as in io/tls_links/hub."""
AFTERWARDS_S = 10.0
"""What has not come by then after the last segment appeared never will."""


class Office:
    """See the head of this file; `strict` decodes every control message anew, as a receiver would."""

    def __init__(
        self,
        site: SiteSpec,
        scenario: Scenario,
        number: int = 0,
        *,
        tracker: Callable[[], Tracker] = SeniorityTracker,
        strict: Callable[[PeerMessage], PeerMessage] | None = None,
    ) -> None:
        self.site, self.scenario = site, scenario
        self.clock = VirtualClock()
        self.dice = random.Random(f"{scenario.seed} {number} {site.name}")
        self.strict = strict
        self.frames: dict[str, int] = {}
        self.control_bytes = 0
        stream, viewers = scenario.stream, scenario.viewers
        self.live_stream = LiveStream(scenario, BEGINS - (viewers.behind_segments + 1) * stream.segment_s)
        self.within_s = viewers.within_s if viewers.start == "within" else stream.segments * stream.segment_s
        started = BEGINS + (viewers.within_s if viewers.start == "within" else 0.0)
        self.first_steady = self.live_stream.edge(started) + 1
        self.last = self.live_stream.edge(started) + stream.segments
        self.ends = self.live_stream.published_at(self.last) + AFTERWARDS_S
        scale = scenario.scale
        loss = site.loss_percent / 100
        self.manifest_mbps = site.viewers * stream.manifest_bytes * 8 / stream.segment_s / 1e6
        media_mbps = max(site.wan_mbps * (1 - loss) - self.manifest_mbps, 0.05 * site.wan_mbps)
        cap = connection_cap(site.rtt_ms / 1e3, loss) / scale
        wan = SharedLink(self.clock, media_mbps * 1e6 / 8 / scale, cap)
        self.origin = Origin(self.clock, self.live_stream, wan, site.first_byte_ms / 1e3, self._doomed)
        self.new_tracker = tracker
        self.tracker = tracker()
        self.connected = True
        self._limits = Limits()
        self.hosts = [self._host(at, number) for at in range(site.viewers)]
        self.by_device = {host.device: host for host in self.hosts}
        fastest = min(wan.bytes_per_s, cap)
        self.lone_s = [
            site.first_byte_ms / 1e3 + self.live_stream.size_bytes(at) / fastest
            for at in range(len(stream.bitrates_mbps))
        ]
        self.figures = SiteFigures(site.name, site.viewers, site.wan_mbps, max(self.lone_s))
        self._stalled: set[str] = set()
        self.faults = FaultInjector(self)

    def _host(self, at: int, number: int) -> Host:
        site, scale = self.site, self.scenario.scale
        wifi = self.dice.random() * 100 < site.wifi_percent
        up_mbps = self.dice.uniform(*site.wifi_uplink_mbps) if wifi else site.uplink_mbps
        delay_s = (site.wifi_delay_ms if wifi else site.lan_delay_ms) / 1e3
        contact = Contact(f"s{number}-{at:05d}", ("10.0.0.1",), 7688, "wifi" if wifi else "wired")
        rate = 1e6 / 8 / scale * (1 - self.scenario.faults.lan_loss_percent / 100)
        uplink = NetworkCard(self.clock, up_mbps * rate, site.downlink_mbps * rate, delay_s, scale)
        return Host(self, at, contact, uplink)

    # ---- the event

    def run(self) -> SiteFigures:
        """Let it happen."""
        began = time.process_time()
        for host in self.hosts:
            self.clock.at(BEGINS + self.dice.uniform(0, self.within_s), self.start, host)
        self.faults.plan()
        self.clock.run(self.ends)
        figures = self._sum_up()
        figures.cpu_s = time.process_time() - began
        return figures

    def start(self, host: Host) -> None:
        """A machine is there (again), and its viewer opens the stream."""
        scenario = self.scenario
        agent, stream = scenario.agent, scenario.stream
        host.life += 1
        host.reachable = True
        host.armed_at = None
        host.node = Node(
            host.contact,
            QuickSeal(host.device),
            limits=self._limits,
            memory_bytes=round(agent.cache_memory_mb * 1e6 / scenario.scale),
            disk_bytes=0,
            upload_mbps=agent.upload_mbps_max / scenario.scale,
            share_after_watching_s=60.0,
        )
        if not agent.sharing:
            host.feed(events.PolicyChanged(sharing=False, uploads=False, why="the scenario says so"))
        if self.connected:
            host.feed(events.TrackerChanged(connected=True))
        host.feed(events.StreamOpened(STREAM))
        shares = stream.shares_percent or (1.0,) * len(stream.bitrates_mbps)
        rendition = self.dice.choices(range(len(shares)), shares)[0]
        host.player = Player(
            self.clock,
            self.live_stream,
            host.ask,
            lambda _, outcome: self._outcome(host, outcome),
            rendition=rendition,
            abr=stream.abr,
            together=scenario.viewers.reload == "together",
            behind=scenario.viewers.behind_segments,
            last=self.last,
        )
        host.player.join()

    def stop(self, host: Host, *, silent: bool) -> None:
        """A machine goes away with everything on it."""
        if host.node is None:
            return
        host.node = None
        host.life += 1
        host.reachable = not silent
        self._leave(host)
        for flow in list(host.fetches.values()):
            flow.cancel()
        host.fetches.clear()
        host.dialling.clear()
        host.streams = ()
        for device, wire in list(host.wires.items()):
            wire.is_open = False
            other = self.by_device[device]
            back = other.wires.get(host.device)
            if back is not None:
                wait = self.faults.unheard_s if silent else host.uplink.delay_s
                self.silence(other, host.device, back, wait)
        host.wires.clear()
        wait = self.faults.unheard_s if silent else self.scenario.agent.tracker_ms / 1e3
        self.clock.at(self.clock.now + wait, self._tracker_left, host, host.life)

    def _leave(self, host: Host) -> None:
        player = host.player
        if player is None:
            return
        self.figures.watched_s += self.clock.now - player.joined_at
        if (stalled := player.left(self.clock.now)) > 0:
            self._stall(host, stalled)
        host.player = None

    # ---- links between agents

    def silence(self, host: Host, device: str, wire: Wire, noticed_s: float) -> None:
        """Nothing passes any longer; the host notices after so long."""
        wire.is_open = False
        self.clock.at(self.clock.now + noticed_s, self._lost, host, host.life, device, wire, "it went away")

    def dial(self, host: Host, contact: Contact) -> None:
        """See `Around`."""
        device = contact.device
        if device in host.dialling:
            return
        host.dialling.add(device)
        other = self.by_device.get(device)
        silent = other is None or (other.node is None and not other.reachable)
        if other is None or silent or self.faults.apart(host.device, device):
            wait = CONNECT_S
        else:
            wait = 3 * (host.uplink.delay_s + other.uplink.delay_s) + HANDSHAKE_S
        self.clock.at(self.clock.now + wait, self._dialled, host, host.life, device)

    def _dialled(self, host: Host, life: int, device: str) -> None:
        if host.life != life:
            return
        host.dialling.discard(device)
        other = self.by_device.get(device)
        if other is None or other.node is None or self.faults.apart(host.device, device):
            host.feed(events.LinkClosed(device, "it could not be reached"))
            return
        if device in host.wires and host.wires[device].is_open:
            return
        most = self.scenario.agent.links_max
        if len(host.wires) >= most or len(other.wires) >= most:
            self.figures.no_room += 1
            host.feed(events.LinkClosed(device, "there are links enough"))
            return
        for one, two in ((host, other), (other, host)):
            if (stale := one.wires.pop(two.device, None)) is not None:
                stale.is_open = False
                one.feed(events.LinkClosed(two.device, "replaced by a newer link"))
        for one, two in ((host, other), (other, host)):
            one.wires[two.device] = self._wire(one, two)
            self.figures.links_most = max(self.figures.links_most, len(one.wires))
        rtt_ms = 1e3 * (host.uplink.delay_s + other.uplink.delay_s)
        for one, two in ((host, other), (other, host)):
            one.feed(events.LinkOpened(two.contact, "lan", two.streams, serves=two.serves, rtt_ms=rtt_ms))

    def _wire(self, one: Host, two: Host) -> Wire:
        def deliver(messages: list[PeerMessage]) -> None:
            two.received(one.device, messages)

        def say_full(full: bool) -> None:
            one.feed(events.LinkFull(two.device) if full else events.LinkReady(two.device))

        return Wire(two.uplink, deliver, say_full)

    def hang_up(self, host: Host, device: str) -> None:
        """See `Around`."""
        other = self.by_device[device]
        for one, two in ((host, other), (other, host)):
            wire = one.wires.get(two.device)
            if wire is not None:
                wire.is_open = False
                wait = 0.0 if one is host else host.uplink.delay_s
                self.clock.at(self.clock.now + wait, self._lost, one, one.life, two.device, wire, "it hung up")

    def _lost(self, host: Host, life: int, device: str, wire: Wire, why: str) -> None:
        if host.life == life and host.wires.get(device) is wire:
            del host.wires[device]
            host.feed(events.LinkClosed(device, why))

    # ---- the origin

    def fetch(self, host: Host, effect: events.FetchOrigin) -> None:
        """See `Around`."""
        self.figures.fetches += 1
        self.origin.fetch(host, effect)

    def pass_on(self, host: Host, player: Player) -> None:
        """See `Around`."""
        self.figures.passed += 1
        self.origin.pass_on(host, player)

    def hand_over(self, host: Host, player: Player, fetch: int) -> None:
        """See `Around`."""
        self.figures.passed += 1
        self.origin.hand_over(host, player, fetch)

    def _doomed(self, host: Host) -> None:
        self.clock.at(self.clock.now, self.faults.kill, host, host.life)

    # ---- the coordinator and mDNS

    def announce(self, host: Host) -> None:
        """See `Around`."""
        for wire in host.wires.values():
            self.frames["Watching"] = self.frames.get("Watching", 0) + 1
            host.uplink.send(wire, Watching(host.streams, host.serves), 64, bulk=False)
        if self.connected and self.scenario.agent.sharing:
            wait = self.scenario.agent.tracker_ms / 1e3
            self.clock.at(self.clock.now + wait, self.watch, host, host.life)
        if self.scenario.agent.lan_discovery:
            for other in self.hosts:
                if other is not host and other.node is not None:
                    when = self.clock.now + self.dice.uniform(0.02, 0.3)
                    self.clock.at(when, self._seen, other, other.life, host)
                    self.clock.at(when, self._seen, host, host.life, other)

    def _seen(self, host: Host, life: int, other: Host) -> None:
        if host.life == life and other.streams and not self.faults.hidden(host, other.device):
            host.feed(events.LanSeen(other.contact, tuple(it[:8] for it in other.streams), serves=other.serves))

    def watch(self, host: Host, life: int) -> None:
        """The coordinator hears what a host watches."""
        if host.life == life and self.connected:
            self.tracker.watch(host.contact, host.streams, self.clock.now, serves=host.serves and not host.isolated)
            self.arm_tracker()

    def _tracker_left(self, host: Host, life: int) -> None:
        if host.life == life and self.connected:
            self.tracker.leave(host.device, self.clock.now)
            self.arm_tracker()

    def arm_tracker(self) -> None:
        """Lists go out when they are due."""
        if (at := self.tracker.wake_at()) is not None:
            self.clock.at(at, self._flush, at)

    def _flush(self, at: Instant) -> None:
        if not self.connected or self.tracker.wake_at() != at:
            return
        wait = self.scenario.agent.tracker_ms / 1e3
        for told in self.tracker.wake(self.clock.now):
            host = self.by_device[told.device]
            self.clock.at(self.clock.now + wait, self._tell, host, host.life, told)
        self.arm_tracker()

    def _tell(self, host: Host, life: int, told: NeighbourList) -> None:
        if host.life == life and self.connected:
            contacts = tuple(it for it in told.contacts if not self.faults.hidden(host, it[0].device))
            host.feed(events.TrackerSaid(told.stream, told.committee, contacts))

    # ---- what comes of it

    def served(self, host: Host, served: events.Served) -> None:
        """See `Around`."""
        del host
        sources = self.figures.sources
        sources[served.source] = sources.get(served.source, 0) + 1

    def condition(self, host: Host, code: str, detail: str) -> None:
        """See `Around`."""
        del host, detail
        self.figures.conditions[code] = self.figures.conditions.get(code, 0) + 1

    def _outcome(self, host: Host, it: PlayedSegment) -> None:
        figures = self.figures
        figures.outcomes += 1
        figures.viewer_bytes += len(it.segment.body)
        if it.first:
            figures.startup.add(self.clock.now - it.joined_at)
        if not it.startup:
            figures.took.add(it.took_s)
            lone_s = self.lone_s[int(it.segment.rendition[1:])]
            figures.added.add(max(0.0, it.took_s - lone_s))
        if it.stalled_s > 0:
            figures.late += 1
            self._stall(host, it.stalled_s)
        self.clock.log(host.number, it.segment.number, it.segment.rendition, it.took_s)

    def _stall(self, host: Host, seconds: float) -> None:
        self.figures.stalls += 1
        self.figures.stalled_s += seconds
        self._stalled.add(host.device)

    def _sum_up(self) -> SiteFigures:
        figures, scale = self.figures, self.scenario.scale
        for host in self.hosts:
            if host.player is not None and host.player.waiting_for is not None:
                figures.unfinished += 1
            self._leave(host)
            if host.node is not None:
                host.node.check()
        figures.viewers_stalled = len(self._stalled)
        segments = [segment for segment in self.live_stream.segments() if segment.wanted]
        figures.segments = len(segments)
        figures.unique_bytes = sum(len(segment.body) for segment in segments) * scale
        figures.origin_bytes = sum(segment.origin_bytes for segment in segments) * scale
        steady = [segment for segment in segments if segment.number >= self.first_steady]
        figures.steady_unique_bytes = sum(len(segment.body) for segment in steady) * scale
        figures.steady_origin_bytes = sum(segment.origin_bytes for segment in steady) * scale
        figures.copies_worst = max((segment.origin_bytes / len(segment.body) for segment in segments), default=0.0)
        figures.viewer_bytes *= scale
        figures.manifest_mbps = self.manifest_mbps
        watched_s = max(1.0, self.ends - AFTERWARDS_S - BEGINS)
        during = sum(size for second, size in self.origin.link_bytes.items() if second < BEGINS + watched_s)
        figures.link_mean_mbps = during * scale * 8e-6 / watched_s
        # a chunk counts in the second in which its last byte comes; no second carries more than the link does
        peak_mbps = max(self.origin.link_bytes.values(), default=0.0) * 8e-6 * scale
        figures.link_peak_mbps = min(peak_mbps, self.origin.link.bytes_per_s * 8e-6 * scale)
        by_second = {second - int(BEGINS): size * scale for second, size in self.origin.link_bytes.items()}
        figures.carried(by_second, math.ceil(self.ends - BEGINS))
        figures.uploads_mb = [host.up_bytes * scale / 1e6 for host in self.hosts]
        figures.frames = self.frames
        figures.control_bytes = self.control_bytes
        self.clock.log(sorted(self.frames.items()), figures.origin_bytes, figures.uploads_mb)
        figures.digest = self.clock.digest
        figures.events = self.clock.events
        self.clock.clear()
        return figures
