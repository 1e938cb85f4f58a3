"""One connection to one broker, for appends."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from typing import Any, Final

from aiokafka import errors as kafka

from eventstore.errors import LogError, LogNotAdmitted, LogUnavailable
from eventstore.kafka_log.admission import told
from eventstore.kafka_log.background import Background
from eventstore.kafka_log.client import Connection
from eventstore.kafka_log.failures import FAILURES, NOT_STORED, REFUSALS, reason, refusal
from eventstore.kafka_log.metadata import Broker
from eventstore.kafka_log.produce import PendingAppend, Topics, decode_answer, encode_request
from eventstore.kafka_log.settings import KafkaSettings
from eventstore.log import TopicPartition

__all__ = ["NotStored", "ProduceConnection"]

_REQUEST_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of the batches in one request, unless it is a single one. A broker closes the connection at
100 MiB (socket.request.max.bytes)."""
_IDLE_S: Final = 9 * 60.0
"""A connection that was idle for so long is not used again: brokers end it after ten minutes, and
then perhaps just when an append is on its way."""


class NotStored(Exception):
    """The broker certainly has not stored the batch, and may do so if it is sent (again)."""


class ProduceConnection(asyncio.Protocol):
    """Sends what is to be appended at one broker and tells the waiting appends what became of it.

    Appends that come in the same turn of the event loop, or while a request is under way, share the
    next request. One is under way at a time: Kafka would not look at a second one before it has
    answered the first, and so the second grows meanwhile instead.

    aiokafka connects, which includes TLS and SASL, then its transport is taken over.
    """

    def __init__(self, settings: KafkaSettings, broker: Broker, background: Background) -> None:
        self._settings = settings
        self._broker = broker
        self._client_id = settings.client_id.encode()
        self._timeout_ms = int(settings.append_timeout_s * 1000)
        self._loop = asyncio.get_running_loop()
        self._client: Connection | None = None
        self._refusal: LogNotAdmitted | None = None
        self._transport: Any = None
        self._connecting_protocol: Any = None
        self._failure: BaseException | None = None
        self._settled, self._ended = asyncio.Event(), asyncio.Event()
        self._received = bytearray()
        self._correlation_id = 0
        self._waiting: list[PendingAppend] = []
        self._sent: Topics | None = None
        """The request under way; an append leaves it with its answer."""
        self._will_send = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._used_at = self._loop.time()
        self.is_open = True
        """Whether it takes appends, or will once it is connected."""
        self._life = background.run(self._live())

    async def _live(self) -> None:
        """Connect, and last until the connection has ended."""
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                await self._connect()
        except FAILURES as error:
            self._failure = error
        finally:
            self.is_open = self.is_open and self._transport is not None
            self._settled.set()
        if self._transport is not None:
            await self._ended.wait()

    async def _connect(self) -> None:
        _, host, port = self._broker
        client = Connection(self._settings, host, port, self._settings.connect_timeout_s)
        try:
            _, writer = await client.connect()
        except FAILURES as error:
            if (ended := client.end()) is not None:
                await asyncio.wait([ended], timeout=1)
            self._refusal = told(error, host, port, self._settings.security)
            raise
        if writer.transport.is_closing():
            raise kafka.KafkaConnectionError("the broker closed the connection at once")
        self._client, self._transport = client, writer.transport
        self._connecting_protocol = self._transport.get_protocol()
        self._transport.set_protocol(self)

    async def connected(self) -> None:
        """Wait until appends can be sent.

        Raises: NotStored - they cannot; LogNotAdmitted - the broker does not take us.
        """
        await self._settled.wait()
        if self._refusal is not None:
            raise self._refusal.again() from self._failure
        if not self.is_open:
            why = reason(self._failure) if self._failure else "the connection was closed"
            raise NotStored(f"{self._broker.host}:{self._broker.port}: {why}") from self._failure

    def is_usable(self, now: float) -> bool:
        """Return whether it takes appends; one that was idle for long does not, and ends.

        Nor does one whose session runs out soon: the broker would end it with an append on its way.
        """
        idle = now - self._used_at > _IDLE_S and self._sent is None
        expires = self._client is not None and now >= self._client.session_ends
        if self.is_open and (idle or expires):
            self.retire()
        return self.is_open

    def append(self, at: TopicPartition, data: bytearray, deadline: float) -> asyncio.Future[int]:
        """Send a batch, soon; the answer is its base offset. `deadline`: by the loop's clock.

        The future fails with LogUnavailable, LogRefused or NotStored. Cancelling it does no harm.

        Raises: NotStored - the connection takes no more.
        """
        if not self.is_open:
            raise NotStored("the connection was closed")
        offset: asyncio.Future[int] = self._loop.create_future()
        self._waiting.append(PendingAppend(at, data, deadline, offset))
        if self._sent is None and not self._will_send:
            # Not at once: the other partitions' tasks run in the same turn.
            self._will_send = True
            self._loop.call_soon(self._send)
        # One timer for all: one each costs more than all else here together.
        if self._timer is None or deadline < self._timer_at:
            self._watch(deadline)
        return offset

    def _send(self) -> None:
        """Send a request with what waits."""
        self._will_send = False
        if self._sent is not None or not self.is_open:
            return
        topics = self._take()
        if topics:
            self._sent, self._used_at = topics, self._loop.time()
            self._correlation_id = (self._correlation_id + 1) % 2**31
            self._transport.write(
                encode_request(self._correlation_id, self._client_id, self._timeout_ms, topics)
            )

    def _take(self) -> Topics:
        """Take what can stand in one request out of what waits: one batch for each partition."""
        topics: Topics = {}
        left: list[PendingAppend] = []
        size = 0
        for number, append in enumerate(self._waiting):
            if append.offset.done():  # cancelled, or given up
                continue
            size += len(append.data)
            if size > _REQUEST_BYTES_MAX and topics:
                left += self._waiting[number:]
                break
            partitions = topics.setdefault(append.at.topic, {})
            if append.at.partition in partitions:
                left.append(append)
            else:
                partitions[append.at.partition] = append
        self._waiting = left
        return topics

    def data_received(self, data: bytes) -> None:
        """Take what the broker sent (`asyncio.Protocol`)."""
        received = self._received
        received += data
        start = 0
        try:
            while len(received) >= start + 4:
                end = start + 4 + int.from_bytes(received[start : start + 4], "big")
                if len(received) < end:
                    break
                self._answered(bytes(received[start + 4 : end]))
                start = end
        except (struct.error, ValueError, LookupError) as error:
            self._failure = error
            self.is_open = False
            self._transport.abort()
            return
        del received[:start]
        if self._waiting and not self._will_send:
            self._send()
        if not self.is_open:
            self._end_if_unused()

    def _answered(self, frame: bytes) -> None:
        correlation_id, outcomes = decode_answer(frame)
        topics = self._sent
        if topics is None or correlation_id != self._correlation_id:
            raise ValueError("an answer to no request of ours")
        for topic, partition, code, offset in outcomes:
            append = topics[topic].pop(partition)
            if append.offset.done():  # cancelled, or given up
                continue
            if code == 0 and offset >= 0:
                append.offset.set_result(offset)
            else:
                append.offset.set_exception(_judged(append.at, code, offset))
        for append in self._unanswered():
            self._lose(append, "the broker told nothing of it")
        self._sent = None

    def _watch(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = self._loop.call_at(deadline, self._give_up), deadline

    def _give_up(self) -> None:
        """Give up what is overdue; if it was sent, also the connection: nothing queues behind."""
        self._timer = None
        now = self._loop.time()
        sent = list(self._unanswered())
        for append in (*sent, *self._waiting):
            if append.deadline <= now:
                self._lose(append, f"none within {self._settings.append_timeout_s} s")
        left = [each.deadline for each in (*sent, *self._waiting) if each.deadline > now]
        if left:
            self._watch(min(left))
        if any(append.deadline <= now for append in sent):
            self.retire()

    def _lose(self, append: PendingAppend, why: str) -> None:
        if not append.offset.done():
            append.offset.set_exception(
                LogUnavailable(
                    f"{append.at}: no answer from Kafka at {self._broker.host}:{self._broker.port}"
                    f" ({why}); the batch may be stored, now or later"
                )
            )

    def retire(self) -> None:
        """Take no more appends, and end when those that were sent are answered or given up."""
        self.is_open = False
        self._return_waiting()
        if self._transport is None:
            self._life.cancel()
        else:
            self._end_if_unused()

    def _unanswered(self) -> Iterator[PendingAppend]:
        for partitions in (self._sent or {}).values():
            yield from partitions.values()

    def _return_waiting(self) -> None:
        for append in self._waiting:
            if not append.offset.done():
                append.offset.set_exception(NotStored("it was not sent"))
        self._waiting.clear()

    def _end_if_unused(self) -> None:
        if all(append.offset.done() for append in self._unanswered()):
            # Not `close`: bytes that a frozen broker does not take would keep it open for ever.
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody (`asyncio.Protocol`)."""
        self.is_open = False
        error = exc or self._failure
        for append in self._unanswered():
            self._lose(append, reason(error) if error else "the connection was closed")
        self._sent = None
        self._return_waiting()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._connecting_protocol.connection_lost(exc)  # so that aiokafka lets go of its own
        self._ended.set()


def _judged(at: TopicPartition, code: int, offset: int) -> LogError | NotStored:
    error = kafka.for_code(code)
    if error is kafka.NoError:
        return LogUnavailable(f"{at}: the broker told no offset for the batch")
    if error in REFUSALS:
        return refusal(error, f"{at}: the broker refused the batch ({reason(error())})")
    if error in NOT_STORED and offset < 0:
        return NotStored(reason(error()))
    return LogUnavailable(
        f"{at}: the broker said {reason(error())}; the batch may be stored, now or later"
    )
