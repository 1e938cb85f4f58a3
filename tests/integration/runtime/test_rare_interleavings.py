"""Interleavings that a hostile reader of the code found; each was once a lost or doubled effect."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from eventstore.errors import UnreadableBody
from eventstore.log import LogRecord, TopicPartition, TopicSettings
from eventstore.memory_log import Fault, MemoryLog
from eventstore.records import Claim, Commit, Release, decode_prefix
from eventstore.rows import ActorName, Loaded
from spawn.core.behavior import ActionInfo, TypeSettings
from spawn.core.commands import Command
from spawn.core.decision import EventData
from spawn.core.keys import digest_key
from spawn.core.partition import Partition, Phase
from spawn.errors import ActorParked, OutcomeUnknown, PartitionStopped
from spawn.runtime import appends
from spawn.runtime.activation import Activation
from spawn.runtime.node import Node
from spawn.runtime.placement import Everything
from spawn.runtime.schema_book import SchemaBook
from tests.integration.runtime.running import (
    AT,
    TOPIC,
    Cluster,
    Retaking,
    add,
    call,
    flushed,
    numbers,
    submit,
    worker_of,
)
from tests.unit.core.harness import Lists

KEY: dict[str, Any] = {"key": digest_key("k", "add", b"7"), "key_text": "k"}


async def test_a_recovery_never_starts_an_actor_that_is_still_loading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its commands wait for its state; else they would run on none and cut its history off."""
    cluster = Cluster(flush_interval_s=0.05)
    async with cluster.node() as node:
        await add(node, 1, "cold")
        await flushed(node)
    async with cluster.node() as node:
        await add(node, 1, "warm")
        load, gate = cluster.store.load, asyncio.Event()

        async def slow(at: TopicPartition, actors: Sequence[ActorName]) -> Loaded:
            loaded = await load(at, actors)
            await gate.wait()
            return loaded

        monkeypatch.setattr(cluster.store, "load", slow)
        cluster.log.fail(AT, Fault.LOST)
        cold = add(node, 2, "cold")
        assert await add(node, 2, "warm") == 2
        gate.set()
        assert await cold == 2
        assert await numbers(node, "cold") == [1, 2]


async def test_keys_of_actors_in_memory_survive_a_store_that_goes_back() -> None:
    """The next flush writes again the keys that the older copy lacks."""
    cluster = Cluster(flush_interval_s=0.05)
    async with cluster.node() as node:
        await add(node, 1, "a")
        await flushed(node)
        older = cluster.store.copy()
        await add(node, 7, "a", **KEY)
        await add(node, 1, "b")
        await flushed(node)
        residents = worker_of(node).machine.residents
        assert residents.evict(residents.tables["List"].actors[b"b"])
        cluster.store.put_back(older)
        assert await numbers(node, "b") == [1]
        await add(node, 2, "b")
        await flushed(node)
    async with cluster.node() as node:
        assert await add(node, 7, "a", **KEY) is not None
        assert await numbers(node, "a") == [1, 7]


async def test_keys_of_a_parked_actor_survive_the_checkpoint_that_passes_it() -> None:
    """A release that can't read an actor does not forget what was done under a key."""

    class Broken(Lists):
        def evolve(self, actor_id: str, state: Any, events: Sequence[EventData]) -> Any:
            raise UnreadableBody("this release can't")

    cluster = Cluster(flush_interval_s=0.05)
    cluster.settings = Cluster().settings
    async with cluster.node() as node:
        await add(node, 7, "a", **KEY)
    cluster.settings = Cluster(flush_interval_s=0.05).settings
    async with cluster.node(Broken()) as node:
        with pytest.raises(ActorParked):
            await add(node, 1, "a")
        await flushed(node)
    async with cluster.node() as node:
        await add(node, 7, "a", **KEY)
        assert await numbers(node, "a") == [7]


async def test_a_flush_whose_answer_was_lost_is_repeated_once() -> None:
    """The store has it; on a quiet partition nothing newer comes that would settle it."""
    cluster = Cluster(flush_interval_s=0.05)
    async with cluster.node() as node:
        await add(node, 1)
        cluster.store.lose_answer()
        async with asyncio.timeout(5):
            await flushed(node)
        assert not worker_of(node).machine.residents.dirty


async def test_two_catch_ups_at_once_give_no_record_twice() -> None:
    """Both a load and a flush may notice that the store went back."""
    cluster = Cluster(flush_interval_s=0.05)
    async with cluster.node() as node:
        await add(node, 1, "a")
        await flushed(node)
        older = cluster.store.copy()
        await add(node, 2, "a")
        await add(node, 3, "a")
        await flushed(node)
        machine = worker_of(node).machine
        residents = machine.residents
        assert residents.evict(residents.tables["List"].actors[b"a"])
        cluster.store.put_back(older)
        activation = Activation(
            AT, machine, cluster.log, cluster.store, SchemaBook(cluster.log, "spawn.test._schemas")
        )
        await asyncio.gather(activation.read_again(), activation.read_again())
        assert await numbers(node, "a") == [1, 2, 3]


async def test_a_claim_of_an_earlier_attempt_that_lands_late_is_ones_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A node does not take itself for another one."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
    cluster.log.fail(AT, Fault.LATE)
    append = cluster.log.append

    async def landing(at: TopicPartition, batch: Sequence[LogRecord], time_ms: int) -> int:
        while cluster.log.late(at):
            cluster.log.land(at)
        return await append(at, batch, time_ms)

    monkeypatch.setattr(cluster.log, "append", landing)
    async with cluster.node() as node:
        assert await add(node, 2) == 2


async def test_a_partition_with_commits_of_a_type_not_served_stops_alone() -> None:
    """A checkpoint that passes them would lose them for the node that serves both types."""
    cluster = Cluster(partitions=2)
    await cluster.log.create({TOPIC: TopicSettings(partitions=2)})
    await cluster.log.create({"spawn.test.Third": TopicSettings(partitions=1)})
    other, third = Lists(TypeSettings(topic="List"), "Other"), Lists(TypeSettings(), "Third")
    topics = {TOPIC: 2, "spawn.test.Third": 1}
    both = Node(replace(cluster.plan(Lists()), behaviors=[Lists(), other, third], topics=topics))
    async with both.running() as node:
        await both.serving.wait()
        await node.invoke(call("add", b"1", type="Other"))
        for actor in "abcdef":
            await add(node, 1, actor)
    place = place_of_commits_of(cluster, b"Other")
    alone = Node(replace(cluster.plan(Lists()), behaviors=[Lists(), third], topics=topics))
    async with alone.running() as node:
        await alone.serving.wait()
        phases = {
            TopicPartition(p.topic, p.partition): p.phase for p in node.statistics().partitions
        }
        assert phases.pop(place) != "active"
        assert set(phases.values()) == {"active"}
        answers = await asyncio.gather(
            *(add(node, 2, actor) for actor in "abcdef"),
            node.invoke(call("add", b"1", type="Third")),
            return_exceptions=True,
        )
        stopped = [each for each in answers if isinstance(each, PartitionStopped)]
        assert 0 < len(stopped) < 6
        assert "commits of type Other" in stopped[0].message
        assert "start this one with all of them" in stopped[0].hint
        assert not any(isinstance(each, Exception) for each in answers if each not in stopped)
    claims = [decode_prefix(stored.value) for stored in cluster.log.records(place)]
    assert sum(isinstance(each, Claim) for each in claims) == 1, "nothing was written there"
    again = Node(replace(cluster.plan(Lists()), behaviors=[Lists(), other, third], topics=topics))
    async with again.running() as node:
        await again.serving.wait()
        assert (await node.invoke(call("add", b"2", type="Other"))).revision == 2


def place_of_commits_of(cluster: Cluster, actor_type: bytes) -> TopicPartition:
    """Return the partition of List's topic that holds commits of a type."""
    for at in (AT, AT._replace(partition=1)):
        for stored in cluster.log.records(at):
            prefix = decode_prefix(stored.value)
            if isinstance(prefix, Commit) and prefix.type == actor_type:
                return at
    raise AssertionError("there is none")


class SlowReads(Lists):
    """Lists with a read that waits until the test lets it go on."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.reading = asyncio.Event()
        self.actions["slow"] = ActionInfo("slow", True, True, "slow() -> list[int]")

    def read(
        self, action: str, actor_id: str, state: Any, revision: int, time_us: int, command: Command
    ) -> Any:
        return self._slow(state) if action == "slow" else list(state)

    async def _slow(self, state: Any) -> list[int]:
        self.reading.set()
        await self.gate.wait()
        return list(state)


async def test_an_async_read_is_answered_though_its_partition_stops() -> None:
    """It is told why, at once, and not at its deadline that it was never started."""
    cluster = Cluster()
    behavior = SlowReads()
    async with cluster.node(behavior) as node:
        await add(node, 1)
        reading = submit(node, "slow", timeout_s=30)
        await behavior.reading.wait()
        cluster.log.put(AT, LogRecord(b"a", b"\xe5S\x09garbled"))
        with pytest.raises(OutcomeUnknown):
            await add(node, 2)
        async with asyncio.timeout(5):
            with pytest.raises(PartitionStopped):
                await reading


async def test_a_drained_partition_that_recovers_is_released_all_the_same() -> None:
    """Else the next owner waits for a lease that nobody uses."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
        cluster.log.fail(AT, Fault.LOST, Fault.LOST, Fault.LOST, Fault.LOST)
        waiting = add(node, 2)
        worker = worker_of(node)
        while worker.machine.phase is not Phase.RECOVERING:
            await asyncio.sleep(0.001)
        await worker.drain(asyncio.get_running_loop().time() + 5)
        assert await waiting == 2
    assert isinstance(decode_prefix(cluster.log.records(AT)[-1].value), Release)


async def test_a_long_gap_is_folded_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """With turns of the event loop between; the batch behind it counts."""
    pieces: list[int] = []
    observe = Partition.observe

    def counted(machine: Partition, records: Sequence[Any]) -> Sequence[Any]:
        pieces.append(len(records))
        return observe(machine, records)

    monkeypatch.setattr(Partition, "observe", counted)
    cluster = Cluster()
    cluster.log = MemoryLog(chunk_records=100_000)
    async with cluster.node() as node:
        await add(node, 1)
        cluster.log.put(AT, *[LogRecord(b"x", b"hello")] * 9_000)
        assert list(await asyncio.gather(add(node, 2), add(node, 1, "b"))) == [2, 1]
        assert len(pieces) >= 5
        assert max(pieces) <= 2_000
        assert await numbers(node) == [1, 2]


async def test_a_gap_is_read_up_to_the_foreign_claim_only() -> None:
    """What a new owner wrote since then is not this one's matter."""
    cluster = Cluster(partitions=2)
    async with cluster.node(placement=Retaking()) as node:
        worker = node._served["List"].workers[1]
        other = TopicPartition(TOPIC, 1)
        thief = Node(cluster.plan(Lists()))
        stealing = asyncio.ensure_future(thief._workers[1].serve("steal", Everything().may_claim))
        await thief._workers[1].active.wait()
        stealing.cancel()
        await asyncio.wait([stealing])
        cluster.log.put(other, *[LogRecord(b"x", b"hello")] * 50_000)
        machine = worker.machine
        assert machine.phase is Phase.ACTIVE
        worker.look()
        while worker.machine is machine:
            await asyncio.sleep(0.01)
        assert machine.fold.position < 10


async def test_an_append_that_took_long_is_read_again_before_it_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Commits and Barriers alike (log protocol 11)."""
    monkeypatch.setattr(appends, "SLOW_APPEND_S", 0.0)
    cluster = Cluster()
    async with cluster.node() as node:
        assert await add(node, 1) == 1
        await asyncio.sleep(0.3)  # the lease runs out
        assert await numbers(node) == [1]
        assert await add(node, 2) == 2
        assert node.statistics().partitions[0].recoveries == 0
        assert node.statistics().ready
