"""Record batches, produce requests and their answers as bytes (Kafka protocol, Produce version 7).

By hand, since aiokafka's structs take much of the time that is saved. Version 7 is what Kafka takes
since 2.1, and others that speak its protocol (Tansu too). From version 4 on a disk that failed is
told apart from a leader that moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from struct import Struct
from typing import Final

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from eventstore.log import LogRecord, TopicPartition

__all__ = ["PendingAppend", "Topics", "decode_answer", "encode_batch", "encode_request"]

_BATCH_FORMAT: Final = 2
_NO_HEADERS: Final[list[tuple[str, bytes | None]]] = []

_PRODUCE, _VERSION = 0, 7
_NO_TRANSACTION: Final = -1
_ALL_IN_SYNC: Final = -1
"""acks=all: the answer comes when every in-sync replica has the batch."""

_HEADER: Final = Struct(">ihhih")  # size, API, version, correlation id, length of the client's id
_OPTIONS: Final = Struct(">hhii")  # transaction, acks, timeout in ms, number of topics
_LENGTH: Final = Struct(">h")
_COUNT: Final = Struct(">i")
_PARTITION: Final = Struct(">ii")  # number, length of its batch
_OUTCOME: Final = Struct(">ihqqq")  # partition, error, base offset, time, first offset of the log


class PendingAppend:
    """One batch for one partition, and who waits for its offset."""

    __slots__ = ("at", "data", "deadline", "offset")

    def __init__(
        self, at: TopicPartition, data: bytearray, deadline: float, offset: asyncio.Future[int]
    ) -> None:
        self.at = at
        self.data = data
        self.deadline = deadline
        """By the loop's clock."""
        self.offset = offset


Topics = dict[str, dict[int, PendingAppend]]
"""What stands in one request: topic -> partition -> its only batch there."""


def encode_batch(records: Sequence[LogRecord], time_ms: int) -> bytearray:
    """Return one record batch, without compression."""
    assert records, "a batch has at least one record"
    builder = DefaultRecordBatchBuilder(
        _BATCH_FORMAT,
        0,  # not compressed
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=0,
        batch_size=2**31 - 1,  # only a limit, nothing is allocated
    )
    add = builder.append
    for number, (key, value) in enumerate(records):
        add(number, time_ms, key, value, _NO_HEADERS)
    data: bytearray = builder.build()
    return data


def encode_request(correlation_id: int, client_id: bytes, timeout_ms: int, topics: Topics) -> bytes:
    """Return the whole request, its size in front."""
    parts: list[bytes | bytearray] = [
        client_id,
        _OPTIONS.pack(_NO_TRANSACTION, _ALL_IN_SYNC, timeout_ms, len(topics)),
    ]
    for topic, partitions in topics.items():
        name = topic.encode()
        parts += (_LENGTH.pack(len(name)), name, _COUNT.pack(len(partitions)))
        for number, append in partitions.items():
            parts += (_PARTITION.pack(number, len(append.data)), append.data)
    size = _HEADER.size - _COUNT.size + sum(map(len, parts))
    parts.insert(0, _HEADER.pack(size, _PRODUCE, _VERSION, correlation_id, len(client_id)))
    return b"".join(parts)


def decode_answer(frame: bytes) -> tuple[int, Sequence[tuple[str, int, int, int]]]:
    """Return the correlation id, and topic, partition, error code and base offset of each batch.

    `frame` is an answer without its size. Raises: struct.error, ValueError - it is none.
    """
    correlation_id, topics = _PARTITION.unpack_from(frame)
    position = _PARTITION.size
    outcomes: list[tuple[str, int, int, int]] = []
    for _ in range(topics):
        (length,) = _LENGTH.unpack_from(frame, position)
        position += _LENGTH.size
        topic = frame[position : position + length].decode()
        position += length
        (count,) = _COUNT.unpack_from(frame, position)
        position += _COUNT.size
        for _ in range(count):
            partition, code, offset, _, _ = _OUTCOME.unpack_from(frame, position)
            position += _OUTCOME.size
            outcomes.append((topic, partition, code, offset))
    return correlation_id, outcomes
