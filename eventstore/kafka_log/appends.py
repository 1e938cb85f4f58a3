"""Where a partition's appends go, and what is done about those that were certainly not stored."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from aiokafka.client import AIOKafkaClient

from eventstore.door import Door
from eventstore.errors import LogNotAdmitted, LogUnavailable
from eventstore.kafka_log.background import Background
from eventstore.kafka_log.connection import NotStored, ProduceConnection
from eventstore.kafka_log.failures import RETRY_S, reason
from eventstore.kafka_log.metadata import Broker, leaders
from eventstore.kafka_log.requests import Requests
from eventstore.kafka_log.settings import KafkaSettings
from eventstore.log import TopicPartition

__all__ = ["Appends"]

_LARGE_BYTES: Final = 256 * 1024
_LARGE_APPENDS_MAX: Final = 8
"""Appends of more than `_LARGE_BYTES` under way at once: as much as can be sent in time."""


class Appends:
    """Appends of a process, through one connection to each broker that leads.

    A connection on which an append gets no answer in time takes no more of them, of any partition:
    a broker handles the requests of one connection one after the other, so all would wait behind
    the lost one. The next append connects anew, to whoever leads then.
    """

    def __init__(
        self, settings: KafkaSettings, background: Background, door: Door[LogNotAdmitted]
    ) -> None:
        self._settings = settings
        self._door = door
        self._background = background
        timeout_s = settings.connect_timeout_s
        self._requests = Requests(settings, background, timeout_s, reconnects=False, door=door)
        self._large = asyncio.Semaphore(_LARGE_APPENDS_MAX)
        self._routes: dict[TopicPartition, ProduceConnection] = {}
        self._ways: dict[TopicPartition, int] = {}
        """How often a leader was looked for and connected to: what `way` tells."""
        self._connections: dict[Broker, ProduceConnection] = {}
        self._lookups: dict[str, asyncio.Task[Mapping[int, Broker]]] = {}
        self._is_closed = False

    async def append(self, at: TopicPartition, data: bytearray) -> int:
        """Send a batch and return its offset.

        Raises: LogUnavailable, LogRefused.
        """
        if len(data) > _LARGE_BYTES:
            async with self._large:
                return await self._append(at, data)
        return await self._append(at, data)

    async def _append(self, at: TopicPartition, data: bytearray) -> int:
        loop = asyncio.get_running_loop()
        now = loop.time()
        connection = self._routes.get(at)
        if connection is None or not connection.is_usable(now):
            connection = await self._connect(at, now + self._settings.connect_timeout_s, None)
            now = loop.time()
        deadline = now + self._settings.append_timeout_s
        while True:
            try:
                return await connection.append(at, data, deadline)
            except NotStored as error:
                self._routes.pop(at, None)
                failure = error
            connection = await self._connect(at, deadline, failure)

    async def _connect(
        self, at: TopicPartition, deadline: float, failure: NotStored | None
    ) -> ProduceConnection:
        """Return a connection to the partition's leader; after a `failure`, look again later."""
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    if self._is_closed:
                        raise LogUnavailable("the log is closed")
                    if failure is not None:
                        await asyncio.sleep(RETRY_S)
                    try:
                        return await self._route(at)
                    except NotStored as error:
                        failure = error
        except TimeoutError:
            why = reason(failure) if failure else "no answer"
            raise LogUnavailable(
                f"{at}: no leader at {self._settings.servers} took the batch in time ({why})"
            ) from failure

    async def _route(self, at: TopicPartition) -> ProduceConnection:
        """Find the partition's leader and connect to it.

        Raises: LogUnavailable - no broker can be reached, or none takes us; NotStored - nobody
            leads now, or the leader cannot be reached.
        """
        broker = (await self._leaders(at.topic)).get(at.partition)
        if broker is None:
            raise NotStored("nobody leads the partition now")
        connection = self._connections.get(broker)
        if connection is None or not connection.is_usable(asyncio.get_running_loop().time()):
            self._door.enter(asyncio.get_running_loop().time())
            connection = ProduceConnection(self._settings, broker, self._background)
            self._connections[broker] = connection
        try:
            await connection.connected()
        except LogNotAdmitted as error:
            self._door.refused(error, asyncio.get_running_loop().time())
            raise
        self._door.opened()
        self._routes[at] = connection
        # Also if it is the connection that it was: somebody said that its broker did not lead.
        self._ways[at] = self._ways.get(at, 0) + 1
        return connection

    def way(self, at: TopicPartition) -> int:
        """Return the number of the present route; 0: there was none yet."""
        return self._ways.get(at, 0)

    async def _leaders(self, topic: str) -> Mapping[int, Broker]:
        """Ask who leads; whoever needs it meanwhile shares the answer."""

        async def ask(client: AIOKafkaClient) -> Mapping[int, Broker]:
            return await leaders(client, topic)

        lookup = self._lookups.get(topic)
        if lookup is None:
            lookup = self._background.run(self._requests.until_answered(topic, ask))
            lookup.add_done_callback(lambda _: self._lookups.pop(topic))
            self._lookups[topic] = lookup
        return await asyncio.shield(lookup)

    def close(self) -> None:
        """End them all; what was sent gets an answer if one comes in time."""
        self._is_closed = True
        self._routes.clear()
        self._requests.close()
        for connection in self._connections.values():
            connection.retire()
