"""Activation: an actor's state from its snapshot, the tail, or the whole of its history.

Actors are loaded lazily and in batches. A store that went back to an older copy is noticed with
the very statement that loads, and the log is read again from there first (log protocol 4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from eventstore.codec import Writers
from eventstore.errors import (
    CorruptRecord,
    LogRefused,
    OffsetGone,
    TopicMissing,
    UnknownSchema,
    UnreadableBody,
    UnreadablePrefix,
)
from eventstore.history import walk_back
from eventstore.log import EventLog, TopicPartition
from eventstore.lookahead import look_ahead
from eventstore.records import NO_PREVIOUS, Commit, Outcome, StoredRecord
from eventstore.rows import ActorName, ActorRow, KeyRow, Loaded
from eventstore.snapshots import SnapshotStore
from spawn.core.actors import UNLOADED, Actor
from spawn.core.behavior import Behavior
from spawn.core.checkpoint import CheckpointUnreadable, restore_fold
from spawn.core.fold import Fold, LossDetected
from spawn.core.keys import BoundKey, Keys
from spawn.core.partition import Partition
from spawn.core.tail import WHOLE, Base, base_from_row, fold_tail
from spawn.errors import NotStarted, PartitionStopped, SpawnError
from spawn.runtime.outcomes import unreadable
from spawn.runtime.schema_book import SchemaBook

__all__ = ["HOOK_S", "Activation", "refold", "tell_activated"]

BATCH: Final = 200
"""Actors loaded by one statement; more would hold up the event loop while rows are decoded."""
HOOK_S: Final = 10.0
"""How long an `on_activate` may take; longer than most calls wait for what they ask outside, and
shorter than a call waits here (60 s)."""
HOOKS_MAX: Final = 200
"""Of a partition at once; further ones wait, and with them only their own actors."""
_SLICE: Final = 50
"""Actors rebuilt between two turns of the event loop."""


class Activation:
    """Loads the actors of one partition."""

    def __init__(
        self,
        at: TopicPartition,
        machine: Partition,
        log: EventLog,
        store: SnapshotStore,
        schemas: SchemaBook,
    ) -> None:
        self._at = at
        self._machine = machine
        self._log = log
        self._store = store
        self._schemas = schemas
        self._hooks = asyncio.Semaphore(HOOKS_MAX)
        self._reading_again = asyncio.Lock()

    async def load(self, actors: Sequence[Actor]) -> Mapping[Actor, SpawnError]:
        """Give every actor its state; return those whose state can't be rebuilt, and why.

        Raises: SnapshotError, LogError - nothing was changed for those not reached;
        PartitionStopped.
        """
        broken: dict[Actor, SpawnError] = {}
        missing = actors
        # More than once only for those whose tail grew meanwhile: the store went back.
        while missing := [a for a in missing if a.state is UNLOADED and a not in broken]:
            stored = await self._read(missing)
            for index, actor in enumerate(missing):
                if actor.state is not UNLOADED:
                    continue
                if index % _SLICE == _SLICE - 1:
                    await asyncio.sleep(0)
                try:
                    try:
                        await self._rebuild(actor, stored)
                    except UnknownSchema:
                        await self._rebuild_by_topic(actor, stored)
                except (CorruptRecord, OffsetGone) as error:
                    broken[actor] = unreadable(actor.name, f"{self._at} {error}", error)
        return broken

    async def _read(self, actors: Sequence[Actor]) -> Loaded:
        """Read the rows of those that need one, with the log in step with the store."""
        names = [
            (actor.table.type, actor.id.decode())
            for actor in actors
            if actor.tail is None or actor.tail.needs_base
        ]
        if not names:
            return Loaded(self._machine.residents.base, {}, {})
        while True:
            stored = await self._store.load(self._at, names)
            if stored.checkpoint >= self._machine.residents.base:
                return stored
            await self.read_again()

    async def read_again(self) -> None:
        """The store went back: take from the log again what it lost.

        Every record from the stored checkpoint on makes its actor dirty, so that the next flush
        writes it. Source: log protocol 4, last rule but one.
        """
        async with self._reading_again:  # twice at once would give actors their records twice
            try:
                await self._read_again()
            except (
                LossDetected,
                CheckpointUnreadable,
                UnreadablePrefix,
                LogRefused,
                TopicMissing,
            ) as error:
                raise PartitionStopped(
                    f"{self._at} stopped while the store was caught up: {error}", at=str(self._at)
                ) from error

    async def _read_again(self) -> None:
        machine = self._machine
        checkpoint = await self._store.checkpoint(self._at)
        end = machine.residents.base
        if checkpoint is None:
            start, _ = await self._log.bounds(self._at)
            fold = Fold(start)
        else:
            fold = restore_fold(checkpoint)
        if fold.position >= end:
            return
        lost: list[tuple[Commit, StoredRecord]] = []
        start = fold.position
        async for chunk in self._log.read(self._at, start, end):
            for index, record in enumerate(chunk):
                try:
                    commit = fold.step(record, chunk, index)
                except (LossDetected, UnreadablePrefix) as error:
                    if not await look_ahead(self._log, self._at, fold, error.offset):
                        raise
                    commit = fold.step(record)
                if commit is not None:
                    lost.append((commit, record))
        machine.residents.store_went_back(start, lost)

    async def _rebuild_by_topic(self, actor: Actor, stored: Loaded) -> None:
        """Give an actor its state, with schemas that newer nodes have written meanwhile."""
        reading, behavior = self._schemas.reading, actor.table.behavior
        try:
            await reading(behavior, lambda: self._rebuild(actor, stored))
        except UnknownSchema:  # perhaps of its snapshot alone, which is not needed
            await reading(behavior, lambda: self._rebuild(actor, stored, refolds=True))

    async def _rebuild(self, actor: Actor, stored: Loaded, *, refolds: bool = False) -> None:
        name: ActorName = (actor.table.type, actor.id.decode())
        behavior = actor.table.behavior
        row = stored.actors.get(name)
        tail = actor.tail
        offset = actor.offset
        if offset == NO_PREVIOUS and row is not None:
            offset = row.offset
        base = None if refolds else self._base(actor, row)
        writers = self._schemas.writers
        if base is None:
            base = await refold(self._log, self._at, behavior, actor.id, offset, writers)
        elif tail is not None:
            below = row.offset if row is not None else NO_PREVIOUS
            records = [record for record in tail.records if record[0] > below]
            base = fold_tail(behavior, name[1], base, records, writers)
        keys = _keys(stored.keys.get(name, ()))
        if tail is not None:
            keys = tail.bind_keys(keys)
        if actor.state is UNLOADED and actor.tail is tail:
            self._machine.residents.loaded(actor, base, offset, keys)

    async def wake(
        self,
        actor: Actor,
        tasks: asyncio.TaskGroup,
        done: Callable[[Actor, SpawnError | None], None],
    ) -> None:
        """Let a loaded actor's `on_activate` run, then call `done`.

        With an error: it did not end in time. The actor is then as before, and may be woken again.
        """
        error = None
        async with self._hooks:
            # A task of its own: one that does not end when it is cancelled is not waited for.
            hook = tasks.create_task(tell_activated(actor))
            await asyncio.wait({hook}, timeout=HOOK_S)
            if not hook.done():
                hook.cancel()
                error = NotStarted(
                    f"on_activate of {actor.name} has not ended within {HOOK_S:g} s, so the actor "
                    "can't be used",
                    at=actor.name,
                    hint="call again; on_activate must not wait long: give what it calls a limit",
                )
        done(actor, error)

    @staticmethod
    def _base(actor: Actor, row: ActorRow | None) -> Base | None:
        """Return where to start; None: nothing usable is stored, the history must be walked."""
        if row is not None:
            return base_from_row(actor.table.behavior, row)
        if actor.tail is not None and actor.tail.needs_base:
            return None
        return Base(None, 0, False)


async def tell_activated(actor: Actor) -> None:
    """Run a loaded actor's `on_activate`."""
    alive = actor.revision if not actor.deleted else 0
    await actor.table.behavior.on_activate(actor.id.decode(), actor.state, alive)


async def refold(
    log: EventLog,
    at: TopicPartition,
    behavior: Behavior,
    key: bytes,
    offset: int,
    writers: Writers,
) -> Base:
    """Fold an actor's history up to the record at `offset`; no snapshot is looked at.

    It begins at the last record that says the whole state, or at the first.

    Raises: CorruptRecord (a record can't be read, position named; or the log is not kept that far
    back), LogUnavailable, LogRefused.
    """
    records: list[tuple[int, bytes]] = []
    try:
        async for record in walk_back(log, at, behavior.type, key, offset):
            if record.commit.outcome == Outcome.APPLIED:
                records.append((record.offset, record.value))
                if record.commit.flags & WHOLE:
                    break  # what the actor was before no longer matters
    except OffsetGone as error:
        raise UnreadableBody(f"its history is no longer in the log: {error}") from error
    records.reverse()
    return fold_tail(behavior, key.decode(), Base(None, 0, False), records, writers)


def _keys(rows: Sequence[KeyRow]) -> Keys | None:
    if not rows:
        return None
    keys = Keys()
    for row in sorted(rows, key=lambda row: row.offset):
        keys.bound[row.key] = BoundKey(row.payload, row.offset, row.time_us)
    return keys
