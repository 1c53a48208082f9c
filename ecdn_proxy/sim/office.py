"""One site with its viewers: hosts on a LAN, the way to the origin and to the coordinator, what comes of it.

    Office(site, scenario, number).run() -> SiteFigures

The parts stand in files of their own: machines in `host`, links between them in `lan` and `links`, the origin in
`origin`, lists of neighbours in `coordinator`, what goes wrong in `faults`.
"""

import math
import random
import time
from collections.abc import Callable
from hashlib import blake2b

from ecdn_proxy.core import events
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.node import Node
from ecdn_proxy.sim.coordinator import SimulatedCoordinator
from ecdn_proxy.sim.faults import UNHEARD_S, FaultInjector
from ecdn_proxy.sim.figures import SiteFigures
from ecdn_proxy.sim.host import Host
from ecdn_proxy.sim.lan import Lan
from ecdn_proxy.sim.links import NetworkCard, SharedLink, connection_cap
from ecdn_proxy.sim.live_stream import STREAM, LiveStream
from ecdn_proxy.sim.origin import Origin, respond
from ecdn_proxy.sim.player import PlayedSegment, Player
from ecdn_proxy.sim.player_request import PlayerRequest
from ecdn_proxy.sim.scenario import Scenario, SiteSpec
from ecdn_proxy.sim.seal import QuickSeal
from ecdn_proxy.sim.tracker import SeniorityTracker, Tracker
from ecdn_proxy.sim.virtual_clock import BEGINS, VirtualClock
from ecdn_proxy.wire.peer import Contact

AFTERWARDS_S = 10.0
"""A segment that has not reached its player this long after the last one appeared counts as never."""


class Office:
    """One site of a scenario.

    Args:
        site: the site.
        scenario: everything else that is simulated.
        number: the site's own, in the order of the scenario.
        tracker: makes what says who is told of whom.
        new_node: makes a host's node, with the arguments of `Node`.
        checked: each node is checked after every event, each message read as its receiver would read it; slow.
    """

    def __init__(
        self,
        site: SiteSpec,
        scenario: Scenario,
        number: int = 0,
        *,
        tracker: Callable[[], Tracker] = SeniorityTracker,
        new_node: Callable[..., Node] = Node,
        checked: bool = False,
    ) -> None:
        self.site, self.scenario = site, scenario
        self.clock = VirtualClock()
        self.dice = random.Random(f"{scenario.seed} {number} {site.name}")
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
        self.first_byte_s = site.first_byte_ms / 1e3
        self.origin = Origin(self.clock, wan)
        self.lan = Lan(self.clock, links_max=scenario.agent.links_max, apart=lambda *pair: self.faults.apart(*pair))
        self._limits = Limits()
        self._new_node = new_node
        self.hosts = [self._host(at, number, checked=checked) for at in range(site.viewers)]
        self.lan.hosts.update((host.device, host) for host in self.hosts)
        self.coordinator = SimulatedCoordinator(
            self.clock,
            self.lan.hosts,
            tracker,
            one_way_s=scenario.agent.tracker_ms / 1e3,
            hidden=lambda host, device: self.faults.hidden(host, device),
        )
        self.players: dict[str, Player] = {}
        """By device, while the machine is on."""
        fastest = min(wan.bytes_per_s, cap)
        self.lone_s = [
            self.first_byte_s + self.live_stream.size_bytes(at) / fastest for at in range(len(stream.bitrates_mbps))
        ]
        self.figures = SiteFigures(site.name, site.viewers, site.wan_mbps, max(self.lone_s))
        self._stalled: set[str] = set()
        self._digest = blake2b(digest_size=16)
        self.faults = FaultInjector(self)

    def _host(self, at: int, number: int, *, checked: bool) -> Host:
        site, scale = self.site, self.scenario.scale
        wifi = self.dice.random() * 100 < site.wifi_percent
        up_mbps = self.dice.uniform(*site.wifi_uplink_mbps) if wifi else site.uplink_mbps
        delay_s = (site.wifi_delay_ms if wifi else site.lan_delay_ms) / 1e3
        contact = Contact(f"s{number}-{at:05d}", ("10.0.0.1",), 7688, "wifi" if wifi else "wired")
        rate = 1e6 / 8 / scale * (1 - self.scenario.faults.lan_loss_percent / 100)
        uplink = NetworkCard(self.clock, up_mbps * rate, site.downlink_mbps * rate, delay_s, scale)
        return Host(self, at, contact, uplink, checked=checked)

    # ---- the event

    def run(self) -> SiteFigures:
        """Let the viewers start, watch and end."""
        began = time.process_time()
        for host in self.hosts:
            self.clock.at(BEGINS + self.dice.uniform(0, self.within_s), self.start, host)
        self.faults.plan()
        self.clock.run(self.ends)
        figures = self._sum_up()
        figures.cpu_s = time.process_time() - began
        return figures

    def start(self, host: Host) -> None:
        """A machine is switched on (again), and its viewer opens the stream."""
        scenario = self.scenario
        agent, stream = scenario.agent, scenario.stream
        host.start(
            self._new_node(
                host.contact,
                QuickSeal(host.device),
                limits=self._limits,
                memory_bytes=round(agent.cache_memory_mb * 1e6 / scenario.scale),
                disk_bytes=0,
                upload_mbps=agent.upload_mbps_max / scenario.scale,
                share_after_watching_s=60.0,
            )
        )
        if not agent.sharing:
            host.feed(events.PolicyChanged(sharing=False, uploads=False, why="the scenario says so"))
        if self.coordinator.connected:
            host.feed(events.TrackerChanged(connected=True))
        host.feed(events.StreamOpened(STREAM))
        shares = stream.shares_percent or (1.0,) * len(stream.bitrates_mbps)
        rendition = self.dice.choices(range(len(shares)), shares)[0]
        player = self.players[host.device] = Player(
            self.clock,
            self.live_stream,
            lambda player, segment: PlayerRequest(self, host, player, segment).ask(),
            lambda played: self.played(host, played),
            rendition=rendition,
            abr=stream.abr,
            together=scenario.viewers.reload == "together",
            behind=scenario.viewers.behind_segments,
            last=self.last,
        )
        player.join()

    def stop(self, host: Host, *, silent: bool) -> None:
        """A machine goes away with all that is on it; `silent`: it neither closes its links nor answers dials."""
        if host.node is None:
            return
        host.stop(reachable=not silent)
        self._leave(host)
        self.lan.unplug(host, UNHEARD_S if silent else host.uplink.delay_s)
        self.coordinator.left(host, UNHEARD_S if silent else self.scenario.agent.tracker_ms / 1e3)

    def _leave(self, host: Host) -> None:
        player = self.players.pop(host.device, None)
        if player is None:
            return
        self.figures.watched_s += self.clock.now - player.joined_at
        if (stalled := player.left(self.clock.now)) > 0:
            self._stall(host, stalled)

    # ---- what hosts want of their surroundings

    def fetch(self, host: Host, effect: events.FetchOrigin) -> None:
        """Ask the origin for a segment."""
        self.figures.fetches += 1
        segment = self.live_stream.by_url[effect.request.url]
        flow = self.origin.answer(
            host, effect.fetch, respond(effect, segment, segment.headers, first_byte_s=self.first_byte_s)
        )
        self.faults.fetched(host, segment, flow)

    def announce(self, host: Host) -> None:
        """Tell the neighbours, the coordinator and, where it is on, everybody by mDNS."""
        self.lan.announce(host)
        agent = self.scenario.agent
        if agent.sharing:
            self.coordinator.announce(host)
        if agent.lan_discovery:
            for other in self.hosts:
                if other is not host and other.node is not None:
                    when = self.clock.now + self.dice.uniform(0.02, 0.3)
                    self.clock.at(when, self._seen, other, other.life, host)
                    self.clock.at(when, self._seen, host, host.life, other)

    def _seen(self, host: Host, life: int, other: Host) -> None:
        if host.life == life and other.streams and not self.faults.hidden(host, other.device):
            host.feed(events.LanSeen(other.contact, tuple(it[:8] for it in other.streams), serves=other.serves))

    def served(self, host: Host, served: events.Served) -> None:
        """Count where the segment came from."""
        del host
        sources = self.figures.sources
        sources[served.source] = sources.get(served.source, 0) + 1

    def condition(self, host: Host, code: str, detail: str) -> None:
        """Count the condition."""
        del host, detail
        self.figures.conditions[code] = self.figures.conditions.get(code, 0) + 1

    # ---- what comes of it

    def played(self, host: Host, it: PlayedSegment) -> None:
        """A segment reached a player."""
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
        self._note(host.number, it.segment.number, it.segment.rendition, it.took_s)

    def _note(self, *outcome: object) -> None:
        """Every outcome goes into one digest with its time: the same seed gives the same digest."""
        self._digest.update(f"{self.clock.now!r} {outcome!r}\n".encode())

    def _stall(self, host: Host, seconds: float) -> None:
        self.figures.stalls += 1
        self.figures.stalled_s += seconds
        self._stalled.add(host.device)

    def _sum_up(self) -> SiteFigures:
        figures, scale = self.figures, self.scenario.scale
        for host in self.hosts:
            player = self.players.get(host.device)
            if player is not None and player.waiting_for is not None:
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
        self._sum_up_link()
        figures.uploads_mb = [host.up_bytes * scale / 1e6 for host in self.hosts]
        figures.frames = self.lan.frames
        figures.control_bytes = self.lan.control_bytes
        figures.links_most = self.lan.links_most
        figures.no_room = self.lan.no_room
        self._note(sorted(figures.frames.items()), figures.origin_bytes, figures.uploads_mb)
        figures.digest = self._digest.hexdigest()
        figures.events = self.clock.events
        self.clock.clear()
        return figures

    def _sum_up_link(self) -> None:
        figures, scale, link_bytes = self.figures, self.scenario.scale, self.origin.link_bytes
        watched_s = max(1.0, self.ends - AFTERWARDS_S - BEGINS)
        during = sum(size for second, size in link_bytes.items() if second < BEGINS + watched_s)
        figures.link_mean_mbps = during * scale * 8e-6 / watched_s
        # a chunk counts in the second in which its last byte comes; no second carries more than the link does
        peak_mbps = max(link_bytes.values(), default=0.0) * 8e-6 * scale
        figures.link_peak_mbps = min(peak_mbps, self.origin.link.bytes_per_s * 8e-6 * scale)
        by_second = {second - int(BEGINS): size * scale for second, size in link_bytes.items()}
        figures.carried(by_second, math.ceil(self.ends - BEGINS))
