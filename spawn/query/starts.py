"""Where to begin reading a partition: its checkpoint, if that fits the log, else the start."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from eventstore.errors import SnapshotError, UnreadablePrefix
from eventstore.log import EventLog, TopicPartition
from eventstore.lookahead import look_ahead
from eventstore.records import Commit, StoredRecord
from eventstore.rows import Checkpoint
from eventstore.snapshots import SnapshotStore
from spawn.core.checkpoint import CheckpointUnreadable, restore_fold
from spawn.core.fold import Fold, LossDetected, read_mark

__all__ = ["Start", "find_start", "step_through"]


class Start(NamedTuple):
    """A partition as it was when looked at."""

    fold: Fold
    """What stands below `fold.position`."""
    checkpoint: Checkpoint | None
    """The stored one that `fold` is from; None: there is none that can be used."""
    first: int
    """The log's first offset."""
    end: int
    """Offset of the next record."""
    problem: str = ""
    """Why the store was not used, where it should have been."""


async def find_start(log: EventLog, store: SnapshotStore | None, at: TopicPartition) -> Start:
    """Look at log and store. Raises: LogUnavailable, TopicMissing."""
    first, end = await log.bounds(at)
    if store is None:
        return Start(Fold(first), None, first, end)
    try:
        checkpoint = await store.checkpoint(at)
        if checkpoint is None:
            return Start(Fold(first), None, first, end)
        fold = restore_fold(checkpoint)
    except (SnapshotError, CheckpointUnreadable) as error:
        return Start(Fold(first), None, first, end, str(error))
    if checkpoint.offset < first or not await _fits(log, at, fold, first, end):
        problem = f"the checkpoint of {at} at {checkpoint.offset} is of another log"
        return Start(Fold(first), None, first, end, problem)
    return Start(fold, checkpoint, first, end)


async def step_through(
    log: EventLog, at: TopicPartition, fold: Fold, end: int
) -> AsyncIterator[tuple[StoredRecord, Commit]]:
    """Move the fold up to `end`; yield the valid commits on the way.

    Raises: UnreadablePrefix and LossDetected (the partition is stopped), LogUnavailable.
    """
    if fold.position >= end:
        return
    async for chunk in log.read(at, fold.position, end):
        for index, stored in enumerate(chunk):
            try:
                commit = fold.step(stored, chunk, index)
            except (UnreadablePrefix, LossDetected) as error:
                if not await look_ahead(log, at, fold, error.offset):
                    raise
                commit = fold.step(stored)
            if commit is not None:
                yield stored, commit
    fold.position = max(fold.position, end)


async def _fits(log: EventLog, at: TopicPartition, fold: Fold, first: int, end: int) -> bool:
    """Tell whether the last record below the checkpoint is the one that the log has there."""
    last = fold.position - 1
    if last >= end:
        return False
    if last < first:
        return True
    async for chunk in log.read(at, last, last + 1):
        for stored in chunk:
            return read_mark(stored) == fold.anchor
    return False
