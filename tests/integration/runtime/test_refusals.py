"""What a node does when its log says no: for want of rights, to a large batch, to an old offset."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

import pytest

from eventstore.errors import LogRefused, TopicMissing
from eventstore.log import LogRecord, TopicPartition
from eventstore.memory_log import MemoryLog, MemoryRecord
from spawn.core.partition import Limits
from spawn.errors import ActorParked, BodyTooLarge, LogUnreachable, PartitionStopped
from tests.integration.runtime.running import AT, Cluster, add, call, numbers, submit


class Refusing(MemoryLog):
    """A log that refuses appends or reads when it is told to."""

    appends: Exception | None = None
    reads: Exception | None = None

    async def append(self, at: TopicPartition, batch: Sequence[LogRecord], time_ms: int) -> int:
        if self.appends is not None:
            raise self.appends
        return await super().append(at, batch, time_ms)

    async def read(
        self, at: TopicPartition, start: int, end: int
    ) -> AsyncIterator[Sequence[MemoryRecord]]:
        if self.reads is not None:
            raise self.reads
        async for chunk in super().read(at, start, end):
            yield chunk


def refusing(**settings: object) -> tuple[Cluster, Refusing]:
    """Return a cluster over such a log."""
    cluster, log = Cluster(**settings), Refusing()  # type: ignore[arg-type]
    cluster.log = log
    return cluster, log


async def test_without_rights_calls_are_refused_retryably_and_go_on_once_they_are_granted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Certainly nothing was stored, so nobody is told that it may have been."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
        cluster.log.is_forbidden = True
        with caplog.at_level(logging.WARNING, "spawn.partition"):
            for _ in range(3):
                refused = await asyncio.gather(
                    add(node, 2), add(node, 3), add(node, 2, "b"), return_exceptions=True
                )
                assert {type(each) for each in refused} == {LogUnreachable}
                assert "does not let us" in str(refused[0])
        assert any("does not let us" in record.getMessage() for record in caplog.records)
        assert node.statistics().log_failures >= 3
        cluster.log.is_forbidden = False
        assert await add(node, 4) == 2
        assert await numbers(node) == [1, 4]
        assert node.statistics().ready
    async with cluster.node() as node:
        assert await numbers(node) == [1, 4]


async def test_without_rights_a_read_that_needs_the_log_is_refused_retryably() -> None:
    """Its Barrier is refused, and so is it."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
        await asyncio.sleep(0.3)  # the lease runs out
        cluster.log.is_forbidden = True
        with pytest.raises(LogUnreachable):
            await numbers(node)
        cluster.log.is_forbidden = False
        assert await numbers(node) == [1]


async def test_a_start_without_rights_waits_for_them() -> None:
    """The take-over is tried again."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
    cluster.log.is_forbidden = True

    async def grant() -> None:
        await asyncio.sleep(0.2)
        cluster.log.is_forbidden = False

    granting = asyncio.ensure_future(grant())
    async with cluster.node() as node:
        assert await numbers(node) == [1]
    await granting


async def test_an_actor_that_can_not_be_read_for_want_of_rights_is_not_parked() -> None:
    """It is refused retryably, and there again when the rights are."""
    cluster = Cluster()
    async with cluster.node() as node:
        for number in range(3):
            await add(node, number)
        await flush(node)
    spoil_snapshot(cluster)
    async with cluster.node() as node:
        cluster.log.is_forbidden = True
        with pytest.raises(LogUnreachable, match="can't be loaded"):
            await add(node, 9)
        cluster.log.is_forbidden = False
        assert await add(node, 3) == 4
        assert await numbers(node) == [0, 1, 2, 3]


async def test_an_actor_whose_history_is_gone_from_the_log_is_parked() -> None:
    """Nothing brings it back; the others go on."""
    cluster = Cluster()
    async with cluster.node() as node:
        for number in range(3):
            await add(node, number)
            await add(node, number, "b")
        await flush(node)
    spoil_snapshot(cluster)
    cluster.log.trim(AT, 4)
    async with cluster.node() as node:
        with pytest.raises(ActorParked, match="no longer in the log"):
            await add(node, 9)
        assert await add(node, 3, "b") == 4


def spoil_snapshot(cluster: Cluster) -> None:
    """Let the snapshot of actor `a` be of no use: its whole history has to be read."""
    kept = cluster.store._partitions[AT].actors
    kept["List", "a"] = kept["List", "a"]._replace(checksum=1)


async def flush(node: object) -> None:
    """Let the only partition write a checkpoint."""
    await node._served["List"].workers[0]._flush_once()  # type: ignore[attr-defined]


async def test_a_batch_that_is_too_large_is_sent_in_smaller_ones() -> None:
    """The broker's limit is below ours: every command has its record all the same."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 0)
        cluster.log.batch_bytes_max = 1_000
        replies = await asyncio.gather(*(add(node, n, f"a{n % 3}") for n in range(60)))
        assert sorted(replies) == sorted([*range(1, 21)] * 3)
        assert await add(node, 1) == 2
    async with cluster.node() as node:
        assert await numbers(node, "a1") == list(range(1, 60, 3))


async def test_a_single_record_that_is_too_large_fails_its_command_and_no_other() -> None:
    """What was speculated on it runs again; its key is free, and its record is there."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
        cluster.log.batch_bytes_max = 600
        huge = submit(node, "add", payload=b"7" * 700)
        after = [add(node, 2), add(node, 3), add(node, 4, "b")]
        with pytest.raises(BodyTooLarge, match="the log refuses it"):
            await huge
        assert await asyncio.gather(*after) == [2, 3, 1]
        assert await numbers(node) == [1, 2, 3]
        with pytest.raises(BodyTooLarge):
            await node.invoke(call("add", b"7" * 700, key="k"))
        assert (await node.invoke(call("add", b"5", key="k"))).reply == b"4"
    async with cluster.node() as node:
        assert await numbers(node) == [1, 2, 3, 5]


async def test_a_log_that_takes_no_record_at_all_stops_the_partition_and_says_why() -> None:
    """Not that it lost any."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
        cluster.log.batch_bytes_max = 10
        with pytest.raises(PartitionStopped, match="more than the limit of 10") as stopped:
            await add(node, 2)
        assert "lost or garbled" not in stopped.value.hint


@pytest.mark.parametrize("error", [LogRefused("the topic is odd"), TopicMissing("it is gone")])
async def test_any_other_refusal_stops_the_partition_with_its_own_words(error: Exception) -> None:
    """Its callers are not told that it may have taken effect."""
    cluster, log = refusing()
    async with cluster.node() as node:
        await add(node, 1)
        log.appends = error
        with pytest.raises(PartitionStopped, match=str(error)) as stopped:
            await add(node, 2)
        assert "lost or garbled" not in stopped.value.hint


@pytest.mark.parametrize("error", [LogRefused("the topic is odd"), TopicMissing("it is gone")])
async def test_a_refusal_at_the_take_over_stops_that_partition_only(error: Exception) -> None:
    """The node serves the others."""
    cluster, log = refusing()
    async with cluster.node() as node:
        await add(node, 1)
    log.reads = error
    async with cluster.node() as node:
        with pytest.raises(PartitionStopped, match=str(error)):
            await add(node, 2)
        assert not node.statistics().ready


async def test_a_refusal_while_the_store_is_caught_up_stops_that_partition_only() -> None:
    """The store went back to before what the log still keeps."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
        await flush(node)
        older = cluster.store.copy()
        await add(node, 2)
        await flush(node)
        cluster.store.put_back(older)
        cluster.log.trim(AT, 3)
        await add(node, 3)
        node._served["List"].workers[0]._flush.set()
        while node.statistics().ready:
            await asyncio.sleep(0.01)
        with pytest.raises(PartitionStopped, match="is gone"):
            await add(node, 4)


async def test_a_batch_is_bounded_with_its_keys_and_prefixes() -> None:
    """Small commits are mostly prefix: the batch in the log is below the limit all the same."""
    cluster = Cluster(limits=Limits(batch_bytes_max=2_000))
    async with cluster.node() as node:
        await add(node, 0)
        cluster.log.batch_bytes_max = 2_000
        ids = ["x" * 200 + str(n) for n in range(40)]
        batches = node.statistics().partitions[0].batches
        await asyncio.gather(*(add(node, 1, name) for name in ids))
        assert node.statistics().partitions[0].batches - batches >= 6
        assert node._served["List"].workers[0].machine._batch_bytes_max == 2_000 - 64
