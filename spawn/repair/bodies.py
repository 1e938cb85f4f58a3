"""Whether an actor's history can be read: by its bytes, or by its type's code."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import fastavro

from eventstore.codec import SchemaEntry, read_effect
from eventstore.errors import CorruptRecord, OffsetGone, UnreadableBody
from eventstore.history import walk_back
from eventstore.log import EventLog, TopicPartition
from eventstore.records import Outcome
from spawn.core.behavior import Behavior, SchemaUse
from spawn.core.ids import schemas_topic
from spawn.core.tail import WHOLE, Base
from spawn.runtime.activation import refold
from spawn.runtime.schema_book import SchemaBook

__all__ = ["Bodies", "history_problem", "refolded", "teach"]


class Bodies:
    """Reads events and states by the schemas of the schema topic alone."""

    def __init__(self, entries: Sequence[SchemaEntry]) -> None:
        self._texts: Mapping[tuple[str, bytes], str] = {
            (entry.type, entry.fingerprint): entry.schema for entry in entries
        }
        self._parsed: dict[tuple[str, bytes], Any] = {}

    def problem(self, actor_type: str, value: bytes, body_at: int) -> str:
        """Say why the effect of a commit can't be read; empty: it can."""
        try:
            events, state = read_effect(value, body_at)
        except UnreadableBody as error:
            return str(error)
        pieces = [*events, *([("its state", *state)] if state is not None else [])]
        for name, fingerprint, data in pieces:
            if problem := self._problem(actor_type, name, fingerprint, data):
                return problem
        return ""

    def _problem(self, actor_type: str, name: str, fingerprint: bytes, data: bytes) -> str:
        place = actor_type, fingerprint
        if place not in self._texts:
            return f"{name} was written with schema {fingerprint.hex()}, which is not known here"
        if place not in self._parsed:
            self._parsed[place] = fastavro.parse_schema(json.loads(self._texts[place]))
        try:
            fastavro.schemaless_reader(io.BytesIO(data), self._parsed[place], None)
        except Exception as error:  # noqa: BLE001 - whatever the garbled bytes lead to
            return f"{name} can't be decoded: {error!r}"
        return ""


def teach(behaviors: Sequence[Behavior], entries: Sequence[SchemaEntry]) -> None:
    """Tell types what their topics were written with. Raises: SchemaIncompatible."""
    for behavior in behaviors:
        behavior.learn([
            SchemaUse(
                entry.type,
                "state" if entry.role == "state" else "event",
                entry.name,
                entry.fingerprint,
                entry.schema,
            )
            for entry in entries
            if entry.type == behavior.type
        ])  # fmt: skip


async def history_problem(
    log: EventLog,
    at: TopicPartition,
    actor: tuple[str, str],
    offset: int,
    bodies: Bodies,
    behavior: Behavior | None,
) -> str:
    """Say why the actor's state up to the record at `offset` can't be rebuilt; empty: it can.

    Without `behavior`, its code, only the bytes are judged: `evolve` may still raise. Raises:
    LogUnavailable.
    """
    actor_type, actor_id = actor
    try:
        if behavior is not None:
            await refolded(log, at, behavior, actor_id.encode(), offset)
            return ""
        return await _problem_of_bytes(log, at, actor_type, actor_id.encode(), offset, bodies)
    except CorruptRecord as error:
        return str(error)
    except OffsetGone as error:
        return f"its history is no longer in the log: {error}"


async def refolded(
    log: EventLog, at: TopicPartition, behavior: Behavior, key: bytes, offset: int
) -> Base:
    """Fold an actor's history up to the record at `offset`, with what the schema topic knows.

    Raises: as `refold`.
    """
    book = SchemaBook(log, schemas_topic(at.topic.split(".")[1]))
    return await book.reading(
        behavior, lambda: refold(log, at, behavior, key, offset, book.writers)
    )


async def _problem_of_bytes(
    log: EventLog, at: TopicPartition, actor_type: str, key: bytes, offset: int, bodies: Bodies
) -> str:
    """Return what a fold from the oldest record on would meet first."""
    found, revision = "", 0
    async for record in walk_back(log, at, actor_type, key, offset):
        if record.commit.outcome != Outcome.APPLIED:
            continue
        revision = record.commit.revision
        whole = record.commit.flags & WHOLE
        if problem := bodies.problem(actor_type, record.value, record.commit.body_at):
            found = f"offset {record.offset}: {problem}"
        if whole:
            return found
    if revision > 1:
        return f"its history begins with revision {revision}: those before it are missing"
    return found
