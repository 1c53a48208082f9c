"""The database: migrations lead to the tables, and every method is one transaction."""

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import pytest_asyncio
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from msgspec.structs import replace

from coordinator.core.registry import Device, Token
from coordinator.io import db as module
from coordinator.io.db import FILE, Database, Sighting, migrate
from coordinator.io.tables import METADATA
from ecdn_proxy.wire.tracker import Network

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    migrate(tmp_path)
    database = Database(tmp_path)
    yield database
    await database.close()


def device(name: str = "d1", version: str = "1") -> Device:
    return Device(name, 1.0, version, "k", key_seen=False, former="", ends_utc=9.0)


async def test_migrations_lead_to_the_tables(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(migrate, [tmp_path] * 4))) == 1
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    engine = sa.create_engine(f"sqlite:///{tmp_path / FILE}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


async def test_a_new_file_that_another_process_writes_just_now_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself does not wait for anybody while it changes a file's journal mode."""
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waited: list[float] = []

    def another_moment(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            other.execute("ROLLBACK")

    monkeypatch.setattr(module, "sleep", another_moment)
    assert migrate(tmp_path)
    assert len(waited) == 3
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()


async def test_a_file_that_another_process_never_lets_go_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waited: list[float] = []
    monkeypatch.setattr(module, "sleep", waited.append)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        migrate(tmp_path)
    assert sum(waited) * 1_000 == pytest.approx(module.BUSY_MS)
    other.close()


async def test_the_tenants_salt_is_stored_once(db: Database) -> None:
    assert await db.tenant("t", "aa", 1.0) == ("aa", "")
    await db.set_url("t", "https://x:1")
    assert await db.tenant("t", "bb", 2.0) == ("aa", "https://x:1")


async def test_a_token_is_spent_as_often_as_it_may_also_at_once(db: Database) -> None:
    await db.add_token(Token("hash", 10.0, 3, 0, "10.0.0.0/8"), 1.0)
    assert await db.token("nothing", Token) is None
    answers = await asyncio.gather(*(db.spend("hash", device(f"d{n}")) for n in range(8)))
    assert sorted(answers) == [False] * 5 + [True] * 3
    assert await db.token("hash", Token) == Token("hash", 10.0, 3, 3, "10.0.0.0/8")
    assert len(await db.devices(Device)) == 3


async def test_devices_are_stored_whole(db: Database) -> None:
    await db.put_device(device())
    await db.put_device(device(version="2"))
    assert await db.devices(Device) == [device(version="2")]


async def test_a_certificates_first_use_touches_only_the_device_that_still_has_it(db: Database) -> None:
    for name in ("d1", "d2", "d3"):
        await db.put_device(device(name))
    await db.put_device(replace(device("d2"), key="renewed", former="k"))
    await db.put_device(replace(device("d3"), state="denied", why="lost"))
    await db.keys_used([("d1", "k"), ("d2", "k"), ("d3", "k"), ("gone", "k")])
    assert {one.device: (one.key_seen, one.state) for one in await db.devices(Device)} == {
        "d1": (True, "live"), "d2": (False, "live"), "d3": (True, "denied"),
    }  # fmt: skip


async def test_sightings_keep_the_last(db: Database) -> None:
    networks = (Network("10.0.0.1", 24, "wired"),)
    await db.put_sightings([Sighting("d", 1.0, "10.0.0.1", (), "1"), Sighting("d", 5.0, "10.0.0.1", networks, "1")])
    assert await db.sightings(5.0) == [Sighting("d", 5.0, "10.0.0.1", networks, "1")]
    assert await db.sightings(5.1) == []


async def test_a_map_gets_a_number_only_when_it_differs(db: Database) -> None:
    assert (await db.map_revision(), await db.site_map()) == (0, None)
    for text in ("one", "one", "two"):
        await db.put_map("m.csv", text, 1.0)
    found = await db.site_map()
    assert found is not None
    assert (found.revision, found.text) == (2, "two")
    assert await db.map_revision() == 2


async def test_readers_do_not_wait_for_a_writer(tmp_path: Path, db: Database) -> None:
    writer = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    try:
        async with asyncio.timeout(20):
            assert await db.map_revision() == 0
    finally:
        writer.close()
