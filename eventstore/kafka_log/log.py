"""The log itself: appends, reads and bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient

from eventstore.door import Door
from eventstore.errors import LogNotAdmitted, LogRefused, LogTooLarge, OffsetGone, TopicMissing
from eventstore.kafka_log.appends import Appends
from eventstore.kafka_log.background import Background
from eventstore.kafka_log.failures import RETRY_S, quieten_client
from eventstore.kafka_log.fetches import EARLIEST, LATEST, decode, fetch, list_offset, split
from eventstore.kafka_log.metadata import Partitions, leader, partitions
from eventstore.kafka_log.produce import encode_batch
from eventstore.kafka_log.requests import Requests
from eventstore.kafka_log.settings import KafkaSettings
from eventstore.log import LogRecord, TopicPartition
from eventstore.records import StoredRecord

__all__ = ["KafkaLog"]

_FETCH_BYTES_MIN: Final = 8 * 1024
_FETCH_BYTES_MAX: Final = 4 * 1024 * 1024
"""Large, since each fetch costs Tansu a walk through its index (40 ms at 37,500 batches)."""
_FETCH_BYTES_PER_RECORD: Final = 512
"""Sizes the first fetch of a range; later ones grow fourfold. A wrong guess only costs time."""
_MISSING_ASKS: Final = 10
"""How often a topic is looked up before it counts as missing (1 s): a broker learns of new topics,
and of all topics after its start, a moment after others do."""
_OUT_OF_RANGE_ASKS: Final = 20
"""How often an offset above the end is asked for before it counts as gone (2 s): see the package
on deposed brokers."""


class KafkaLog:
    """`EventLog` on Kafka. Made anywhere, used on one event loop; connects when first used."""

    def __init__(self, settings: KafkaSettings) -> None:
        quieten_client()
        self._settings = settings
        self._background = Background()
        door: Door[LogNotAdmitted] = Door()
        self._appends = Appends(settings, self._background, door)
        self._requests = Requests(settings, self._background, settings.read_timeout_s, door=door)
        self._seen: set[TopicPartition] = set()

    async def append(self, at: TopicPartition, batch: Sequence[LogRecord], time_ms: int) -> int:
        data = encode_batch(batch, time_ms)
        if len(data) > self._settings.batch_bytes_max:
            limit = self._settings.batch_bytes_max
            raise LogTooLarge(f"{at}: the batch has {len(data)} bytes, more than the limit {limit}")
        if at not in self._seen:
            await self._look_up(at)
        return await self._appends.append(at, data)

    def way(self, at: TopicPartition) -> int:
        return self._appends.way(at)

    async def read(
        self, at: TopicPartition, start: int, end: int
    ) -> AsyncIterator[Sequence[StoredRecord]]:
        if at not in self._seen:
            await self._look_up(at)
        size = min(max((end - start) * _FETCH_BYTES_PER_RECORD, _FETCH_BYTES_MIN), _FETCH_BYTES_MAX)
        while start < end:
            batches, after = await self._fetch(at, start, end, size)
            for records in decode(batches, start, end):
                yield records
            start, size = after, min(size * 4, _FETCH_BYTES_MAX)

    async def _fetch(
        self, at: TopicPartition, start: int, end: int, size: int
    ) -> tuple[Sequence[Any], int]:
        """Return batches from the one with `start` on, and the offset at which to go on.

        About `size` bytes, but at least one batch. A batch may have lost records to compaction.
        """
        out_of_range = 0
        # Records that are there are given at once. Tansu stops looking for them when the time is
        # over: within a few milliseconds it finds nothing in a log of 10,000 batches.
        wait_ms = int(self._settings.read_timeout_s * 400)

        async def ask(client: AIOKafkaClient) -> tuple[Sequence[Any], int] | None:
            nonlocal out_of_range
            node = await leader(client, at)
            wait = wait_ms if not out_of_range else 1
            error, log_end, data = await fetch(client, node, at, start, size, wait)
            if error is kafka.OffsetOutOfRangeError or (
                error is kafka.NoError and start > log_end  # Tansu has no such error
            ):
                out_of_range += 1
                first = await list_offset(client, node, at, EARLIEST)
                if start < first:
                    raise OffsetGone(f"{at}: offset {start} is gone, the log begins at {first}")
                if out_of_range >= _OUT_OF_RANGE_ASKS:
                    raise LogRefused(f"{at}: offset {start} is above the log's end")
                error = kafka.OffsetOutOfRangeError
            if error is not kafka.NoError:
                raise error(at)
            batches, after = split(data, start, end)
            return (batches, after) if after > start else None

        return await self._requests.until_answered(str(at), ask)

    async def bounds(self, at: TopicPartition) -> tuple[int, int]:
        async def ask(client: AIOKafkaClient) -> tuple[int, int]:
            node = await leader(client, at)
            first = await list_offset(client, node, at, EARLIEST)
            # Not the end on Tansu, but below it: the fetch from there tells the end.
            last = await list_offset(client, node, at, LATEST)
            error, end, _ = await fetch(client, node, at, last, size=1, wait_ms=1)
            if error is not kafka.NoError:
                raise error(at)
            return first, end

        if at not in self._seen:
            await self._look_up(at)
        return await self._requests.until_answered(str(at), ask)

    async def partitions(self, topics: Sequence[str]) -> Mapping[str, int]:
        async def ask(client: AIOKafkaClient) -> Mapping[str, int]:
            return {name: len(told) for name, told in (await partitions(client, topics)).items()}

        return await self._requests.until_answered("the topics", ask) if topics else {}

    async def close(self) -> None:
        self._appends.close()
        self._requests.close()
        await self._background.wait(self._settings.close_timeout_s)

    async def _look_up(self, at: TopicPartition) -> None:
        """Make sure that the partition exists, without creating its topic by asking for it."""

        async def ask(client: AIOKafkaClient) -> Mapping[str, Partitions]:
            return await partitions(client, [at.topic])

        for _ in range(_MISSING_ASKS):
            found = await self._requests.until_answered(at.topic, ask)
            for each in found.get(at.topic, ()):
                self._seen.add(TopicPartition(at.topic, each["partition"]))
            if at in self._seen:
                return
            await asyncio.sleep(RETRY_S)
        raise TopicMissing(f"Kafka at {self._settings.servers} has no partition {at}")
