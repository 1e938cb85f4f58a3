"""What stands in a node's topics, read from the broker."""

from __future__ import annotations

from collections import Counter

from eventstore.fencing import Fence
from eventstore.kafka_log import KafkaLog, KafkaSettings
from eventstore.log import LogRecord, TopicPartition
from eventstore.records import Commit, decode_prefix

__all__ = ["append_again", "count_records", "released_partitions"]


async def _read(kafka: str, topic: str, partitions: int) -> tuple[Counter[str], int]:
    found: Counter[str] = Counter()
    released = 0
    log = KafkaLog(KafkaSettings(servers=kafka))
    try:
        for partition in range(partitions):
            at, fence = TopicPartition(topic, partition), Fence()
            start, end = await log.bounds(at)
            async for chunk in log.read(at, start, end):
                for stored in chunk:
                    record = decode_prefix(stored.value)
                    assert record is not None, stored
                    found[f"{fence.step(record).value} {type(record).__name__}"] += 1
            released += fence.released
    finally:
        await log.close()
    return found, released


async def append_again(kafka: str, topic: str, partitions: int = 3) -> int:
    """Append a copy of each partition's commits so far, as one batch; return how many."""
    copies = 0
    log = KafkaLog(KafkaSettings(servers=kafka))
    try:
        for partition in range(partitions):
            at = TopicPartition(topic, partition)
            start, end = await log.bounds(at)
            batch = [
                LogRecord(stored.key, stored.value)
                async for chunk in log.read(at, start, end)
                for stored in chunk
                if isinstance(decode_prefix(stored.value), Commit) and stored.value is not None
            ]
            if batch:
                await log.append(at, batch, 0)
            copies += len(batch)
    finally:
        await log.close()
    return copies


async def count_records(kafka: str, topic: str, partitions: int = 3) -> Counter[str]:
    """Count records by verdict and kind, like `void Commit`."""
    return (await _read(kafka, topic, partitions))[0]


async def released_partitions(kafka: str, topic: str, partitions: int = 3) -> int:
    """Return how many partitions end in a valid Release, so that the next owner need not wait."""
    return (await _read(kafka, topic, partitions))[1]
