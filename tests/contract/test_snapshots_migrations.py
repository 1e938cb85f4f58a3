"""Migrations of the snapshot store: their rules, and processes that migrate at the same moment."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from eventstore import postgres_snapshots
from eventstore.errors import SnapshotError, SnapshotSchemaMismatch
from eventstore.migrations import Migration, migrations, next_migration
from spawn.dev.stack import EmbeddedStack
from tests.contract.snapshots_contract import checkpoint, new_place, rows
from tests.contract.snapshots_postgres import Stores, new_database, postgres, sql

pytestmark = pytest.mark.asyncio(loop_scope="module")


def _migration(number: int, sql_text: str = "select 1") -> Migration:
    checksum = hashlib.sha256(sql_text.encode()).hexdigest()
    return Migration(f"{number:04}_test.sql", sql_text, checksum)


KNOWN = [_migration(1), _migration(2), _migration(3)]


async def test_they_are_numbered_without_a_gap_and_have_checksums() -> None:
    """The files as shipped."""
    found = migrations()
    assert [migration.name[:4] for migration in found] == [
        f"{number:04}" for number in range(1, len(found) + 1)
    ]
    assert all(len(migration.checksum) == 64 for migration in found)


@pytest.mark.parametrize(
    "names",
    [
        ["0002_late.sql"],
        ["0001_a.sql", "0003_c.sql"],
        ["0001_a.sql", "0001_b.sql"],
        ["1_a.sql"],
        ["0001.sql"],
    ],
)
async def test_a_wrong_name_is_found_at_once(tmp_path: Path, names: list[str]) -> None:
    """Two branches that took the same number, or a number left out."""
    for name in names:
        (tmp_path / name).write_text("select 1")
    with pytest.raises(ValueError, match="migration"):
        migrations(tmp_path)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
async def test_the_next_one_is_the_first_that_did_not_run(count: int) -> None:
    """None is left in the end."""
    applied = {migration.name: migration.checksum for migration in KNOWN[:count]}
    assert next_migration(KNOWN, applied) == (KNOWN[count] if count < len(KNOWN) else None)


@pytest.mark.parametrize(
    ("applied", "says"),
    [
        ({KNOWN[0].name: "changed"}, "another text"),
        ({"0004_newer.sql": "x"} | {m.name: m.checksum for m in KNOWN}, "newer version"),
        ({KNOWN[0].name: KNOWN[0].checksum, KNOWN[2].name: KNOWN[2].checksum}, "is missing"),
    ],
)
async def test_a_ledger_that_does_not_fit_is_refused(applied: dict[str, str], says: str) -> None:
    """The text says what is wrong and which migration it is about."""
    with pytest.raises(SnapshotSchemaMismatch, match=says) as raised:
        next_migration(KNOWN, applied)
    assert "000" in str(raised.value)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedStack]:
    """Run a server."""
    async with postgres(tmp_path_factory.mktemp("postgres")) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="module")
async def stores(server: EmbeddedStack) -> AsyncIterator[Stores]:
    """Give what opens stores on an empty database."""
    opened = Stores(await new_database(server))
    yield opened
    await opened.close()


async def test_the_second_time_nothing_is_done(stores: Stores) -> None:
    """And what is stored stays."""
    store, at = stores.open(), new_place()
    assert await store.migrate() == [migration.name for migration in migrations()]
    assert await store.flush(at, checkpoint(1), 0, rows())
    assert await store.migrate() == []
    assert await stores.open("other").migrate() == []
    assert await store.checkpoint(at) == checkpoint(1)


async def test_processes_that_migrate_at_once_all_succeed(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each migration runs once, whoever gets there first."""
    slow = [_migration(n, f"create table spawn.t{n} (); select pg_sleep(0.02)") for n in (1, 2, 3)]
    monkeypatch.setattr(postgres_snapshots, "migrations", lambda: slow)
    done = await asyncio.gather(*(stores.open().migrate() for _ in range(8)))
    assert sorted(name for names in done for name in names) == [m.name for m in slow]


async def test_the_ledger_is_checked_before_anything_runs(stores: Stores) -> None:
    """A node of an older version starts on tables of a newer one."""
    store = stores.open()
    await store.migrate()
    await sql(stores.dsn, "insert into spawn.migrations values ('9999_newer.sql', 'x')")
    with pytest.raises(SnapshotSchemaMismatch, match=r"9999_newer\.sql"):
        await store.migrate()
    await sql(
        stores.dsn,
        "delete from spawn.migrations where name = '9999_newer.sql'",
        "update spawn.migrations set checksum = 'x' where name like '0001%'",
    )
    with pytest.raises(SnapshotSchemaMismatch, match="0001"):
        await store.migrate()


async def test_a_migration_that_fails_leaves_nothing(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those before it stay, its error is visible, and once mended it runs."""
    store = stores.open()
    good, bad = _migration(1, "create table spawn.a ()"), "create table spawn.b (); select nonsense"
    monkeypatch.setattr(postgres_snapshots, "migrations", lambda: [good, _migration(2, bad)])
    with pytest.raises(SnapshotError, match="nonsense"):
        await store.migrate()
    mended = _migration(2, "create table spawn.b ()")
    monkeypatch.setattr(postgres_snapshots, "migrations", lambda: [good, mended])
    assert await store.migrate() == [mended.name]
