"""The coordinator as one thing: built once, in order, and closed in reverse.

    async with System.opened(data_dir, settings, log) as system:   tenant, database, register, tracker
        system.enrol / renew / admit                               what a device may do
        system.deny / allow                                        what IT may do
        system.arrive / feed                                       what sockets tell the tracker

`prepared(data_dir, utc)` is the part that commands share with `run`: folder, database, tenant.
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
from coordinator.core.registry import CLONED, Device, No, Registry, Token
from coordinator.core.sites import Address, SiteMap
from coordinator.core.tracker import Close, DenyChanged, Effect, Event, MapChanged, SettingsChanged, Tracker
from coordinator.io import clock
from coordinator.io.ca import Authority, BadCsr, Issued
from coordinator.io.db import Database, migrate
from coordinator.io.files import InUse, create_private, held
from coordinator.service import maps
from coordinator.service.gc_tuning import GcTuning
from coordinator.service.performer import Performer
from coordinator.service.settings import Unusable
from ecdn_proxy.sansio.driver import Driver
from ecdn_proxy.sansio.tasks import Tasks
from ecdn_proxy.wire.enrolment import Enrolled, EnrolRequest, RenewRequest

ADMIN_TOKEN_FILE = "admin-token"  # noqa: S105  # a file's name
POLL_S = 2.0
"""How soon an imported site map is in force, and sightings are written."""
SERVER_CERTIFICATE_CHECK_S = 3_600.0
MESSAGES_PER_MINUTE = 600
"""An agent that says more than ten things a second is broken or hostile."""


class Prepared(msgspec.Struct, frozen=True):
    """What every command needs."""

    data_dir: Path
    authority: Authority
    db: Database
    salt: str
    url: str
    """Where the coordinator answered last; empty before its first start."""


@asynccontextmanager
async def prepared(data_dir: Path, utc: float) -> AsyncIterator[Prepared]:
    """Folder, database and tenant; made when absent.

    Raises:
        Unusable: the folder or a file in it cannot be used.
    """
    try:
        authority = await asyncio.to_thread(_make_folder, data_dir, utc)
    except OSError as error:
        raise Unusable(f"data directory {data_dir} cannot be used: {error.strerror} ({error.filename})") from error
    except DBAPIError as error:
        raise Unusable(f"database in {data_dir} cannot be used: {error.orig}") from error
    except ValueError as error:
        raise Unusable(f"tenant CA in {data_dir} cannot be used: {error}") from error
    db = Database(data_dir)
    try:
        salt, url = await db.tenant(authority.tenant, secrets.token_hex(32), utc)
        yield Prepared(data_dir, authority, db, salt, url)
    finally:
        await db.close()


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """The register is in memory: two coordinators on one folder would not know of each other's devices."""
    try:
        with held(path):
            yield
    except InUse as error:
        raise Unusable(f"another coordinator runs on {path.parent}") from error


def _make_folder(data_dir: Path, utc: float) -> Authority:
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = Authority.open(data_dir, utc)
    migrate(data_dir)
    return authority


class Shown(msgspec.Struct, frozen=True):
    """A device certificate that TLS has verified against the tenant root (its dates are judged by the register)."""

    device: str
    key: str
    ends_utc: float


class System:
    """Everything of a running coordinator but its door."""

    def __init__(self, base: Prepared, settings: Settings, devices: Iterable[Device], log: Any) -> None:
        self.settings = settings
        self.authority = base.authority
        self.db = base.db
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
        self.faults = 0
        self.passed_over = 0
        """Messages that only a later release of the agent knows."""
        self._salt = base.salt
        self._map_revision = -1
        self._sessions = 0
        self._admin = create_private(base.data_dir / ADMIN_TOKEN_FILE, secrets.token_urlsafe(32).encode()).strip()

    @classmethod
    @asynccontextmanager
    async def opened(cls, data_dir: Path, settings: Settings, log: Any) -> AsyncIterator["System"]:
        """A system at work until the block ends.

        Raises:
            Unusable: it cannot be built as told.
        """
        async with AsyncExitStack() as stack:
            base = await stack.enter_async_context(prepared(data_dir, clock.utc()))
            stack.enter_context(_only_one(data_dir / "run.lock"))
            if settings.sites:
                path = Path(settings.sites)
                text, _ = maps.read_file(path)
                await base.db.put_map(path.name, text, clock.utc())
            system = cls(base, settings, await base.db.devices(Device), log)
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
        garbage = GcTuning()
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.refresh_map()
                await self.performer.write(self.db)
            except (DBAPIError, Unusable) as error:
                self.log.warning("database is not available", why=str(error))
            self.driver.feed(DenyChanged(self.registry.denied(clock.utc())))
            self._part_from_ended(clock.utc())
            here = len(self.tracker)
            garbage.look(here, self.tracker.totals.arrivals - here)

    def _part_from_ended(self, utc: float) -> None:
        """Close the sockets of devices that have not renewed: no other agent would accept their certificate."""
        for agent in list(self.tracker.agents()):
            device = self.registry.get(agent.device)
            if device is None or utc >= device.ends_utc:
                why = "this device's certificate has ended; the agent must renew it"
                self.performer.perform(Close(agent.session, "certificate-ended", why, 60))

    async def refresh_map(self) -> None:
        """Put the stored site map in force if it is another one."""
        if await self.db.map_revision() == self._map_revision:
            return
        self._map_revision, site_map = await maps.stored(self.db)
        self.apply_map(site_map)

    def apply_map(self, site_map: SiteMap | None) -> None:
        """Place every agent by `site_map`, and by the rules of who may meet across the WAN."""
        rules = self.settings.wan_peers
        known = set() if site_map is None else {row.group for row in site_map.rows}
        for group in (group for groups in rules for group in groups if group not in known):
            self.log.warning("wan_peers names a group that is not in the site map", group=group)
        self.driver.feed(MapChanged(None if site_map is None else SiteMap(site_map.rows, rules)))
        if site_map is not None:
            self.log.info("site map in force", subnets=len(site_map.rows))

    def apply_settings(self, agents: dict[str, Any]) -> None:
        """Tell every agent its settings anew."""
        self.settings = msgspec.structs.replace(self.settings, agents=agents)
        self.driver.feed(SettingsChanged(agents))

    def is_admin(self, token: str) -> bool:
        """Is this the token of the file in the data directory?"""
        return hmac.compare_digest(token.encode(errors="surrogateescape"), self._admin)

    def next_session(self) -> int:
        """A number for a new socket."""
        self._sessions += 1
        return self._sessions

    async def enrol(self, request: EnrolRequest, remote: Address) -> Enrolled | No:
        """Give a new device its identity."""
        digest = registry.digest_of(request.token)
        token = await self.db.token(digest, Token)
        if (no := registry.judge_token(token, remote, clock.utc())) is not None:
            return self._no(no)
        device = str(uuid.uuid4())
        issued = self._issue(request, device)
        if isinstance(issued, No):
            return self._no(issued)
        row = Device(device, clock.utc(), request.version, issued.fingerprint, False, "", issued.ends_utc)
        if not await self.db.spend(digest, row):
            token = await self.db.token(digest, Token)
            gone = No("token-used-up", "this token has been used up this very moment; ask IT for another")
            return self._no(registry.judge_token(token, remote, clock.utc()) or gone)
        self.registry.add(row)
        self.log.info("enrolled", device=device, remote=str(remote), version=request.version)
        return self._enrolled(device, issued)

    async def renew(self, request: RenewRequest, shown: Shown) -> Enrolled | No:
        """Give a known device its next certificate."""
        found = self.registry.may_renew(shown.device, shown.key, shown.ends_utc, clock.utc())
        if isinstance(found, No):
            return await self._refuse(shown.device, found)
        issued = self._issue(request, shown.device)
        if isinstance(issued, No):
            return self._no(issued)
        changed = self.registry.renewed(shown.device, shown.key, issued.fingerprint, issued.ends_utc, request.version)
        await self.db.put_device(changed)
        self.log.info("renewed", device=shown.device, version=request.version)
        return self._enrolled(shown.device, issued)

    async def admit(self, shown: Shown) -> Device | No:
        """May this device hold a socket?"""
        before = self.registry.get(shown.device)
        found = self.registry.admit(shown.device, shown.key, shown.ends_utc, clock.utc())
        if isinstance(found, No):
            return await self._refuse(shown.device, found)
        if found is not before:
            self.performer.used(found.device, found.key)
        return found

    async def deny(self, device: str, why: str) -> Device | None:
        """Refuse a device and tell every agent."""
        return await self._changed(self.registry.deny(device, why))

    async def allow(self, device: str) -> Device | None:
        """Take a device back."""
        return await self._changed(self.registry.allow(device))

    def turn_all(self, why: str, retry_s: float) -> None:
        """Close every socket with a reason."""
        for session in list(self.performer.sockets):
            self.performer.perform(Close(session, "closing", why, retry_s))

    def _issue(self, request: EnrolRequest | RenewRequest, device: str) -> Issued | No:
        try:
            return self.authority.issue_device(
                request.csr, request.signing_key, device, utc=clock.utc(), hours=self.settings.certificate_hours
            )
        except BadCsr as error:
            return No("bad-csr", str(error))

    def _enrolled(self, device: str, issued: Issued) -> Enrolled:
        root = self.authority.root_pem
        return Enrolled(device, self.authority.tenant, issued.pem, root, self._salt, self.settings.agents)

    async def _refuse(self, device: str, no: No) -> No:
        if no.suspended is not None:
            self.log.warning("condition", code=CLONED, device=device, why=no.why)
            await self._changed(no.suspended)
        return self._no(no)

    async def _changed(self, device: Device | None) -> Device | None:
        if device is not None:
            await self.db.put_device(device)
            self.driver.feed(DenyChanged(self.registry.denied(clock.utc())))
        return device

    def _no(self, no: No) -> No:
        self.refusals[no.code] = self.refusals.get(no.code, 0) + 1
        return no
