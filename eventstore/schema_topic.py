"""The schema topic: what a system's records are written with, and where its types' events are.

`spawn.<system>._schemas` is compacted; no key is used for another value, so nothing in it ever
goes, until its type is dropped. Schemas have the key `type/role/name/fingerprint`; a schema stands
there, acknowledged, before the first record that uses it (design 3.1). Topics have the key
`_topic/topic/type`: the partitions that a topic had when a type first used it, so that a change of
their number is noticed (an actor's partition is its id's hash modulo that number). Two nodes that
write the same thing write the same entry.

Nodes of different releases share it. An entry itself may be of a schema that this release does not
ship: a release that changes `schema_entry` writes the new schema's own entry in the form before,
so whoever reads that form learns to read the rest. Who needs schemas only does not decode topics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from eventstore.codec import (
    SHIPPED,
    SchemaEntry,
    TopicEntry,
    Writers,
    decode_schema_entry,
    decode_topic_entry,
    encode_schema_entry,
    encode_topic_entry,
)
from eventstore.errors import UnknownSchema, UnreadableBody
from eventstore.log import EventLog, LogRecord, TopicPartition
from schemas.registry import parse_platform_schema, platform_schema

__all__ = [
    "SchemaTopic",
    "body_writers",
    "forget_schemas",
    "forget_topics",
    "platform_entries",
    "read_schema_topic",
    "read_schemas",
    "write_schemas",
    "write_topics",
]

_BODIES: Final = ("commit_body", "claim_body", "schema_entry", "topic_entry")
_TOPIC: Final = b"_topic/"
"""No type's name begins with an underscore, and the platform's own records have an empty one."""

_Values = Mapping[bytes, tuple[int, bytes]]
"""Offset and value of the entry of each key, oldest key first."""


class SchemaTopic(NamedTuple):
    """All that the topic holds, oldest first."""

    schemas: Sequence[SchemaEntry]
    topics: Sequence[TopicEntry]


async def read_schemas(log: EventLog, topic: str) -> Sequence[SchemaEntry]:
    """Return all schemas, oldest first; entries of topics are passed over, readable or not.

    Raises: LogUnavailable, TopicMissing, UnreadableBody.
    """
    at = TopicPartition(topic, 0)
    return _schemas(at, await _values(log, at))


async def read_schema_topic(log: EventLog, topic: str) -> SchemaTopic:
    """Return all entries. Raises: LogUnavailable, TopicMissing, UnreadableBody."""
    at = TopicPartition(topic, 0)
    values = await _values(log, at)
    schemas, topics = _schemas(at, values), []
    writers = body_writers(schemas)
    for key, (offset, value) in values.items():
        if key.startswith(_TOPIC):
            try:
                topics.append(decode_topic_entry(value, writers))
            except UnreadableBody as error:
                raise error.within(f"{at}@{offset}") from error
    return SchemaTopic(schemas, topics)


async def _values(log: EventLog, at: TopicPartition) -> _Values:
    """Return the entry of each key that was not forgotten since.

    Where a topic's partitions were told twice (two nodes began at the same moment, with different
    numbers) the first entry counts.
    """
    start, end = await log.bounds(at)
    values: dict[bytes, tuple[int, bytes]] = {}
    async for chunk in log.read(at, start, end):
        for stored in chunk:
            if stored.key is None:
                continue
            if stored.value is None:
                values.pop(stored.key, None)
            elif stored.key not in values or not stored.key.startswith(_TOPIC):
                values[stored.key] = stored.offset, stored.value
    return values


def _schemas(at: TopicPartition, values: _Values) -> Sequence[SchemaEntry]:
    entries: dict[bytes, SchemaEntry] = {}
    keys = [key for key in values if not key.startswith(_TOPIC)]
    unknown: Sequence[bytes] = keys
    # More than once only where entries are of a schema that another entry brings.
    while unknown:
        writers, rest = body_writers(entries.values()), []
        for key in unknown:
            offset, value = values[key]
            try:
                entries[key] = decode_schema_entry(value, writers)
            except UnknownSchema:
                rest.append(key)
            except UnreadableBody as error:
                raise error.within(f"{at}@{offset}") from error
        if len(rest) == len(unknown):
            offset, value = values[rest[0]]
            raise UnreadableBody(
                f"{at}@{offset} is an entry of schema {value[:8].hex()}, which neither the topic "
                "nor this release of Spawn has: run a later one"
            )
        unknown = rest
    return [entries[key] for key in keys]


async def write_schemas(
    log: EventLog, topic: str, entries: Sequence[SchemaEntry], time_ms: int
) -> None:
    """Append entries and wait until they are acknowledged. Raises: LogUnavailable, TopicMissing."""
    records = [LogRecord(_schema_key(entry), encode_schema_entry(entry)) for entry in entries]
    await _append(log, topic, records, time_ms)


async def write_topics(
    log: EventLog, topic: str, entries: Sequence[TopicEntry], time_ms: int
) -> None:
    """As `write_schemas`, for topics."""
    records = [LogRecord(_topic_key(entry), encode_topic_entry(entry)) for entry in entries]
    await _append(log, topic, records, time_ms)


async def forget_schemas(
    log: EventLog, topic: str, entries: Sequence[SchemaEntry], time_ms: int
) -> None:
    """Take entries out again: their type was dropped. Raises: LogUnavailable, TopicMissing."""
    await _append(log, topic, [LogRecord(_schema_key(entry), None) for entry in entries], time_ms)


async def forget_topics(
    log: EventLog, topic: str, entries: Sequence[TopicEntry], time_ms: int
) -> None:
    """As `forget_schemas`, for topics: they are gone."""
    await _append(log, topic, [LogRecord(_topic_key(entry), None) for entry in entries], time_ms)


async def _append(log: EventLog, topic: str, records: Sequence[LogRecord], time_ms: int) -> None:
    if records:
        await log.append(TopicPartition(topic, 0), records, time_ms)


def _schema_key(entry: SchemaEntry) -> bytes:
    return f"{entry.type}/{entry.role}/{entry.name}/{entry.fingerprint.hex()}".encode()


def _topic_key(entry: TopicEntry) -> bytes:
    return _TOPIC + f"{entry.topic}/{entry.type}".encode()


def platform_entries() -> Sequence[SchemaEntry]:
    """Return the schemas of the platform's own records as this release writes them."""
    found = [platform_schema(name) for name in _BODIES]
    return [SchemaEntry("", "body", each.name, each.fingerprint, each.text) for each in found]


def body_writers(entries: Iterable[SchemaEntry]) -> Writers:
    """Return what bodies can be read with: what this release ships, and what the topic has.

    Raises: UnreadableBody - an entry's schema is none, or is not the one of its fingerprint.
    """
    writers = dict(SHIPPED)
    for entry in entries:
        if entry.role != "body" or entry.fingerprint in writers:
            continue
        try:
            schema = parse_platform_schema(entry.name, entry.schema)
        except ValueError as error:
            raise UnreadableBody(f"the schema topic's entry of a {error}") from error
        if schema.fingerprint != entry.fingerprint:
            raise UnreadableBody(
                f"the schema topic's entry of {entry.name} {entry.fingerprint.hex()} has schema "
                f"{schema.fingerprint.hex()}"
            )
        writers[entry.fingerprint] = schema
    return writers
