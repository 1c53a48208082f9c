"""The database: SQLite in WAL mode, so that commands work beside the running coordinator (SQLAlchemy, alembic).

migrate(data_dir)           bring the file to the present schema; several processes may call it at once
Database(data_dir)          what is stored and read, asynchronously; every method is one transaction
"""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from time import sleep
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import create_async_engine

from coordinator.io.tables import DEVICE, SIGHTING, SITE_MAP, TENANT, TOKEN
from ecdn_proxy.wire.tracker import Network

FILE = "coordinator.sqlite"
BUSY_MS = 10_000
"""A writer waits this long for another process to finish; each of our transactions takes milliseconds."""
WAL_RETRY_MS = 50
"""How long a process that finds a new file locked waits before it tries again to change the journal mode."""


class Sighting(msgspec.Struct, frozen=True):
    """Where a device was seen last: the address that its socket came from, and the networks that it reported."""

    device: str
    seen_utc: float
    remote: str
    networks: tuple[Network, ...]
    version: str


class StoredMap(msgspec.Struct, frozen=True):
    """The site map in force."""

    revision: int
    file: str
    text: str


def migrate(data_dir: Path) -> str:
    """Bring the database to the present schema, making it when there is none; the answer is its revision.

    Raises:
        sqlite3.OperationalError: another process has kept the file locked for `BUSY_MS`.
    """
    path = data_dir / FILE
    path.touch(mode=0o600)
    _use_wal(path)
    engine = sa.create_engine(f"sqlite:///{path}")
    _configure(engine)
    try:
        with engine.begin() as connection:
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
            command.upgrade(config, "head")
            return str(connection.scalar(sa.text("SELECT version_num FROM alembic_version")))
    finally:
        engine.dispose()


def _use_wal(path: Path) -> None:
    """Give the file the journal mode that lets readers and a writer work at once; the file keeps it.

    SQLite does not wait for a lock while it changes the mode, whatever `busy_timeout` says. So two processes that begin
    with a new file at the same moment would fail.
    """
    for tries in count(1):
        try:
            with closing(sqlite3.connect(path, timeout=0)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if tries * WAL_RETRY_MS > BUSY_MS:
                raise
            sleep(WAL_RETRY_MS / 1_000)


def _configure(engine: sa.Engine) -> None:
    """Set up each connection: waiting for locks, and transactions that write begin with the write lock.

    A transaction that began by reading and then wants to write may fail half way, as SQLite cannot give it the lock.
    """

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        reads = connection.get_execution_options().get("reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _plain(row: sa.RowMapping) -> dict[str, Any]:
    """A row as a dict with plain keys: SQLAlchemy names some columns by a subclass of str, which msgspec refuses."""
    return {str(name): value for name, value in row.items()}


class Database:
    """The database file of one data directory; call `close()` when done."""

    def __init__(self, data_dir: Path) -> None:
        self._engine = create_async_engine(f"sqlite+aiosqlite:///{data_dir / FILE}", pool_size=4)
        _configure(self._engine.sync_engine)
        self._reading = self._engine.execution_options(reads=True)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    async def tenant(self, tenant: str, salt: str, utc: float) -> tuple[str, str]:
        """Salt and last known URL of the tenant; `salt` is stored when the tenant has none yet."""
        row = {"tenant": tenant, "salt": salt, "created_utc": utc, "url": ""}
        async with self._engine.begin() as connection:
            await connection.execute(insert(TENANT).values(row).on_conflict_do_nothing())
            found = (await connection.execute(sa.select(TENANT).where(TENANT.c.tenant == tenant))).one()
        return found.salt, found.url

    async def set_url(self, tenant: str, url: str) -> None:
        """Remember where the coordinator answers, for `token create`."""
        async with self._engine.begin() as connection:
            await connection.execute(sa.update(TENANT).where(TENANT.c.tenant == tenant).values(url=url))

    async def add_token(self, token: msgspec.Struct, utc: float) -> None:
        """Store what is kept of a new token."""
        async with self._engine.begin() as connection:
            await connection.execute(sa.insert(TOKEN).values(msgspec.structs.asdict(token) | {"created_utc": utc}))

    async def token[T](self, digest: str, kind: type[T]) -> T | None:
        """What is stored of the token with that hash, as `kind`; None when there is none."""
        async with self._reading.begin() as connection:
            row = (await connection.execute(sa.select(TOKEN).where(TOKEN.c.digest == digest))).mappings().one_or_none()
        return None if row is None else msgspec.convert(_plain(row), kind)

    async def spend(self, digest: str, device: msgspec.Struct) -> bool:
        """Count one use of a token and store `device`, both or neither; False when the token is used up by now."""
        spent = (
            sa.update(TOKEN)
            .where(TOKEN.c.digest == digest, TOKEN.c.uses < TOKEN.c.uses_max)
            .values(uses=TOKEN.c.uses + 1)
        )
        async with self._engine.begin() as connection:
            if (await connection.execute(spent)).rowcount != 1:
                return False
            await connection.execute(sa.insert(DEVICE).values(msgspec.structs.asdict(device)))
        return True

    async def put_device(self, device: msgspec.Struct) -> None:
        """Store a device as it is now."""
        values = msgspec.structs.asdict(device)
        async with self._engine.begin() as connection:
            await connection.execute(
                insert(DEVICE).values(values).on_conflict_do_update(index_elements=["device"], set_=values)
            )

    async def keys_used(self, used: Iterable[tuple[str, str]]) -> None:
        """Store that devices (device, fingerprint) have used their certificates, unless they have others by now."""
        statement = (
            sa.update(DEVICE)
            .where(DEVICE.c.device == sa.bindparam("of"), DEVICE.c.key == sa.bindparam("shown"))
            .values(key_seen=True)
        )
        async with self._engine.begin() as connection:
            await connection.execute(statement, [{"of": device, "shown": key} for device, key in used])

    async def devices[T](self, kind: type[T]) -> list[T]:
        """All devices, as `kind`."""
        async with self._reading.begin() as connection:
            rows = (await connection.execute(sa.select(DEVICE))).mappings().all()
        return [msgspec.convert(_plain(row), kind) for row in rows]

    async def put_sightings(self, sightings: Iterable[Sighting]) -> None:
        """Store where devices were seen."""
        rows = [msgspec.structs.asdict(one) | {"networks": msgspec.msgpack.encode(one.networks)} for one in sightings]
        statement = insert(SIGHTING)
        newer = {column.name: statement.excluded[column.name] for column in SIGHTING.columns}
        async with self._engine.begin() as connection:
            await connection.execute(statement.on_conflict_do_update(index_elements=["device"], set_=newer), rows)

    async def sightings(self, since_utc: float) -> list[Sighting]:
        """Where each device was seen last, if that was after `since_utc`."""
        async with self._reading.begin() as connection:
            rows: Sequence[Any] = (
                await connection.execute(sa.select(SIGHTING).where(SIGHTING.c.seen_utc >= since_utc))
            ).all()
        read = msgspec.msgpack.Decoder(tuple[Network, ...])
        return [Sighting(r.device, r.seen_utc, r.remote, read.decode(r.networks), r.version) for r in rows]

    async def put_map(self, file: str, text: str, utc: float) -> None:
        """Put a site map in force, unless it is in force already; `file` is the name that mistakes are told with."""
        async with self._engine.begin() as connection:
            newest = (await connection.execute(sa.select(SITE_MAP).order_by(SITE_MAP.c.revision.desc()))).first()
            if newest is None or newest.text != text:
                await connection.execute(sa.insert(SITE_MAP).values(file=file, text=text, imported_utc=utc))

    async def site_map(self) -> StoredMap | None:
        """The site map in force; None without one."""
        async with self._reading.begin() as connection:
            row = (await connection.execute(sa.select(SITE_MAP).order_by(SITE_MAP.c.revision.desc()).limit(1))).first()
        return None if row is None else StoredMap(row.revision, row.file, row.text)

    async def map_revision(self) -> int:
        """Number of the site map in force; 0 when there is none."""
        async with self._reading.begin() as connection:
            return int(await connection.scalar(sa.select(sa.func.max(SITE_MAP.c.revision))) or 0)
