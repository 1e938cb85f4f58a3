"""Real topics, really broken: garbled records, holes, topics made anew."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from eventstore.kafka_log import KafkaAdmin, KafkaLog, KafkaSettings
from eventstore.log import LogRecord, TopicPartition, TopicSettings
from eventstore.postgres_snapshots import PostgresSnapshots
from eventstore.records import Commit, StoredRecord, decode_prefix
from tests.integration.node.running import Nodes

__all__ = [
    "CUT_SHORT",
    "commits",
    "discard",
    "garble",
    "put",
    "records",
    "rewrite",
    "topic",
]

CUT_SHORT = b"\xe5S\x01\x02"
"""Begins like a commit and ends there."""


def topic(nodes: Nodes, name: str = "Counter") -> str:
    """Return an actor type's topic."""
    return f"spawn.{nodes.system}.{name}"


@contextlib.asynccontextmanager
async def _log(nodes: Nodes) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(KafkaSettings(servers=nodes.kafka))
    try:
        yield log
    finally:
        await log.close()


async def records(nodes: Nodes, at: TopicPartition) -> list[StoredRecord]:
    """Return all that the partition holds."""
    async with _log(nodes) as log:
        first, end = await log.bounds(at)
        return [each async for chunk in log.read(at, first, end) for each in chunk]


async def commits(nodes: Nodes, at: TopicPartition) -> list[tuple[StoredRecord, Commit]]:
    """Return the partition's commits that can be read."""
    found = [(each, decode_prefix(each.value)) for each in await records(nodes, at)]
    return [(each, prefix) for each, prefix in found if isinstance(prefix, Commit)]


async def put(nodes: Nodes, at: TopicPartition, *values: bytes) -> int:
    """Append records as any other writer might; return the first one's offset."""
    async with _log(nodes) as log:
        return await log.append(at, [LogRecord(b"a", value) for value in values], 0)


async def rewrite(
    nodes: Nodes,
    at: TopicPartition,
    change: Callable[[Sequence[StoredRecord]], Sequence[LogRecord]],
    partitions: int = 1,
) -> None:
    """Make the topic anew, with what `change` makes of the partition's records."""
    admin = KafkaAdmin(KafkaSettings(servers=nodes.kafka))
    kept = [await records(nodes, TopicPartition(at.topic, n)) for n in range(partitions)]
    await admin.delete([at.topic])
    await admin.create({at.topic: TopicSettings(partitions=partitions)})
    async with _log(nodes) as log:
        for number, old in enumerate(kept):
            new = [LogRecord(each.key, each.value) for each in old]
            if number == at.partition:
                new = list(change(old))
            if new:
                await log.append(TopicPartition(at.topic, number), new, 0)


def garble(offset: int, how: Callable[[bytes], bytes]) -> Callable[..., Sequence[LogRecord]]:
    """Return a change that garbles the record at an offset."""

    def change(old: Sequence[StoredRecord]) -> Sequence[LogRecord]:
        return [
            LogRecord(each.key, how(each.value or b"") if each.offset == offset else each.value)
            for each in old
        ]

    return change


async def discard(nodes: Nodes, at: TopicPartition) -> None:
    """Take the partition's snapshots away, so that the log alone tells."""
    store = PostgresSnapshots(nodes.dsn, nodes.system)
    await store.discard(at)
    await store.close()
