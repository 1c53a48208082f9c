"""One agent, built once and closed in reverse: the node with everything around it.

    async with System(settings=…, state_dir=…) as system:      # satisfies `ecdn_proxy.agent.api.Agent`

Parts: Desk and Sorter (which requests are segments) · Running (node, driver, performer) · OriginClient · Links and
NetworkMonitor (addresses, mDNS) when enrolled · Reporter (coordinator) · Shelf (disk) · Meter and Conditions (what
people see). A fault of ours in the node is logged with its story, its viewers go to the origin, and a new node takes
its place.
"""

import asyncio
import hmac
import random
import secrets
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib import metadata
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import structlog

from ecdn_proxy.agent.addresses import Place, find_place, look
from ecdn_proxy.agent.api import Route, ViewerRequest, ViewerResponse
from ecdn_proxy.agent.classifier import Classifier
from ecdn_proxy.agent.coordinator_session import CoordinatorSession
from ecdn_proxy.agent.disk_cache import DiskCache
from ecdn_proxy.agent.links import Links, Webrtc
from ecdn_proxy.agent.network_monitor import NetworkEvents, NetworkMonitor
from ecdn_proxy.agent.node_runner import NodeRunner
from ecdn_proxy.agent.performer import Surroundings
from ecdn_proxy.agent.recorder import RecordFile
from ecdn_proxy.agent.router import Behind, Router
from ecdn_proxy.agent.settings import EffectiveSettings, further_profiles
from ecdn_proxy.agent.signer import DeviceSeal, LonelySeal
from ecdn_proxy.agent.status import Status
from ecdn_proxy.agent.status_builder import StatusParts, build_status
from ecdn_proxy.core import events, values
from ecdn_proxy.core.catalog.providers import Profiles
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.recording import FORMAT, Born
from ecdn_proxy.core.report.conditions import Conditions
from ecdn_proxy.core.report.meter import Meter
from ecdn_proxy.core.report.usage import ByteCounts, Usage
from ecdn_proxy.io import clock
from ecdn_proxy.io import identity as trust
from ecdn_proxy.io.origin import OriginClient
from ecdn_proxy.io.tls_links import contexts as tls
from ecdn_proxy.io.tls_links.hub import LinkEvents, Ourselves
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.sansio.tasks import Tasks
from ecdn_proxy.wire.faults import Unavailable
from ecdn_proxy.wire.peer import Contact
from ecdn_proxy.wire.signalling import Relayed, Undeliverable
from ecdn_proxy.wire.tracker import Welcome

TIDY_S = 30.0

log = structlog.get_logger(__name__)


class System:
    """One agent without its front."""

    def __init__(self, *, settings: EffectiveSettings, state_dir: Path, record: RecordFile | None = None) -> None:
        self.effective = settings
        self._record = record
        self._settings = settings.settings
        self._state_dir = state_dir
        self._limits = Limits()
        self._version = metadata.version("ecdn")
        self._started = clock.monotonic()
        self._conditions = Conditions()
        self._meter = Meter(self._limits.recent_max)
        self._tasks = Tasks(self._task_failed)
        self._stack = AsyncExitStack()
        self._hub: Links | None = None
        self._whereabouts: NetworkMonitor | None = None
        self._reporter: CoordinatorSession | None = None
        self._shelf: DiskCache | None = None
        self._site = Welcome("", "", "on", "", {})
        self._denied: events.DevicesDenied | None = None

    # ---- building

    async def __aenter__(self) -> Self:
        try:
            await self._build()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _build(self) -> None:
        settings = self._settings
        self._identity = await asyncio.to_thread(trust.load, self._state_dir)
        self._stack.push_async_callback(self._tasks.close)
        salt = bytes.fromhex(self._identity.salt) if self._identity is not None else secrets.token_bytes(32)
        self._sorter = Classifier(
            salt=salt,
            profiles=Profiles.load(further_profiles(settings.profiles_file)),
            window_s=settings.entitlement_window_s,
            allow_local=settings.allow_local_origins,
        )
        self._origin = OriginClient(
            settings.origin_ca_file, settings.origin_hosts, allow_local=settings.allow_local_origins
        )
        self._stack.push_async_callback(self._origin.close)
        self._desk = Router(
            self._sorter,
            self._meter,
            Behind(
                machine=lambda: self._running.machine,
                performer=lambda: self._running.performer,
                feed=self.feed,
                now=self._now,
                prepare=self._prepare,
                raise_condition=self.raise_condition,
            ),
        )
        place = find_place(settings)
        self._seal: DeviceSeal | LonelySeal = (
            LonelySeal() if self._identity is None else DeviceSeal(self._identity, clock.utc)
        )
        await self._open_shelf()
        await self._open_links(place)
        port = place.listen[1] if self._hub is None else self._hub.port
        self._me = Contact(self._seal.device, place.addresses or ("127.0.0.1",), port or 1, place.link)
        self._new_node()
        if self._record is not None:
            self._stack.callback(self._record.close, "the agent was stopped")
        self._stack.callback(lambda: self._running.driver.close())
        await self._open_discovery(place, salt)
        self._apply_policy()
        self._tasks.start(self._tidy(), "tidy")
        if not settings.intercept_domains:
            self.raise_condition("no-streaming-domains", "intercept_domains is empty")

    async def _open_shelf(self) -> None:
        if not self._settings.cache_disk_mb:
            return
        try:
            self._shelf = await DiskCache.open(
                self._state_dir / "segments",
                self._settings.cache_disk_mb * 1_000_000,
                feed=self.feed,
                trouble=lambda text: self.raise_condition("disk-cache-unavailable", text),
            )
        except Unavailable as fault:
            self.raise_condition("disk-cache-unavailable", fault.why)
            return
        self._stack.push_async_callback(self._shelf.close)

    async def _open_links(self, place: Place) -> None:
        identity = self._identity
        if identity is None:
            self.raise_condition("not-enrolled", "there is no identity in the state directory")
            return
        webrtc = Webrtc(
            identity,
            say=lambda message: self._reporter is not None and self._reporter.link.send(message),
            utc=clock.utc,
            stun_servers=self._settings.stun_servers,
            engine=self._settings.webrtc_engine,
            forged=lambda device, why: self.raise_condition("offer-refused", f"{device[:8]}: {why}"),
            no_way=lambda device, why: self.raise_condition("peers-out-of-reach", f"{device[:8]}: {why}"),
        )
        hub = Links(
            Ourselves(identity.device, identity.tenant, self._version, place.addresses, place.link),
            place.listen,
            tls.contexts(*identity.chain),
            place.allowed,
            LinkEvents(
                opened=lambda *what: self._running.performer.link_opened(*what),
                closed=lambda *what: self._running.performer.link_closed(*what),
                received=lambda *what: self._running.performer.link_received(*what),
                ready=lambda device: self._running.performer.link_ready(device),
                passed_over=lambda *what: self._running.performer.link_passed_over(*what),
            ),
            webrtc if self._settings.webrtc and self._settings.sharing else None,
        )
        try:
            await hub.start()
        except Unavailable as fault:
            self.raise_condition("peers-cannot-connect", fault.why)
            return
        self._hub = hub
        self._stack.push_async_callback(hub.close)

    async def _open_discovery(self, place: Place, salt: bytes) -> None:
        identity = self._identity
        if identity is None or self._hub is None:
            return
        settings = self._settings
        whereabouts = self._whereabouts = NetworkMonitor(
            place,
            lambda: look(settings),
            self._hub,
            identity.device,
            hmac.new(salt, b"mdns", "sha256").hexdigest()[:16] if settings.lan_discovery else None,
            NetworkEvents(
                feed=self.feed,
                moved=lambda networks: self._reporter.moved(networks) if self._reporter is not None else None,
                raise_condition=self.raise_condition,
                clear_condition=self.clear_condition,
            ),
        )
        self._stack.push_async_callback(whereabouts.close)
        await whereabouts.open()
        self._reporter = CoordinatorSession(
            identity,
            version=self._version,
            networks=place.networks,
            peer_port=self._hub.port,
            owner=self,
            utc=clock.utc,
            chance=random.Random(),  # noqa: S311 - jitter, not a secret
        )
        self._tasks.start(self._reporter.run(), "coordinator")

    def _new_node(self, bans: Mapping[str, Instant] = MappingProxyType({})) -> None:
        settings = self._settings
        born = Born(
            format=FORMAT,
            version=self._version,
            me=self._me,
            tenant=self._seal.tenant,
            limits=self._limits,
            memory_bytes=settings.cache_memory_mb * 1_000_000,
            disk_bytes=0 if self._shelf is None else settings.cache_disk_mb * 1_000_000,
            upload_mbps=settings.upload_mbps_max,
            share_after_watching_s=settings.share_after_watching_s,
            on_disk=() if self._shelf is None else tuple(self._shelf.held()),
            bans=dict(bans),
        )
        surroundings = Surroundings(
            origin=self._origin,
            hub=self._hub,
            keeper=self._shelf,
            announce=self._announce,
            raise_condition=self.raise_condition,
            clear_condition=self.clear_condition,
            served=lambda served: self._meter.served(served, self._now()),
            utc=clock.utc,
        )
        self._running = NodeRunner.begin(born, self._seal, surroundings, self.feed, self._node_failed, self._record)

    def _now(self) -> Instant:
        return self._running.driver.now()

    def _uploads(self) -> ByteCounts:
        """What the node that runs now has given to other agents."""
        uploaded, by_webrtc = self._running.node.uploaded_bytes()
        return ByteCounts(uploaded=uploaded, uploaded_webrtc=by_webrtc)

    def feed(self, event: events.Event) -> None:
        """Hand the node an event; what a later node must be told again is remembered."""
        if isinstance(event, events.DevicesDenied):
            self._denied = event
        elif isinstance(event, events.Moved):
            self._me = event.me
        self._running.driver.feed(event)

    def _node_failed(self, error: Exception) -> None:
        """A fault of ours: nobody's viewing may end with it."""
        former = self._running
        log.error("the node failed and is started anew", exc_info=error, story=str(former.driver.story))
        former.driver.close()
        if self._hub is not None:
            for device in self._hub.stats():
                self._hub.hang_up(device, "this agent mends a fault of its own")
        former.performer.release_all("a fault of this agent's own")
        self._meter.node_ended(self._uploads())
        self._new_node(former.node.bans())
        seen = () if self._whereabouts is None else self._whereabouts.seen.values()
        for event in (*seen, *(() if self._denied is None else (self._denied,))):
            self._running.driver.feed(event)
        if self._reporter is not None and self._identity is not None:
            self._reporter.link.use(self._identity)  # a new socket tells everything again
        self._apply_policy()
        self.raise_condition("restarted-within", f"{type(error).__name__}: {error}"[:200])

    def _task_failed(self, name: str, error: BaseException) -> None:
        log.error("a task failed", task=name, exc_info=error)

    def _prepare(self, url: str) -> None:
        self._tasks.start(self._origin.prepare(url), "prepare")

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_S)
            self._sorter.tidy(clock.utc())

    # ---- what the coordinator says, and is told (`coordinator_session.SessionOwner`)

    def usage(self) -> Usage:
        """Everything counted since this agent was started."""
        return self._meter.usage(self._uploads())

    def conditions(self) -> tuple[str, ...]:
        """Codes of the conditions that hold now."""
        return tuple(it.code for it in self._conditions.holding(self._now()))

    def links(self) -> tuple[int, int]:
        """How many links to other agents stand now: by TLS, by WebRTC."""
        return (0, 0) if self._hub is None else self._hub.standing()

    def signalling_possible(self, possible: bool) -> None:
        """WebRTC links can be arranged now, or can no longer."""
        if self._hub is not None:
            self._hub.switchboard(possible)

    def signalled(self, message: Relayed | Undeliverable) -> None:
        """Another agent has sent a message through the coordinator, or one of ours could not be delivered."""
        if self._hub is not None:
            self._hub.heard(message)

    def _announce(self, streams: tuple[str, ...], serves: bool, isolated: bool) -> None:
        if self._hub is not None:
            self._hub.set_streams(streams, serves)
        if self._whereabouts is not None:
            self._whereabouts.announce(streams, serves)
        if self._reporter is not None:
            self._reporter.announce(streams, serves, isolated)

    def placed(self, site: Welcome) -> None:
        """The coordinator has said at which site this machine is."""
        self._site = site
        if self._whereabouts is not None and not self._settings.peer_networks:
            self._whereabouts.site_said(site.networks)
        self._apply_policy()

    def _apply_policy(self) -> None:
        sharing = self._settings.sharing and self._site.p2p != "off" and self._hub is not None
        uploads = sharing and self._settings.uploads and self._site.p2p == "on"
        why = self._site.why or "settings"
        if sharing or self._hub is None:
            self.clear_condition("sharing-off")
        else:
            self.raise_condition("sharing-off", why)
        self.feed(events.PolicyChanged(sharing, uploads, why))

    def settings_changed(self, settings: dict[str, Any]) -> None:
        """Kept for the next start: a listening address or a cache size does not change under way."""
        if self._identity is not None:
            identity = self._identity = self._identity.with_settings(settings)
            self._tasks.start(asyncio.to_thread(identity.save, self._state_dir), "save settings")

    def renewed(self, identity: trust.Identity) -> None:
        """This machine has a new certificate and new keys."""
        self._identity = identity
        if isinstance(self._seal, DeviceSeal):
            self._seal.renewed(identity)
        if self._hub is not None:
            self._hub.set_contexts(tls.contexts(*identity.chain))
            self._hub.set_identity(identity)

    # ---- conditions

    def raise_condition(self, code: str, text: str) -> None:
        """A registered condition holds from now on; `text` says what exactly."""
        if self._conditions.raised(code, text, clock.monotonic()):
            log.warning("condition", code=code, why=text)

    def clear_condition(self, code: str) -> None:
        """A condition holds no longer."""
        if self._conditions.cleared(code):
            log.info("condition over", code=code)

    # ---- doors

    def sort(self, request: ViewerRequest) -> Route:
        """See `doors.Agent`."""
        return self._desk.sort(request)

    def open(self, ticket: str) -> ViewerResponse:
        """See `doors.Agent`."""
        return self._desk.open(ticket)

    def wants_body(self, request: ViewerRequest, status: int, headers: values.Headers) -> bool:
        """See `doors.Agent`."""
        return self._desk.wants_body(request, status, headers)

    async def manifest(self, request: ViewerRequest, status: int, headers: values.Headers, body: bytes) -> None:
        """See `doors.Agent`."""
        await self._desk.manifest(request, status, headers, body)

    def passed(self, request: ViewerRequest, status: int, received_bytes: int) -> None:
        """See `doors.Agent`."""
        self._desk.passed(request, status, received_bytes)

    def bypassed(self, host: str, why: str) -> None:
        """See `doors.Agent`."""
        self.raise_condition("host-bypassed", f"{host}: {why}")

    def status(self) -> Status:
        """See `doors.Agent`."""
        return build_status(
            StatusParts(
                version=self._version,
                identity=self._identity,
                effective=self.effective,
                uptime_s=clock.monotonic() - self._started,
                node=self._running.node,
                links=self._hub,
                session=self._reporter,
                site=self._site,
                usage=self.usage(),
                meter=self._meter,
                conditions=self._conditions,
                now=self._now(),
            )
        )
