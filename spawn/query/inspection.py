"""One actor's history, read from the log by its back pointers (design 3.1)."""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, NamedTuple

import fastavro

from eventstore.codec import SHIPPED, CommitBody, Writers, decode_commit_body
from eventstore.errors import SnapshotError, UnknownSchema, UnreadableBody
from eventstore.history import HistoryRecord, walk_back
from eventstore.log import EventLog, LogAdmin, TopicPartition
from eventstore.records import NO_PREVIOUS, Flag, Outcome
from eventstore.schema_topic import body_writers
from eventstore.snapshots import SnapshotStore
from spawn.core.behavior import Behavior
from spawn.core.decision import EventData
from spawn.core.fold import Fold
from spawn.core.ids import Position, partition_of
from spawn.core.schema_entries import teach
from spawn.core.tail import WHOLE, Base, apply_commit
from spawn.query.catalog import Catalog
from spawn.query.starts import find_start, step_through

__all__ = ["History", "HistoryLine", "LogReader"]

_NEWER_MAX: Final = 10_000
"""Records looked at with one call, so that following a busy partition never reads for long."""


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
    """After this record, where the record holds it or the type's code folded it; else None."""
    reply: bytes
    refusal: tuple[str, str] | None
    deleted: bool = False
    """It deleted the actor."""
    repeats: int | None = None
    """Revision of the record whose reply it gave again, to a repeated idempotency key."""


class _Known(NamedTuple):
    """What can be read."""

    schemas: Mapping[bytes, Any]
    """Of the type's events and states, by fingerprint."""
    writers: Writers


_Look = Callable[[], Awaitable[_Known]]


class LogReader:
    """Answers questions about one system from its log, and from its snapshots where they help."""

    def __init__(
        self, log: EventLog, admin: LogAdmin, store: SnapshotStore | None, system: str
    ) -> None:
        self._log = log
        self._store = store
        self.catalog = Catalog(log, admin, system)

    async def history(
        self, actor_type: str, actor_id: str, behavior: Behavior | None = None
    ) -> History:
        """Return every record of an actor; none if it was never written.

        With `behavior`, the type's code, each record has the state after it, and its events are as
        the code reads them (without it enums are their members' names, for example).

        Raises: UnknownType, SchemaIncompatible (the code can't read the events), CorruptRecord
        (position named), LossDetected, LogRefused (the history goes back further than the log is
        kept), LogUnavailable.
        """
        topics = await self.catalog.topics_of(actor_type)
        look = partial(self._look, actor_type, behavior)
        name, key = (actor_type, actor_id), actor_id.encode()
        places = [TopicPartition(topic, partition_of(key, n)) for topic, n in topics.items()]
        for at in places[:-1]:
            history = History(self._log, at, name, look, behavior)
            await history.read_all(self._store)
            if history.lines:
                return history
        history = History(self._log, places[-1], name, look, behavior)
        await history.read_all(self._store)
        return history

    async def _look(self, actor_type: str, behavior: Behavior | None) -> _Known:
        entries = await self.catalog.schemas()
        if behavior is not None:
            teach(behavior, entries)
        schemas = {
            entry.fingerprint: fastavro.parse_schema(json.loads(entry.schema))
            for entry in entries
            if entry.type == actor_type and entry.role in ("event", "state")
        }
        return _Known(schemas, body_writers(entries))


class History:
    """An actor's records up to where the log was read, and those that come."""

    def __init__(
        self,
        log: EventLog,
        at: TopicPartition,
        name: tuple[str, str],
        look: _Look,
        behavior: Behavior | None,
    ) -> None:
        self._log = log
        self._at = at
        self._id = name[1]
        self._type, self._key = name[0].encode(), name[1].encode()
        self._look = look
        self._known = _Known({}, SHIPPED)
        self._behavior = behavior
        self._base: Base | None = Base(None, 0, False)
        self._fold = Fold()
        self._revisions: dict[int, int] = {}
        """By offset: what a repetition repeats."""
        self.lines: list[HistoryLine] = []
        """Oldest first."""
        self.state_problem = ""
        """Why no state is known from some record on."""

    async def read_all(self, store: SnapshotStore | None) -> None:
        """Find the actor's last record, from the snapshot on, and walk back from it."""
        start = await find_start(self._log, store, self._at)
        self._fold, last = start.fold, NO_PREVIOUS
        if start.checkpoint is not None and store is not None:
            name = (self._type.decode(), self._id)
            try:
                loaded = await store.load(self._at, [name])
                row = loaded.actors.get(name)
            except SnapshotError:
                self._fold, row = Fold(start.first), None
            # One flushed since then is found again below, at the same offset.
            last = row.offset if row is not None else NO_PREVIOUS
        async for stored, commit in step_through(self._log, self._at, self._fold, start.end):
            if stored.key == self._key and commit.type == self._type:
                last = max(last, stored.offset)
        records = [
            each
            async for each in walk_back(self._log, self._at, self._type.decode(), self._key, last)
        ]
        self._known = await self._look()  # after the records: their schemas were there before them
        self.lines = [self._line(record) for record in reversed(records)]

    async def newer(self) -> Sequence[HistoryLine]:
        """Return what was written since, as far as one bounded look reaches. Raises: as reading."""
        _, end = await self._log.bounds(self._at)
        records = []
        end = min(end, self._fold.position + _NEWER_MAX)
        known = self.lines[-1].position.offset if self.lines else -1
        async for stored, commit in step_through(self._log, self._at, self._fold, end):
            mine = stored.key == self._key and commit.type == self._type
            if mine and stored.offset > known and stored.value is not None:
                records.append(HistoryRecord(stored.offset, commit, stored.value))
        if any(self._lacks_schema(record) for record in records):
            self._known = await self._look()
        found = [self._line(record) for record in records]
        self.lines = [*self.lines[-1:], *found]
        return found

    def _lacks_schema(self, record: HistoryRecord) -> bool:
        """Tell whether a newer node may have written it, with a schema of its own."""
        try:
            body = decode_commit_body(record.value, record.commit.body_at, self._known.writers)
        except UnreadableBody as error:
            return isinstance(error, UnknownSchema)
        used = {event[1] for event in body.events} | {each[0] for each in (body.state,) if each}
        return not used <= self._known.schemas.keys()

    def _line(self, record: HistoryRecord) -> HistoryLine:
        line = _line(self._at, record, self._known)
        self._revisions[record.offset] = line.revision
        if record.commit.flags & Flag.REPEATS:
            line = replace(line, repeats=self._revisions.get(record.commit.repeats))
        if self._behavior is None:
            return line
        events = _as_code_reads(self._behavior, record, self._known, line.events)
        return replace(line, events=events, state=self._state_after(record))

    def _state_after(self, record: HistoryRecord) -> Any:
        """Fold a record with the type's code; None where there is no state (or none is known)."""
        if self._behavior is None:
            return None
        if self._base is None:
            if not record.commit.flags & WHOLE or record.commit.outcome != Outcome.APPLIED:
                return None
            # Known again, whatever could not be read before.
            self._base, self.state_problem = Base(None, record.commit.revision - 1, False), ""
        if record.commit.outcome == Outcome.APPLIED:
            try:
                step = apply_commit(
                    self._behavior,
                    self._id,
                    self._base,
                    record.offset,
                    record.value,
                    self._known.writers,
                )
            except UnreadableBody as error:
                self._base, self.state_problem = None, str(error)
                return None
            self._base = Base(step.state, step.revision, step.deleted)
        if self._base.deleted:
            return None
        if self._base.revision == 0:
            return json.loads(self._behavior.state_json(self._behavior.initial(self._id)))
        return json.loads(self._behavior.state_json(self._base.state))


def _line(at: TopicPartition, record: HistoryRecord, known: _Known) -> HistoryLine:
    commit, schemas = record.commit, known.schemas
    body = _body(record, known)
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
        deleted=bool(commit.flags & Flag.DELETED),
    )


def _as_code_reads(
    behavior: Behavior, record: HistoryRecord, known: _Known, plain: Sequence[tuple[str, Any]]
) -> Sequence[tuple[str, Any]]:
    """Return a record's events in the JSON of the code; what it can't read stays as it was."""
    body = _body(record, known)
    shown = []
    for event, as_stored in zip(body.events if body else (), plain, strict=True):
        try:
            shown.append((event[0], json.loads(behavior.event_json(EventData(*event)))))
        except Exception:  # noqa: BLE001 - user code: it may read what it can't show
            shown.append(as_stored)
    return shown


def _body(record: HistoryRecord, known: _Known) -> CommitBody | None:
    try:
        return decode_commit_body(record.value, record.commit.body_at, known.writers)
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
