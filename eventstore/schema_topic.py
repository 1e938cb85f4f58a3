"""The schema topic: every Avro schema that a system's events and states were written with.

`spawn.<system>._schemas` is compacted; its key is `type/role/name/fingerprint`, so nothing in it
ever goes, until its type is dropped. A schema stands there, acknowledged, before the first record
that uses it (design 3.1). Two nodes that write the same schema write the same entry.
"""

from __future__ import annotations

from collections.abc import Sequence

from eventstore.codec import SchemaEntry, decode_schema_entry, encode_schema_entry
from eventstore.errors import UnreadableBody
from eventstore.log import EventLog, LogRecord, TopicPartition

__all__ = ["forget_schemas", "read_schemas", "write_schemas"]


async def read_schemas(log: EventLog, topic: str) -> Sequence[SchemaEntry]:
    """Return all entries, oldest first. Raises: LogUnavailable, TopicMissing, UnreadableBody."""
    at = TopicPartition(topic, 0)
    start, end = await log.bounds(at)
    entries: dict[bytes, SchemaEntry] = {}
    async for chunk in log.read(at, start, end):
        for stored in chunk:
            if stored.key is None:
                continue
            if stored.value is None:
                entries.pop(stored.key, None)
                continue
            try:
                entries[stored.key] = decode_schema_entry(stored.value)
            except UnreadableBody as error:
                raise UnreadableBody(f"{at}@{stored.offset}: {error}") from error
    return list(entries.values())


async def write_schemas(
    log: EventLog, topic: str, entries: Sequence[SchemaEntry], time_ms: int
) -> None:
    """Append entries and wait until they are acknowledged. Raises: LogUnavailable, TopicMissing."""
    if entries:
        records = [LogRecord(_key(entry), encode_schema_entry(entry)) for entry in entries]
        await log.append(TopicPartition(topic, 0), records, time_ms)


async def forget_schemas(
    log: EventLog, topic: str, entries: Sequence[SchemaEntry], time_ms: int
) -> None:
    """Take entries out again: their type was dropped. Raises: LogUnavailable, TopicMissing."""
    if entries:
        records = [LogRecord(_key(entry), None) for entry in entries]
        await log.append(TopicPartition(topic, 0), records, time_ms)


def _key(entry: SchemaEntry) -> bytes:
    return f"{entry.type}/{entry.role}/{entry.name}/{entry.fingerprint.hex()}".encode()
