"""The log gives back less than it acknowledged, and goes on at the same offset (protocol 11).

Nothing shows it but the records themselves: the owner looks at its last one before an append that
went another way counts, and a new owner once more before its claim does.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from eventstore.kafka_log import KafkaAdmin, KafkaLog, KafkaSettings
from eventstore.log import LogRecord, TopicPartition
from spawn.errors import OutcomeUnknown, PartitionStopped
from tests.contract.log_contract import new_topic
from tests.integration.runtime.running import AT, Cluster, add, numbers, submit, worker_of
from tests.integration.runtime.test_topic_watch import Cart, Installation, Order
from tests.services.apache_kafka import ApacheKafka

JUNK = LogRecord(None, b"somebody else's")


def lose(cluster: Cluster, count: int, *, is_hidden: bool = False) -> None:
    """Lose the last records, and let as many others take their offsets."""
    end = cluster.log.records(AT)[-1].offset + 1
    cluster.log.truncate(AT, end - count, is_hidden=is_hidden)
    cluster.log.put(AT, *[JUNK] * count)


@pytest.mark.parametrize("count", [1, 2])
async def test_a_commit_does_not_count_where_what_was_before_it_is_lost(count: int) -> None:
    """Its offset is the expected one; the partition stops, and nothing is told to be done."""
    cluster = Cluster()
    async with cluster.node() as node:
        for number in range(5):
            await add(node, number)
        lose(cluster, count)
        with pytest.raises((PartitionStopped, OutcomeUnknown)):
            await add(node, 9)
        with pytest.raises(PartitionStopped, match="is not the one that was read there before"):
            await add(node, 10)


async def test_a_read_does_not_count_either() -> None:
    """Its Barrier goes another way, so the last record is verified first."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
        await asyncio.sleep(0.3)
        lose(cluster, 1)
        with pytest.raises(PartitionStopped):
            await submit(node, "all")


async def test_a_loss_that_no_change_of_leader_shows_is_found_by_the_next_gap() -> None:
    """The rare exception, as the protocol says."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
        lose(cluster, 1, is_hidden=True)
        assert await add(node, 2) == 2


async def test_a_change_of_leader_without_a_loss_costs_one_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The append counts, no claim is made, and the next one goes without."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
        reads = 0
        read = cluster.log.read

        def counted(*arguments: Any) -> Any:
            nonlocal reads
            reads += 1
            return read(*arguments)

        monkeypatch.setattr(cluster.log, "read", counted)
        cluster.log.lead_anew(AT)
        assert await add(node, 2) == 2
        assert reads == 1
        assert await add(node, 3) == 3
        await asyncio.sleep(0.3)
        assert await numbers(node) == [1, 2, 3]
        assert reads == 1
        assert worker_of(node).counts.recoveries == 0


async def test_a_claim_does_not_count_where_what_was_read_before_it_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The leader changes between reading to the end and the claim."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
        await add(node, 2)
    append = cluster.log.append

    async def losing(at: TopicPartition, batch: Sequence[LogRecord], time_ms: int) -> int:
        monkeypatch.setattr(cluster.log, "append", append)
        lose(cluster, 1)
        return await append(at, batch, time_ms)

    monkeypatch.setattr(cluster.log, "append", losing)
    async with cluster.node() as node:
        with pytest.raises(PartitionStopped, match="is not the one that was read there before"):
            await add(node, 3)


async def test_apache_kafka_loses_what_it_acknowledged() -> None:
    """A broker that comes back without its last batch, in whose place another writer's stands."""
    with ApacheKafka() as broker:
        await asyncio.to_thread(broker.start)
        settings = KafkaSettings(servers=broker.bootstrap)
        log, other = KafkaLog(settings), KafkaLog(settings)
        name = new_topic().replace("spawn.", "").replace(".", "-")[:40]
        installation = Installation(log, KafkaAdmin(settings), name)
        topics = await installation.prepare()
        node = installation.node(topics)
        try:
            async with node.running() as dispatcher:
                installation.system.bind(dispatcher)
                await node.serving.wait()
                cart: Any = installation.system.actor(Cart, "a")
                order: Any = installation.system.actor(Order, "a")
                for number in range(3):
                    await cart.add(number)
                    await order.add(1)
                at = place_of(dispatcher)
                _, end = await log.bounds(at)
                await asyncio.to_thread(broker.kill)
                cut_last_batch(broker._folder / "data", at)
                await asyncio.to_thread(broker.start)
                assert await other.append(at, [JUNK], 0) == end - 1, "the offset is given again"
                with pytest.raises((PartitionStopped, OutcomeUnknown)):
                    await cart.add(9)
                with pytest.raises(PartitionStopped, match="not the one that was read there"):
                    await cart.add(10)
                assert await order.add(1) == 4, "other partitions go on"
        finally:
            await other.close()
            await log.close()


def place_of(dispatcher: Any) -> TopicPartition:
    """Return the partition of Cart/a."""
    at: TopicPartition = dispatcher._served["Cart"].worker_of(b"a").at
    return at


def cut_last_batch(data: Path, at: TopicPartition) -> None:
    """Take the last batch from the partition's only segment, as if it was never flushed."""
    folder = data / f"{at.topic}-{at.partition}"
    segment = folder / f"{0:020}.log"
    content, position, last = segment.read_bytes(), 0, 0
    while position < len(content):
        _, size = struct.unpack_from(">qi", content, position)
        if size <= 0:
            break
        last, position = position, position + 12 + size
    segment.write_bytes(content[:last])
    for name in ("index", "timeindex"):
        with contextlib.suppress(FileNotFoundError):
            (folder / f"{0:020}.{name}").unlink()
