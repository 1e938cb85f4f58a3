"""Requests to the brokers that append nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar

from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient

from eventstore.door import Door
from eventstore.errors import LogNotAdmitted, LogUnavailable
from eventstore.kafka_log.background import Background
from eventstore.kafka_log.client import Client
from eventstore.kafka_log.failures import FAILURES, REFUSALS, RETRY_S, reason, refusal
from eventstore.kafka_log.security import TokenLogin
from eventstore.kafka_log.settings import KafkaSettings

__all__ = ["Requests"]

_T = TypeVar("_T")

_CONNECTIONS_MAX: Final = 8
"""A request holds one only until its answer is there."""


class Requests:
    """Requests to the brokers that append nothing.

    A request has a connection to itself, so that a point read never waits for the end of somebody
    else's megabytes. One that met an error is dropped with all it believed about leaders.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        background: Background,
        timeout_s: float,
        *,
        reconnects: bool = True,
        diagnoses: bool = False,
        door: Door[LogNotAdmitted] | None = None,
    ) -> None:
        """`reconnects`: whether to go on asking when no broker can be reached.

        `diagnoses`: whether to find out why one ended the connection without a word.
        """
        self._settings = settings
        self._background = background
        self._timeout_s = timeout_s
        self._reconnects = reconnects
        self._diagnoses = diagnoses
        self._door: Door[LogNotAdmitted] = door or Door()
        self._slots = asyncio.Semaphore(_CONNECTIONS_MAX)
        self._idle: list[Client] = []
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

        Raises: LogUnavailable, LogRefused; LogNotAdmitted and LogForbidden at once.
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
                    except LogNotAdmitted as error:
                        self._refused(error)
                        raise
                    except REFUSALS as error:
                        text = f"{what}: Kafka refused ({reason(error)})"
                        raise refusal(type(error), text) from error
                    except FAILURES as error:
                        failure = error
                    await asyncio.sleep(RETRY_S)
        except TimeoutError:
            why = reason(failure) if failure else "nothing there yet"
            raise LogUnavailable(
                f"{what}: no answer from Kafka at {servers} within {timeout_s} s ({why})"
            ) from failure

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Client]:
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

    def _give_back(self, client: Client) -> None:
        if self._is_closed:
            self._background.run(client.close())
        else:
            self._idle.append(client)

    def _refused(self, error: LogNotAdmitted) -> None:
        self._door.refused(error, asyncio.get_running_loop().time())
        login = self._settings.security.login
        if isinstance(login, TokenLogin):
            login.forget()

    async def _connect(self) -> Client:
        self._door.enter(asyncio.get_running_loop().time())
        # Half of the time for one request, so that there is time for another broker.
        client = Client(self._settings, self._timeout_s / 2, diagnoses=self._diagnoses)
        start = self._background.run(client.bootstrap())
        try:
            await asyncio.shield(start)
        except kafka.KafkaConnectionError as error:
            self._background.run(_close_after(start, client))
            if self._reconnects:
                raise
            raise LogUnavailable(
                f"cannot reach Kafka at {self._settings.servers} ({reason(error)})"
            ) from error
        except BaseException:
            self._background.run(_close_after(start, client))
            raise
        self._door.opened()
        return client


async def _close_after(start: asyncio.Task[None], client: Client) -> None:
    with suppress(*FAILURES, LogNotAdmitted):
        await start
    await client.close()
