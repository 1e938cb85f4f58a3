"""The schema topic: every Avro schema that a system's records, events and states are written with.

`spawn.<system>._schemas` is compacted; its key is `type/role/name/fingerprint`, so nothing in it
ever goes, until its type is dropped. A schema stands there, acknowledged, before the first record
that uses it (design 3.1). Two nodes that write the same schema write the same entry.

It also says where a type's events are: an entry of role `other` whose text is of kind `topic` has
the topic's name, and as its fingerprint the number of partitions that the topic had when the type
first used it. A change of that number is noticed so: an actor's partition is its id's hash modulo
that number.

Nodes of different releases share it. An entry itself may be of a schema that this release does not
ship: a release that changes `schema_entry` writes the new schema's own entry in the form before,
so whoever reads that form learns to read the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from eventstore.codec import (
    SHIPPED,
    SchemaEntry,
    Writers,
    decode_schema_entry,
    encode_schema_entry,
)
from eventstore.errors import UnknownSchema, UnreadableBody
from eventstore.log import EventLog, LogRecord, TopicPartition
from schemas.registry import parse_platform_schema, platform_schema

__all__ = [
    "TopicEntry",
    "body_writers",
    "forget_schemas",
    "platform_entries",
    "read_schemas",
    "topic_entries",
    "topic_entry",
    "write_schemas",
]

_BODIES = ("commit_body", "claim_body", "schema_entry")


class TopicEntry(NamedTuple):
    """A type, the topic of its events, and how many partitions that had at first."""

    topic: str
    type: str
    partitions: int


def topic_entry(found: TopicEntry) -> SchemaEntry:
    """Return the entry that records it."""
    number = found.partitions.to_bytes(8, "big")
    text = json.dumps({"kind": "topic", "partitions": found.partitions})
    return SchemaEntry(found.type, "other", found.topic, number, text)


def topic_entries(entries: Iterable[SchemaEntry]) -> Sequence[TopicEntry]:
    """Return what is recorded of topics, oldest first."""
    return [
        TopicEntry(entry.name, entry.type, int.from_bytes(entry.fingerprint, "big"))
        for entry in entries
        if entry.role == "other" and _kind(entry.schema) == "topic"
    ]


def _kind(text: str) -> object:
    try:
        told = json.loads(text)
    except ValueError:
        return None  # a later release's
    return told.get("kind") if isinstance(told, dict) else None


async def read_schemas(log: EventLog, topic: str) -> Sequence[SchemaEntry]:
    """Return all entries, oldest first. Raises: LogUnavailable, TopicMissing, UnreadableBody."""
    at = TopicPartition(topic, 0)
    start, end = await log.bounds(at)
    values: dict[bytes, tuple[int, bytes]] = {}
    async for chunk in log.read(at, start, end):
        for stored in chunk:
            if stored.key is None:
                continue
            if stored.value is None:
                values.pop(stored.key, None)
            else:
                values[stored.key] = stored.offset, stored.value
    entries: dict[bytes, SchemaEntry] = {}
    unknown: Sequence[bytes] = [*values]
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
    return [entries[key] for key in values]


async def write_schemas(
    log: EventLog, topic: str, entries: Sequence[SchemaEntry], time_ms: int
) -> None:
    """Append entries and wait until they are acknowledged. Raises: LogUnavailable, TopicMissing."""
    if entries:
        records = [LogRecord(_key(entry), encode_schema_entry(entry)) for entry in entries]
        await log.append(TopicPartition(topic, 0), records, time_ms)


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


async def forget_schemas(
    log: EventLog, topic: str, entries: Sequence[SchemaEntry], time_ms: int
) -> None:
    """Take entries out again: their type was dropped. Raises: LogUnavailable, TopicMissing."""
    if entries:
        records = [LogRecord(_key(entry), None) for entry in entries]
        await log.append(TopicPartition(topic, 0), records, time_ms)


def _key(entry: SchemaEntry) -> bytes:
    return f"{entry.type}/{entry.role}/{entry.name}/{entry.fingerprint.hex()}".encode()
