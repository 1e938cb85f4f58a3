"""The event log on a Kafka-compatible broker, by aiokafka (log protocol 1, 5, 6).

**Appends** go through one producer for the whole process: a produce request costs about 190 us of
Python and each further partition in it 35 us, so that two producers are slower than one. After a
lost append its partition moves to a new producer, where nothing queues before its next append
(`_Senders`). Inside the producer, aiokafka repeats a batch that met a retriable error until it is
as old as `append_timeout_s`: such a batch may be stored twice, or after the caller was told
`LogUnavailable`. The base offset returned is always that of a stored copy.

**Reads** ask the partition's leader with plain Fetch and ListOffsets requests, each on a connection
that nothing else uses at that moment (`_Requests`), rather than with aiokafka's consumer: that one
fetches ahead of what was asked, polls on when nobody reads, and hides an offset out of range.

What brokers do, and this module lives with:

- Tansu 0.6 never answers a fetch that may wait 0 ms, finds nothing when it may wait a few, and its
  ListOffsets counts the last batch as one record: the end is taken from a fetch's high watermark.
- Asking for the metadata of a missing topic may create it, with the broker's settings instead of
  ours: so every topic is looked up once without that, and one that is not there is `TopicMissing`.
  A topic seen before that the broker no longer knows is `LogUnavailable`: a broker that is just
  starting says so too.
- A broker that was deposed and does not know it yet takes offsets for out of range which are there.

Over 400 lines: log and administration, appends and reads share connections, settings, the judgement
of errors, and these facts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import CreateTopicsRequest, DescribeConfigsRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from eventstore.errors import LogRefused, LogUnavailable, TopicMissing
from eventstore.log import LogRecord, TopicPartition, TopicSettings, TopicState
from eventstore.records import StoredRecord

__all__ = ["KafkaAdmin", "KafkaLog", "KafkaSettings"]

_T = TypeVar("_T")

_BATCH_FORMAT: Final = 2
_NO_HEADERS: Final[list[tuple[str, bytes | None]]] = []
_READ_UNCOMMITTED: Final = 0
_EARLIEST, _LATEST = -2, -1
_CONSUMER: Final = -1
"""The "replica" that asks for an offset: none, a client."""
_TOPIC: Final = 2
"""The kind of resource whose settings are asked for."""

_LARGE_BYTES: Final = 256 * 1024
_LARGE_APPENDS_MAX: Final = 8
"""Appends of more than `_LARGE_BYTES` under way at once. aiokafka sends what waits for one broker
in one request, and a broker closes the connection at 100 MiB (socket.request.max.bytes)."""

_CONNECTIONS_MAX: Final = 8
"""For reads; a request holds one only until its answer is there."""
_FETCH_BYTES_MIN: Final = 8 * 1024
_FETCH_BYTES_MAX: Final = 4 * 1024 * 1024
"""Large, since each fetch costs Tansu a walk through its index (40 ms at 37,500 batches)."""
_FETCH_BYTES_PER_RECORD: Final = 512
"""Sizes the first fetch of a range; later ones grow fourfold. A wrong guess only costs time."""
_CHUNK_RECORDS: Final = 4000
"""Decoding so many keeps the event loop for some 3 ms."""
_RETRY_S: Final = 0.1
_MISSING_ASKS: Final = 10
"""How often a topic is looked up before it counts as missing (1 s): a broker learns of new topics,
and of all topics after its start, a moment after others do."""
_OUT_OF_RANGE_ASKS: Final = 20
"""How often an offset above the end is asked for before it counts as gone (2 s): see above."""

_FAILURES: Final = (kafka.KafkaError, OSError, KeyError, AssertionError, ValueError)
"""What aiokafka's calls raise. OSError includes TimeoutError; KeyError and AssertionError come when
another of its tasks dropped a connection or topic, ValueError from answers of another shape."""
_REFUSALS: Final = (
    kafka.MessageSizeTooLargeError,
    kafka.RecordListTooLargeError,
    kafka.TopicAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError,
    kafka.InvalidTopicError,
    kafka.InvalidTimestampError,
    kafka.InvalidPartitionsError,
    kafka.InvalidReplicationFactorError,
    kafka.InvalidConfigurationError,
    kafka.InvalidRequestError,
    kafka.PolicyViolationError,
    kafka.UnsupportedForMessageFormatError,
)
"""Answers by which the broker did nothing and would do nothing if asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """How to reach the brokers, for `KafkaLog` and `KafkaAdmin`."""

    servers: str
    """Bootstrap servers, `host:port` each, with commas between."""
    client_id: str = "spawn"
    connect_timeout_s: float = 5.0
    """An append waits so long for a first connection."""
    append_timeout_s: float = 2.0
    """An append waits so long for its answer. Longer, and a partition stalls longer behind a dead
    leader; shorter, and a busy broker's answers come too late."""
    read_timeout_s: float = 10.0
    """A read, and `bounds`, waits so long for the next records."""
    admin_timeout_s: float = 30.0
    """Creating and describing topics may take so long."""
    close_timeout_s: float = 3.0
    """`close` waits so long for clients to end; those of a dead broker are then left behind."""
    batch_bytes_max: int = 8 * 1024 * 1024
    """A larger batch (encoded) is refused unsent: our topics' max.message.bytes, which Tansu does
    not look at."""
    security: Mapping[str, Any] = field(default_factory=dict)
    """TLS and SASL: aiokafka's options of the same names, handed to each client."""

    def for_client(self, request_timeout_s: float) -> dict[str, Any]:
        """Return the options that every kind of aiokafka client takes."""
        return {
            "bootstrap_servers": self.servers,
            "client_id": self.client_id,
            "request_timeout_ms": int(request_timeout_s * 1000),
            **self.security,
        }


class KafkaLog:
    """`EventLog` on Kafka. Made anywhere, used on one event loop; connects when first used."""

    def __init__(self, settings: KafkaSettings) -> None:
        _quieten_client()
        self._settings = settings
        self._background = _Background()
        self._senders = _Senders(settings, self._background)
        self._requests = _Requests(settings, self._background, settings.read_timeout_s)
        self._large_appends = asyncio.Semaphore(_LARGE_APPENDS_MAX)
        self._seen: set[TopicPartition] = set()

    async def append(self, at: TopicPartition, batch: Sequence[LogRecord], time_ms: int) -> int:
        encoded = _Batch(batch, time_ms)
        size = len(encoded.data)
        if size > self._settings.batch_bytes_max:
            limit = self._settings.batch_bytes_max
            raise LogRefused(f"{at}: the batch has {size} bytes, more than the limit of {limit}")
        if at not in self._seen:
            await self._look_up(at)
        if size <= _LARGE_BYTES:
            return await self._send(at, encoded)
        async with self._large_appends:
            return await self._send(at, encoded)

    async def _send(self, at: TopicPartition, encoded: _Batch) -> int:
        sender = self._senders.of(at)
        sender.in_flight += 1
        try:
            if at not in sender.partitions:
                await sender.admit(at)
            # Cancelled from here on, it is stored or not; the producer takes no harm.
            offset = await sender.send(at, encoded)
        except LogUnavailable:
            self._senders.lost(at, sender)
            raise
        except _FAILURES as error:
            # Refused at the second sending, it may still be stored by the first.
            if isinstance(error, _REFUSALS) and encoded.sendings <= 1:
                raise LogRefused(f"{at}: the broker refused the batch ({error})") from error
            self._senders.lost(at, sender)
            raise LogUnavailable(
                f"{at}: no answer from Kafka at {self._settings.servers} within"
                f" {self._settings.append_timeout_s} s ({_reason(error)});"
                " the batch may be stored, now or later"
            ) from error
        finally:
            sender.in_flight -= 1
            if sender.is_retired:
                self._senders.end_if_unused(sender)
        if not sender.has_answered:
            self._senders.answered(sender)
        return offset

    async def read(
        self, at: TopicPartition, start: int, end: int
    ) -> AsyncIterator[Sequence[StoredRecord]]:
        if at not in self._seen:
            await self._look_up(at)
        size = min(max((end - start) * _FETCH_BYTES_PER_RECORD, _FETCH_BYTES_MIN), _FETCH_BYTES_MAX)
        while start < end:
            batches, after = await self._fetch(at, start, end, size)
            for records in _decode(batches, start, end):
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
            leader = await _leader(client, at)
            wait = wait_ms if not out_of_range else 1
            error, log_end, data = await _fetch(client, leader, at, start, size, wait)
            if error is kafka.OffsetOutOfRangeError or (
                error is kafka.NoError and start > log_end  # Tansu has no such error
            ):
                out_of_range += 1
                first = await _list_offset(client, leader, at, _EARLIEST)
                if start < first:
                    raise LogRefused(f"{at}: offset {start} is gone, the log begins at {first}")
                if out_of_range >= _OUT_OF_RANGE_ASKS:
                    raise LogRefused(f"{at}: offset {start} is above the log's end")
                error = kafka.OffsetOutOfRangeError
            if error is not kafka.NoError:
                raise error(at)
            batches, after = _split(data, start, end)
            return (batches, after) if after > start else None

        return await self._requests.until_answered(str(at), ask)

    async def bounds(self, at: TopicPartition) -> tuple[int, int]:
        async def ask(client: AIOKafkaClient) -> tuple[int, int]:
            leader = await _leader(client, at)
            first = await _list_offset(client, leader, at, _EARLIEST)
            # Not the end on Tansu, but below it: the fetch from there tells the end.
            last = await _list_offset(client, leader, at, _LATEST)
            error, end, _ = await _fetch(client, leader, at, last, size=1, wait_ms=1)
            if error is not kafka.NoError:
                raise error(at)
            return first, end

        if at not in self._seen:
            await self._look_up(at)
        return await self._requests.until_answered(str(at), ask)

    async def close(self) -> None:
        self._senders.close()
        self._requests.close()
        await self._background.wait(self._settings.close_timeout_s)

    async def _look_up(self, at: TopicPartition) -> None:
        """Make sure that the partition exists, without creating its topic by asking for it."""

        async def ask(client: AIOKafkaClient) -> Mapping[str, _Partitions]:
            return await _partitions(client, [at.topic])

        for _ in range(_MISSING_ASKS):
            found = await self._requests.until_answered(at.topic, ask)
            for partition in found.get(at.topic, ()):
                self._seen.add(TopicPartition(at.topic, partition["partition"]))
            if at in self._seen:
                return
            await asyncio.sleep(_RETRY_S)
        raise TopicMissing(f"Kafka at {self._settings.servers} has no partition {at}")


class _Batch:
    """One encoded record batch, in the shape that `AIOKafkaProducer.send_batch` takes.

    aiokafka's own `BatchBuilder` costs twice as much a record, and does not count sendings.
    """

    __slots__ = ("_count", "data", "sendings")

    def __init__(self, records: Sequence[LogRecord], time_ms: int) -> None:
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
        add, number = builder.append, 0
        for key, value in records:
            add(number, time_ms, key, value, _NO_HEADERS)
            number += 1
        self._count = number
        self.data: bytearray = builder.build()
        self.sendings = 0
        """How often aiokafka took the bytes to send them."""

    def closed(self) -> bool:
        """Nothing more can be added."""
        return True

    def record_count(self) -> int:
        return self._count

    def _build(self) -> bytearray:
        self.sendings += 1
        return self.data


class _Sender:
    """One producer and what goes through it."""

    __slots__ = (
        "_producer",
        "_settings",
        "_start",
        "_timer",
        "_waiting",
        "has_answered",
        "in_flight",
        "is_ending",
        "is_retired",
        "partitions",
    )

    def __init__(self, settings: KafkaSettings, background: _Background) -> None:
        self._settings = settings
        self._producer = AIOKafkaProducer(
            acks="all", linger_ms=0, **settings.for_client(settings.append_timeout_s)
        )
        self._start = background.run(self._producer.start())
        self._waiting: dict[asyncio.Future[int], float] = {}
        """Appends sent, oldest first, and when each has waited long enough."""
        self._timer: asyncio.TimerHandle | None = None
        self.partitions: set[TopicPartition] = set()
        """Those that can send at once."""
        self.in_flight = 0
        self.has_answered = False
        self.is_retired = False
        """New partitions go through another one."""
        self.is_ending = False

    async def admit(self, at: TopicPartition) -> None:
        """Wait for the first connection, which all partitions share, and for the topic's leaders.

        Raises: LogUnavailable; as aiokafka.
        """
        settings = self._settings
        await asyncio.wait({self._start}, timeout=settings.connect_timeout_s)
        if not self._start.done():
            within = f"within {settings.connect_timeout_s} s"
            raise LogUnavailable(f"Kafka at {settings.servers} does not answer {within}")
        if (error := self._start.exception()) is not None:
            raise LogUnavailable(f"cannot reach Kafka at {settings.servers}") from error
        async with asyncio.timeout(settings.append_timeout_s):
            await self._producer.partitions_for(at.topic)
        self.partitions.add(at)

    async def send(self, at: TopicPartition, batch: _Batch) -> int:
        """Send a batch and return its offset.

        Raises: LogUnavailable - the broker told no offset; TimeoutError; as aiokafka.
        """
        answer = await self._producer.send_batch(batch, at.topic, partition=at.partition)
        # Not awaited itself: cancelled with the caller, it would report a later failure as unseen.
        loop = asyncio.get_running_loop()
        offset: asyncio.Future[int] = loop.create_future()
        answer.add_done_callback(partial(_hand_over, offset))
        # One timer for all: an asyncio.timeout each costs more than all else here together.
        self._waiting[offset] = deadline = loop.time() + self._settings.append_timeout_s
        if self._timer is None:
            self._timer = loop.call_at(deadline, self._give_up_overdue)
        try:
            return await offset
        finally:
            self._waiting.pop(offset, None)

    def _give_up_overdue(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for offset, deadline in list(self._waiting.items()):
            if deadline > loop.time():
                self._timer = loop.call_at(deadline, self._give_up_overdue)
                return
            if not offset.done():
                offset.set_exception(TimeoutError())

    async def end(self) -> None:
        """Stop the producer once it has sent or given up what it holds."""
        with suppress(*_FAILURES):
            await self._start
        with suppress(*_FAILURES):
            await self._producer.stop()


def _hand_over(offset: asyncio.Future[int], answer: asyncio.Future[Any]) -> None:
    error = answer.exception()
    if offset.done():
        return  # cancelled or overdue
    if error is not None:
        offset.set_exception(error)
    elif (stored := answer.result()) is None or stored.offset < 0:
        offset.set_exception(LogUnavailable("the broker told no offset for the batch"))
    else:
        offset.set_result(stored.offset)


class _Senders:
    """Which producer a partition's appends go through (log protocol 5, unknown outcome).

    All share the current one. When an append gets no answer, its partition moves to a new current
    one: in the old one its next append, a claim, would wait behind the lost batch and on the same
    connection. The other partitions stay where their appends are answered, since connecting must
    not hold them up when one broker of many is gone, and follow as soon as the new one has
    answered. A producer that is left by all ends, without anybody waiting for it.
    """

    def __init__(self, settings: KafkaSettings, background: _Background) -> None:
        self._settings = settings
        self._background = background
        self._current: _Sender | None = None
        self._older: dict[TopicPartition, _Sender] = {}
        """Partitions that have stayed."""
        self._is_closed = False

    def of(self, at: TopicPartition) -> _Sender:
        """Return the one for the partition's next append.

        Raises: LogUnavailable - the log was closed.
        """
        older = self._older.get(at)
        if older is not None:
            return older
        if self._current is None:
            if self._is_closed:
                raise LogUnavailable("the log is closed")
            self._current = _Sender(self._settings, self._background)
        return self._current

    def lost(self, at: TopicPartition, sender: _Sender) -> None:
        """An append got no answer: let the partition's next one go another way."""
        if sender is self._current:
            sender.is_retired = True
            self._older.update(dict.fromkeys(sender.partitions, sender))
            self._current = None
        if self._older.get(at) is sender:
            del self._older[at]

    def answered(self, sender: _Sender) -> None:
        """The sender has its first answer: those that stayed behind can follow."""
        sender.has_answered = True
        if sender is self._current:
            left = set(self._older.values())
            self._older.clear()
            for older in left:
                self.end_if_unused(older)

    def end_if_unused(self, sender: _Sender) -> None:
        """End a retired one when no append is in it and no partition stays with it."""
        is_used = sender.in_flight or sender in self._older.values()
        if not is_used and not sender.is_ending:
            sender.is_ending = True
            self._background.run(sender.end())

    def close(self) -> None:
        """End them all; the appends in them get an answer if one comes soon."""
        self._is_closed = True
        left = set(self._older.values())
        if self._current is not None:
            left.add(self._current)
        self._older.clear()
        self._current = None
        for sender in left:
            sender.is_ending = sender.is_retired = True
            self._background.run(sender.end())


class _Requests:
    """Requests to the brokers that append nothing.

    A request has a connection to itself, so that a point read never waits for the end of somebody
    else's megabytes. One that met an error is dropped with all it believed about leaders.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        background: _Background,
        timeout_s: float,
        *,
        reconnects: bool = True,
    ) -> None:
        """`reconnects`: whether to go on asking when no broker can be reached."""
        self._settings = settings
        self._background = background
        self._timeout_s = timeout_s
        self._reconnects = reconnects
        self._slots = asyncio.Semaphore(_CONNECTIONS_MAX)
        self._idle: list[AIOKafkaClient] = []
        self._is_closed = False

    def close(self) -> None:
        """End idle connections now, the others when their request is answered."""
        self._is_closed = True
        while self._idle:
            self._background.run(self._idle.pop().close())

    async def until_answered(
        self, what: str, ask: Callable[[AIOKafkaClient], Awaitable[_T | None]]
    ) -> _T:
        """Ask until there is an answer; None is not yet one, nor is an error that may pass.

        After an error another connection is used, which learns anew who leads what.

        Raises: LogUnavailable, LogRefused.
        """
        servers, timeout_s = self._settings.servers, self._timeout_s
        failure: BaseException | None = None
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    try:
                        async with self._client() as client:
                            if (answer := await ask(client)) is not None:
                                return answer
                    except _REFUSALS as error:
                        raise LogRefused(f"{what}: Kafka refused ({_reason(error)})") from error
                    except kafka.KafkaConnectionError as error:
                        if not self._reconnects:
                            raise LogUnavailable(f"cannot reach Kafka at {servers}") from error
                        failure = error
                    except _FAILURES as error:
                        failure = error
                    await asyncio.sleep(_RETRY_S)
        except TimeoutError:
            reason = _reason(failure) if failure else "nothing there yet"
            raise LogUnavailable(
                f"{what}: no answer from Kafka at {servers} within {timeout_s} s ({reason})"
            ) from failure

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[AIOKafkaClient]:
        async with self._slots:
            if self._is_closed:
                raise LogUnavailable("the log is closed")
            client = self._idle.pop() if self._idle else await self._connect()
            try:
                yield client
            except BaseException:  # cancelled too: its answer would still come
                self._background.run(client.close())
                raise
            self._give_back(client)

    def _give_back(self, client: AIOKafkaClient) -> None:
        if self._is_closed:
            self._background.run(client.close())
        else:
            self._idle.append(client)

    async def _connect(self) -> AIOKafkaClient:
        # Half of the time for one request, so that there is time for another broker.
        client = AIOKafkaClient(**self._settings.for_client(self._timeout_s / 2))
        start = self._background.run(client.bootstrap())
        try:
            await asyncio.shield(start)
        except BaseException:
            self._background.run(_close_after(start, client))
            raise
        return client


async def _close_after(start: asyncio.Task[None], client: AIOKafkaClient) -> None:
    with suppress(*_FAILURES):
        await start
    await client.close()


async def _leader(client: AIOKafkaClient, at: TopicPartition) -> Any:
    """Return the id of the partition's leader.

    Raises: LeaderNotAvailableError - nobody knows it now.
    """
    leader = client.cluster.leader_for_partition(at)
    if leader is None:  # the client has not met the topic before
        await client.add_topic(at.topic)
        leader = client.cluster.leader_for_partition(at)
    if leader is None or leader == -1:
        raise kafka.LeaderNotAvailableError(at)
    return leader


async def _list_offset(client: AIOKafkaClient, leader: Any, at: TopicPartition, which: int) -> int:
    request = OffsetRequest(_CONSUMER, _READ_UNCOMMITTED, [(at.topic, [(at.partition, which)])])
    _, code, *_, offset = _only_partition(await client.send(leader, request))
    if code:
        raise kafka.for_code(code)(at)
    return int(offset)


async def _fetch(
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


def _split(data: bytes, start: int, end: int) -> tuple[list[Any], int]:
    """Return the whole batches in `data` that begin below `end`, and the offset behind them.

    Raises: CorruptRecordException - a batch is not what was written.
    """
    split: list[Any] = []
    after = start
    batches = MemoryRecords(data)
    while after < end and batches.has_next():
        batch = batches.next_batch()
        if not batch.validate_crc():
            raise kafka.CorruptRecordException(f"wrong checksum at offset {after}")
        after = batch.next_offset
        if not batch.is_control_batch:
            split.append(batch)
    return split, after


def _decode(batches: Sequence[Any], start: int, end: int) -> Iterator[Sequence[StoredRecord]]:
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


class KafkaAdmin:
    """`LogAdmin` on Kafka; connects for each call, since it is needed at start only.

    A call fails at once when no broker can be reached, so that the caller can say what it waits
    for. Other failures that may pass are met by asking again until `admin_timeout_s` is over.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        _quieten_client()
        self._settings = settings

    async def brokers(self) -> int:
        async def ask(client: AIOKafkaClient) -> int:
            return _known_brokers(client)

        return await self._until_answered("the brokers", ask)

    async def describe(self, topics: Sequence[str]) -> Mapping[str, TopicState]:
        async def ask(client: AIOKafkaClient) -> Mapping[str, TopicState]:
            found = await _partitions(client, topics)
            settings = await _topic_settings(client, list(found))
            return {
                name: TopicState(
                    name=name,
                    partitions=len(partitions),
                    replication=min(len(each["replicas"]) for each in partitions),
                    settings=settings.get(name, {}),
                )
                for name, partitions in found.items()
            }

        return await self._until_answered("describing topics", ask) if topics else {}

    async def create(self, topics: Mapping[str, TopicSettings]) -> None:
        async def ask(client: AIOKafkaClient) -> bool | None:
            """Create those that are not there yet; done when each partition has a leader."""
            brokers = _known_brokers(client)
            wanted = [_new_topic(name, each, brokers) for name, each in topics.items()]
            timeout_ms = int(self._settings.admin_timeout_s * 400)
            request = CreateTopicsRequest(wanted, timeout_ms, validate_only=False)
            answer = await client.send(client.cluster.controller.nodeId, request)
            for name, code, *message in answer.topic_errors:
                error = kafka.for_code(code)
                reason = " ".join(filter(None, message)) or error.__name__
                if error in _REFUSALS:
                    raise LogRefused(f"Kafka refused to create topic {name}: {reason}")
                if error not in (kafka.NoError, kafka.TopicAlreadyExistsError):
                    raise error(f"topic {name}: {reason}")
            found = await _partitions(client, list(topics))
            leaders = [each["leader"] for name in topics for each in found.get(name, _UNLED)]
            return min(leaders) >= 0 or None

        if topics:
            await self._until_answered("creating topics", ask)

    async def _until_answered(
        self, what: str, ask: Callable[[AIOKafkaClient], Awaitable[_T | None]]
    ) -> _T:
        background = _Background()
        timeout_s = self._settings.admin_timeout_s
        requests = _Requests(self._settings, background, timeout_s, reconnects=False)
        try:
            return await requests.until_answered(what, ask)
        finally:
            requests.close()
            await background.wait(self._settings.close_timeout_s)


def _known_brokers(client: AIOKafkaClient) -> int:
    """Return how many brokers the client was told of when it connected.

    Raises: BrokerNotAvailableError - none: a cluster that is just starting says so.
    """
    brokers = client.cluster.brokers()
    if not brokers or client.cluster.controller is None:
        raise kafka.BrokerNotAvailableError("the cluster tells no broker or no controller yet")
    return len(brokers)


_Partitions = Sequence[Mapping[str, Any]]
"""What the brokers say of a topic's partitions: partition (its number), leader, replicas, ..."""
_UNLED: Final[_Partitions] = ({"leader": -1},)


async def _partitions(client: AIOKafkaClient, topics: Sequence[str]) -> Mapping[str, _Partitions]:
    """Return those of `topics` that exist, and create none."""
    request = MetadataRequest(list(topics), allow_auto_topic_creation=False)
    answer = await client.send(client.get_random_node(), request)
    found: dict[str, _Partitions] = {}
    for told in answer.to_object()["topics"]:
        error = kafka.for_code(told["error_code"])
        if error is kafka.NoError:
            found[told["topic"]] = told["partitions"]
        elif error is not kafka.UnknownTopicOrPartitionError:
            raise error(told["topic"])
    return found


async def _topic_settings(
    client: AIOKafkaClient, topics: Sequence[str]
) -> Mapping[str, Mapping[str, str]]:
    request = DescribeConfigsRequest([(_TOPIC, name, None) for name in topics])
    try:
        answer = await client.send(client.get_random_node(), request)
    except (kafka.IncompatibleBrokerVersion, kafka.UnsupportedVersionError):
        return {}
    return {
        name: {key: value for key, value, *_ in entries if value is not None}
        for _, _, _, name, entries in answer.resources
    }


def _new_topic(name: str, settings: TopicSettings, brokers: int) -> tuple[Any, ...]:
    replication = settings.replication or min(3, brokers)
    configs = {
        "cleanup.policy": "compact" if settings.compacted else "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "max.message.bytes": str(settings.max_message_bytes),
        # Said even where it is 1: the cluster's default may be 2, which two copies could not keep.
        "min.insync.replicas": "2" if replication >= 3 else "1",
        "unclean.leader.election.enable": "false",
    }
    placed_by_hand: list[tuple[int, list[int]]] = []
    return name, settings.partitions, replication, placed_by_hand, list(configs.items())


class _Background:
    """Starts and ends of clients, apart from the tasks that asked for them.

    A caller that is cancelled must not cut a start in half (aiokafka would leak the connection),
    and nobody waits for the end of a client whose broker is dead: it gives up what it holds first,
    and a connection with unsent bytes to a frozen peer never ends. That is why they live in no
    TaskGroup: it could only end with the last of them.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Let `work` run; who wants its error waits for the task."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, so the loop does not report it

    async def wait(self, timeout_s: float) -> None:
        """Wait for the end of all; what is left then ends by itself, or with the loop."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _quieten_client() -> None:
    """Keep aiokafka's loggers still, unless somebody has set their level.

    With a broker away they write many lines a second. All that matters there reaches us as an
    exception, and the caller says it once. `logging.getLogger("aiokafka").setLevel(...)` undoes it.
    """
    log = logging.getLogger("aiokafka")
    if log.level == logging.NOTSET:
        log.setLevel(logging.CRITICAL)
