"""Fetch and ListOffsets requests, and the records in what they bring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record.memory_records import MemoryRecords

from eventstore.log import TopicPartition
from eventstore.records import StoredRecord

__all__ = ["EARLIEST", "LATEST", "decode", "fetch", "list_offset", "split"]

EARLIEST, LATEST = -2, -1
"""Which offset to list."""
_READ_UNCOMMITTED: Final = 0
_CONSUMER: Final = -1
"""The "replica" that asks for an offset: none, a client."""
_CHUNK_RECORDS: Final = 4000
"""Decoding so many keeps the event loop for some 3 ms."""


async def list_offset(client: AIOKafkaClient, leader: Any, at: TopicPartition, which: int) -> int:
    """Return the first offset of the partition, or a last one (see the package on Tansu's)."""
    request = OffsetRequest(_CONSUMER, _READ_UNCOMMITTED, [(at.topic, [(at.partition, which)])])
    _, code, *_, offset = _only_partition(await client.send(leader, request))
    if code:
        raise kafka.for_code(code)(at)
    return int(offset)


async def fetch(
    client: AIOKafkaClient, leader: Any, at: TopicPartition, start: int, size: int, wait_ms: int
) -> tuple[Any, int, bytes]:
    """Return the class of the error, the log's end, and batches (the last one may be cut off)."""
    wanted = [(at.topic, [(at.partition, start, size)])]
    request = FetchRequest(wait_ms, 1, size, _READ_UNCOMMITTED, wanted)
    _, code, log_end, *_, data = _only_partition(await client.send(leader, request))
    return kafka.for_code(code), log_end, data or b""


def _only_partition(answer: Any) -> tuple[Any, ...]:
    ((_, (partition,)),) = answer.topics
    return tuple(partition)


def split(data: bytes, start: int, end: int) -> tuple[list[Any], int]:
    """Return the whole batches in `data` that begin below `end`, and the offset behind them.

    Raises: CorruptRecordException - a batch is not what was written.
    """
    found: list[Any] = []
    after = start
    batches = MemoryRecords(data)
    while after < end and batches.has_next():
        batch = batches.next_batch()
        if not batch.validate_crc():
            raise kafka.CorruptRecordException(f"wrong checksum at offset {after}")
        after = batch.next_offset
        if not batch.is_control_batch:
            found.append(batch)
    return found, after


def decode(batches: Sequence[Any], start: int, end: int) -> Iterator[Sequence[StoredRecord]]:
    """Yield the records with start <= offset < end; the work is done as they are taken."""
    chunk: list[StoredRecord] = []
    for batch in batches:
        if batch.base_offset >= start and batch.next_offset <= end:
            chunk.extend(batch)
        else:
            chunk.extend(record for record in batch if start <= record.offset < end)
        if len(chunk) >= _CHUNK_RECORDS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
