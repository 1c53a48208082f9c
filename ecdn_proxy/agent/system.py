"""One agent without its front: builds its parts in order, and closes them in reverse.

    async with System(settings=…, state_dir=…) as system:
        system.router                     the agent's only door for requests (`ecdn_proxy.agent.api.AgentApi`)
        system.status()                   everything that the page, the JSON and the command line show

The parts, in the order in which they are built:
    ConditionLog, Meter                   what people see
    RuleBook                              what IT lets be shared although origins do not say so
    Classifier                            which requests are segments
    OriginClient                          fetches from origins
    NodeRunner                            the node, and whoever drives and performs for it
    Router                                stands before all of them
    DiskCache                             if the settings give it room
    Sharing                               on an enrolled machine: links, mDNS, the coordinator
"""

import asyncio
import secrets
from contextlib import AsyncExitStack
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from ecdn_proxy.agent.addresses import Place, find_place
from ecdn_proxy.agent.classifier import Classifier
from ecdn_proxy.agent.condition_log import ConditionLog
from ecdn_proxy.agent.disk_cache import DiskCache
from ecdn_proxy.agent.node_runner import NodeRunner
from ecdn_proxy.agent.performer import Surroundings
from ecdn_proxy.agent.recorder import RecordFile
from ecdn_proxy.agent.router import Router
from ecdn_proxy.agent.rule_book import RuleBook
from ecdn_proxy.agent.settings import EffectiveSettings, further_profiles
from ecdn_proxy.agent.sharing import NOT_PLACED, Sharing
from ecdn_proxy.agent.signer import DeviceSeal, LonelySeal
from ecdn_proxy.agent.status import Status
from ecdn_proxy.agent.status_builder import StatusParts, build_status
from ecdn_proxy.core import events
from ecdn_proxy.core.catalog.providers import Profiles
from ecdn_proxy.core.limits import Limits
from ecdn_proxy.core.recording import FORMAT, Born
from ecdn_proxy.core.report.meter import Meter
from ecdn_proxy.io import clock, identity
from ecdn_proxy.io.origin import OriginClient
from ecdn_proxy.sansio.tasks import Tasks
from ecdn_proxy.wire.faults import Unavailable
from ecdn_proxy.wire.peer import Contact

FORGET_EVERY_S = 30.0
"""How often old manifests and proofs are forgotten."""

log = structlog.get_logger(__name__)


class System:
    """One agent without its front; an `ecdn_proxy.agent.api.StartedAgent` once it is entered."""

    router: Router

    def __init__(self, *, settings: EffectiveSettings, state_dir: Path, record: RecordFile | None = None) -> None:
        self._effective = settings
        self._settings = settings.settings
        self._state_dir = state_dir
        self._record = record
        self._limits = Limits()
        self._version = metadata.version("ecdn")
        self._started = clock.monotonic()
        self._conditions = ConditionLog()
        self._meter = Meter(self._limits.recent_max)
        self._runner = NodeRunner()
        self._tasks = Tasks(lambda name, error: log.error("a task failed", task=name, exc_info=error))
        self._stack = AsyncExitStack()
        self._identity: identity.Identity | None = None
        self._disk: DiskCache | None = None
        self._sharing: Sharing | None = None

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

    # ---- building

    async def _build(self) -> None:
        settings = self._settings
        self._identity = await asyncio.to_thread(identity.load_identity, self._state_dir)
        self._stack.push_async_callback(self._tasks.close)
        profiles = Profiles.load(further_profiles(settings.profiles_file))
        self._rules = RuleBook(self._effective, profiles, self._conditions)
        if self._identity is not None:
            self._rules.coordinator_said(self._identity.settings)
        self._classifier = Classifier(
            salt=secrets.token_bytes(32) if self._identity is None else bytes.fromhex(self._identity.salt),
            profiles=profiles,
            window_s=settings.entitlement_window_s,
            allow_local=settings.allow_local_origins,
            share_parts=settings.share_low_latency_parts,
            find_rule=self._rules.find,
        )
        self._origin = OriginClient(
            settings.origin_ca_file, settings.origin_hosts, allow_local=settings.allow_local_origins
        )
        self._stack.push_async_callback(self._origin.close)
        self.router = Router(self._classifier, self._meter, self._runner, self._origin, self._conditions, self._tasks)
        place = find_place(settings)
        await self._open_disk()
        seal: DeviceSeal | LonelySeal
        if self._identity is None:
            seal = LonelySeal()
            self._conditions.raise_condition("not-enrolled", "there is no identity in the state directory")
        else:
            seal = DeviceSeal(self._identity, clock.utc)
            await self._open_links(seal, place)
        self._start_node(seal, place)
        await self._begin_sharing()
        self._tasks.start(self._forget_old(), "forget old manifests")
        if not settings.intercept_domains:
            self._conditions.raise_condition("no-streaming-domains", "intercept_domains is empty")

    async def _open_disk(self) -> None:
        if not self._settings.cache_disk_mb:
            return
        try:
            self._disk = await DiskCache.open(
                self._state_dir / "segments",
                self._settings.cache_disk_mb * 1_000_000,
                node=self._runner,
                conditions=self._conditions,
            )
        except Unavailable as fault:
            self._conditions.raise_condition("disk-cache-unavailable", fault.why)
            return
        self._stack.push_async_callback(self._disk.close)

    async def _open_links(self, seal: DeviceSeal, place: Place) -> None:
        sharing = Sharing(
            seal,
            self._settings,
            place,
            self._settings_said,
            version=self._version,
            runner=self._runner,
            meter=self._meter,
            condition_log=self._conditions,
            tasks=self._tasks,
        )
        try:
            await sharing.open_links()
        except Unavailable as fault:
            self._conditions.raise_condition("peers-cannot-connect", fault.why)
            return
        self._sharing = sharing
        self._stack.push_async_callback(sharing.links.close)

    def _settings_said(self, known: identity.Identity) -> None:
        """The coordinator has other settings for this machine.

        Sharing rules count at once. All else is kept for the next start: a listening address or a cache size does not
        change under way.
        """
        self._rules.coordinator_said(known.settings)
        self._tasks.start(asyncio.to_thread(known.save, self._state_dir), "save settings")

    def _start_node(self, seal: DeviceSeal | LonelySeal, place: Place) -> None:
        settings, sharing = self._settings, self._sharing
        port = place.listen[1] if sharing is None else sharing.links.port
        born = Born(
            format=FORMAT,
            version=self._version,
            me=Contact(seal.device, place.addresses or ("127.0.0.1",), port or 1, place.link),
            tenant=seal.tenant,
            limits=self._limits,
            memory_bytes=settings.cache_memory_mb * 1_000_000,
            disk_bytes=0 if self._disk is None else settings.cache_disk_mb * 1_000_000,
            upload_mbps=settings.upload_mbps_max,
            share_after_watching_s=settings.share_after_watching_s,
        )
        surroundings = Surroundings(
            origin=self._origin,
            links=None if sharing is None else sharing.links,
            disk=self._disk,
            announcer=sharing,
            conditions=self._conditions,
            meter=self._meter,
            utc=clock.utc,
        )
        self._runner.start(born, seal, surroundings, self._record)
        if self._record is not None:
            self._stack.callback(self._record.close, "the agent was stopped")
        self._stack.callback(self._runner.close)

    async def _begin_sharing(self) -> None:
        if self._sharing is None:
            self._runner.feed(events.PolicyChanged(sharing=False, uploads=False, why="settings"))
            return
        self._stack.push_async_callback(self._sharing.close_discovery)
        await self._sharing.open_discovery()
        self._sharing.apply_policy()

    async def _forget_old(self) -> None:
        while True:
            await asyncio.sleep(FORGET_EVERY_S)
            self._classifier.forget_old(clock.utc())

    # ---- shown

    def status(self) -> Status:
        """What the status page, `/api/status` and the command line show."""
        sharing = self._sharing
        return build_status(
            StatusParts(
                version=self._version,
                identity=self._identity if sharing is None else sharing.identity,
                effective=self._effective,
                uptime_s=clock.monotonic() - self._started,
                node=self._runner.node,
                links=None if sharing is None else sharing.links,
                session=None if sharing is None else sharing.session,
                rules=self._rules.rules,
                site=NOT_PLACED if sharing is None else sharing.site,
                usage=self._meter.usage(self._runner.uploads()),
                meter=self._meter,
                conditions=self._conditions.conditions,
                now=self._runner.now(),
            )
        )
