"""Migrations of the snapshot store: their rules, and processes that migrate at the same moment."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from eventstore import postgres_snapshots
from eventstore.errors import SnapshotError, SnapshotSchemaMismatch
from eventstore.migrations import Applied, Migration, migrations, next_migration, pending
from spawn.dev.stack import EmbeddedStack
from tests.contract.snapshots_contract import actor, checkpoint, new_place, rows
from tests.contract.snapshots_postgres import Stores, new_database, postgres, sql

pytestmark = pytest.mark.asyncio(loop_scope="module")


def _migration(
    number: int, sql_text: str = "select 1", compatible_with: int | None = None
) -> Migration:
    checksum = hashlib.sha256(sql_text.encode()).hexdigest()
    return Migration(f"{number:04}_test.sql", sql_text, checksum, compatible_with or number)


def _applied(*ran: Migration) -> dict[str, Applied]:
    return {each.name: Applied(each.checksum, each.compatible_with) for each in ran}


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
    applied = _applied(*KNOWN[:count])
    assert next_migration(KNOWN, applied) == (KNOWN[count] if count < len(KNOWN) else None)
    assert pending(KNOWN, applied) == [migration.name for migration in KNOWN[count:]]


@pytest.mark.parametrize(
    ("applied", "says"),
    [
        ({KNOWN[0].name: Applied("changed", 1)}, "another text"),
        (_applied(*KNOWN, _migration(4)), r"can't work beside \(0004_test.sql\).*newer version"),
        (_applied(*KNOWN) | {"0004_x.sql": Applied("x", None)}, "can't work beside"),
        (_applied(*KNOWN, _migration(4, "", 3), _migration(5, "", 4)), r"beside \(0005_test.sql\)"),
        (_applied(KNOWN[0], KNOWN[2]), "is missing"),
        (
            _applied(*KNOWN[:2], _migration(4, "", 2)),
            "0003_test.sql is missing.* 0004_test.sql ran",
        ),
    ],
)
async def test_a_ledger_that_does_not_fit_is_refused(
    applied: dict[str, Applied], says: str
) -> None:
    """The text says what is wrong and which migration it is about."""
    with pytest.raises(SnapshotSchemaMismatch, match=says) as raised:
        next_migration(KNOWN, applied)
    assert "000" in str(raised.value)


async def test_a_database_of_a_newer_release_that_says_so_is_worked_beside() -> None:
    """With as many files as that release needs at least."""
    assert next_migration(KNOWN, _applied(*KNOWN, _migration(4, "", 2))) is None
    newer = _applied(*KNOWN, _migration(4, "", 3), _migration(5, "", 1))
    assert next_migration(KNOWN, newer) is None
    assert pending(KNOWN, newer) == []


async def test_a_file_says_beside_which_releases_it_may_run(tmp_path: Path) -> None:
    """Without a word: beside none that does not have it."""
    (tmp_path / "0001_a.sql").write_text("select 1")
    (tmp_path / "0002_b.sql").write_text("-- compatible with 0001: adds a table\nselect 1")
    (tmp_path / "0003_c.sql").write_text("-- adds a table\nselect 1")
    assert [each.compatible_with for each in migrations(tmp_path)] == [1, 1, 3]
    for wrong in ("0000", "0005"):
        (tmp_path / "0004_d.sql").write_text(f"-- compatible with {wrong}")
        with pytest.raises(ValueError, match=f"0004_d.sql is compatible with {wrong}"):
            migrations(tmp_path)


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


async def test_nodes_of_both_releases_work_on_one_database(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newer one adds a column and a table while the older one runs; that starts again too."""
    old, at = stores.open(), new_place()
    await old.migrate()
    await sql(stores.dsn, "alter table spawn.migrations drop column compatible_with")
    assert await old.flush(at, checkpoint(1), 0, rows(actor("a", 0)))
    assert (await old.load(at, [("Counter", "a")])).checkpoint == 1
    known = migrations()
    number = len(known) + 1
    more = "alter table spawn.actors add column mood text not null default 'calm'"
    added = _migration(number, f"{more}; create table spawn.moods (mood text)", number - 1)
    with monkeypatch.context() as newer:
        newer.setattr(postgres_snapshots, "migrations", lambda: [*known, added])
        new = stores.open("newer")
        assert await new.pending() == [added.name]
        assert await new.migrate() == [added.name]
    for store in (old, stores.open("started again")):
        assert await store.migrate() == []
        assert await store.pending() == []
    for round_ in (2, 3):
        assert await old.flush(
            at, checkpoint(round_), round_ - 1, rows(actor("a", round_ - 1), actor("b", 0))
        )
        loaded = await old.load(at, [("Counter", "a"), ("Counter", "b")])
        assert (loaded.checkpoint, len(loaded.actors)) == (round_, 2)
        assert len(await old.actors(at, limit=5)) == 2


async def test_what_would_be_applied_is_told_without_doing_it(stores: Stores) -> None:
    """For a node that may not change tables."""
    names = [migration.name for migration in migrations()]
    store = stores.open()
    assert await store.pending() == names
    assert await store.pending() == names
    await store.migrate()
    assert await store.pending() == []


async def test_the_ledger_is_checked_before_anything_runs(stores: Stores) -> None:
    """A node of an older version starts on tables of a newer one that it can't work beside."""
    store = stores.open()
    await store.migrate()
    await sql(stores.dsn, "insert into spawn.migrations values ('9999_newer.sql', 'x')")
    for call in (store.migrate, store.pending):
        with pytest.raises(SnapshotSchemaMismatch, match=r"9999_newer\.sql"):
            await call()
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
