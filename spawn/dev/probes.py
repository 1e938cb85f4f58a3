"""The first question of each protocol, to learn whether a server serves, and whether it is ours.

A TCP port may meanwhile belong to another server of the same kind (two stacks that started at
once), so the broker and NATS are asked for the name that we gave them. PostgreSQL sits in a private
folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

from spawn.dev.ports import HOST

__all__ = ["kafka_cluster_id", "nats_server_name", "postgres_serves"]

_KAFKA_METADATA = 3
_KAFKA_METADATA_VERSION = 2
"""The oldest version that tells the cluster id."""

_ANSWER_BYTES_MAX = 1 << 20
"""Whoever claims to send more than a mebibyte to such a question speaks another protocol."""

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def kafka_cluster_id(port: int) -> str | None:
    """Return the cluster id that the broker on this port gives in its metadata.

    Raises: OSError, EOFError, ValueError - it does not serve, or is no broker.
    Source: Kafka protocol, Metadata request and response version 2.
    """
    # api key, version, correlation id, client id "spawn", and no topics.
    body = struct.pack(">hhih5si", _KAFKA_METADATA, _KAFKA_METADATA_VERSION, 1, 5, b"spawn", 0)
    async with _connected(asyncio.open_connection(HOST, port)) as (reader, writer):
        writer.write(struct.pack(">i", len(body)) + body)
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        if not 0 < size <= _ANSWER_BYTES_MAX:
            raise ValueError(f"an answer of {size} bytes")
        return _cluster_id(await reader.readexactly(size))


def _cluster_id(answer: bytes) -> str | None:
    """Read the cluster id: correlation id, brokers (id, host, port, rack), cluster id, ..."""
    try:
        (broker_count,) = struct.unpack_from(">i", answer, 4)
        at = 8
        for _ in range(broker_count):
            _, at = _nullable_text(answer, at + 4)
            _, at = _nullable_text(answer, at + 4)
        return _nullable_text(answer, at)[0]
    except struct.error as error:
        raise ValueError("not a metadata answer") from error


def _nullable_text(data: bytes, at: int) -> tuple[str | None, int]:
    (size,) = struct.unpack_from(">h", data, at)
    end = at + 2 + max(size, 0)
    return (None if size < 0 else data[at + 2 : end].decode()), end


async def nats_server_name(port: int) -> str | None:
    """Return the server name that the NATS server on this port gives in its greeting.

    Raises: OSError, EOFError, ValueError - it does not serve, or is no NATS server.
    Source: NATS client protocol, INFO.
    """
    async with _connected(asyncio.open_connection(HOST, port)) as (reader, _):
        line = await reader.readuntil(b"\n")
    verb, _, fields = line.partition(b" ")
    if verb != b"INFO":
        raise ValueError("not a NATS greeting")
    name = json.loads(fields).get("server_name")
    return name if isinstance(name, str) else None


async def postgres_serves(socket_path: Path, user: str, database: str) -> bool:
    """Return whether the server on this socket logs us in and answers `SELECT 1`.

    Raises: OSError, EOFError, ValueError - it does not serve.
    Source: PostgreSQL frontend/backend protocol 3.0, StartupMessage, Query, ReadyForQuery.
    """
    parameters = f"user\0{user}\0database\0{database}\0\0".encode()
    async with _connected(asyncio.open_unix_connection(str(socket_path))) as (reader, writer):
        writer.write(struct.pack(">ii", 8 + len(parameters), 3 << 16) + parameters)
        if not await _is_ready_for_query(reader):
            return False
        writer.write(b"Q" + struct.pack(">i9s", 13, b"SELECT 1\0"))
        serves = await _is_ready_for_query(reader)
        # Terminate: else each probe stands in the server's log as a lost connection.
        writer.write(b"X" + struct.pack(">i", 4))
        return serves


async def _is_ready_for_query(reader: asyncio.StreamReader) -> bool:
    """Read messages up to ReadyForQuery (true) or ErrorResponse (false: still starting up, ...)."""
    while True:
        kind, size = struct.unpack(">ci", await reader.readexactly(5))
        if not 4 <= size <= _ANSWER_BYTES_MAX:
            raise ValueError(f"a message of {size} bytes")
        await reader.readexactly(size - 4)
        if kind in (b"Z", b"E"):
            return bool(kind == b"Z")


@contextlib.asynccontextmanager
async def _connected(connecting: Coroutine[Any, Any, _Streams]) -> AsyncIterator[_Streams]:
    """Close the connection at the end, whatever became of it."""
    reader, writer = await connecting
    try:
        yield reader, writer
    except asyncio.LimitOverrunError as error:
        raise ValueError("no end of line") from error
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
