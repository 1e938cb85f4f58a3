"""An actor's committed changes, from its records in the log and from those being settled."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from eventstore.codec import Writers, decode_commit_body
from eventstore.errors import CorruptRecord, LogError, OffsetGone, UnreadableBody
from eventstore.history import HistoryRecord, walk_back
from eventstore.log import EventLog, TopicPartition
from eventstore.records import Flag, Outcome
from spawn.core.actors import Entry
from spawn.core.behavior import Behavior
from spawn.core.decision import EncodedState, EventData
from spawn.core.ids import Position
from spawn.core.ingress import ActorCommit, CommitsAsked
from spawn.core.tail import Base, apply_commit
from spawn.errors import LogUnreachable, ReplyGone, SpawnError
from spawn.runtime.outcomes import unreadable
from spawn.runtime.schema_book import SchemaBook

__all__ = ["LIST_BYTES_MAX", "PastCommits", "commit_of_entry"]

LIST_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of the records that are held at once; at least one is."""
_CHUNK: Final = 500
"""Records held at once, when a long history is read from its beginning."""
_STANDS_ALONE: Final = Flag.DELETED | Flag.STATE
"""The state after such a record is known from it alone."""
_T = TypeVar("_T")


class PastCommits:
    """The commits of one actor up to its record at `offset`."""

    def __init__(
        self,
        log: EventLog,
        at: TopicPartition,
        behavior: Behavior,
        key: bytes,
        offset: int,
        schemas: SchemaBook,
    ) -> None:
        self._log = log
        self._schemas = schemas
        self._at = at
        self._behavior = behavior
        self._key = key
        self._offset = offset

    async def listed(self, asked: CommitsAsked) -> Sequence[ActorCommit]:
        """Return those that are asked for; fewer, if more would be over `LIST_BYTES_MAX`.

        Raises: ActorParked or NewerCodeNeeded (one can't be read), LogUnreachable, ReplyGone.
        """
        kept: deque[HistoryRecord] = deque()
        size = 0
        async for record in self._applied(self._offset, asked.from_revision):
            size += len(record.value)
            if asked.newest_first and size > LIST_BYTES_MAX and kept:
                break
            kept.append(record)
            if asked.newest_first and len(kept) == asked.limit:
                break
            # The oldest are wanted, which come last.
            while len(kept) > asked.limit or (size > LIST_BYTES_MAX and len(kept) > 1):
                size -= len(kept.popleft().value)
        records = kept if asked.newest_first else reversed(kept)
        return [await self._decoded(record) for record in records]

    async def from_revision(self, revision: int) -> AsyncIterator[ActorCommit]:
        """Yield all from a revision on, oldest first, in bounded memory. Raises: as `listed`."""
        offsets, sizes = array("q"), array("q")
        async for record in self._applied(self._offset, revision):
            offsets.append(record.offset)
            sizes.append(len(record.value))
        async for record in self._forward(offsets, sizes):
            yield await self._decoded(record)

    async def state_at(self, revision: int) -> tuple[Any, Position]:
        """Return the state after a revision that there was, and the position of its record.

        Walks back to where a state begins: a record that holds one, a deletion, or the first one.
        So it takes time in proportion to the history, and bounded memory.

        Raises: ActorParked or NewerCodeNeeded (a record can't be read), LogUnreachable, ReplyGone.
        """
        offsets, sizes = array("q"), array("q")
        async for record in self._applied(self._offset, 1):
            if record.commit.revision > revision:
                continue
            offsets.append(record.offset)
            sizes.append(len(record.value))
            if record.commit.flags & _STANDS_ALONE:
                break
        actor_id = self._key.decode()
        base, last = Base(None, 0, False), self._offset
        async for record in self._forward(offsets, sizes):
            last = record.offset
            apply = partial(apply_commit, self._behavior, actor_id, base, last, record.value)
            step = await self._reading(last, apply)
            base = Base(step.state, step.revision, step.deleted)
        alive = base.revision > 0 and not base.deleted
        state = base.state if alive else self._behavior.initial(actor_id)
        return state, Position(*self._at, last)

    async def _forward(
        self, offsets: array[int], sizes: array[int]
    ) -> AsyncIterator[HistoryRecord]:
        """Yield the records at offsets, which are in the order of a walk back, the oldest first."""
        while offsets:
            count = _chunk(sizes)
            records: list[HistoryRecord] = []
            async for record in self._applied(offsets[-count], 1):
                records.append(record)
                if len(records) == count:
                    break
            del offsets[-count:], sizes[-count:]
            for record in reversed(records):
                yield record

    async def _applied(self, offset: int, from_revision: int) -> AsyncIterator[HistoryRecord]:
        """Yield the records that changed the actor, newest first, down to a revision."""
        try:
            async for record in walk_back(
                self._log, self._at, self._behavior.type, self._key, offset
            ):
                if record.commit.revision < from_revision:
                    return
                if record.commit.outcome == Outcome.APPLIED:
                    yield record
        except (OffsetGone, CorruptRecord) as error:
            raise ReplyGone(
                f"the history of {self._name} goes back further than the log is kept: {error}",
                hint="ask for later ones with from_revision",
            ) from error
        except LogError as error:
            raise LogUnreachable(f"the history of {self._name} can't be read: {error}") from error

    @property
    def _name(self) -> str:
        return f"{self._behavior.type}/{self._key.decode()}"

    async def _decoded(self, record: HistoryRecord) -> ActorCommit:
        commit = record.commit

        def decode(writers: Writers) -> ActorCommit:
            body = decode_commit_body(record.value, commit.body_at, writers)
            state = EncodedState(*body.state) if body.state is not None else None
            events = [EventData(*event) for event in body.events]
            return ActorCommit(
                commit.revision,
                commit.time_us,
                Position(*self._at, record.offset),
                body.action,
                body.caller,
                _events_json(self._behavior, events),
                _state_json(self._behavior, state),
                bool(commit.flags & Flag.DELETED),
            )

        return await self._reading(record.offset, decode)

    async def _reading(self, offset: int, read: Callable[[Writers], _T]) -> _T:
        """Return what is made of the record at `offset`, with schemas of newer nodes too.

        Raises: ActorParked, NewerCodeNeeded, LogUnreachable.
        """

        async def attempt() -> _T:
            return read(self._schemas.writers)

        try:
            return await self._schemas.reading(self._behavior, attempt)
        except UnreadableBody as error:
            raise _unreadable(self._name, offset, error) from error
        except LogError as error:
            text = f"the schemas that {self._name} was written with can't be read: {error}"
            raise LogUnreachable(text) from error


def _chunk(sizes: Sequence[int]) -> int:
    """Return how many records, counted from the end, can be held at once."""
    count = total = 0
    for size in reversed(sizes):
        total += size
        if count and (count == _CHUNK or total > LIST_BYTES_MAX):
            break
        count += 1
    return count


def commit_of_entry(behavior: Behavior, at: TopicPartition, entry: Entry) -> ActorCommit:
    """Return the change that a settled entry is. Raises: ActorParked - it can't be shown."""
    command, decision = entry.command, entry.decision
    try:
        return ActorCommit(
            entry.revision,
            entry.time_us,
            Position(*at, entry.offset),
            command.action,
            command.caller,
            _events_json(behavior, decision.events),
            _state_json(behavior, decision.replaced),
            decision.deleted,
        )
    except UnreadableBody as error:
        raise _unreadable(entry.actor.name, entry.offset, error) from error


def _events_json(behavior: Behavior, events: Sequence[EventData]) -> Sequence[tuple[str, bytes]]:
    return [(event.name, _shown(behavior.event_json, event)) for event in events]


def _state_json(behavior: Behavior, state: EncodedState | None) -> bytes | None:
    return None if state is None else _shown(behavior.state_json, behavior.decode_state(state))


def _shown(show: Callable[[Any], bytes], value: Any) -> bytes:
    """Return a value as JSON; it may be of user code that can be stored and has none."""
    try:
        return show(value)
    except UnreadableBody:
        raise
    except Exception as error:
        raise UnreadableBody(f"it has no JSON: {error}") from error


def _unreadable(name: str, offset: int, error: UnreadableBody) -> SpawnError:
    return unreadable(
        name, f"the record of {name} at offset {offset} can't be read: {error}", error
    )
