"""The snapshot store in PostgreSQL while its server is killed, stopped and frozen."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from eventstore.errors import SnapshotsUnavailable
from eventstore.postgres_snapshots import PostgresSnapshots
from eventstore.rows import FlushSlice
from spawn.dev.stack import EmbeddedStack
from tests.contract.snapshots_contract import (
    GatedSlices,
    Slices,
    actor,
    checkpoint,
    key,
    new_place,
    past,
    rows,
)
from tests.contract.snapshots_postgres import Stores, call_each, postgres

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
    await call_each(store)

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
            assert not store._pool._idle, "those would time out too, one call each"
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
