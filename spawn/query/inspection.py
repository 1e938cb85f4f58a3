"""One actor's history, read from the log by its back pointers (design 3.1)."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fastavro

from eventstore.codec import CommitBody, decode_commit_body
from eventstore.errors import SnapshotsUnavailable, UnreadableBody
from eventstore.history import HistoryRecord, walk_back
from eventstore.log import EventLog, LogAdmin, TopicPartition
from eventstore.records import NO_PREVIOUS, Outcome
from eventstore.schema_topic import read_schemas
from eventstore.snapshots import SnapshotStore
from spawn.core.checkpoint import CheckpointUnreadable, restore_fold
from spawn.core.fold import Fold
from spawn.core.ids import Position, partition_of, schemas_topic, topic_of
from spawn.errors import UnknownType

__all__ = ["HistoryLine", "LogReader"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLine:
    """One record of an actor, decoded for people."""

    position: Position
    revision: int
    time_us: int
    action: str
    caller: str
    outcome: str
    """`applied`, `unchanged`, `rejected`, `failed` or `dead`."""
    payload: bytes
    events: Sequence[tuple[str, Any]]
    """(name, fields) in order; of an event that can't be read (name, None)."""
    state: Any
    """State style: the new state. None otherwise."""
    reply: bytes
    refusal: tuple[str, str] | None


class LogReader:
    """Answers questions about one system from its log, and from its snapshots where they help."""

    def __init__(
        self, log: EventLog, admin: LogAdmin, store: SnapshotStore | None, system: str
    ) -> None:
        self._log = log
        self._admin = admin
        self._store = store
        self._system = system

    async def history(self, actor_type: str, actor_id: str) -> Sequence[HistoryLine]:
        """Return every record of an actor, oldest first; empty if it was never written.

        Raises: UnknownType (the log has no such topic), CorruptRecord (position named),
        LogRefused (the history goes back further than the log is kept), LogUnavailable.
        """
        topic = topic_of(self._system, actor_type)
        found = await self._admin.describe([topic])
        if topic not in found:
            raise UnknownType(
                f"the log has no topic {topic}",
                hint="check the type's name and the system (SPAWN_SYSTEM)",
            )
        key = actor_id.encode()
        at = TopicPartition(topic, partition_of(key, found[topic].partitions))
        offset = await self._last_record(at, actor_type, actor_id)
        schemas = await self._schemas(actor_type)
        lines = [
            _line(at, record, schemas) async for record in walk_back(self._log, at, key, offset)
        ]
        lines.reverse()
        return lines

    async def _schemas(self, actor_type: str) -> Mapping[bytes, Any]:
        entries = await read_schemas(self._log, schemas_topic(self._system))
        return {
            entry.fingerprint: fastavro.parse_schema(json.loads(entry.schema))
            for entry in entries
            if entry.type == actor_type
        }

    async def _last_record(self, at: TopicPartition, actor_type: str, actor_id: str) -> int:
        """Return the offset of the actor's last valid record: snapshot row, else the tail."""
        fold, offset = await self._start(at, actor_type, actor_id)
        name, key = actor_type.encode(), actor_id.encode()
        _, end = await self._log.bounds(at)
        async for chunk in self._log.read(at, min(fold.position, end), end):
            for index, stored in enumerate(chunk):
                commit = fold.step(stored, chunk, index)
                if commit is not None and stored.key == key and commit.type == name:
                    offset = stored.offset
        return offset

    async def _start(self, at: TopicPartition, actor_type: str, actor_id: str) -> tuple[Fold, int]:
        """Return the fold to go on from and the actor's last record below it.

        Without a store, or with one that does not fit the log, that is the log's start.
        """
        start, end = await self._log.bounds(at)
        if self._store is not None:
            try:
                checkpoint = await self._store.checkpoint(at)
                if checkpoint is not None and checkpoint.offset <= end:
                    name = (actor_type, actor_id)
                    loaded = await self._store.load(at, [name])
                    if loaded.checkpoint == checkpoint.offset:
                        row = loaded.actors.get(name)
                        return restore_fold(checkpoint), row.offset if row else NO_PREVIOUS
            except (SnapshotsUnavailable, CheckpointUnreadable):
                pass
        return Fold(start), NO_PREVIOUS


def _line(at: TopicPartition, record: HistoryRecord, schemas: Mapping[bytes, Any]) -> HistoryLine:
    commit = record.commit
    body = _body(record)
    return HistoryLine(
        position=Position(*at, record.offset),
        revision=commit.revision,
        time_us=commit.time_us,
        action=body.action if body else "?",
        caller=body.caller if body else "",
        outcome=Outcome(commit.outcome).name.lower(),
        payload=body.payload if body else b"",
        events=[
            (name, _fields(schemas.get(fingerprint), data))
            for name, fingerprint, data in (body.events if body else ())
        ],
        state=_fields(schemas.get(body.state[0]), body.state[1]) if body and body.state else None,
        reply=body.reply if body else b"",
        refusal=body.refusal if body else ("unreadable", "the record's body can't be read"),
    )


def _body(record: HistoryRecord) -> CommitBody | None:
    try:
        return decode_commit_body(record.value, record.commit.body_at)
    except UnreadableBody:
        return None


def _fields(schema: Any, data: bytes) -> Any:
    """Return Avro data as plain values; None if its schema is unknown or does not fit."""
    if schema is None:
        return None
    try:
        return fastavro.schemaless_reader(io.BytesIO(data), schema, None)
    except Exception:  # noqa: BLE001 - garbled bytes: the line says so, the others are shown
        return None
