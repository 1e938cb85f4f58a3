"""The snapshot store in PostgreSQL: the contract, and a database that is not as it should be."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import given, settings

from eventstore import postgres_snapshots
from eventstore.errors import (
    SnapshotError,
    SnapshotSchemaMismatch,
    SnapshotsNotAdmitted,
    SnapshotsUnavailable,
)
from eventstore.postgres_snapshots import PostgresSnapshots, _Session
from eventstore.rows import FlushSlice
from eventstore.snapshots import SnapshotStore
from spawn.dev.stack import EmbeddedStack
from tests.contract.snapshots_contract import (
    GatedSlices,
    Slices,
    SnapshotsContract,
    actor,
    checkpoint,
    new_place,
    rows,
)
from tests.contract.snapshots_interleavings import Step, interleavings, run_interleaving
from tests.contract.snapshots_postgres import Stores, call_each, new_database, postgres, sql

# One server and one event loop for all of them.
pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = ("Counter", "a")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedStack]:
    """Run a server whose database `postgres` is migrated."""
    async with postgres(tmp_path_factory.mktemp("postgres")) as stack:
        store = PostgresSnapshots(stack.postgres_dsn, "demo")
        await store.migrate()
        await store.close()
        yield stack


@pytest_asyncio.fixture(loop_scope="module")
async def stores(server: EmbeddedStack) -> AsyncIterator[Stores]:
    """Give what opens stores on it."""
    opened = Stores(server.postgres_dsn)
    yield opened
    await opened.close()


class TestPostgresSnapshots(SnapshotsContract):
    """The contract; owners have connections of their own."""

    @pytest.fixture
    def open_store(self, stores: Stores) -> Stores:
        """Open another store each time."""
        return stores


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two_owners(server: EmbeddedStack) -> AsyncIterator[list[SnapshotStore]]:
    """Give two stores to all examples of a property."""
    opened = Stores(server.postgres_dsn)
    yield [opened.open(), opened.open()]
    await opened.close()


@settings(max_examples=60)
@given(steps=interleavings)
async def test_overlapping_flushes_come_out_as_in_the_model(
    two_owners: list[SnapshotStore], steps: list[Step]
) -> None:
    """Two owners, any bases, any order of their steps."""
    await run_interleaving(two_owners, steps)


async def test_nothing_connects_before_it_is_used(tmp_path: Path) -> None:
    """A node starts while the database is away; the message names where it looked."""
    store = PostgresSnapshots(f"postgresql://me:secret@/db?host={tmp_path}&port=5432", "demo")
    await call_each(store)
    with pytest.raises(SnapshotsUnavailable) as raised:
        await store.checkpoint(new_place())
    assert str(tmp_path) in str(raised.value)
    assert "secret" not in str(raised.value)
    await store.close()


async def test_a_port_that_nobody_listens_on() -> None:
    """TCP addresses too; the password is told to nobody."""
    store = PostgresSnapshots("postgresql://me:secret@127.0.0.1:1/db", "demo")
    with pytest.raises(SnapshotsUnavailable, match=r"127\.0\.0\.1:1/db") as raised:
        await store.load(new_place(), [])
    assert "secret" not in str(raised.value)
    await store.close()


async def test_a_database_that_does_not_exist_is_no_passing_trouble(server: EmbeddedStack) -> None:
    """Asking again later would not help: neither for a wrong name nor a wrong user."""
    for wrong, name in (("/postgres?", "/nowhere?"), ("postgres@", "nobody@")):
        store = PostgresSnapshots(server.postgres_dsn.replace(wrong, name), "demo")
        with pytest.raises(SnapshotError, match=r"nowhere|nobody") as raised:
            await store.checkpoint(new_place())
        is_login = isinstance(raised.value, SnapshotsNotAdmitted)
        assert is_login or not isinstance(raised.value, SnapshotsUnavailable)
        await store.close()


async def test_a_user_without_rights_is_no_passing_trouble(server: EmbeddedStack) -> None:
    """The text is the server's: what may not be done, and to what."""
    await sql(server.postgres_dsn, "create role stranger login")
    store = PostgresSnapshots(server.postgres_dsn.replace("postgres@", "stranger@"), "demo")
    with pytest.raises(SnapshotError, match="permission denied for schema spawn") as raised:
        await store.checkpoint(new_place())
    assert not isinstance(raised.value, SnapshotsUnavailable)
    await store.close()


async def test_flushes_leave_a_connection_to_loads() -> None:
    """So there are two at least."""
    with pytest.raises(ValueError, match="1 connections"):
        PostgresSnapshots("postgresql://me@/db", "demo", connections=1)


async def test_missing_tables_are_told_with_the_mend(server: EmbeddedStack) -> None:
    """A database without `spawn init`."""
    store = PostgresSnapshots(await new_database(server), "demo")
    for call in (
        store.checkpoint(new_place()),
        store.flush(new_place(), checkpoint(1), 0, Slices()),
    ):
        with pytest.raises(SnapshotSchemaMismatch, match="spawn init"):
            await call
    await store.ping()
    await store.migrate()
    assert await store.checkpoint(new_place()) is None
    await store.close()


async def test_a_database_that_takes_no_writes_is_unavailable(server: EmbeddedStack) -> None:
    """A standby, for instance: the primary comes back or another is promoted."""
    dsn = await new_database(server)
    name = dsn.partition("@/")[2].partition("?")[0]
    store = PostgresSnapshots(dsn, "demo")
    await store.migrate()
    await sql(dsn, f"alter database {name} set default_transaction_read_only = on")
    await _terminate_sessions(server, name)
    await call_each(store)
    await sql(server.postgres_dsn, f"alter database {name} set default_transaction_read_only = off")
    assert await store.checkpoint(new_place()) is None
    await store.close()


async def test_too_many_connections_pass(server: EmbeddedStack) -> None:
    """The server refuses; it may take us later."""
    await sql(server.postgres_dsn, "create role small login connection limit 0")
    store = PostgresSnapshots(server.postgres_dsn.replace("postgres@", "small@"), "demo")
    with pytest.raises(SnapshotsUnavailable, match="too many connections"):
        await store.checkpoint(new_place())
    await store.close()


async def test_mistakes_of_ours_stay_visible(stores: Stores) -> None:
    """A row that does not fit is a bug of its maker, not a weather of the database."""
    store, at = stores.open(), new_place()
    with pytest.raises(OverflowError):
        await store.flush(at, checkpoint(2), 0, rows(actor("a", 2**70)))
    assert await store.checkpoint(at) is None
    assert await store.flush(at, checkpoint(2), 0, rows(actor("a", 1)))


async def _terminate_sessions(server: EmbeddedStack, database: str = "postgres") -> None:
    await sql(
        server.postgres_dsn,
        "select pg_terminate_backend(pid) from pg_stat_activity"
        f" where datname = '{database}' and application_name like 'spawn %'",
    )


async def test_idle_connections_that_were_cut_are_replaced(
    server: EmbeddedStack, stores: Stores
) -> None:
    """By an administrator, a proxy, a restart between two calls: nobody has to notice."""
    store, at = stores.open(), new_place()
    await asyncio.gather(*(store.load(at, []) for _ in range(4)))
    await _terminate_sessions(server)
    await asyncio.sleep(0.2)  # the cut reaches the idle sockets
    assert await store.checkpoint(at) is None


async def test_a_flush_that_was_cut_leaves_nothing(server: EmbeddedStack, stores: Stores) -> None:
    """The server ends its session between two slices."""
    store, at, slices = stores.open(), new_place(), GatedSlices()
    flush = asyncio.create_task(store.flush(at, checkpoint(2), 0, slices))
    await slices.give(FlushSlice([actor("a", 1)]), flush)
    await _terminate_sessions(server)
    slices.end()
    with pytest.raises(SnapshotsUnavailable):
        await flush
    assert await store.load(at, [NAME]) == (0, {}, {})


async def test_a_lock_that_somebody_keeps_is_waited_for_within_bounds(stores: Stores) -> None:
    """Loads are not held up at all, and once it is free the flush applies."""
    store, at = stores.open(command_s=0.5), new_place()
    assert await store.flush(at, checkpoint(1), 0, Slices())
    holder = await asyncpg.connect(stores.dsn)
    await holder.execute("begin; select from spawn.checkpoints for update")
    async with asyncio.timeout(5):
        with pytest.raises(SnapshotsUnavailable):
            await store.flush(at, checkpoint(2), 1, rows(actor("a", 1)))
    assert await store.load(at, [NAME]) == (1, {}, {})
    holder.terminate()
    assert await store.flush(at, checkpoint(2), 1, rows(actor("a", 1)))


def _stop_before_the_merge(
    monkeypatch: pytest.MonkeyPatch, stopped: asyncio.Event, go_on: asyncio.Event
) -> None:
    """Let the first flush that comes to its merge stop there, holding its lock."""
    fetch = _Session.fetch

    async def stopping_fetch(
        session: _Session, statement: str, *arguments: object, within_s: float | None = None
    ) -> list[object]:
        if statement == postgres_snapshots._MERGE_ACTORS and not stopped.is_set():
            stopped.set()
            await go_on.wait()
        return await fetch(session, statement, *arguments, within_s=within_s)

    monkeypatch.setattr(_Session, "fetch", stopping_fetch)


async def test_an_owner_that_stops_while_it_holds_the_lock_loses_it(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen process: the server ends its session, the next owner goes on, and it does not."""
    frozen, next_owner = stores.open(command_s=0.5), stores.open(command_s=2.0)
    at, stopped, thawed = new_place(), asyncio.Event(), asyncio.Event()
    _stop_before_the_merge(monkeypatch, stopped, thawed)
    flush = asyncio.create_task(frozen.flush(at, checkpoint(5), 0, rows(actor("a", 4))))
    await stopped.wait()
    assert await next_owner.flush(at, checkpoint(3), 0, rows(actor("a", 2)))
    thawed.set()
    with pytest.raises(SnapshotsUnavailable):
        await flush
    assert await next_owner.load(at, [NAME]) == (3, {NAME: actor("a", 2)}, {})


async def test_a_second_flush_waits_for_the_first_ones_merge(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is judged by what that one wrote, not by what was there when it came."""
    first, second = stores.open(), stores.open()
    at, merging, go_on = new_place(), asyncio.Event(), asyncio.Event()
    assert await first.flush(at, checkpoint(1), 0, Slices())
    _stop_before_the_merge(monkeypatch, merging, go_on)
    earlier = asyncio.create_task(first.flush(at, checkpoint(5), 1, rows(actor("a", 4))))
    await merging.wait()
    later = asyncio.create_task(second.flush(at, checkpoint(3), 1, rows(actor("a", 2))))
    await asyncio.wait([later], timeout=0.3)
    assert not later.done()
    go_on.set()
    assert await earlier
    assert not await later
    assert await second.load(at, [NAME]) == (5, {NAME: actor("a", 4)}, {})


async def test_a_busy_pool_is_waited_for_within_bounds(stores: Stores) -> None:
    """More calls than connections, none of which comes back in time."""
    store, at = stores.open(command_s=0.5), new_place()
    assert await store.flush(at, checkpoint(1), 0, Slices())
    holder = await asyncpg.connect(stores.dsn)
    await holder.execute("begin; lock table spawn.checkpoints in access exclusive mode")
    async with asyncio.timeout(10):
        answers = await asyncio.gather(
            *(store.load(at, [NAME]) for _ in range(20)), return_exceptions=True
        )
    assert {type(answer) for answer in answers} == {SnapshotsUnavailable}
    holder.terminate()
    assert await store.load(at, [NAME]) == (1, {}, {})


async def test_close_ends_what_is_under_way(stores: Stores) -> None:
    """And is not held up by it."""
    store, at, slices = stores.open(), new_place(), GatedSlices()
    flush = asyncio.create_task(store.flush(at, checkpoint(2), 0, slices))
    await slices.give(FlushSlice([actor("a", 1)]), flush)
    await store.close()
    slices.end()
    with pytest.raises(SnapshotsUnavailable):
        await flush
    with pytest.raises(SnapshotsUnavailable):
        await store.checkpoint(at)
    assert await stores.open().checkpoint(at) is None


@pytest.mark.parametrize(
    ("statement", "arguments"),
    [
        (postgres_snapshots._LOAD, ["demo", "topic", 0, ["Counter"], [b"a"]]),
        (postgres_snapshots._HISTORY_BEFORE, ["demo", "topic", 0, "Counter", b"a", 1]),
        (postgres_snapshots._DROP_KEYS, [1]),
    ],
)
async def test_statements_look_rows_up_by_their_whole_key(
    server: EmbeddedStack, statement: str, arguments: list[object]
) -> None:
    """Without statistics the planner once searched all partitions, or joined row by row.

    With 100,000 rows that took minutes, but a plan is seen at once.
    """
    store = PostgresSnapshots(await new_database(server), "demo")
    await store.migrate()
    async with store._pool.session() as session:
        lines = [row[0] for row in await session.fetch("explain " + statement, *arguments)]
    await store.close()
    plan = "\n".join(lines)
    assert "Join Filter" not in plan, plan
    assert "Filter:" not in plan, plan
    for line, condition in itertools.pairwise(lines):
        if " actor" in line and "Index" in line:
            assert "Index Cond" in condition, plan
            assert all(f"({name} =" in condition for name in ("partition_id", "id", "type")), plan
    assert "Seq Scan on actor" not in plan, plan
