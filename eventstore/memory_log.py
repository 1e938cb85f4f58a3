"""The event log in memory: the twin of `kafka_log`, for tests and simulations.

It keeps the same promises (one contract suite holds both to them), and does on command what a real
log does to its users now and then: it loses an append or its acknowledgement, stores one late or
twice, freezes, goes away, and gives back less than it acknowledged. It has no clock and no
randomness. All nodes of a simulated system share one object, so `close` does nothing.
"""

from __future__ import annotations

import asyncio
import enum
from bisect import bisect_left
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from eventstore.errors import (
    LogForbidden,
    LogRefused,
    LogTooLarge,
    LogUnavailable,
    OffsetGone,
    TopicMissing,
)
from eventstore.group import GROUP_KIND
from eventstore.log import LogRecord, TopicPartition, TopicSettings, TopicState

__all__ = ["Fault", "MemoryLog", "MemoryRecord"]

_BATCH_HEAD_BYTES = 61
_RECORD_HEAD_BYTES = 12
"""About what Kafka's format adds to a batch and to a record."""


class Fault(enum.Enum):
    """What befalls one append. All but the doubled ones raise LogUnavailable."""

    LOST = enum.auto()
    """Not stored."""
    UNACKNOWLEDGED = enum.auto()
    """Stored, and the answer is lost."""
    LATE = enum.auto()
    """Not stored until the test says so (`land`)."""
    DOUBLED_FIRST = enum.auto()
    """Stored twice; the first copy's offset is returned."""
    DOUBLED_SECOND = enum.auto()
    """Stored twice; the second copy's offset is returned."""


class MemoryRecord(NamedTuple):
    """A stored record."""

    offset: int
    key: bytes | None
    value: bytes | None
    time_ms: int


class _Partition:
    """One partition: its records, and what is to befall it."""

    __slots__ = ("end", "faults", "first", "late", "records", "thawed", "way")

    def __init__(self) -> None:
        self.records: list[MemoryRecord] = []
        """By offset; holes where compaction removed some."""
        self.first = 0
        self.end = 0
        self.way = 0
        self.faults: deque[Fault] = deque()
        self.late: deque[tuple[Sequence[LogRecord], int]] = deque()
        self.thawed = asyncio.Event()
        self.thawed.set()

    def store(self, batch: Sequence[LogRecord], time_ms: int) -> int:
        base = self.end
        for record in batch:
            self.records.append(MemoryRecord(self.end, record.key, record.value, time_ms))
            self.end += 1
        return base

    def between(self, start: int, end: int) -> Sequence[MemoryRecord]:
        """Return the records with start <= offset < end."""
        low, high = (bisect_left(self.records, offset, key=_offset) for offset in (start, end))
        return self.records[low:high]


class MemoryLog:
    """`EventLog` and `LogAdmin` in memory.

    The methods that the ports don't name are the test's hands on it; they take effect at once.
    """

    def __init__(self, *, brokers: int = 1, chunk_records: int = 1000) -> None:
        """`chunk_records`: how many a read yields at most at a time."""
        self._brokers = brokers
        self._chunk_records = chunk_records
        self._topics: dict[str, TopicSettings] = {}
        self._partitions: dict[TopicPartition, _Partition] = {}
        self.groups: dict[str, list[str]] = {}
        """Members by consumer group; a test fills it."""
        self.is_down = False
        """Every call raises LogUnavailable, and appends are lost."""
        self.is_forbidden = False
        """Every append and read raises LogForbidden: somebody took the rights away."""
        self.batch_bytes_max: int | None = None
        """A limit below the topics', as a broker's own; a larger batch is refused."""

    # EventLog

    async def append(self, at: TopicPartition, batch: Sequence[LogRecord], time_ms: int) -> int:
        assert batch, "a batch has at least one record"
        partition = self._reach(at)
        size, limit = _encoded_bytes(batch), self._topics[at.topic].max_message_bytes
        limit = limit if self.batch_bytes_max is None else min(limit, self.batch_bytes_max)
        if size > limit:
            raise LogTooLarge(f"{at}: the batch has {size} bytes, more than the limit of {limit}")
        try:
            await partition.thawed.wait()
        except asyncio.CancelledError:
            partition.late.append((batch, time_ms))  # it is on its way all the same
            raise
        offset = self._store(at, partition, batch, time_ms)
        await asyncio.sleep(0)  # callers must not count on an answer without a pause
        return offset

    def _store(
        self, at: TopicPartition, partition: _Partition, batch: Sequence[LogRecord], time_ms: int
    ) -> int:
        match partition.faults.popleft() if partition.faults else None:
            case None:
                return partition.store(batch, time_ms)
            case Fault.DOUBLED_FIRST:
                base = partition.store(batch, time_ms)
                partition.store(batch, time_ms)
                return base
            case Fault.DOUBLED_SECOND:
                partition.store(batch, time_ms)
                return partition.store(batch, time_ms)
            case Fault.UNACKNOWLEDGED:
                partition.store(batch, time_ms)
            case Fault.LATE:
                partition.late.append((batch, time_ms))
            case Fault.LOST:
                pass
        raise LogUnavailable(f"{at}: no answer; the batch may be stored, now or later")

    def way(self, at: TopicPartition) -> int:
        partition = self._partitions.get(at)
        return 0 if partition is None else partition.way

    async def read(
        self, at: TopicPartition, start: int, end: int
    ) -> AsyncIterator[Sequence[MemoryRecord]]:
        while start < end:
            partition = self._reach(at)
            await partition.thawed.wait()
            if start < partition.first:
                first = partition.first
                raise OffsetGone(f"{at}: offset {start} is gone, the log begins at {first}")
            if start > partition.end:
                raise LogRefused(f"{at}: offset {start} is above the log's end")
            if start == partition.end:
                raise LogUnavailable(f"{at}: nothing there yet at offset {start}")
            stop = min(end, start + self._chunk_records, partition.end)
            if records := partition.between(start, stop):
                yield records
            start = stop
            await asyncio.sleep(0)

    async def bounds(self, at: TopicPartition) -> tuple[int, int]:
        partition = self._reach(at)
        await partition.thawed.wait()
        return partition.first, partition.end

    async def partitions(self, topics: Sequence[str]) -> Mapping[str, int]:
        self._require_up()
        return {
            name: settings.partitions for name, settings in self._topics.items() if name in topics
        }

    async def close(self) -> None:
        return

    # LogAdmin

    async def brokers(self) -> int:
        self._require_up()
        return self._brokers

    async def topics(self, prefix: str) -> Sequence[str]:
        self._require_up()
        return sorted({at.topic for at in self._partitions if at.topic.startswith(prefix)})

    async def describe(self, topics: Sequence[str]) -> Mapping[str, TopicState]:
        self._require_up()
        return {
            name: TopicState(
                name=name,
                partitions=settings.partitions,
                replication=settings.replication or min(3, self._brokers),
                settings={
                    "cleanup.policy": "compact" if settings.compacted else "delete",
                    "max.message.bytes": str(settings.max_message_bytes),
                    "retention.bytes": "-1",
                    "retention.ms": "-1",
                },
            )
            for name, settings in self._topics.items()
            if name in topics
        }

    async def create(self, topics: Mapping[str, TopicSettings]) -> None:
        self._require_up()
        for name, settings in topics.items():
            if (settings.replication or 1) > self._brokers:
                raise LogRefused(f"topic {name}: more copies than brokers")
            if name not in self._topics:
                self._topics[name] = settings
                for number in range(settings.partitions):
                    self._partitions[TopicPartition(name, number)] = _Partition()

    async def delete(self, topics: Sequence[str]) -> None:
        self._require_up()
        for name in topics:
            if self._topics.pop(name, None) is not None:
                for at in [at for at in self._partitions if at.topic == name]:
                    del self._partitions[at]

    async def group_members(self, group: str) -> Sequence[str] | None:
        self._require_up()
        return list(self.groups.get(group, ()))

    async def group_kind(self, group: str) -> str:
        self._require_up()
        return GROUP_KIND if self.groups.get(group) else ""

    async def delete_group(self, group: str) -> None:
        self._require_up()
        if self.groups.get(group):
            raise LogRefused(f"group {group} has members")
        self.groups.pop(group, None)

    # The test's hands

    def fail(self, at: TopicPartition, *faults: Fault) -> None:
        """Let these befall the partition's next appends, one each, in this order."""
        self._partitions[at].faults.extend(faults)

    def late(self, at: TopicPartition) -> int:
        """Return how many appends are still on their way."""
        return len(self._partitions[at].late)

    def land(self, at: TopicPartition) -> int:
        """Store the late append that was made first; return its offset."""
        partition = self._partitions[at]
        return partition.store(*partition.late.popleft())

    def put(self, at: TopicPartition, *records: LogRecord, time_ms: int = 0) -> int:
        """Store a batch as any other writer might; return its offset. Faults don't touch it."""
        return self._partitions[at].store(records, time_ms)

    def garble(self, at: TopicPartition, offset: int, value: bytes | None) -> None:
        """Let the record at `offset` have another value from now on."""
        partition = self._partitions[at]
        partition.records = [
            record._replace(value=value) if record.offset == offset else record
            for record in partition.records
        ]

    def freeze(self, at: TopicPartition) -> None:
        """Let every call wait for `thaw`. An append that is cancelled meanwhile becomes late."""
        self._partitions[at].thawed.clear()

    def thaw(self, at: TopicPartition) -> None:
        """Let the waiting calls go on, in the order in which they came."""
        self._partitions[at].thawed.set()

    def lead_anew(self, at: TopicPartition) -> None:
        """Let the next append go another way, as after a change of leader."""
        self._partitions[at].way += 1

    def truncate(self, at: TopicPartition, end: int, *, is_hidden: bool = False) -> None:
        """Lose the records from offset `end` on; their offsets are given again (protocol 11).

        It comes with a change of leader, unless that `is_hidden` from clients.
        """
        partition = self._partitions[at]
        partition.way += not is_hidden
        partition.records = list(partition.between(partition.first, end))
        partition.end = end

    def trim(self, at: TopicPartition, first: int) -> None:
        """Forget the records below offset `first`, as retention does."""
        partition = self._partitions[at]
        partition.records = list(partition.between(first, partition.end))
        partition.first = first

    def widen(self, topic: str, partitions: int) -> None:
        """Give a topic more partitions, as an operator of the log might: keys would move."""
        settings = self._topics[topic]
        for number in range(settings.partitions, partitions):
            self._partitions[TopicPartition(topic, number)] = _Partition()
        self._topics[topic] = replace(settings, partitions=partitions)

    def compact(self, at: TopicPartition) -> None:
        """Keep the newest record of each key; the others leave holes."""
        partition = self._partitions[at]
        newest = {record.key: record.offset for record in partition.records}
        partition.records = [
            record for record in partition.records if record.offset == newest[record.key]
        ]

    def records(self, at: TopicPartition) -> Sequence[MemoryRecord]:
        """Return all that is stored."""
        return tuple(self._partitions[at].records)

    def _reach(self, at: TopicPartition) -> _Partition:
        self._require_up()
        if self.is_forbidden:
            raise LogForbidden(f"{at}: the log in memory does not let us (no rights to the topic)")
        partition = self._partitions.get(at)
        if partition is None:
            raise TopicMissing(f"there is no partition {at}")
        return partition

    def _require_up(self) -> None:
        if self.is_down:
            raise LogUnavailable("the log is down")


def _offset(record: MemoryRecord) -> int:
    return record.offset


def _encoded_bytes(batch: Sequence[LogRecord]) -> int:
    return _BATCH_HEAD_BYTES + sum(
        _RECORD_HEAD_BYTES + len(record.key or b"") + len(record.value or b"") for record in batch
    )
