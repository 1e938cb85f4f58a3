"""The snapshot store in memory: the contract, and the faults that it plays."""

import asyncio

import pytest
from hypothesis import given

from eventstore.errors import SnapshotsUnavailable
from eventstore.memory_snapshots import MemorySnapshots
from eventstore.rows import FlushSlice
from tests.contract.snapshots_contract import (
    GatedSlices,
    OpenStore,
    Slices,
    SnapshotsContract,
    actor,
    checkpoint,
    key,
    new_place,
    past,
    rows,
)
from tests.contract.snapshots_interleavings import Step, interleavings, run_interleaving

NAME = ("Counter", "a")


class TestMemorySnapshots(SnapshotsContract):
    """The contract; owners of one system share an object."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """Open a system's object, the same each time."""
        stores: dict[str, MemorySnapshots] = {}
        return lambda system: stores.setdefault(system, MemorySnapshots())


@given(steps=interleavings)
async def test_overlapping_flushes_come_out_as_in_the_model(steps: list[Step]) -> None:
    """Two owners, any bases, any order of their steps."""
    store = MemorySnapshots()
    await run_interleaving([store, store], steps)


async def test_while_down_every_call_says_so_and_nothing_is_lost() -> None:
    """The twin of a database that is restarted."""
    store, at = MemorySnapshots(), new_place()
    assert await store.migrate() == []
    assert await store.flush(at, checkpoint(2), 0, rows(actor("a", 1)))
    store.go_down()
    for call in (
        store.ping(),
        store.migrate(),
        store.checkpoint(at),
        store.load(at, [NAME]),
        store.flush(at, checkpoint(3), 2, Slices()),
        store.history_before(at, NAME, 1),
        store.discard(at),
    ):
        with pytest.raises(SnapshotsUnavailable):
            await call
    store.come_up()
    assert await store.load(at, [NAME]) == (2, {NAME: actor("a", 1)}, {})


async def test_going_down_in_mid_flush_leaves_nothing() -> None:
    """As a server that is killed while it takes rows."""
    store, at, slices = MemorySnapshots(), new_place(), GatedSlices()
    flush = asyncio.create_task(store.flush(at, checkpoint(2), 0, slices))
    await slices.give(FlushSlice([actor("a", 1)]), flush)
    store.go_down()
    slices.end()
    with pytest.raises(SnapshotsUnavailable):
        await flush
    store.come_up()
    assert await store.checkpoint(at) is None


async def test_an_answer_may_be_lost_after_the_effect() -> None:
    """Unavailable means no effect or the whole effect; this is the other half."""
    store, at = MemorySnapshots(), new_place()
    store.lose_answer()
    with pytest.raises(SnapshotsUnavailable):
        await store.flush(at, checkpoint(2), 0, rows(actor("a", 1)))
    assert await store.load(at, [NAME]) == (2, {NAME: actor("a", 1)}, {})
    assert await store.flush(at, checkpoint(2), 0, Slices()), "it stands, as its owner may ask"
    store.lose_answer()
    with pytest.raises(SnapshotsUnavailable):
        await store.discard(at)
    assert await store.checkpoint(at) is None


async def test_it_can_be_put_back_to_an_older_copy_any_number_of_times() -> None:
    """A failover to a standby that was behind; what came after the copy is gone."""
    store, at = MemorySnapshots(), new_place()
    first = FlushSlice([actor("a", 1)], [past("a", 1, 1)], [key("a", "k", 1)])
    second = FlushSlice([actor("a", 2)], [past("a", 2, 2)], [key("a", "l", 2)])
    assert await store.flush(at, checkpoint(2), 0, Slices(first))
    copy = store.copy()
    for _ in range(2):
        assert await store.flush(at, checkpoint(3), 2, Slices(second))
        store.put_back(copy)
        assert await store.checkpoint(at) == checkpoint(2)
        loaded = await store.load(at, [NAME])
        assert loaded == (2, {NAME: actor("a", 1)}, {NAME: [key("a", "k", 1)]})
        assert await store.history_before(at, NAME, 9) == past("a", 1, 1)


async def test_a_partition_can_be_lost() -> None:
    """Rows and checkpoint go together, since they were written together."""
    store, at = MemorySnapshots(), new_place()
    assert await store.flush(at, checkpoint(2), 0, rows(actor("a", 1)))
    store.lose(at)
    store.lose(at)
    assert await store.load(at, [NAME]) == (0, {}, {})


async def test_after_close_it_answers_no_more() -> None:
    """A call after the end of its process's work is not served by chance."""
    store = MemorySnapshots()
    await store.close()
    with pytest.raises(SnapshotsUnavailable):
        await store.checkpoint(new_place())
