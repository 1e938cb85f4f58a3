"""Nodes pass records that an operator declared void, wherever his word stands."""

from __future__ import annotations

import asyncio

import pytest

from eventstore.log import LogRecord, TopicPartition
from spawn.core.ids import partition_of
from spawn.errors import ActorParked, PartitionStopped
from spawn.repair.accepting import plan_acceptance
from spawn.repair.skipping import plan_skip
from spawn.repair.unparking import plan_unpark
from spawn.runtime import appends, takeover
from spawn.runtime.dispatcher import NodeDispatcher
from tests.integration.runtime.running import AT, SYSTEM, TOPIC, Cluster, add, flushed, numbers
from tests.unit.repair.tools import CUT_SHORT, make_tools

COUNT = 40
CHUNK, SLICE = 16, 5


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few records between two boundaries of every kind."""
    monkeypatch.setattr(takeover, "_REPLAY_SLICE", SLICE)
    monkeypatch.setattr(appends, "_OBSERVED", SLICE)


@pytest.mark.parametrize("bad", [1, SLICE - 1, SLICE, CHUNK - 1, CHUNK, 2 * CHUNK, COUNT])
@pytest.mark.usefixtures("small")
async def test_a_take_over_passes_a_record_that_is_declared_void_far_behind(bad: int) -> None:
    """On both sides of each boundary of chunks and slices; all behind it counts."""
    cluster = Cluster()
    cluster.log._chunk_records = CHUNK
    async with cluster.node() as node:
        for number in range(COUNT):
            await add(node, number, actor="a" if number == bad - 1 else "b")
    cluster.log.garble(AT, bad, CUT_SHORT)  # offset 0 is the claim
    for _ in range(5 * CHUNK):
        cluster.log.put(AT, LogRecord(b"x", b"not ours"))
    plan = await plan_skip(make_tools(cluster.log, cluster.store, SYSTEM), AT, [bad])
    await plan.apply()
    async with cluster.node() as node:
        assert await numbers(node, "b") == [n for n in range(COUNT) if n != bad - 1]
        assert await numbers(node, "a") == []
        await add(node, 7, actor="a")
    async with cluster.node() as node:
        assert await numbers(node, "a") == [7]


@pytest.mark.usefixtures("small")
async def test_a_running_node_passes_it_in_its_gap() -> None:
    """It meets the operator's claim there, loses the partition and takes it again."""
    cluster = Cluster(partitions=2)
    actor = next(f"x{n}" for n in range(99) if partition_of(f"x{n}".encode(), 2) == 1)
    at = TopicPartition(TOPIC, 1)
    async with cluster.node() as node:
        await add(node, 1, actor=actor)
        bad = cluster.log.put(at, LogRecord(b"x", CUT_SHORT))
        for _ in range(3 * SLICE):
            cluster.log.put(at, LogRecord(b"x", b"not ours"))
        plan = await plan_skip(make_tools(cluster.log, cluster.store, SYSTEM), at, [bad])
        await plan.apply()
        assert await add(node, 2, actor=actor) == 2
        assert await numbers(node, actor) == [1, 2]


async def test_a_store_that_went_back_is_caught_up_past_it() -> None:
    """The log is read again from the older checkpoint."""
    cluster = Cluster(flush_interval_s=0.05)
    async with cluster.node() as node:
        await add(node, 1)
        await flushed(node)
        old = cluster.store.copy()
        await add(node, 2, actor="b")
    bad = cluster.log.put(AT, LogRecord(b"x", CUT_SHORT))
    await (await plan_skip(make_tools(cluster.log, cluster.store, SYSTEM), AT, [bad])).apply()
    async with cluster.node() as node:
        await add(node, 3)
        await flushed(node)
        cluster.store.put_back(old)
        assert await numbers(node, "c") == []
        assert await numbers(node, "b") == [2]
        await flushed(node)


async def test_a_hole_in_an_actors_history_parks_it_instead_of_a_wrong_state() -> None:
    """Its later events are not folded into what was before the hole."""
    cluster = Cluster()
    async with cluster.node() as node:
        for number in range(4):
            await add(node, number)
        await add(node, 9, actor="b")
    cluster.log.garble(AT, 2, CUT_SHORT)
    tools = make_tools(cluster.log, cluster.store, SYSTEM)
    await (await plan_skip(tools, AT, [2])).apply()
    async with cluster.node() as node:
        with pytest.raises(ActorParked, match="revision"):
            await numbers(node)
        assert await numbers(node, "b") == [9]


async def test_snapshots_behind_which_records_are_gone_stop_the_partition() -> None:
    """Trimmed above the checkpoint; with the loss accepted the states are there again."""
    cluster = Cluster(flush_interval_s=0.05)
    async with cluster.node() as node:
        await add(node, 1)
        await flushed(node)
        await add(node, 2, actor="b")
    _, end = await cluster.log.bounds(AT)
    cluster.log.trim(AT, end)
    async with asyncio.timeout(5), cluster.node() as node:
        with pytest.raises(PartitionStopped, match="the records between them are gone"):
            await numbers(node)
    tools = make_tools(cluster.log, cluster.store, SYSTEM)
    await (await plan_acceptance(tools, AT)).apply()
    async with cluster.node() as node:
        assert await numbers(node) == [1]
        await add(node, 5)
        await flushed(node)
    async with cluster.node() as node:
        assert await numbers(node) == [1, 5]


async def test_a_parked_actor_is_read_again_by_the_node_that_runs(node_of_two: None) -> None:
    """It looks into the log when the actor is called; other actors are not touched."""
    cluster = Cluster(partitions=2)
    actor = next(f"x{n}" for n in range(99) if partition_of(f"x{n}".encode(), 2) == 1)
    at = TopicPartition(TOPIC, 1)
    async with cluster.node() as node:
        await add(node, 1, actor=actor)
        await add(node, 2, actor=actor)
    value = cluster.log.records(at)[1].value
    assert value is not None
    cluster.log.garble(at, 1, value[:-20])
    async with cluster.node() as node:
        with pytest.raises(ActorParked):
            await numbers(node, actor)
        tools = make_tools(cluster.log, cluster.store, SYSTEM)
        plan = await plan_unpark(tools, ("List", actor), None, delete=True)
        await plan.apply()
        assert not (await plan_unpark(tools, ("List", actor), None, delete=True)).steps
        await _until_numbers(node, actor, [])
        assert await add(node, 3, actor=actor) == 1


@pytest.fixture
def node_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often."""
    from spawn.runtime import partition_worker

    monkeypatch.setattr(partition_worker, "_LOOK_S", 0.05)


async def _until_numbers(node: NodeDispatcher, actor: str, wanted: list[int]) -> None:
    async with asyncio.timeout(5):
        while True:
            try:
                assert await numbers(node, actor) == wanted
                return
            except ActorParked:
                await asyncio.sleep(0.06)
