"""Who owns the partitions, and how far the database is behind: from log and store alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from eventstore.codec import SHIPPED, ClaimBody, Writers, decode_claim_body
from eventstore.errors import CorruptRecord, UnreadableBody
from eventstore.log import EventLog, TopicPartition
from eventstore.records import NO_CLAIM, Claim, Commit, Prefix, Release, decode_prefix
from eventstore.snapshots import SnapshotStore
from spawn.core.fold import Fold, LossDetected
from spawn.query.starts import Start, find_start, step_through

__all__ = ["PartitionLine", "list_partitions"]

_AT_ONCE: Final = 8
_JUMPS_MAX: Final = 200
"""Looks back for a claim; it is found with a few unless many records before it are void."""
_WINDOW: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionLine:
    """One partition as log and store tell it."""

    topic: str
    partition: int
    owner: str
    """Address of the node with the current claim; empty: never claimed, or the claim is gone."""
    claim: str
    """Hexadecimal; empty: never claimed."""
    epoch: int
    released: bool
    """The owner has given it up; whoever claims next need not wait."""
    start: int
    end: int
    """Offset of the next record."""
    checkpoint: int | None
    """Everything below it is in the database; None: there is no checkpoint that fits the log."""
    lag: int
    """Records that a new owner has to read: those behind the checkpoint."""
    problem: str
    """What keeps it from being read to its end, or the checkpoint from being used."""


async def list_partitions(
    log: EventLog,
    store: SnapshotStore | None,
    topics: Mapping[str, int],
    writers: Writers = SHIPPED,
) -> Sequence[PartitionLine]:
    """Return all partitions of some topics, by topic and number.

    `writers` are what claims' bodies may have been written with, on nodes of later releases too.
    Without a store each partition's log is read from its start. Raises: LogUnavailable.
    """
    turns = asyncio.Semaphore(_AT_ONCE)

    async def look(at: TopicPartition) -> PartitionLine:
        async with turns:
            return await _look_at(log, store, at, writers)

    places = [TopicPartition(topic, n) for topic, count in topics.items() for n in range(count)]
    async with asyncio.TaskGroup() as tasks:
        looks = [tasks.create_task(look(at)) for at in places]
    return [each.result() for each in looks]


async def _look_at(
    log: EventLog, store: SnapshotStore | None, at: TopicPartition, writers: Writers
) -> PartitionLine:
    start = await find_start(log, store, at)
    problem = start.problem
    try:
        async for _ in step_through(log, at, start.fold, start.end):
            pass
    except (CorruptRecord, LossDetected) as error:
        problem = f"stopped: {error}"
    fence, checkpoint = start.fold.fence, start.checkpoint
    body = await _claim_body(log, at, start, writers) if fence.claim != NO_CLAIM else None
    return PartitionLine(
        topic=at.topic,
        partition=at.partition,
        owner=body.endpoint if body else "",
        claim=fence.claim.hex() if fence.claim != NO_CLAIM else "",
        epoch=fence.epoch,
        released=fence.released,
        start=start.first,
        end=start.end,
        checkpoint=checkpoint.offset if checkpoint else None,
        lag=start.end - (checkpoint.offset if checkpoint else start.first),
        problem=problem,
    )


async def _claim_body(
    log: EventLog, at: TopicPartition, start: Start, writers: Writers
) -> ClaimBody | None:
    """Find the current claim's record by the sequence numbers of what followed it.

    The record with sequence s of a claim stands at least s + 1 behind it, further only for void
    records in between: so a few jumps lead there.
    """
    fold: Fold = start.fold
    claim = fold.fence.claim
    last = fold.position - 1 - fold.fence.next
    for _ in range(_JUMPS_MAX):
        if last < start.first:
            return None
        prefixes = await _prefixes(log, at, max(start.first, last - _WINDOW + 1), last)
        for offset, prefix, value in reversed(prefixes):
            if isinstance(prefix, Claim) and prefix.claim == claim:
                try:
                    return decode_claim_body(value, prefix.body_at, writers)
                except UnreadableBody:
                    return None
            if isinstance(prefix, Commit | Release) and prefix.claim == claim:
                last = offset - prefix.sequence - 1
                break
        else:
            last -= _WINDOW
    return None


async def _prefixes(
    log: EventLog, at: TopicPartition, first: int, last: int
) -> Sequence[tuple[int, Prefix, bytes]]:
    found = []
    async for chunk in log.read(at, first, last + 1):
        for stored in chunk:
            try:
                prefix = decode_prefix(stored.value)
            except CorruptRecord:
                continue
            if prefix is not None and stored.value is not None:
                found.append((stored.offset, prefix, stored.value))
    return found
