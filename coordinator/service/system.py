"""The coordinator as one object: its parts are built in order, once, and closed in reverse.

async with System.opened(data_dir, settings, log) as system:
    system.enrol / renew / admit           requests of devices
    system.deny / allow                    decisions of IT about a device
    system.apply_map / apply_settings      what IT has changed
    system.driver.feed(event)              what sockets tell the tracker
async with open_data_directory(data_dir, utc) as data:
    data.authority, data.db                what every command needs, beside a running coordinator or without one
"""

import asyncio
import hmac
import secrets
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy.exc import DBAPIError

from coordinator.core import registry
from coordinator.core.limits import Settings
from coordinator.core.rate_limit import RateLimit
from coordinator.core.registry import CLONED, Device, Refusal, Registry, Token
from coordinator.core.sites import Address, SiteMap
from coordinator.core.tracker import Close, DenyListChanged, Effect, Event, MapChanged, SettingsChanged, Tracker
from coordinator.io import clock
from coordinator.io.ca import Authority, BadCsr, Issued
from coordinator.io.db import Database, migrate
from coordinator.io.files import AlreadyLocked, create_private, locked
from coordinator.service import maps
from coordinator.service.gc_tuning import GcTuning
from coordinator.service.performer import Performer
from coordinator.service.settings import ConfigurationError
from ecdn_proxy.sansio.driver import Driver
from ecdn_proxy.sansio.tasks import Tasks
from ecdn_proxy.wire.enrolment import Enrolled, EnrolRequest, RenewRequest

ADMIN_TOKEN_FILE = "admin-token"  # noqa: S105  # a file's name
POLL_S = 2.0
"""An imported site map is in force, and sightings are written, after so long at the latest."""
SERVER_CERTIFICATE_CHECK_S = 3_600.0
"""How often the coordinator looks whether its own certificate is due for renewal."""
MESSAGES_PER_MINUTE = 600
"""From one agent. One that sends more than ten messages a second is broken or hostile."""


class DataDirectory(msgspec.Struct, frozen=True):
    """An opened data directory: the tenant and the database in it."""

    path: Path
    authority: Authority
    db: Database
    salt: str
    """The tenant's salt for ids of streams and segments, hexadecimal."""
    url: str
    """Where the coordinator answered last; empty before its first start."""


@asynccontextmanager
async def open_data_directory(data_dir: Path, utc: float) -> AsyncIterator[DataDirectory]:
    """Open the data directory, making the folder, the database and the tenant when there are none.

    Raises:
        ConfigurationError: the folder or a file in it cannot be used.
    """
    try:
        authority = await asyncio.to_thread(_make_folder, data_dir, utc)
    except OSError as error:
        raise ConfigurationError(
            f"data directory {data_dir} cannot be used: {error.strerror} ({error.filename})"
        ) from error
    except DBAPIError as error:
        raise ConfigurationError(f"database in {data_dir} cannot be used: {error.orig}") from error
    except ValueError as error:
        raise ConfigurationError(f"tenant CA in {data_dir} cannot be used: {error}") from error
    db = Database(data_dir)
    try:
        salt, url = await db.tenant(authority.tenant, secrets.token_hex(32), utc)
        yield DataDirectory(data_dir, authority, db, salt, url)
    finally:
        await db.close()


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Only one coordinator may run on a folder: each has its register in memory and would not see the other's changes.

    Raises:
        ConfigurationError: another coordinator runs on the folder of `path`.
    """
    try:
        with locked(path):
            yield
    except AlreadyLocked as error:
        raise ConfigurationError(f"another coordinator runs on {path.parent}") from error


def _make_folder(data_dir: Path, utc: float) -> Authority:
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = Authority.open(data_dir, utc)
    migrate(data_dir)
    return authority


class DeviceCertificate(msgspec.Struct, frozen=True):
    """A certificate that a device has shown. TLS has verified it against the tenant root, but not when it ends."""

    device: str
    fingerprint: str
    ends_utc: float


class System:
    """A running coordinator without its web server."""

    def __init__(self, data: DataDirectory, settings: Settings, devices: Iterable[Device], log: Any) -> None:
        self.settings = settings
        self.authority = data.authority
        self.db = data.db
        self.log = log
        self.registry = Registry(devices, settings.grace_days * 86_400)
        self.performer = Performer()
        self.tracker = Tracker(
            None,
            settings.agents,
            self.registry.denied(clock.utc()),
            spacing_s=settings.spacing_s,
            agents_max=settings.agents_max,
        )
        self.driver: Driver[Event, Effect] = Driver(self.tracker, self.performer.perform, self._fault)
        self.tasks = Tasks(lambda name, error: log.error("task failed", task=name, exc_info=error))
        self.enrolments = RateLimit(settings.enrol_per_minute)
        self.messages = RateLimit(MESSAGES_PER_MINUTE)
        self.refusals: dict[str, int] = {}
        """How often devices and tokens were refused, by the code of the reason."""
        self.faults = 0
        """Exceptions that should not have happened: faults of the coordinator's own."""
        self.passed_over = 0
        """How many messages of agents only a later release of the coordinator knows."""
        self._salt = data.salt
        self._map_revision = -1
        self._sessions = 0
        self._admin = create_private(data.path / ADMIN_TOKEN_FILE, secrets.token_urlsafe(32).encode()).strip()

    @classmethod
    @asynccontextmanager
    async def opened(cls, data_dir: Path, settings: Settings, log: Any) -> AsyncIterator["System"]:
        """A coordinator that works until the block ends.

        Raises:
            ConfigurationError: the data directory, the site map or another setting cannot be used.
        """
        async with AsyncExitStack() as stack:
            data = await stack.enter_async_context(open_data_directory(data_dir, clock.utc()))
            stack.enter_context(_only_one(data_dir / "run.lock"))
            if settings.sites:
                path = Path(settings.sites)
                text, _ = maps.read_file(path)
                await data.db.put_map(path.name, text, clock.utc())
            system = cls(data, settings, await data.db.devices(Device), log)
            stack.push_async_callback(system._close)
            await system.refresh_map()
            system.tasks.start(system._poll(), "poll")
            yield system

    async def _close(self) -> None:
        self.driver.close()
        await self.tasks.close()
        await self.performer.write(self.db)

    def _fault(self, error: Exception) -> None:
        self.faults += 1
        self.log.error("tracker failed", exc_info=error)

    async def _poll(self) -> None:
        gc_tuning = GcTuning()
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.refresh_map()
                await self.performer.write(self.db)
            except (DBAPIError, ConfigurationError) as error:
                self.log.warning("database is not available", why=str(error))
            self.driver.feed(DenyListChanged(self.registry.denied(clock.utc())))
            self._disconnect_ended(clock.utc())
            here = len(self.tracker)
            gc_tuning.collect_if_due(here, self.tracker.totals.arrivals - here)

    def _disconnect_ended(self, utc: float) -> None:
        """Close the sockets of devices whose certificates have ended: no other agent would accept them."""
        for agent in list(self.tracker.agents()):
            device = self.registry.get(agent.device)
            if device is None or utc >= device.ends_utc:
                why = "this device's certificate has ended; the agent must renew it"
                self.performer.perform(Close(agent.session, "certificate-ended", why, 60))

    async def refresh_map(self) -> None:
        """Put the stored site map in force, if it is another one than before."""
        if await self.db.map_revision() == self._map_revision:
            return
        self._map_revision, site_map = await maps.stored(self.db)
        self.apply_map(site_map)

    def apply_map(self, site_map: SiteMap | None) -> None:
        """Place every agent by `site_map`, and by the setting `wan_peers`: who may meet across the WAN."""
        rules = self.settings.wan_peers
        known = set() if site_map is None else {row.group for row in site_map.rows}
        for group in (group for groups in rules for group in groups if group not in known):
            self.log.warning("wan_peers names a group that is not in the site map", group=group)
        self.driver.feed(MapChanged(None if site_map is None else SiteMap(site_map.rows, rules)))
        if site_map is not None:
            self.log.info("site map in force", subnets=len(site_map.rows))

    def apply_settings(self, agents: dict[str, Any]) -> None:
        """Send every agent the table `agents` as its settings."""
        self.settings = msgspec.structs.replace(self.settings, agents=agents)
        self.driver.feed(SettingsChanged(agents))

    def is_admin(self, token: str) -> bool:
        """Is `token` the administrator's, which stands in a file of the data directory?"""
        return hmac.compare_digest(token.encode(errors="surrogateescape"), self._admin)

    def next_session(self) -> int:
        """A number for a new socket."""
        self._sessions += 1
        return self._sessions

    async def enrol(self, request: EnrolRequest, remote: Address) -> Enrolled | Refusal:
        """Make a machine a device of the tenant, if its token may do so."""
        digest = registry.digest_of(request.token)
        token = await self.db.token(digest, Token)
        if (refusal := registry.judge_token(token, remote, clock.utc())) is not None:
            return self._count(refusal)
        device = str(uuid.uuid4())
        issued = self._issue(request, device)
        if isinstance(issued, Refusal):
            return self._count(issued)
        row = Device(device, clock.utc(), request.version, issued.fingerprint, False, "", issued.ends_utc)
        if not await self.db.spend(digest, row):
            token = await self.db.token(digest, Token)
            gone = Refusal("token-used-up", "this token has been used up this very moment; ask IT for another")
            return self._count(registry.judge_token(token, remote, clock.utc()) or gone)
        self.registry.add(row)
        self.log.info("enrolled", device=device, remote=str(remote), version=request.version)
        return self._enrolled(device, issued)

    async def renew(self, request: RenewRequest, shown: DeviceCertificate) -> Enrolled | Refusal:
        """Give a device its next certificate; `shown` is the one that it has."""
        found = self.registry.may_renew(shown.device, shown.fingerprint, shown.ends_utc, clock.utc())
        if isinstance(found, Refusal):
            return await self._refuse(shown.device, found)
        issued = self._issue(request, shown.device)
        if isinstance(issued, Refusal):
            return self._count(issued)
        changed = self.registry.renewed(
            shown.device, shown.fingerprint, issued.fingerprint, issued.ends_utc, request.version
        )
        await self.db.put_device(changed)
        self.log.info("renewed", device=shown.device, version=request.version)
        return self._enrolled(shown.device, issued)

    async def admit(self, shown: DeviceCertificate) -> Device | Refusal:
        """May the device that shows this certificate hold a socket?"""
        before = self.registry.get(shown.device)
        found = self.registry.admit(shown.device, shown.fingerprint, shown.ends_utc, clock.utc())
        if isinstance(found, Refusal):
            return await self._refuse(shown.device, found)
        if found is not before:
            self.performer.first_use(found.device, found.key)
        return found

    async def deny(self, device: str, why: str) -> Device | None:
        """Refuse a device from now on and tell every agent; None when there is no such device."""
        return await self._changed(self.registry.deny(device, why))

    async def allow(self, device: str) -> Device | None:
        """Take a device back and tell every agent; None when there is no such device."""
        return await self._changed(self.registry.allow(device))

    def disconnect_all(self, why: str, retry_s: float) -> None:
        """Close every socket, telling each agent why, and when it may come back."""
        for session in list(self.performer.sockets):
            self.performer.perform(Close(session, "closing", why, retry_s))

    def _issue(self, request: EnrolRequest | RenewRequest, device: str) -> Issued | Refusal:
        try:
            return self.authority.issue_device(
                request.csr, request.signing_key, device, utc=clock.utc(), hours=self.settings.certificate_hours
            )
        except BadCsr as error:
            return Refusal("bad-csr", str(error))

    def _enrolled(self, device: str, issued: Issued) -> Enrolled:
        root = self.authority.root_pem
        return Enrolled(device, self.authority.tenant, issued.pem, root, self._salt, self.settings.agents)

    async def _refuse(self, device: str, refusal: Refusal) -> Refusal:
        """Count the refusal, and store that two copies of the device exist if this very request has shown it."""
        if refusal.suspended is not None:
            self.log.warning("condition", code=CLONED, device=device, why=refusal.why)
            await self._changed(refusal.suspended)
        return self._count(refusal)

    async def _changed(self, device: Device | None) -> Device | None:
        """Store a device whose state has changed, and tell agents who is refused now."""
        if device is not None:
            await self.db.put_device(device)
            self.driver.feed(DenyListChanged(self.registry.denied(clock.utc())))
        return device

    def _count(self, refusal: Refusal) -> Refusal:
        self.refusals[refusal.code] = self.refusals.get(refusal.code, 0) + 1
        return refusal
