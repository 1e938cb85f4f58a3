"""aiokafka's connection and client, with what we need besides.

They tell why a broker can't be used, where aiokafka's only log it; they keep passwords and tokens
out of its logs; they end a session before the broker does; and they see a token that was refused,
which aiokafka takes for a login that succeeded.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any, Final

from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.admin import SaslAuthenticateRequest
from aiokafka.protocol.metadata import MetadataRequest

from eventstore.errors import LogNotAdmitted
from eventstore.kafka_log.admission import found_out, told
from eventstore.kafka_log.failures import FAILURES, reason
from eventstore.kafka_log.settings import KafkaSettings

__all__ = ["Client", "Connection"]

_SESSION_PART: Final = 0.8
"""A session is used for this part of the life that the broker gives it (KIP-368): one that has run
out is ended by the broker, unanswered. aiokafka does not log in again on the same connection."""
_IDLE_MS: Final = 9 * 60 * 1000
"""Brokers end idle connections after ten minutes."""

_Closed = Callable[[Any, Any], None]


class _Hidden(bytes):
    """Login data: aiokafka logs each request at level DEBUG, by its repr, long ones by a part."""

    def __getitem__(self, place: Any) -> Any:
        part = super().__getitem__(place)
        return _Hidden(part) if isinstance(part, bytes) else part

    def __add__(self, other: Any) -> Any:
        return _Hidden(super().__add__(other))

    def __repr__(self) -> str:
        return "'***'"


class Connection(AIOKafkaConnection):  # type: ignore[misc]  # aiokafka has no types
    """One connection to one broker."""

    session_ends = math.inf
    """By the loop's clock; then it is no longer to be used."""

    def __init__(
        self,
        settings: KafkaSettings,
        host: str,
        port: int,
        timeout_s: float,
        *,
        on_close: _Closed | None = None,
        max_idle_ms: int | None = None,
    ) -> None:
        """Raises: OSError - a file of the settings can't be read."""
        super().__init__(
            host,
            port,
            client_id=settings.client_id,
            request_timeout_ms=int(timeout_s * 1000),
            on_close=on_close,
            max_idle_ms=max_idle_ms,
            **settings.security.options(),
        )

    def send(self, request: Any, expect_response: bool = True) -> Any:
        if isinstance(request, SaslAuthenticateRequest):
            return self._log_in(request)
        return super().send(request, expect_response)

    def end(self) -> asyncio.Future[None] | None:
        """Close it; return what is done when it is closed: with TLS the broker is waited for.

        None: it was never open.
        """
        closed: asyncio.Future[None] = self.close()
        return None if self._protocol is None else closed

    async def _log_in(self, request: Any) -> Any:
        hidden = SaslAuthenticateRequest(_Hidden(request._payload))  # noqa: SLF001 - no other way
        answer = await super().send(hidden)
        if not answer.error_code:
            lifetime_s = getattr(answer, "session_lifetime_ms", 0) / 1000
            if lifetime_s > 0:
                now = asyncio.get_running_loop().time()
                self.session_ends = now + lifetime_s * _SESSION_PART
            if self._sasl_mechanism == "OAUTHBEARER" and answer.sasl_auth_bytes:
                return await self._token_refused(answer.sasl_auth_bytes)
        return answer

    async def _token_refused(self, told: bytes) -> Any:
        """Take a token's refusal, which comes with a text and no error code (RFC 7628, 3.2)."""
        end = await super().send(SaslAuthenticateRequest(b"\x01"))
        if end.error_code:
            return end
        try:
            status = json.loads(told)["status"]
        except (ValueError, LookupError, TypeError):
            status = "it is not accepted"
        raise kafka.SaslAuthenticationFailed(f"the token: {status}")


class Client(AIOKafkaClient):  # type: ignore[misc]  # aiokafka has no types
    """A client of a cluster; `bootstrap` and `send` also raise LogNotAdmitted."""

    def __init__(
        self, settings: KafkaSettings, request_timeout_s: float, *, diagnoses: bool = False
    ) -> None:
        """`diagnoses`: whether to take the time to find out why a broker ended a connection."""
        super().__init__(
            bootstrap_servers=settings.servers,
            client_id=settings.client_id,
            request_timeout_ms=int(request_timeout_s * 1000),
            connections_max_idle_ms=_IDLE_MS,
        )
        self._settings = settings
        self._timeout_s = request_timeout_s
        self._diagnoses = diagnoses
        self._failures: dict[Any, BaseException] = {}
        """Of the last attempt to connect, by node."""
        self._ending: set[asyncio.Future[None]] = set()

    async def close(self) -> None:
        await super().close()
        if self._ending:
            await asyncio.wait(self._ending)

    def _end(self, connection: Connection) -> None:
        closed = connection.end()
        if closed is not None and not closed.done():
            self._ending.add(closed)
            closed.add_done_callback(self._ending.discard)

    async def bootstrap(self) -> None:
        """Learn from the first server that answers which brokers there are.

        Raises: LogNotAdmitted, KafkaConnectionError - with the reason of each server.
        """
        refusal: LogNotAdmitted | None = None
        failures: list[str] = []
        for host, port, _ in self.hosts:
            try:
                await self._bootstrap_from(host, port)
            except LogNotAdmitted as error:
                refusal = error
                if error.concerns == "login":
                    break  # the others would say the same, and count it
            except FAILURES as error:
                failures.append(f"{host}:{port}: {reason(error)}")
            else:
                loop = asyncio.get_running_loop()
                self._sync_task = loop.create_task(self._md_synchronizer())
                return
        raise refusal or kafka.KafkaConnectionError("; ".join(failures))

    async def _bootstrap_from(self, host: str, port: int) -> None:
        connection = None
        try:
            connection = await self._connect(host, port)
            metadata = await connection.send(MetadataRequest([]))
        except FAILURES as error:
            if connection is not None:
                self._end(connection)
            refusal = await self._explained(error, host, port)
            if refusal is None:
                raise
            raise refusal from error
        except BaseException:
            if connection is not None:
                self._end(connection)
            raise
        self.cluster.update_metadata(metadata)
        if self.cluster.brokers():
            self._end(connection)
        else:  # a cluster without topics may tell none; this one is asked again later
            self._conns["bootstrap", ConnectionGroup.DEFAULT] = connection

    async def _explained(self, error: BaseException, host: str, port: int) -> LogNotAdmitted | None:
        security = self._settings.security
        return told(error, host, port, security) or (
            await found_out(error, host, port, security) if self._diagnoses else None
        )

    async def _connect(self, host: str, port: int, on_close: _Closed | None = None) -> Connection:
        connection = Connection(
            self._settings,
            host,
            port,
            self._timeout_s,
            on_close=on_close,
            max_idle_ms=_IDLE_MS,
        )
        try:
            await connection.connect()
        except BaseException:
            self._end(connection)
            raise
        return connection

    async def _get_conn(
        self, node_id: Any, *, group: Any = ConnectionGroup.DEFAULT, no_hint: bool = False
    ) -> Connection | None:
        """Return a connection to a broker; None, and why in `_failures`: there is none.

        As aiokafka's own, which only logs the reason.
        """
        place = (node_id, group)
        async with self._get_conn_lock:
            connection: Connection | None = self._conns.get(place)
            if connection is not None:
                now = asyncio.get_running_loop().time()
                if connection.connected() and now < connection.session_ends:
                    return connection
                del self._conns[place]
                self._end(connection)
            broker = self.cluster.broker_metadata(node_id)
            if broker is None:
                error: BaseException = kafka.StaleMetadata(f"broker {node_id} is not known")
            else:
                try:
                    connection = await self._connect(
                        broker.host, broker.port, self._on_connection_closed
                    )
                except FAILURES as failure:
                    error = failure
                    refusal = await self._explained(failure, broker.host, broker.port)
                    if refusal is not None:
                        refusal.__cause__, error = failure, refusal
                    else:
                        text = f"{broker.host}:{broker.port}: {reason(failure)}"
                        error = kafka.KafkaConnectionError(text)
                        error.__cause__ = failure
                else:
                    self._conns[place] = connection
                    return connection
        self._failures[node_id] = error
        if not isinstance(error, LogNotAdmitted):
            self.force_metadata_update()
        return None

    async def send(
        self, node_id: Any, request: Any, *, group: Any = ConnectionGroup.DEFAULT
    ) -> Any:
        """Send a request to a broker. Raises: as aiokafka's, and LogNotAdmitted."""
        try:
            return await super().send(node_id, request, group=group)
        except kafka.NodeNotReadyError as error:
            failure = self._failures.pop(node_id, None)
            if failure is None:
                raise
            raise failure from failure.__cause__ or error
