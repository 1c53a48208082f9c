"""One agent, built once and closed in reverse: the node with everything around it.

    async with System(settings=…, state_dir=…) as system:      # satisfies `ecdn_proxy.agent.doors.Agent`

Parts: Sorter (which requests are segments) · Node with its Driver and Performer · OriginClient · Links and
Whereabouts (addresses, mDNS) when enrolled · Reporter (coordinator) · Shelf (disk) · Meter and Conditions (what
people see). A fault of ours in the node is logged with its story, its viewers go to the origin, and a new node takes
its place.
"""

import asyncio
import hmac
import random
import secrets
import tomllib
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib import metadata
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import structlog

from ecdn_proxy.agent import statusbook
from ecdn_proxy.agent.delivery import ViewerDelivery
from ecdn_proxy.agent.doors import Delivery, FromMemory, Pass, Route, ToGateway, ViewerRequest
from ecdn_proxy.agent.links import Links, Webrtc
from ecdn_proxy.agent.performer import Performer, Surroundings
from ecdn_proxy.agent.place import Place, find_place, look
from ecdn_proxy.agent.recorder import RecordFile
from ecdn_proxy.agent.report import Status
from ecdn_proxy.agent.reporter import Reporter
from ecdn_proxy.agent.reporter import Told as ReporterTold
from ecdn_proxy.agent.seal import DeviceSeal, LonelySeal
from ecdn_proxy.agent.settings import EffectiveSettings
from ecdn_proxy.agent.shelf import Shelf
from ecdn_proxy.agent.sorting import Match, Sorter, refused_manifest
from ecdn_proxy.agent.whereabouts import Tells, Whereabouts
from ecdn_proxy.core import happenings as h
from ecdn_proxy.core.conditions import Conditions
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.meter import Meter
from ecdn_proxy.core.node import Node
from ecdn_proxy.core.playlist import ManifestError
from ecdn_proxy.core.providers import BadProfile, Profiles
from ecdn_proxy.core.recording import FORMAT, Born, Recording, Witness
from ecdn_proxy.io import clock, tls, trust
from ecdn_proxy.io.link import Ourselves, Told
from ecdn_proxy.io.origin import OriginClient
from ecdn_proxy.sansio.driver import Driver
from ecdn_proxy.sansio.machine import Instant
from ecdn_proxy.sansio.tasks import Tasks
from ecdn_proxy.wire.faults import Unavailable
from ecdn_proxy.wire.peer import Contact
from ecdn_proxy.wire.tracker import Settings as CoordinatorSettings
from ecdn_proxy.wire.tracker import Welcome

FROM_MEMORY_BYTES_MAX = 4 * 1024 * 1024
"""Up to here a complete segment is answered in the proxy's hook: a third of the CPU of the gateway's way."""
TICKETS_MAX = 1_024
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
        self._tickets: OrderedDict[str, tuple[Match, ViewerRequest]] = OrderedDict()
        self._viewer = 0
        self._stack = AsyncExitStack()
        self._hub: Links | None = None
        self._whereabouts: Whereabouts | None = None
        self._reporter: Reporter | None = None
        self._shelf: Shelf | None = None
        self._site = Welcome("", "", "on", "", {})
        self._denied: h.DevicesDenied | None = None

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
        self._sorter = Sorter(
            salt=salt,
            profiles=Profiles.load(_further_profiles(settings.profiles_file)),
            window_s=settings.entitlement_window_s,
            allow_local=settings.allow_local_origins,
        )
        self._origin = OriginClient(
            settings.origin_ca_file, settings.origin_hosts, allow_local=settings.allow_local_origins
        )
        self._stack.push_async_callback(self._origin.close)
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
        self._stack.callback(lambda: self._driver.close())
        await self._open_discovery(place, salt)
        self._apply_policy()
        self._tasks.start(self._tidy(), "tidy")
        if not settings.intercept_domains:
            self._raise("no-streaming-domains", "intercept_domains is empty")

    async def _open_shelf(self) -> None:
        if not self._settings.cache_disk_mb:
            return
        try:
            self._shelf = await Shelf.open(
                self._state_dir / "segments",
                self._settings.cache_disk_mb * 1_000_000,
                feed=self._feed,
                trouble=lambda text: self._raise("disk-cache-unavailable", text),
            )
        except Unavailable as fault:
            self._raise("disk-cache-unavailable", fault.why)
            return
        self._stack.push_async_callback(self._shelf.close)

    async def _open_links(self, place: Place) -> None:
        identity = self._identity
        if identity is None:
            self._raise("not-enrolled", "there is no identity in the state directory")
            return
        webrtc = Webrtc(
            identity,
            say=lambda message: self._reporter is not None and self._reporter.link.send(message),
            utc=clock.utc,
            stun_servers=self._settings.stun_servers,
            engine=self._settings.webrtc_engine,
            forged=lambda device, why: self._raise("offer-refused", f"{device[:8]}: {why}"),
            no_way=lambda device, why: self._raise("peers-out-of-reach", f"{device[:8]}: {why}"),
        )
        hub = Links(
            Ourselves(identity.device, identity.tenant, self._version, place.addresses, place.link),
            place.listen,
            _contexts(identity),
            place.allowed,
            Told(
                opened=lambda *what: self._performer.link_opened(*what),
                closed=lambda *what: self._performer.link_closed(*what),
                received=lambda *what: self._performer.link_received(*what),
                ready=lambda device: self._performer.link_ready(device),
            ),
            webrtc if self._settings.webrtc and self._settings.sharing else None,
        )
        try:
            await hub.start()
        except Unavailable as fault:
            self._raise("peers-cannot-connect", fault.why)
            return
        self._hub = hub
        self._stack.push_async_callback(hub.close)

    async def _open_discovery(self, place: Place, salt: bytes) -> None:
        identity = self._identity
        if identity is None or self._hub is None:
            return
        settings = self._settings
        whereabouts = self._whereabouts = Whereabouts(
            place,
            lambda: look(settings),
            self._hub,
            identity.device,
            hmac.new(salt, b"mdns", "sha256").hexdigest()[:16] if settings.lan_discovery else None,
            Tells(
                feed=self._feed,
                moved=lambda networks: self._reporter.moved(networks) if self._reporter is not None else None,
                raise_condition=self._raise,
                clear_condition=self._clear,
            ),
        )
        self._stack.push_async_callback(whereabouts.close)
        await whereabouts.open()
        self._reporter = Reporter(
            identity,
            version=self._version,
            networks=place.networks,
            peer_port=self._hub.port,
            meter=self._meter,
            told=ReporterTold(
                feed=self._feed,
                raise_condition=self._raise,
                clear_condition=self._clear,
                conditions=lambda: tuple(it.code for it in self._conditions.now(self._driver.now())),
                uploaded_bytes=lambda: (self._node.uploads.sent_bytes, self._node.uploads.sent_webrtc_bytes),
                links=self._hub.standing,
                site_changed=self._site_changed,
                settings_changed=self._settings_changed,
                renewed=self._renewed,
                switchboard=self._hub.switchboard,
                signalled=self._hub.heard,
                utc=clock.utc,
            ),
            chance=random.Random(),  # noqa: S311 - jitter, not a secret
        )
        self._tasks.start(self._reporter.run(), "coordinator")

    def _new_node(self, bans: Mapping[str, Instant] = MappingProxyType({})) -> None:
        settings = self._settings
        witness = None if self._record is None else Witness(self._seal)
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
        self._node = born.node(witness or self._seal)
        machine: Node | Recording = self._node
        if self._record is not None and witness is not None:
            machine = Recording(self._node, witness, self._record.write, born)
        self._machine = machine
        surroundings = Surroundings(
            origin=self._origin,
            hub=self._hub,
            keeper=self._shelf,
            announce=self._announce,
            raise_condition=self._raise,
            clear_condition=self._clear,
            served=lambda served: self._meter.served(served, self._driver.now()),
            utc=clock.utc,
        )
        self._performer = Performer(surroundings, self._feed)
        self._driver: Driver[h.Event, h.Effect] = Driver(machine, self._performer.perform, self._node_failed)

    def _feed(self, event: h.Event) -> None:
        match event:
            case h.DevicesDenied():
                self._denied = event
            case h.Moved():
                self._me = event.me
            case _:
                pass
        self._driver.feed(event)

    def _node_failed(self, error: Exception) -> None:
        """A fault of ours: nobody's viewing may end with it."""
        log.error("the node failed and is started anew", exc_info=error)
        former, self._driver = self._performer, self._driver
        self._driver.close()
        if self._hub is not None:
            for device in self._hub.stats():
                self._hub.hang_up(device, "this agent mends a fault of its own")
        former.release_all("a fault of this agent's own")
        self._new_node(self._node.site.view.bans)
        seen = () if self._whereabouts is None else self._whereabouts.seen.values()
        for event in (*seen, *(() if self._denied is None else (self._denied,))):
            self._driver.feed(event)
        if self._reporter is not None and self._identity is not None:
            self._reporter.link.use(self._identity)  # a new socket tells everything again
        self._apply_policy()
        self._raise("restarted-within", f"{type(error).__name__}: {error}"[:200])

    def _task_failed(self, name: str, error: BaseException) -> None:
        log.error("a task failed", task=name, exc_info=error)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_S)
            self._sorter.tidy(clock.utc())

    # ---- what the coordinator says

    def _announce(self, streams: tuple[str, ...], serves: bool) -> None:
        if self._hub is not None:
            self._hub.set_streams(streams, serves)
        if self._whereabouts is not None:
            self._whereabouts.announce(streams, serves)
        if self._reporter is not None:
            self._reporter.announce(streams, serves)

    def _site_changed(self, site: Welcome) -> None:
        self._site = site
        if self._whereabouts is not None and not self._settings.peer_networks:
            self._whereabouts.site_said(site.networks)
        self._apply_policy()

    def _apply_policy(self) -> None:
        sharing = self._settings.sharing and self._site.p2p != "off" and self._hub is not None
        uploads = sharing and self._settings.uploads and self._site.p2p == "on"
        why = self._site.why or "settings"
        if sharing or self._hub is None:
            self._clear("sharing-off")
        else:
            self._raise("sharing-off", why)
        self._feed(h.PolicyChanged(sharing, uploads, why))

    def _settings_changed(self, settings: CoordinatorSettings) -> None:
        """Kept for the next start: a listening address or a cache size does not change under way."""
        if self._identity is not None:
            self._identity = self._identity.with_settings(settings.settings)
            identity = self._identity
            self._tasks.start(asyncio.to_thread(identity.save, self._state_dir), "save settings")

    def _renewed(self, identity: trust.Identity) -> None:
        self._identity = identity
        if isinstance(self._seal, DeviceSeal):
            self._seal.renewed(identity)
        if self._hub is not None:
            self._hub.set_contexts(_contexts(identity))
            self._hub.set_identity(identity)

    # ---- conditions

    def _raise(self, code: str, text: str) -> None:
        if self._conditions.raised(code, text, clock.monotonic()):
            log.warning("condition", code=code, why=text)

    def _clear(self, code: str) -> None:
        if self._conditions.cleared(code):
            log.info("condition over", code=code)

    # ---- doors

    def sort(self, request: ViewerRequest) -> Route:
        """See `doors.Agent`."""
        try:
            found = self._sorter.sort(request, clock.utc())
        except Exception as error:  # a request that we fail to understand is the origin's business
            log.error("a request could not be sorted", exc_info=error)
            return Pass("a fault of this agent's own")
        if isinstance(found, Pass):
            return found
        listed = found.listed
        stored = self._machine.in_memory(listed.key, clock.utc())
        if stored is not None and len(stored.body) <= FROM_MEMORY_BYTES_MAX:
            why = "in this machine's memory"
            size = len(stored.body)
            self._feed(h.StreamOpened(listed.stream))
            self._meter.served(
                h.Served(
                    key=listed.key,
                    stream=listed.stream,
                    rendition=listed.rendition,
                    number=listed.number,
                    source="cache",
                    why=why,
                    ms=0.0,
                    bytes_by_source=(("cache", size),),
                ),
                self._driver.now(),
            )
            return FromMemory(stored, why)
        ticket = secrets.token_urlsafe(16)
        self._tickets[ticket] = (found, request)
        if len(self._tickets) > TICKETS_MAX:
            self._tickets.popitem(last=False)
        return ToGateway(ticket, found.why)

    def open(self, ticket: str) -> Delivery:
        """See `doors.Agent`."""
        found, request = self._tickets.pop(ticket)
        self._viewer += 1
        delivery = ViewerDelivery(self._viewer, request, self._performer.left)
        self._performer.expect(delivery)
        listed = found.listed
        self._feed(
            h.Wanted(
                viewer=delivery.viewer,
                stream=listed.stream,
                rendition=listed.rendition,
                key=listed.key,
                number=listed.number,
                duration_s=listed.duration_s,
                live=listed.live,
                resource_range=listed.byte_range,
                origin=h.OriginRequest(request.url, request.headers),
                utc=clock.utc(),
            )
        )
        return delivery

    def wants_body(self, request: ViewerRequest, status: int, headers: h.Headers) -> bool:
        """See `doors.Agent`."""
        return self._sorter.wants_body(request, status, headers)

    async def manifest(self, request: ViewerRequest, status: int, headers: h.Headers, body: bytes) -> None:
        """See `doors.Agent`."""
        try:
            streams = await self._sorter.manifest(request, dict(headers).get("content-type"), body, clock.utc())
        except ManifestError as error:
            self._raise("manifest-refused", refused_manifest(request, error))
            return
        except Exception as error:  # the viewer has its manifest; only sharing suffers
            log.error("a manifest could not be read", exc_info=error)
            return
        if streams:
            self._tasks.start(self._origin.prepare(request.url), "prepare")
        for stream in streams:
            self._feed(h.StreamOpened(stream))

    def passed(self, request: ViewerRequest, status: int, received_bytes: int) -> None:
        """See `doors.Agent`."""
        self._meter.passed(received_bytes)
        self._sorter.passed(request, status, clock.utc())

    def bypassed(self, host: str, why: str) -> None:
        """See `doors.Agent`."""
        self._raise("host-bypassed", f"{host}: {why}")

    def status(self) -> Status:
        """See `doors.Agent`."""
        return statusbook.status(
            statusbook.Sources(
                version=self._version,
                identity=self._identity,
                effective=self.effective,
                uptime_s=clock.monotonic() - self._started,
                node=self._node,
                hub=self._hub,
                reporter=self._reporter,
                site=self._site,
                meter=self._meter,
                conditions=self._conditions,
                now=self._driver.now(),
            )
        )


def _contexts(identity: trust.Identity) -> tls.Contexts:
    return tls.contexts(identity.certificate_pem, identity.keys.tls, identity.tenant_root_pem)


def _further_profiles(file: str) -> tuple[dict[str, object], ...]:
    """Profiles of an administrator.

    Raises:
        BadProfile: the file is no TOML with [[profile]] tables.
    """
    if not file:
        return ()
    try:
        tables = tomllib.loads(Path(file).read_text(encoding="utf-8")).get("profile", [])
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadProfile(f"{file}: {error}") from error
    if not isinstance(tables, list):
        raise BadProfile(f"{file}: write each profile as a table, [[profile]]")
    return tuple(tables)
