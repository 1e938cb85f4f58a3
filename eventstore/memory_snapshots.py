"""Snapshot store in memory: the twin of `postgres_snapshots`, for tests and simulations.

It keeps the same promises (one contract suite holds both to them) and plays what a database does to
its users: it goes away and comes back, takes effect without saying so, and goes back in time. It
has no clock and no randomness, and waits for nothing but the slices of a flush. Several owners of
one system share one object.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import dataclass, field, replace

from eventstore.errors import SnapshotsUnavailable
from eventstore.log import TopicPartition
from eventstore.rows import (
    NO_STATE,
    ActorListing,
    ActorName,
    ActorRow,
    Checkpoint,
    FlushSlice,
    HistoryRow,
    KeyRow,
    Loaded,
    flush_applies,
    flush_stands,
)
from eventstore.snapshots import SnapshotStore

__all__ = ["MemoryCopy", "MemorySnapshots"]

_ALL = 2**62


@dataclass(slots=True)
class _Partition:
    """What is kept of one partition; the rows themselves never change."""

    checkpoint: Checkpoint
    actors: dict[ActorName, ActorRow] = field(default_factory=dict)
    history: dict[ActorName, dict[int, HistoryRow]] = field(default_factory=dict)
    keys: dict[ActorName, dict[bytes, KeyRow]] = field(default_factory=dict)

    def copy(self) -> _Partition:
        return _Partition(
            self.checkpoint,
            dict(self.actors),
            {actor: dict(rows) for actor, rows in self.history.items()},
            {actor: dict(rows) for actor, rows in self.keys.items()},
        )

    def merge(self, pieces: Sequence[FlushSlice]) -> None:
        for piece in pieces:
            for type_, id_, key in piece.dropped_keys:
                self.keys.get((type_, id_), {}).pop(key, None)
        for piece in pieces:
            for row in piece.actors:
                kept = self.actors.get((row.type, row.id))
                if kept is None or kept.offset <= row.offset:
                    self.actors[row.type, row.id] = row
            for past in piece.history:
                revisions = self.history.setdefault((past.type, past.id), {})
                if (at := revisions.get(past.revision)) is None or at.offset <= past.offset:
                    revisions[past.revision] = past
            for key_row in piece.keys:
                keys = self.keys.setdefault((key_row.type, key_row.id), {})
                if (old := keys.get(key_row.key)) is None or old.offset <= key_row.offset:
                    keys[key_row.key] = key_row


class MemoryCopy:
    """The whole store as it was once; taken by `copy`, good for any number of `put_back`."""

    def __init__(self, partitions: dict[TopicPartition, _Partition]) -> None:
        self._partitions = {at: kept.copy() for at, kept in partitions.items()}

    def partitions(self) -> dict[TopicPartition, _Partition]:
        return {at: kept.copy() for at, kept in self._partitions.items()}


class MemorySnapshots(SnapshotStore):
    """Snapshots of one system, gone with this object."""

    def __init__(self) -> None:
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._is_down = False
        self._is_closed = False
        self._loses_answer = False
        self.clock: Callable[[], int] | None = None
        """What `time_us` tells; nothing, unless a test gives it."""

    def go_down(self) -> None:
        """From now on every call raises SnapshotsUnavailable, flushes under way included."""
        self._is_down = True

    def come_up(self) -> None:
        """Answer again, with everything that was there before."""
        self._is_down = False

    def lose_answer(self) -> None:
        """Let the next flush or discard that applies take its effect and raise all the same."""
        self._loses_answer = True

    def copy(self) -> MemoryCopy:
        """Return a copy of everything, as a standby or a backup has it."""
        return MemoryCopy(self._partitions)

    def put_back(self, copy: MemoryCopy) -> None:
        """Be as at the moment of the copy: a standby that was behind took over."""
        self._partitions = copy.partitions()

    def lose(self, at: TopicPartition) -> None:
        """Forget a partition's checkpoint and rows, as if never written."""
        self._partitions.pop(at, None)

    async def ping(self) -> None:
        self._answer()

    async def time_us(self) -> int | None:
        self._answer()
        return None if self.clock is None else self.clock()

    async def migrate(self) -> Sequence[str]:
        self._answer()
        return []

    async def pending(self) -> Sequence[str]:
        self._answer()
        return []

    async def checkpoint(self, at: TopicPartition) -> Checkpoint | None:
        self._answer()
        kept = self._partitions.get(at)
        return kept.checkpoint if kept is not None else None

    async def load(self, at: TopicPartition, actors: Sequence[ActorName]) -> Loaded:
        self._answer()
        kept = self._partitions.get(at)
        if kept is None:
            return Loaded(0, {}, {})
        return Loaded(
            kept.checkpoint.offset,
            {name: kept.actors[name] for name in actors if name in kept.actors},
            {
                name: sorted(keys.values(), key=lambda row: (row.offset, row.key))
                for name in actors
                if (keys := kept.keys.get(name))
            },
        )

    async def flush(
        self,
        at: TopicPartition,
        checkpoint: Checkpoint,
        base: int,
        slices: AsyncIterable[FlushSlice],
    ) -> bool:
        self._answer()
        if not self._applies(at, checkpoint, base):
            return self._stands(at, checkpoint)
        pieces = [piece async for piece in slices]
        # Everything may have changed meanwhile; from here on it is one step.
        self._answer()
        if not self._applies(at, checkpoint, base):
            return self._stands(at, checkpoint)
        kept = self._partitions.setdefault(at, _Partition(checkpoint))
        kept.merge(pieces)
        kept.checkpoint = checkpoint
        self._answer_of_effect()
        return True

    async def actors(
        self,
        at: TopicPartition,
        *,
        actor_type: str | None = None,
        after: ActorName | None = None,
        limit: int,
    ) -> Sequence[ActorListing]:
        self._answer()
        kept = self._partitions.get(at)
        behind = _listed(after) if after is not None else (b"", "")
        rows = [
            ActorListing(row.type, row.id, row.revision, row.offset, row.deleted)
            for name, row in (kept.actors.items() if kept is not None else ())
            if _listed(name) > behind and actor_type in (None, row.type)
        ]
        return sorted(rows, key=lambda row: _listed((row.type, row.id)))[:limit]

    async def history_before(
        self, at: TopicPartition, actor: ActorName, revision: int
    ) -> HistoryRow | None:
        self._answer()
        kept = self._partitions.get(at)
        revisions = kept.history.get(actor, {}) if kept is not None else {}
        nearest = max((number for number in revisions if number <= revision), default=None)
        return revisions[nearest] if nearest is not None else None

    async def discard(self, at: TopicPartition) -> bool:
        self._answer()
        was_there = self._partitions.pop(at, None) is not None
        self._answer_of_effect()
        return was_there

    async def unusable(
        self, at: TopicPartition, *, after: ActorName | None = None, limit: int
    ) -> Sequence[ActorListing]:
        rows = await self.actors(at, after=after, limit=_ALL)
        kept = self._partitions.get(at)
        return [
            row
            for row in rows
            if kept is not None and kept.actors[row.type, row.id].version == NO_STATE
        ][:limit]

    async def relabel(self, at: TopicPartition, checkpoint: Checkpoint, log_id: bytes) -> bool:
        self._answer()
        kept = self._partitions.get(at)
        if kept is None:
            return False
        stored = kept.checkpoint
        if (stored.offset, stored.claim) != (checkpoint.offset, checkpoint.claim):
            return False
        kept.checkpoint = replace(stored, log_id=log_id)
        self._answer_of_effect()
        return True

    async def topics(self) -> Sequence[str]:
        self._answer()
        return sorted({at.topic for at in self._partitions})

    async def forget(self, topic: str) -> bool:
        self._answer()
        gone = [at for at in self._partitions if at.topic == topic]
        for at in gone:
            del self._partitions[at]
        self._answer_of_effect()
        return bool(gone)

    async def close(self) -> None:
        self._is_closed = True

    def _answer(self) -> None:
        if self._is_down or self._is_closed:
            raise SnapshotsUnavailable("the snapshot store in memory is down")

    def _answer_of_effect(self) -> None:
        if self._loses_answer:
            self._loses_answer = False
            raise SnapshotsUnavailable("the snapshot store in memory lost an answer")

    def _applies(self, at: TopicPartition, checkpoint: Checkpoint, base: int) -> bool:
        kept = self._partitions.get(at)
        if kept is None:
            return flush_applies(checkpoint, base, None, None)
        stored = kept.checkpoint
        return flush_applies(checkpoint, base, stored.offset, stored.log_id)

    def _stands(self, at: TopicPartition, checkpoint: Checkpoint) -> bool:
        kept = self._partitions.get(at)
        if kept is None:
            return False
        stored = kept.checkpoint
        return flush_stands(checkpoint, stored.offset, stored.log_id, stored.claim)


def _listed(actor: ActorName) -> tuple[bytes, str]:
    """Return what actors are sorted by."""
    return actor[1].encode(), actor[0]
