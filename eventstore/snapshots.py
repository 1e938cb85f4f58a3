"""Port of the snapshot store: actors' states behind the log, and checkpoints of partitions.

A snapshot store is a cache of the log (design I6): all of it can be deleted and rebuilt. A
partition's **checkpoint at X** is the fold of its valid records below offset X; it and the rows
of all actors changed since the checkpoint before are written in one transaction (log protocol 4).
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence
from typing import Protocol

from eventstore.log import TopicPartition
from eventstore.rows import ActorListing, ActorName, Checkpoint, FlushSlice, HistoryRow, Loaded

__all__ = ["SnapshotStore"]


class SnapshotStore(Protocol):
    """Keeps checkpoints and snapshots. One object serves a whole process.

    Every call raises SnapshotsUnavailable when the database can't be reached or does not answer
    in time, and another SnapshotError when it answers that it will not (its tables are gone, say);
    the call then had no effect or its whole effect.
    """

    async def ping(self) -> None:
        """Return when the database has answered; it needs no tables for that."""
        ...

    async def time_us(self) -> int | None:
        """Return the database's own clock, microseconds since 1970 UTC; None: it has none."""
        ...

    async def migrate(self) -> Sequence[str]:
        """Bring the schema up to date, under a lock; return the names of migrations applied.

        Raises:
            SnapshotSchemaMismatch: a newer version made the tables, or a migration was changed.
        """
        ...

    async def checkpoint(self, at: TopicPartition) -> Checkpoint | None:
        """Return the partition's checkpoint, or None."""
        ...

    async def load(self, at: TopicPartition, actors: Sequence[ActorName]) -> Loaded:
        """Read the snapshots and keys of some actors, and the stored X, in one statement."""
        ...

    async def flush(
        self,
        at: TopicPartition,
        checkpoint: Checkpoint,
        base: int,
        slices: AsyncIterable[FlushSlice],
    ) -> bool:
        """Write a checkpoint with the rows of all actors changed since offset `base`.

        One transaction: applied whole iff `base <= stored X < checkpoint.offset` and the stored
        checkpoint is of the same log (no stored checkpoint counts as X = 0 of the same log).
        Returns whether it stands: applied, or found there (same log, claim and X), since the answer
        to its first try was lost. Otherwise nothing was changed, and slices were taken only if
        another flush came first meanwhile. A row never replaces one of a higher offset; one of the
        same offset it does, so that a state that could not be used (its checksum, its version) is
        mended without a new record. What the iterable raises comes out as it is, and nothing was
        written then. Several flushes may run at once; some wait for others, a load never does.
        """
        ...

    async def actors(
        self,
        at: TopicPartition,
        *,
        actor_type: str | None = None,
        after: ActorName | None = None,
        limit: int,
    ) -> Sequence[ActorListing]:
        """Return at most `limit` rows, of one type if it is named, without their states.

        In order of the ids' bytes, then of the types'; those behind the actor `after`, which need
        not exist.
        """
        ...

    async def history_before(
        self, at: TopicPartition, actor: ActorName, revision: int
    ) -> HistoryRow | None:
        """Return the actor's newest history row at or below `revision`, or None (time travel)."""
        ...

    async def discard(self, at: TopicPartition) -> bool:
        """Delete the partition's checkpoint and all its rows; True if there was a checkpoint."""
        ...

    async def close(self) -> None:
        """Let go of all connections without waiting for a dead server."""
        ...
