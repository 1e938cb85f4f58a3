"""The schema topic: what a system's events and states were written with, and where they are.

`spawn.<system>._schemas` is compacted, and nothing in it ever goes, since no key is used for
another value. Schemas have the key `type/role/name/fingerprint`; a schema stands there,
acknowledged, before the first record that uses it (design 3.1). Topics have the key
`_topic/topic/type`: the partitions that a topic had when a type first used it, so that a change of
their number is noticed (an actor's partition is its id's hash modulo that number). Two nodes that
write the same thing write the same entry.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final, NamedTuple

import fastavro

from eventstore.codec import SchemaEntry, decode_schema_entry, encode_schema_entry
from eventstore.errors import UnreadableBody
from eventstore.log import EventLog, LogRecord, TopicPartition
from eventstore.records import FINGERPRINT_BYTES
from schemas import platform_schema

__all__ = [
    "SchemaTopic",
    "TopicEntry",
    "read_schema_topic",
    "read_schemas",
    "write_schemas",
    "write_topics",
]

_TOPIC: Final = b"_topic/"
"""No type's name begins with an underscore."""
_ENTRY: Final = platform_schema("topic_entry")


class TopicEntry(NamedTuple):
    """A type, the topic of its events, and how many partitions that had at first."""

    topic: str
    type: str
    partitions: int


class SchemaTopic(NamedTuple):
    """All that the topic holds, oldest first."""

    schemas: Sequence[SchemaEntry]
    topics: Sequence[TopicEntry]


async def read_schema_topic(log: EventLog, topic: str) -> SchemaTopic:
    """Return all entries. Raises: LogUnavailable, TopicMissing, UnreadableBody."""
    at = TopicPartition(topic, 0)
    start, end = await log.bounds(at)
    schemas: dict[bytes, SchemaEntry] = {}
    topics: dict[bytes, TopicEntry] = {}
    async for chunk in log.read(at, start, end):
        for stored in chunk:
            if stored.key is None or stored.value is None:
                continue
            try:
                if stored.key.startswith(_TOPIC):
                    # Of two nodes that began at the same moment the first one's counts.
                    topics.setdefault(stored.key, _decode(stored.value))
                else:
                    schemas[stored.key] = decode_schema_entry(stored.value)
            except UnreadableBody as error:
                raise UnreadableBody(f"{at}@{stored.offset}: {error}") from error
    return SchemaTopic(list(schemas.values()), list(topics.values()))


async def read_schemas(log: EventLog, topic: str) -> Sequence[SchemaEntry]:
    """Return all schemas, oldest first. Raises: LogUnavailable, TopicMissing, UnreadableBody."""
    return (await read_schema_topic(log, topic)).schemas


async def write_schemas(
    log: EventLog, topic: str, entries: Sequence[SchemaEntry], time_ms: int
) -> None:
    """Append entries and wait until they are acknowledged. Raises: LogUnavailable, TopicMissing."""
    if entries:
        records = [LogRecord(_key(entry), encode_schema_entry(entry)) for entry in entries]
        await log.append(TopicPartition(topic, 0), records, time_ms)


async def write_topics(
    log: EventLog, topic: str, entries: Sequence[TopicEntry], time_ms: int
) -> None:
    """As `write_schemas`, for topics."""
    if entries:
        records = [
            LogRecord(_TOPIC + f"{entry.topic}/{entry.type}".encode(), _encode(entry))
            for entry in entries
        ]
        await log.append(TopicPartition(topic, 0), records, time_ms)


def _key(entry: SchemaEntry) -> bytes:
    return f"{entry.type}/{entry.role}/{entry.name}/{entry.fingerprint.hex()}".encode()


def _encode(entry: TopicEntry) -> bytes:
    buffer = io.BytesIO()
    buffer.write(_ENTRY.fingerprint)
    fastavro.schemaless_writer(buffer, _ENTRY.parsed, entry._asdict())
    return buffer.getvalue()


def _decode(value: bytes) -> TopicEntry:
    if value[:FINGERPRINT_BYTES] != _ENTRY.fingerprint:
        raise UnreadableBody("a topic's entry was written by another release")
    try:
        body = fastavro.schemaless_reader(
            io.BytesIO(value[FINGERPRINT_BYTES:]), _ENTRY.parsed, None
        )
    except Exception as error:  # fastavro raises whatever the garbled bytes lead to
        raise UnreadableBody(f"a topic's entry can't be decoded: {error!r}") from error
    if not isinstance(body, dict):
        raise UnreadableBody("a topic's entry is no record")
    return TopicEntry(body["topic"], body["type"], body["partitions"])
