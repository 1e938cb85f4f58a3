"""How far a partition can be read, and what stops its readers there.

The rules are those of every reader (log protocol 3 and 11); nothing is written. Memory is bounded
by what is wrong, not by what is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from eventstore.codec import decode_claim_body
from eventstore.errors import CorruptRecord, OffsetGone, UnreadablePrefix
from eventstore.log import EventLog, TopicPartition
from eventstore.lookahead import look_ahead
from eventstore.records import Claim, Commit, StoredRecord, decode_prefix
from eventstore.rows import Checkpoint
from eventstore.snapshots import SnapshotStore
from spawn.core.checkpoint import CheckpointUnreadable, restore_fold
from spawn.core.fold import Fold, LossDetected, read_mark

__all__ = ["Behind", "Scan", "Stop", "behind", "describe", "fold_on", "read_at", "scan"]

_OLD_END_LOOKS = 25
_LOOK_S = 0.2
"""So often is an end of the log below what the database has taken for an old one: as long as a
node does, since what follows here can't be taken back."""
_NAMES_MAX = 10_000
"""Actors counted one by one behind a stop; a count above is told as `more than`."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A record that nobody may pass over, and that no Claim declares void."""

    offset: int
    is_loss: bool
    """It can be read, and is evidence that records before it are gone; else it can't be read."""
    text: str


@dataclass(slots=True, kw_only=True)
class Scan:
    """A partition, as far as it can be read."""

    at: TopicPartition
    first: int
    end: int
    """Offset of the next record."""
    checkpoint: Checkpoint | None
    """The stored one, whether it fits the log or not."""
    mismatch: str
    """Why the checkpoint and the log don't belong together; empty: they do, or there is none."""
    foreign: str
    """Whose topic it is if it is not this system's."""
    fold: Fold
    """Everything below its position; where the partition stops, that is the stop."""
    stop: Stop | None


@dataclass(slots=True)
class Behind:
    """What stands behind a stop, counting the record itself."""

    records: int = 0
    commits: int = 0
    """That can be read; whether they would count, nobody knows."""
    unreadable: int = 0
    epoch: int = 0
    """The highest one."""
    actors: set[tuple[bytes, bytes]] = field(default_factory=set)
    has_more_actors: bool = False

    def text(self) -> str:
        """Say it for people."""
        actors = f"{'more than ' if self.has_more_actors else ''}{len(self.actors)}"
        return f"{self.records} records, among them {self.commits} commits of {actors} actors"


async def scan(
    log: EventLog,
    store: SnapshotStore | None,
    at: TopicPartition,
    system: str,
    met: Callable[[StoredRecord, Commit], None] | None = None,
) -> Scan:
    """Read a partition from its checkpoint on, if that fits the log, else from its start.

    `met` is shown each valid commit. Raises: LogUnavailable, SnapshotError, TopicMissing.
    """
    # In this order: a node that runs may flush in between, never the other way round.
    checkpoint = await store.checkpoint(at) if store is not None else None
    first, end = await _bounds(log, at, 0 if checkpoint is None else checkpoint.offset)
    mismatch, fold = "", None
    if checkpoint is not None:
        try:
            fold = restore_fold(checkpoint)
        except CheckpointUnreadable:
            fold = None  # a node reads from the log's start then
        else:
            mismatch = await _mismatch(log, at, checkpoint, fold, first, end)
    if fold is None or mismatch:
        fold = Fold(first)
    found = Scan(
        at=at,
        first=first,
        end=end,
        checkpoint=checkpoint,
        mismatch=mismatch,
        foreign=await _foreign(log, at, system, first, end),
        fold=fold,
        stop=None,
    )
    if not found.foreign:
        found.stop = await fold_on(log, at, fold, end, met)
    return found


async def _bounds(log: EventLog, at: TopicPartition, least: int) -> tuple[int, int]:
    """Return the log's bounds; an end below `least` is believed only if it is told for a while.

    A leader of the log that was deposed while it was frozen tells an old one (log protocol 6).
    """
    first, end = await log.bounds(at)
    for _ in range(_OLD_END_LOOKS):
        if end >= least:
            break
        await asyncio.sleep(_LOOK_S)
        first, end = await log.bounds(at)
    return first, end


async def fold_on(
    log: EventLog,
    at: TopicPartition,
    fold: Fold,
    end: int,
    met: Callable[[StoredRecord, Commit], None] | None = None,
) -> Stop | None:
    """Fold up to `end`, or up to a record that nobody may pass over. Raises: LogUnavailable."""
    if fold.position >= end:
        return None
    async for chunk in log.read(at, fold.position, end):
        for index, stored in enumerate(chunk):
            try:
                commit = fold.step(stored, chunk, index)
            except (UnreadablePrefix, LossDetected) as error:
                if not await look_ahead(log, at, fold, error.offset):
                    return Stop(stored.offset, isinstance(error, LossDetected), str(error))
                commit = fold.step(stored)
            if commit is not None and met is not None:
                met(stored, commit)
    fold.position = max(fold.position, end)
    return None


async def behind(log: EventLog, at: TopicPartition, start: int, end: int) -> Behind:
    """Count what stands from `start` on. Raises: LogUnavailable."""
    found = Behind()
    async for stored in _records(log, at, start, end):
        found.records += 1
        try:
            prefix = decode_prefix(stored.value)
        except UnreadablePrefix:
            found.unreadable += 1
            continue
        if prefix is None:
            continue
        found.epoch = max(found.epoch, prefix.epoch)
        if isinstance(prefix, Commit):
            found.commits += 1
            if len(found.actors) < _NAMES_MAX:
                found.actors.add((prefix.type, stored.key or b""))
            else:
                found.has_more_actors = True
    return found


async def read_at(log: EventLog, at: TopicPartition, offset: int) -> StoredRecord | None:
    """Return the record at an offset below the log's end; None: it is gone, or there is a hole."""
    try:
        async for chunk in log.read(at, offset, offset + 1):
            for stored in chunk:
                return stored
    except OffsetGone:
        pass
    return None


def describe(stored: StoredRecord) -> str:
    """Say what a record is that can be read."""
    try:
        prefix = decode_prefix(stored.value)
    except UnreadablePrefix as error:
        return f"one that can't be read: {error}"
    if isinstance(prefix, Commit):
        key = (stored.key or b"").decode(errors="replace")
        return f"a commit of {prefix.type.decode(errors='replace')}/{key}, rev {prefix.revision}"
    return "no record of Spawn's" if prefix is None else f"a {type(prefix).__name__}"


async def _records(
    log: EventLog, at: TopicPartition, start: int, end: int
) -> AsyncIterator[StoredRecord]:
    if start < end:
        async for chunk in log.read(at, start, end):
            for stored in chunk:
                yield stored


async def _mismatch(
    log: EventLog, at: TopicPartition, checkpoint: Checkpoint, fold: Fold, first: int, end: int
) -> str:
    """Say why a checkpoint does not fit the log; empty: it does."""
    last = checkpoint.offset - 1
    if checkpoint.offset > end:
        return (
            f"the database has everything below offset {checkpoint.offset}, the log ends at {end}"
            f"{' and is empty' if first == end else ''}: records that were acknowledged are gone"
        )
    if checkpoint.offset < first:
        return (
            f"the database has everything below offset {checkpoint.offset}, the log begins at "
            f"{first}: the records between them are gone"
        )
    if last < first:
        return ""
    stored = await read_at(log, at, last)
    if stored is not None and read_mark(stored) == fold.anchor:
        return ""
    return (
        f"the record at offset {last} is not the one that was there when the database was written: "
        "the log lost records and used their offsets again, or is another one"
    )


async def _foreign(log: EventLog, at: TopicPartition, system: str, first: int, end: int) -> str:
    """Say whose topic it is by its first record, as a node judges it; empty: this system's."""
    if first >= end:
        return ""
    stored = await read_at(log, at, first)
    if stored is None:
        return ""
    try:
        prefix = decode_prefix(stored.value)
        if isinstance(prefix, Claim) and stored.value is not None:
            owner = decode_claim_body(stored.value, prefix.body_at).system
            return "" if owner == system else f"system {owner!r}"
    except CorruptRecord:
        return ""
    return "" if first > 0 or prefix is not None else "no Spawn system"
