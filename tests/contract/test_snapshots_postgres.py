"""The snapshot store in PostgreSQL: the contract, and a database that is not as it should be."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import given, settings

from eventstore.errors import SnapshotError, SnapshotSchemaMismatch, SnapshotsUnavailable
from eventstore.postgres_snapshots import PostgresSnapshots, _Session
from eventstore.snapshots import FlushSlice, SnapshotStore
from spawn.dev.stack import EmbeddedStack
from tests.contract.snapshots_contract import (
    GatedSlices,
    Slices,
    SnapshotsContract,
    Step,
    actor,
    checkpoint,
    interleavings,
    key,
    new_place,
    past,
    rows,
    run_interleaving,
)
from tests.contract.snapshots_postgres import Stores, new_database, postgres, sql

# One server and one event loop for all of them.
pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = ("Counter", "a")
_MIB = 1024 * 1024


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


async def _call_each(store: SnapshotStore) -> None:
    """Call everything that answers; each must say that the database is not to be had."""
    at = new_place()
    for call in (
        store.migrate(),
        store.checkpoint(at),
        store.load(at, [NAME]),
        store.flush(at, checkpoint(1), 0, Slices()),
        store.history_before(at, NAME, 1),
        store.discard(at),
    ):
        with pytest.raises(SnapshotsUnavailable) as raised:
            await call
        assert raised.value.__cause__ is not None


async def test_nothing_connects_before_it_is_used(tmp_path: Path) -> None:
    """A node starts while the database is away; the message names where it looked."""
    store = PostgresSnapshots(f"postgresql://me:secret@/db?host={tmp_path}&port=5432", "demo")
    await _call_each(store)
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
    for wrong in (
        server.postgres_dsn.replace("/postgres?", "/nowhere?"),
        server.postgres_dsn.replace("postgres@", "nobody@"),
    ):
        store = PostgresSnapshots(wrong, "demo")
        with pytest.raises(SnapshotError, match=r"nowhere|nobody") as raised:
            await store.checkpoint(new_place())
        assert not isinstance(raised.value, SnapshotsUnavailable)
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
    await _call_each(store)
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


async def test_an_owner_that_stops_while_it_holds_the_lock_loses_it(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen process: the server ends its session, the next owner goes on, and it does not."""
    frozen, next_owner = stores.open(command_s=0.5), stores.open(command_s=2.0)
    at, stopped, thawed = new_place(), asyncio.Event(), asyncio.Event()
    fetch = _Session.fetch

    async def stop_before_the_merge(
        session: _Session, statement: str, *arguments: object, within_s: float | None = None
    ) -> list[object]:
        if statement.lstrip().startswith("insert into spawn.actors") and not stopped.is_set():
            stopped.set()
            await thawed.wait()
        return await fetch(session, statement, *arguments, within_s=within_s)

    monkeypatch.setattr(_Session, "fetch", stop_before_the_merge)
    flush = asyncio.create_task(frozen.flush(at, checkpoint(5), 0, rows(actor("a", 4))))
    await stopped.wait()
    assert await next_owner.flush(at, checkpoint(3), 0, rows(actor("a", 2)))
    thawed.set()
    with pytest.raises(SnapshotsUnavailable):
        await flush
    assert await next_owner.load(at, [NAME]) == (3, {NAME: actor("a", 2)}, {})


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


async def test_statements_look_rows_up_by_their_whole_key(stores: Stores) -> None:
    """Without statistics the planner once searched every partition, or joined row by row.

    With 20,000 rows in a partition, loads and dropped keys of 1,000 would take minutes so.
    """
    store, at = stores.open(command_s=5), new_place()
    names = [f"actor{number}" for number in range(20_000)]
    for number, start in enumerate(range(0, len(names), 1_000)):
        ids = names[start : start + 1_000]
        piece = FlushSlice([actor(id_, 1) for id_ in ids], keys=[key(id_, "k", 1) for id_ in ids])
        assert await store.flush(at, checkpoint(number + 1), number, Slices(piece))
    some = names[::20]
    async with asyncio.timeout(4):
        loaded = await store.load(at, [("Counter", id_) for id_ in some])
    assert len(loaded.actors) == len(loaded.keys) == len(some)
    drops = [(row.type, row.id, row.key) for keys in loaded.keys.values() for row in keys]
    async with asyncio.timeout(4):
        assert await store.flush(at, checkpoint(21), 20, Slices(FlushSlice([], dropped_keys=drops)))
    assert not (await store.load(at, [("Counter", id_) for id_ in some])).keys


async def test_a_killed_server_takes_half_a_flush_with_it(
    server: EmbeddedStack, stores: Stores
) -> None:
    """SIGKILL between two slices: unavailable, nothing half there, and the same object goes on."""
    store, at = stores.open(), new_place()
    first = FlushSlice([actor("a", 1)], [past("a", 1, 1)], [key("a", "k", 1)])
    assert await store.flush(at, checkpoint(2), 0, Slices(first))
    slices = GatedSlices()
    flush = asyncio.create_task(store.flush(at, checkpoint(4), 2, slices))
    await slices.give(FlushSlice([actor("a", 3)], [past("a", 3, 3)], [key("a", "l", 3)]), flush)

    await server.kill("postgres")
    slices.end()
    with pytest.raises(SnapshotsUnavailable):
        await flush
    await _call_each(store)

    await server.restart("postgres")
    loaded = await store.load(at, [NAME])
    assert loaded == (2, {NAME: actor("a", 1)}, {NAME: [key("a", "k", 1)]})
    assert await store.history_before(at, NAME, 9) == past("a", 1, 1)
    assert await store.flush(at, checkpoint(4), 2, rows(actor("a", 3)))


async def test_flushes_against_a_server_that_is_killed_are_whole_or_not_there(
    server: EmbeddedStack, stores: Stores
) -> None:
    """SIGKILL at ten moments of a run of flushes; what was confirmed is there, nothing is half."""
    store, at = stores.open(), new_place()
    confirmed = 0
    names = [("Counter", f"a{number}") for number in range(200)]
    for round_ in range(10):
        kill = asyncio.create_task(_kill_after(server, 0.003 * round_))
        attempted = confirmed
        try:
            while True:
                attempted += 1
                everyone = [actor(id_, attempted) for _, id_ in names]
                pieces = [FlushSlice(everyone[:100]), FlushSlice(everyone[100:])]
                assert await store.flush(
                    at, checkpoint(attempted + 1), confirmed and confirmed + 1, Slices(*pieces)
                )
                confirmed = attempted
        except SnapshotsUnavailable:
            pass
        await kill
        await server.restart("postgres")
        loaded = await store.load(at, names)
        stored = loaded.checkpoint - 1 if loaded.checkpoint else 0
        assert stored in {confirmed, attempted}, "confirmed, or the one of unknown outcome"
        assert {row.offset for row in loaded.actors.values()} == ({stored} if stored else set())
        assert len(loaded.actors) == (len(names) if stored else 0)
        confirmed = stored


async def _kill_after(server: EmbeddedStack, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await server.kill("postgres")


async def test_a_server_that_stops_in_order_is_unavailable(
    server: EmbeddedStack, stores: Stores
) -> None:
    """It says goodbye to its sessions; calls while it stops or starts are refused in one way."""
    store, at = stores.open(), new_place()
    assert await store.flush(at, checkpoint(2), 0, rows(actor("a", 1)))
    stopped = asyncio.create_task(server.restart("postgres"))
    refused = 0
    while not stopped.done():
        try:
            assert await store.load(at, [NAME]) == (2, {NAME: actor("a", 1)}, {})
        except SnapshotsUnavailable:
            refused += 1
        await asyncio.sleep(0.001)
    await stopped
    assert refused
    assert await store.load(at, [NAME]) == (2, {NAME: actor("a", 1)}, {})


async def test_a_frozen_server_is_given_up_within_the_time_limit(
    server: EmbeddedStack, stores: Stores
) -> None:
    """SIGSTOP: sockets stay open and nobody answers; after SIGCONT all goes on."""
    store, at = stores.open(command_s=1.0), new_place()
    await asyncio.gather(*(store.load(at, []) for _ in range(3)))
    await server.freeze("postgres")
    try:
        async with asyncio.timeout(4):
            with pytest.raises(SnapshotsUnavailable):
                await store.load(at, [NAME])
            assert await _pending_tasks() == 1, "nothing of a lost connection stays behind"
    finally:
        await server.thaw("postgres")
    assert await store.load(at, [NAME]) == (0, {}, {})


async def _pending_tasks() -> int:
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return len([task for task in asyncio.all_tasks() if "pytest" not in task.get_name()])


async def test_a_server_that_freezes_in_mid_flush_is_given_up_too(
    server: EmbeddedStack, stores: Stores
) -> None:
    """Also with more rows on their way than the socket takes, where asyncpg's own limit fails."""
    store, at, slices = stores.open(command_s=1.0), new_place(), GatedSlices()
    flush = asyncio.create_task(store.flush(at, checkpoint(2), 0, slices))
    await slices.give(FlushSlice([actor("a", 1)]), flush)
    await server.freeze("postgres")
    try:
        async with asyncio.timeout(4):
            state = bytes(4 * _MIB)
            await slices.give(FlushSlice([actor(f"b{n}", 1, state) for n in range(4)]), flush)
            with pytest.raises(SnapshotsUnavailable):
                await flush
    finally:
        await server.thaw("postgres")
    assert await store.load(at, [NAME]) == (0, {}, {})
    assert await store.flush(at, checkpoint(2), 0, rows(actor("a", 1)))
