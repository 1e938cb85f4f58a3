"""The event log in memory: the contract, and the faults that it plays."""

import asyncio

import pytest

from eventstore.errors import LogRefused, LogUnavailable
from eventstore.log import LogRecord, TopicPartition, TopicSettings
from eventstore.memory_log import Fault, MemoryLog
from tests.contract.log_contract import (
    TIME_MS,
    LogContract,
    batch,
    expected,
    new_topic,
    read,
    seen,
)


@pytest.fixture
def log() -> MemoryLog:
    """An empty log."""
    return MemoryLog()


@pytest.fixture
def admin(log: MemoryLog) -> MemoryLog:
    """The same object."""
    return log


@pytest.fixture
async def at(log: MemoryLog) -> TopicPartition:
    """The partition of a new topic."""
    topic = new_topic()
    await log.create({topic: TopicSettings(partitions=1)})
    return TopicPartition(topic, 0)


class TestMemoryLog(LogContract):
    """The contract."""


async def test_a_lost_append_is_not_stored(log: MemoryLog, at: TopicPartition) -> None:
    """Its caller does not know that, and the one after it is served."""
    log.fail(at, Fault.LOST)
    with pytest.raises(LogUnavailable):
        await log.append(at, batch("a"), TIME_MS)
    assert await log.append(at, batch("b"), TIME_MS) == 0


async def test_an_unacknowledged_append_is_stored(log: MemoryLog, at: TopicPartition) -> None:
    """Its caller sees the same error as for a lost one."""
    log.fail(at, Fault.UNACKNOWLEDGED)
    with pytest.raises(LogUnavailable):
        await log.append(at, batch("a"), TIME_MS)
    assert await log.append(at, batch("b"), TIME_MS) == 1


async def test_a_late_append_is_stored_when_the_test_says_so(
    log: MemoryLog, at: TopicPartition
) -> None:
    """Behind what was stored meanwhile, in the order in which they were made."""
    log.fail(at, Fault.LATE, Fault.LATE)
    for value in ("late 1", "late 2"):
        with pytest.raises(LogUnavailable):
            await log.append(at, batch(value), TIME_MS)
    assert await log.append(at, batch("claim"), TIME_MS) == 0
    assert log.late(at) == 2
    assert [log.land(at), log.land(at)] == [1, 2]
    values = [record.value for record in log.records(at)]
    assert values == [b"claim", b"late 1", b"late 2"]


@pytest.mark.parametrize(("fault", "base"), [(Fault.DOUBLED_FIRST, 1), (Fault.DOUBLED_SECOND, 3)])
async def test_a_doubled_append_returns_the_offset_of_one_copy(
    log: MemoryLog, at: TopicPartition, fault: Fault, base: int
) -> None:
    """Both copies stand in the log, whole."""
    await log.append(at, batch("a"), TIME_MS)
    log.fail(at, fault)
    twice = batch("b", "c")
    assert await log.append(at, twice, TIME_MS) == base
    assert await read(log, at, 1, 5) == expected(1, twice) + expected(3, twice)


async def test_faults_befall_their_own_partition_only(log: MemoryLog, at: TopicPartition) -> None:
    """What is planned for one partition waits for that one's appends."""
    topic = new_topic()
    await log.create({topic: TopicSettings(partitions=1)})
    log.fail(at, Fault.LOST)
    assert await log.append(TopicPartition(topic, 0), batch("a"), TIME_MS) == 0


async def test_a_frozen_partition_answers_in_order_once_it_is_thawed(
    log: MemoryLog, at: TopicPartition
) -> None:
    """Appends and reads wait; nothing is stored meanwhile."""
    log.freeze(at)
    async with asyncio.TaskGroup() as tasks:
        appends = [tasks.create_task(log.append(at, batch(value), TIME_MS)) for value in ("a", "b")]
        bounds = tasks.create_task(log.bounds(at))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not log.records(at)
        assert not bounds.done()
        log.thaw(at)
    assert [append.result() for append in appends] == [0, 1]


async def test_an_append_cancelled_in_a_frozen_partition_is_late(
    log: MemoryLog, at: TopicPartition
) -> None:
    """Cancelling does not take it back."""
    log.freeze(at)
    task = asyncio.ensure_future(log.append(at, batch("a"), TIME_MS))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    log.thaw(at)
    assert log.land(at) == 0


async def test_a_log_that_is_down_answers_nobody(log: MemoryLog, at: TopicPartition) -> None:
    """Appends are lost, and all is as before once it is up again."""
    log.is_down = True
    for call in (
        log.append(at, batch("a"), TIME_MS),
        log.bounds(at),
        log.brokers(),
        log.describe([]),
        log.create({}),
        read(log, at, 0, 1),
    ):
        with pytest.raises(LogUnavailable):
            await call
    log.is_down = False
    assert await log.append(at, batch("b"), TIME_MS) == 0


async def test_truncation_gives_offsets_again(log: MemoryLog, at: TopicPartition) -> None:
    """As after an unclean leader election: other records under the same offsets."""
    await log.append(at, batch("a", "b", "c"), TIME_MS)
    log.truncate(at, 1)
    assert await log.bounds(at) == (0, 1)
    assert await log.append(at, batch("d"), TIME_MS) == 1
    assert [value for _, _, value in await read(log, at, 0, 2)] == [b"a", b"d"]


async def test_records_below_the_beginning_are_refused(log: MemoryLog, at: TopicPartition) -> None:
    """A read never skips ahead by itself."""
    await log.append(at, batch("a", "b", "c"), TIME_MS)
    log.trim(at, 2)
    assert await log.bounds(at) == (2, 3)
    with pytest.raises(LogRefused, match="begins at 2"):
        await read(log, at, 1, 3)
    assert [value for _, _, value in await read(log, at, 2, 3)] == [b"c"]


async def test_compaction_leaves_holes_and_the_end_where_it_was(
    log: MemoryLog, at: TopicPartition
) -> None:
    """A range ends although its last offsets hold nothing any more."""
    await log.append(at, [LogRecord(b"k", b"1"), LogRecord(b"l", b"2")], TIME_MS)
    await log.append(at, [LogRecord(b"k", b"3"), LogRecord(b"l", b"4")], TIME_MS)
    log.compact(at)
    assert await read(log, at, 0, 2) == []
    assert await read(log, at, 0, 4) == [(2, b"k", b"3"), (3, b"l", b"4")]


async def test_foreign_records_stand_between_ours(log: MemoryLog, at: TopicPartition) -> None:
    """Anything may write to a topic; faults planned for us don't touch it."""
    log.fail(at, Fault.LOST)
    assert log.put(at, LogRecord(None, b"not ours")) == 0
    assert seen(log.records(at)) == [(0, None, b"not ours")]


async def test_more_copies_than_brokers_are_refused() -> None:
    """And without a number it is three, or as many as there are brokers."""
    log = MemoryLog(brokers=5)
    with pytest.raises(LogRefused, match="brokers"):
        await log.create({"a": TopicSettings(partitions=1, replication=6)})
    await log.create({"a": TopicSettings(partitions=1)})
    assert (await log.describe(["a"]))["a"].replication == 3
