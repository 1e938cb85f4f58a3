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
            SnapshotSchemaMismatch: a newer version made the tables, and this one can't work beside
                it; or a migration was changed.
        """
        ...

    async def pending(self) -> Sequence[str]:
        """Return the names of migrations that `migrate` would apply. Raises: as `migrate`."""
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

    async def unusable(
        self, at: TopicPartition, *, after: ActorName | None = None, limit: int
    ) -> Sequence[ActorListing]:
        """Return at most `limit` rows that only tell where an actor's history ends.

        Their version is `NO_STATE`: the actor is parked, or its state too large for a snapshot. In
        the order of `actors`.
        """
        ...

    async def relabel(self, at: TopicPartition, checkpoint: Checkpoint, log_id: bytes) -> bool:
        """Say that the stored checkpoint belongs to the log `log_id` from now on.

        For an operator who accepts a loss (log protocol 11). Iff the stored one has that offset
        and claim; returns whether it had.
        """
        ...

    async def topics(self) -> Sequence[str]:
        """Return the topics of this system that anything is kept of, sorted."""
        ...

    async def forget(self, topic: str) -> bool:
        """Delete all that is kept of a topic's partitions; return whether there was anything."""
        ...

    async def close(self) -> None:
        """Let go of all connections without waiting for a dead server."""
        ...
