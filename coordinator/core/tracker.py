"""Who is near and watches the same stream: the state machine behind the sockets of all agents.

    of one socket      Arrived · Watched · BeatReceived · Signalled · Left
    of the tenant      MapChanged · SettingsChanged · DenyListChanged
        -> Tracker.handle -> Send · Close · RecordSighting · Audit

A *swarm* is the agents of one site that watch one stream. When a member is sent its list of neighbours is decided in
`swarms`, who is on that list in `neighbours`. Messages from agent to agent go through `signalling_relay`.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, assert_never

import msgspec

from coordinator.core.neighbours import ConnectedAgent
from coordinator.core.signalling_relay import Audit, SignallingRelay
from coordinator.core.sites import Address, Interface, SiteMap, place
from coordinator.core.swarms import Swarms
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.wire.peer import Contact
from ecdn_proxy.wire.signalling import Relayed
from ecdn_proxy.wire.tracker import (
    Beat,
    Denied,
    FromCoordinator,
    Here,
    Neighbours,
    Settings,
    Watch,
    Welcome,
)
from ecdn_proxy.wire.usage import ReportedUsage
from ecdn_proxy.wire.version import PROTOCOL


class Arrived(msgspec.Struct, frozen=True):
    """An admitted device has said `Here`, perhaps again: it has moved."""

    session: int
    device: str
    remote: Address
    interfaces: tuple[Interface, ...]
    here: Here


class Watched(msgspec.Struct, frozen=True):
    """An agent has told which streams it watches now."""

    session: int
    watch: Watch


class BeatReceived(msgspec.Struct, frozen=True):
    """An agent has told its usage, its conditions and its links."""

    session: int
    beat: Beat


class Signalled(msgspec.Struct, frozen=True):
    """An agent has sent a message for another agent."""

    session: int
    message: Relayed


class Left(msgspec.Struct, frozen=True):
    """A socket has ended."""

    session: int


class MapChanged(msgspec.Struct, frozen=True):
    """IT has imported another site map."""

    sites: SiteMap | None


class SettingsChanged(msgspec.Struct, frozen=True):
    """IT has changed the settings that agents are sent."""

    settings: dict[str, Any]


class DenyListChanged(msgspec.Struct, frozen=True):
    """Other devices are refused than before; `devices` are all of them."""

    devices: tuple[str, ...]


Event = Arrived | Watched | BeatReceived | Signalled | Left | MapChanged | SettingsChanged | DenyListChanged


class Send(msgspec.Struct, frozen=True):
    """Send `message` to the agent whose socket has the number `session`."""

    session: int
    message: FromCoordinator


class Close(msgspec.Struct, frozen=True):
    """Tell an agent why its socket is ended, and end it; it may come back after `retry_s`."""

    session: int
    code: str
    why: str
    retry_s: float


class RecordSighting(msgspec.Struct, frozen=True):
    """Store where a device was seen, for a dry run of the next site map."""

    device: str
    remote: Address
    interfaces: tuple[Interface, ...]
    version: str


Effect = Send | Close | RecordSighting | Audit


class Totals(msgspec.Struct):
    """What agents have told since this process was started, for /metrics."""

    usage: ReportedUsage = ReportedUsage()
    arrivals: int = 0
    lists_sent: int = 0


class Tracker:
    """The state machine: `handle` takes one event, `wake` does what has become due; both answer with effects.

    Args:
        sites: the site map in force; None without one.
        settings: the table that every agent is sent.
        denied: the devices that are refused.
        spacing_s: least time between two lists for one swarm.
        agents_max: agents that are taken; further ones are told so and turned away.
    """

    def __init__(
        self,
        sites: SiteMap | None,
        settings: dict[str, Any],
        denied: Iterable[str] = (),
        *,
        spacing_s: float = 1.0,
        agents_max: int = 25_000,
    ) -> None:
        self._sites = sites
        self._settings = settings
        self._denied = tuple(denied)
        self._agents_max = agents_max
        self._agents: dict[str, ConnectedAgent] = {}
        self._sessions: dict[int, str] = {}
        self._last_beats: OrderedDict[str, int] = OrderedDict()
        """Number of the last beat of each device that has left, as it may repeat that beat when it comes back."""
        self._swarms = Swarms(spacing_s)
        self._arrived = 0
        self.totals = Totals()
        self.signalling_relay = SignallingRelay(lambda device: self._agents.get(device))

    def agents(self) -> Iterator[ConnectedAgent]:
        """All agents that are connected, in no order."""
        return iter(self._agents.values())

    def __len__(self) -> int:
        return len(self._agents)

    @property
    def swarms(self) -> int:
        """How many swarms there are."""
        return len(self._swarms)

    @property
    def sites(self) -> SiteMap | None:
        """The map in force."""
        return self._sites

    def wake_at(self) -> Instant | None:
        """When the next lists are due; None when nothing is."""
        return self._swarms.wake_at()

    def wake(self, now: Instant) -> list[Effect]:
        """Send the lists that are due."""
        lists: list[Effect] = [Send(agent.session, message) for agent, message in self._swarms.settled(now)]
        self.totals.lists_sent += len(lists)
        return lists

    def handle(self, event: Event, now: Instant) -> Sequence[Effect]:
        """Take one event, and say what must be done."""
        match event:
            case Arrived():
                return self._arrive(event, now)
            case Watched():
                return self._watch(event, now)
            case BeatReceived():
                self._beat(event)
                return []
            case Signalled():
                return self._signal(event, now)
            case Left():
                return self._leave(event.session, now)
            case MapChanged():
                self._sites = event.sites
                return [effect for agent in list(self._agents.values()) for effect in self._place_anew(agent, now)]
            case SettingsChanged():
                self._settings = event.settings
                return [Send(agent.session, Settings(event.settings)) for agent in self._agents.values()]
            case DenyListChanged():
                return self._deny(event.devices, now)
            case _ as never:
                assert_never(never)

    def _arrive(self, event: Arrived, now: Instant) -> list[Effect]:
        if event.here.protocol != PROTOCOL:
            why = f"this coordinator speaks protocol {PROTOCOL}, the agent {event.here.protocol}; update the older one"
            return [Close(event.session, "protocol", why, 600)]
        if event.device in self._denied:
            return [Close(event.session, "denied", "IT has denied this device", 600)]
        former = self._agents.get(event.device)
        if former is None and len(self._agents) >= self._agents_max:
            why = f"this coordinator holds {self._agents_max} agents already (setting agents_max)"
            return [Close(event.session, "full", why, 60)]
        effects: list[Effect] = []
        if former is not None and former.session != event.session:
            effects.append(Close(former.session, "replaced", "the same device has connected anew", 30))
        if former is not None:
            self._forget(former, now)
        self._arrived += 1
        agent = ConnectedAgent(
            session=event.session,
            device=event.device,
            remote=event.remote,
            interfaces=event.interfaces,
            version=event.here.version,
            peer_port=event.here.peer_port,
            since=now if former is None else former.since,
            order=self._arrived if former is None else former.order,
            ring=hashlib.blake2b(event.device.encode(), digest_size=8).digest(),
            placement=place(self._sites, event.interfaces, event.remote),
            serves=event.here.serves,
            last_beat=self._last_beats.pop(event.device, -1),
        )
        self._describe(agent)
        self._agents[agent.device] = agent
        self._sessions[agent.session] = agent.device
        self.totals.arrivals += 1
        if former is not None and former.session == event.session:
            agent.streams = former.streams
            for stream in agent.streams:
                self._swarms.join(agent, stream, now)
        effects.append(Send(agent.session, self._welcome(agent)))
        if self._denied:
            effects.append(Send(agent.session, Denied(self._denied)))
        effects.append(RecordSighting(agent.device, agent.remote, agent.interfaces, agent.version))
        return effects

    def _watch(self, event: Watched, now: Instant) -> list[Effect]:
        agent = self._of(event.session)
        if agent is None:
            return []
        if (agent.serves, agent.isolated) != (event.watch.serves, event.watch.isolated):
            agent.serves, agent.isolated = event.watch.serves, event.watch.isolated
            self._describe(agent)
            self._swarms.changed(agent, now)
        streams = frozenset(event.watch.streams)
        for stream in agent.streams - streams:
            self._swarms.leave(agent, stream, now)
        joined = streams - agent.streams
        agent.streams = streams
        for stream in joined:
            self._swarms.join(agent, stream, now)
        return []

    def _beat(self, event: BeatReceived) -> None:
        """Count a beat once: an agent whose socket ended before the answer sends it again on the next one."""
        agent, beat = self._of(event.session), event.beat
        if agent is None:
            return
        agent.conditions, agent.links_tls, agent.links_webrtc = beat.conditions, beat.links_tls, beat.links_webrtc
        if beat.sequence != agent.last_beat:
            agent.last_beat = beat.sequence
            self.totals.usage += ReportedUsage.of(beat)

    def _signal(self, event: Signalled, now: Instant) -> list[Effect]:
        agent = self._of(event.session)
        if agent is None:
            return []
        told = self.signalling_relay.relay(agent.device, event.message, now)
        return [one if isinstance(one, Audit) else Send(one.session, one.message) for one in told]

    def _leave(self, session: int, now: Instant) -> list[Effect]:
        agent = self._of(session)
        if agent is not None:
            self._forget(agent, now)
        return []

    def _deny(self, devices: tuple[str, ...], now: Instant) -> list[Effect]:
        if devices == self._denied:
            return []
        self._denied = devices
        effects: list[Effect] = []
        for device in devices:
            if (agent := self._agents.get(device)) is not None:
                effects.append(Close(agent.session, "denied", "IT has denied this device", 600))
                self._forget(agent, now)
        return effects + [Send(agent.session, Denied(devices)) for agent in self._agents.values()]

    def _place_anew(self, agent: ConnectedAgent, now: Instant) -> list[Effect]:
        """Place `agent` by a new map."""
        before, agent.placement = agent.placement, place(self._sites, agent.interfaces, agent.remote)
        if before == agent.placement:
            return []
        after, agent.placement = agent.placement, before
        for stream in agent.streams:
            self._swarms.leave(agent, stream, now, moved=True)
        agent.placement = after
        self._describe(agent)
        effects: list[Effect] = [Send(agent.session, self._welcome(agent))]
        if after.p2p == "off":
            effects += [Send(agent.session, Neighbours(stream, (), ())) for stream in sorted(agent.streams)]
        for stream in agent.streams:
            self._swarms.join(agent, stream, now)
        return effects

    def _welcome(self, agent: ConnectedAgent) -> Welcome:
        at = agent.placement
        networks = () if self._sites is None or at.p2p == "off" else self._sites.networks(at.site)
        return Welcome(at.site, at.label, at.p2p, at.why, self._settings, networks)

    def _of(self, session: int) -> ConnectedAgent | None:
        device = self._sessions.get(session)
        return None if device is None else self._agents[device]

    def _forget(self, agent: ConnectedAgent, now: Instant) -> None:
        for stream in agent.streams:
            self._swarms.leave(agent, stream, now)
        del self._sessions[agent.session]
        del self._agents[agent.device]
        self._last_beats[agent.device] = agent.last_beat
        while len(self._last_beats) > self._agents_max:
            self._last_beats.popitem(last=False)

    def _describe(self, agent: ConnectedAgent) -> None:
        """Work out what others are told of `agent`, which has come, moved or changed."""
        at = agent.placement
        agent.contact = Contact(agent.device, at.addresses, agent.peer_port, at.link) if at.addresses else None
        agent.near = {}
