"""What a node counts, as metrics, health and CLI see it."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from eventstore.memory_log import Fault
from spawn.core.behavior import TypeSettings
from spawn.core.ingress import DISTRIBUTIONS, NodeStatistics
from spawn.core.partition import Limits
from spawn.errors import MailboxFull, NotStarted, Rejected, TooManyWaiting, UnknownAction
from spawn.runtime import loop_watch
from spawn.runtime.counts import BATCH_BUCKETS, Outstanding, PartitionCounts
from spawn.runtime.dispatcher import NodeDispatcher
from spawn.runtime.loop_watch import LoopWatch
from tests.integration.runtime.running import AT, Cluster, add, call, submit
from tests.unit.core.harness import Lists


def counted(statistics: NodeStatistics, name: str) -> int:
    """Return how many values a distribution has."""
    return sum(statistics.distributions[name].counts)


async def until_flushed(node: NodeDispatcher, flushes: int) -> None:
    while node.statistics().partitions[0].flushes < flushes:
        await asyncio.sleep(0.005)


async def test_commits_and_their_latencies_are_counted() -> None:
    """Each command from its arrival, each append by time, size and bytes."""
    async with Cluster().node() as node:
        for number in range(3):
            await add(node, number)
        together = [add(node, number, actor=f"b{number}") for number in range(20)]
        await asyncio.gather(*together)
        statistics = node.statistics()
    [partition] = statistics.partitions
    assert partition.commits == 23
    assert 4 <= partition.batches <= 23
    assert partition.appended_bytes > 23 * 5
    assert set(statistics.distributions) == set(DISTRIBUTIONS)
    sizes = statistics.distributions["batch_commits"]
    assert (sum(sizes.counts), sizes.total) == (partition.batches, 23)
    assert counted(statistics, "commit_seconds") == partition.batches
    assert counted(statistics, "call_seconds") == 23
    assert 0 < statistics.distributions["call_seconds"].total < 5
    assert (statistics.calls, statistics.calls_max) == (0, 20_000)


async def test_a_command_that_waits_is_measured_from_its_arrival() -> None:
    """Not from its start: the mailbox is a part of what its caller waits."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
        before = node.statistics().distributions["call_seconds"].total
        cluster.log.freeze(AT)
        waits = [add(node, number) for number in range(2)]
        await asyncio.sleep(0.1)
        cluster.log.thaw(AT)
        await asyncio.gather(*waits)
        after = node.statistics().distributions["call_seconds"].total
    assert after - before >= 0.1


def test_sizes_of_appends_fall_into_powers_of_four() -> None:
    """The bound is included; as many as an append may have."""
    bounds = DISTRIBUTIONS["batch_commits"]
    assert len(BATCH_BUCKETS) == Limits().batch_records_max + 1
    assert [BATCH_BUCKETS[size] for size in (1, 2, 4, 5, 4096)] == [0, 1, 1, 2, len(bounds) - 1]


async def test_refusals_are_counted_by_code() -> None:
    """Where the call comes from makes no difference."""
    behavior = Lists(TypeSettings(mailbox_size_max=2))
    cluster = Cluster(calls_max=5)
    async with cluster.node(behavior) as node:
        with pytest.raises(UnknownAction):
            node.invoke(call("ad"))
        cluster.log.freeze(AT)
        waits = [add(node, number) for number in range(2)]
        await asyncio.sleep(0.01)
        [kind] = node.statistics().types
        assert (kind.type, kind.actors, kind.mailbox_size_max) == ("List", 1, 2)
        assert kind.mailbox_calls_max == 2
        with pytest.raises(MailboxFull):
            await add(node, 3)
        waits += [add(node, number, actor=f"b{number}") for number in range(3)]
        with pytest.raises(TooManyWaiting):
            await add(node, 4)
        cluster.log.thaw(AT)
        await asyncio.gather(*waits)
        refusals = node.statistics().refusals
    assert refusals == {"unknown-action": 1, "mailbox-full": 1, "too-many-waiting": 1}


async def test_records_that_are_no_success_are_counted_by_action() -> None:
    """They are no refusals: they stand in the log."""
    async with Cluster().node() as node:
        with pytest.raises(Rejected):
            await submit(node, "refuse", payload=b"null")
        statistics = node.statistics()
    assert statistics.outcomes == {("List", "refuse", "rejected"): 1}
    assert statistics.refusals == {}


async def test_a_deadline_that_passes_is_counted() -> None:
    """By the code that the caller was told."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
        cluster.log.freeze(AT)
        first = add(node, 2, timeout_s=5)
        await asyncio.sleep(0.3)  # the lease has run out: a read waits for an append
        late = submit(node, "all", timeout_s=0.05)
        with pytest.raises(NotStarted):
            await late
        cluster.log.thaw(AT)
        await first
        assert node.statistics().refusals["not-started"] >= 1


async def test_counts_outlive_a_recovery_and_failures_of_the_log_are_counted() -> None:
    """Prometheus would take a smaller sum for a restart."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
        cluster.log.fail(AT, Fault.LOST)
        await add(node, 2)
        statistics = node.statistics()
    [partition] = statistics.partitions
    assert (partition.commits, partition.recoveries, partition.takeovers) == (2, 1, 1)
    assert statistics.log_failures == 1
    assert counted(statistics, "takeover_seconds") == 1


async def test_the_oldest_change_that_is_not_flushed_has_an_age() -> None:
    """None is left once the checkpoint stands; rows and flushes are counted."""
    cluster = Cluster(flush_interval_s=0.2)
    async with cluster.node() as node:
        await add(node, 1)
        await asyncio.sleep(0.05)
        [partition] = node.statistics().partitions
        assert 0.05 <= partition.unflushed_s < 1
        await until_flushed(node, 1)
        [partition] = node.statistics().partitions
        assert (partition.unflushed_s, partition.flushed_actors) == (0.0, 1)
        assert counted(node.statistics(), "flush_seconds") == 1


async def test_actors_that_leave_memory_and_come_back_are_counted() -> None:
    """Passivations and loads."""
    cluster = Cluster(flush_interval_s=0.1)
    async with cluster.node(Lists(TypeSettings(idle_timeout_s=1))) as node:
        await add(node, 1)
        while node.statistics().partitions[0].passivations < 1:
            await asyncio.sleep(0.02)
        loads = node.statistics().partitions[0].loads
        await add(node, 2)
        assert node.statistics().partitions[0].loads == loads + 1


def test_a_flush_that_fails_keeps_the_age_of_its_changes() -> None:
    """And changes made meanwhile are younger."""
    counts = PartitionCounts()
    assert counts.unflushed_s(9.0) == 0.0
    counts.changed_at = 1.0
    counts.capture()
    counts.changed_at = 5.0
    assert counts.unflushed_s(9.0) == 8.0
    counts.flushed(stands=False)
    assert counts.unflushed_s(9.0) == 8.0
    counts.capture()
    counts.flushed(stands=True)
    assert counts.unflushed_s(9.0) == 0.0


async def test_a_loop_that_stood_still_is_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what was started last; the metric keeps every one."""
    monkeypatch.setattr(loop_watch, "_START_S", 0.0)
    with caplog.at_level(logging.WARNING, "spawn.loop"):
        async with Cluster().node() as node:
            await add(node, 1)
            for _ in range(2):
                await asyncio.sleep(0.05)
                time.sleep(0.15)
                await asyncio.sleep(0.05)
            statistics = node.statistics()
    assert statistics.loop_stalls == 2
    assert statistics.loop_lag_max_s >= 0.1
    told = [record for record in caplog.records if record.name == "spawn.loop"]
    assert len(told) == 1
    assert "no action was under way" in told[0].getMessage()


async def test_a_stall_of_a_plain_action_is_told_by_who_measured_it() -> None:
    """The watch counts it and says nothing a second time."""
    async with Cluster().node() as node:
        blocking = node._context.blocking
        watch = LoopWatch(blocking, node._context.debugger)
        watch.observe(0.5, 0.5, Outstanding(), {})
        assert (watch.stalls, watch._said) == (1, set())  # the start is nobody's fault
        watch.stalls = 0
        blocking.times_held += 1
        watch.observe(0.5, 1.0, Outstanding(), {})
        assert (watch.stalls, watch._said) == (1, set())
        watch.observe(0.5, 2.0, Outstanding(), {})
        assert (watch.stalls, watch._said) == (2, {""})
        watch.observe(0.0, 40.0, Outstanding(), {})
        assert watch.lag_max_s == 0.5
        watch.observe(0.0, 80.0, Outstanding(), {})
        assert watch.lag_max_s == 0.0
