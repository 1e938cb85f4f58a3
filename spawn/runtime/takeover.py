"""Taking a partition over: checkpoint, tail, claim, wait (log protocol 5 and 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from eventstore.codec import SHIPPED, ClaimBody, Writers, decode_claim_body, encode_claim_body
from eventstore.errors import (
    LogError,
    LogRefused,
    LogUnavailable,
    SnapshotError,
    TopicMissing,
    UnknownSchema,
    UnreadableBody,
    UnreadablePrefix,
)
from eventstore.log import LogRecord, TopicPartition
from eventstore.lookahead import look_ahead
from eventstore.records import Claim, Prefix, StoredRecord, decode_prefix, encode_claim
from eventstore.rows import Checkpoint
from spawn.core.behavior import Behavior
from spawn.core.checkpoint import CheckpointUnreadable
from spawn.core.fold import LossDetected
from spawn.core.partition import WAIT_S, Partition
from spawn.core.residents import TypeNotServed
from spawn.errors import ForeignLog, PartitionStopped
from spawn.runtime.clock_check import tell_of_future
from spawn.runtime.context import NodeContext
from spawn.runtime.partition_log import PartitionLogger
from spawn.runtime.waiting import Backoff

__all__ = [
    "ForeignSnapshots",
    "OwnRecord",
    "PartitionLost",
    "append_claim",
    "fold_all",
    "read_owner",
    "take_over",
]

_LOGGER: Final = "spawn.partition"

_OLD_END_LOOKS: Final = 9
"""So often is a log's end below the checkpoint's X taken for an old one: for some 5 s."""
_REPLAY_SLICE: Final = 2_000
"""Records folded between two turns of the event loop: a few milliseconds."""


class PartitionLost(Exception):
    """A valid claim of another process was read."""

    def __init__(self, at: TopicPartition, owner: ClaimBody | None, offset: int) -> None:
        who = "another process" if owner is None else f"node {owner.owner.hex()[:8]}"
        where = f" at {owner.endpoint}" if owner is not None and owner.endpoint else ""
        super().__init__(f"{who}{where} owns {at} since offset {offset}")
        self.at = at
        self.owner = owner
        self.offset = offset


class OwnRecord(NamedTuple):
    """A record that this process wrote and knows the place of, as the log would give it back."""

    offset: int
    key: bytes | None
    value: bytes | None


async def take_over(
    context: NodeContext,
    at: TopicPartition,
    behaviors: Sequence[Behavior],
    reason: str,
    may_claim: Callable[[TopicPartition], Awaitable[bool]],
    keep: Callable[[Partition], None],
) -> Partition:
    """Read the partition, claim it, wait out the old owner's lease; return it active.

    `may_claim` is awaited between reading and claiming: an owner that hands over goes on meanwhile.
    It returns whether that took so long that what was read is old.
    `keep` is shown each machine as soon as it exists, for statistics. While log or store do not
    answer it tries again for as long as it is let.

    Raises:
        PartitionLost: another process claimed at the same moment and was first.
        PartitionStopped: the log lost records, holds an unreadable one, or refuses its part.
        ForeignLog: the topic or the snapshots belong to something else.
    """
    backoff = Backoff()
    claims: set[bytes] = set()
    while True:
        machine = Partition(behaviors, context.settings.limits)
        machine.claims = claims  # a claim of an earlier attempt may land late: it is ours too
        keep(machine)
        try:
            async with context.takeovers:
                start = await _read_to_end(context, at, machine)
            is_old = await may_claim(at)
            async with context.takeovers:
                if is_old:
                    # What an owner has written since would else be folded while nobody serves.
                    await _read_on(context, at, machine)
                await _claim(context, at, machine, reason, start)
        except (LogUnavailable, SnapshotError) as error:
            if isinstance(error, LogUnavailable):
                context.outstanding.log_failures += 1
            else:
                context.outstanding.store_failures += 1
            PartitionLogger(_LOGGER, at).warning("%s: taking it over waits: %s", at, error)
            await backoff.sleep()
            continue
        except TypeNotServed as error:
            raise PartitionStopped(
                f"{at} can't be taken over: {error}",
                at=str(at),
                hint="types that share a topic are served by the same nodes: start this one with "
                "all of them; its other topics go on",
            ) from error
        except (LossDetected, UnreadablePrefix) as error:
            raise PartitionStopped(
                f"{at} can't be taken over: {error}",
                at=str(at),
                hint="nothing was written; the partition stays stopped until an operator decides",
            ) from error
        except (LogRefused, TopicMissing) as error:
            raise PartitionStopped(
                f"{at} can't be taken over: {error}",
                at=str(at),
                hint="mend what the log says, then restart the node; other partitions go on",
            ) from error
        if machine.displaces_live_claim:
            await asyncio.sleep(WAIT_S)
        tell_of_future(context, at, machine.fold.time_us)
        machine.activate()
        return machine


async def _read_to_end(context: NodeContext, at: TopicPartition, machine: Partition) -> int:
    """Read the tail, or all there is; return the log's first offset."""
    checkpoint = await context.store.checkpoint(at)
    start, end = await _bounds(context, at, 0 if checkpoint is None else checkpoint.offset)
    checkpoint = await _usable(context, at, checkpoint, start, end)
    try:
        first = machine.restore(checkpoint, start)
    except CheckpointUnreadable as error:
        log = PartitionLogger(_LOGGER, at)
        log.warning("%s: %s; reading the log from its start", at, error)
        first = machine.restore(None, start)
    await _refuse_foreign(context, at, start, end)
    try:
        await _read(context, at, machine, first, end)
    except LossDetected as error:
        if checkpoint is not None and not await _knows(context, at, checkpoint.log_id, start, end):
            what = f"the snapshots of {at} are of another log than the one there now"
            raise _foreign_snapshots(at, checkpoint, what) from error
        raise
    return start


async def fold_all(
    context: NodeContext,
    at: TopicPartition,
    machine: Partition,
    records: Sequence[StoredRecord],
    take: Callable[[Sequence[StoredRecord]], object],
) -> None:
    """Give records to the machine by one of its methods; look ahead for those it can't pass.

    Raises: LossDetected, UnreadablePrefix - no Claim to the log's end declares it void.
    """
    while True:
        try:
            take(records)
            return
        except (LossDetected, UnreadablePrefix) as error:
            if not await look_ahead(context.log, at, machine.fold, error.offset):
                raise
            records = [each for each in records if each.offset >= (error.offset or 0)]


async def _read(
    context: NodeContext, at: TopicPartition, machine: Partition, first: int, end: int
) -> None:
    """Fold records in slices, so that the event loop turns meanwhile."""
    async for chunk in context.log.read(at, first, end):
        for index in range(0, len(chunk), _REPLAY_SLICE):
            records = chunk[index : index + _REPLAY_SLICE]
            await fold_all(context, at, machine, records, machine.replay)
            await asyncio.sleep(0)


async def _read_on(context: NodeContext, at: TopicPartition, machine: Partition) -> None:
    """Fold what was written since the last reading.

    Raises: PartitionLost - another one has claimed meanwhile, and is not to be displaced for that.
    """
    position, claim = machine.fold.position, machine.fold.fence.claim
    _, end = await context.log.bounds(at)
    if end > position:  # a lower one is an old end: the claim will show
        await _read(context, at, machine, position, end)
    if machine.fold.fence.claim != claim:
        raise await lost_to(context, at, machine)


async def _bounds(context: NodeContext, at: TopicPartition, least: int) -> tuple[int, int]:
    """Return the log's bounds; an end below `least` is believed only if it is told for a while.

    A leader of the log that was deposed while it was frozen tells an old one (log protocol 6).
    """
    backoff = Backoff()
    start, end = await context.log.bounds(at)
    for _ in range(_OLD_END_LOOKS):
        if end >= least or context.settings.discard_stale_snapshots:
            break
        await backoff.sleep()
        start, end = await context.log.bounds(at)
    return start, end


async def _usable(
    context: NodeContext, at: TopicPartition, checkpoint: Checkpoint | None, start: int, end: int
) -> Checkpoint | None:
    """Return the checkpoint unless it is of a log that is longer than this one ever was.

    Raises: LossDetected - records behind the checkpoint are no longer kept.
    """
    if checkpoint is None or start <= checkpoint.offset <= end:
        return checkpoint
    if checkpoint.offset < start:
        raise LossDetected(
            f"the snapshots reach offset {checkpoint.offset}, the log begins at {start}: the "
            "records between them are gone"
        )
    if context.settings.discard_stale_snapshots:
        await context.store.discard(at)
        if at.topic not in context.discarded:
            context.discarded.add(at.topic)
            context.say(f"discarded the snapshots of {at.topic}: its log is gone")
        return None
    what = f"the snapshots of {at} reach offset {checkpoint.offset}, the log ends at {end}"
    raise _foreign_snapshots(at, checkpoint, what)


class ForeignSnapshots(ForeignLog):
    """The snapshots are of another log, or this one has lost what they are of."""


def _foreign_snapshots(at: TopicPartition, checkpoint: Checkpoint, what: str) -> ForeignSnapshots:
    return ForeignSnapshots(
        f"{what}: they belong to another log (id {checkpoint.log_id.hex()}), or the log lost its "
        "records",
        at=str(at),
        hint="point SPAWN_POSTGRES_DSN and SPAWN_KAFKA_BOOTSTRAP_SERVERS at servers that belong "
        "together, or use another system name",
    )


async def _knows(
    context: NodeContext, at: TopicPartition, log_id: bytes, start: int, end: int
) -> bool:
    """Tell whether some claim bears that log id, or none is left; reads all of the partition."""
    claims = 0
    async for chunk in context.log.read(at, start, end):
        for stored in chunk:
            record = _readable(stored)
            if isinstance(record, Claim):
                claims += 1
                if record.log_id == log_id:
                    return True
        await asyncio.sleep(0)
    return claims == 0


def _is_unreadable(stored: StoredRecord) -> bool:
    try:
        decode_prefix(stored.value)
    except UnreadablePrefix:
        return True
    return False


def _readable(stored: StoredRecord) -> Prefix | None:
    try:
        return decode_prefix(stored.value)
    except UnreadablePrefix:
        return None


async def _refuse_foreign(context: NodeContext, at: TopicPartition, start: int, end: int) -> None:
    """Refuse a topic whose first claim names another system, or that is not ours at all."""
    if start >= end:
        return
    async for chunk in context.log.read(at, start, start + 1):
        for stored in chunk:
            owner = await _owner_of(context, at, stored)
            if owner is None and (start > 0 or _is_unreadable(stored)):
                return  # the oldest record kept is no claim, or can't be read: nothing is told
            if owner is None or owner.system != context.system:
                whose = "no Spawn system" if owner is None else f"system {owner.system!r}"
                raise ForeignLog(
                    f"topic {at.topic} was written by {whose}, not by {context.system!r}",
                    at=f"{at}@{stored.offset}",
                    hint="use another system name (SPAWN_SYSTEM) or another topic",
                )


async def _owner_of(
    context: NodeContext, at: TopicPartition, stored: StoredRecord
) -> ClaimBody | None:
    """Return who wrote a claim, also one of a later release. Raises: PartitionStopped."""

    async def read() -> ClaimBody | None:
        return read_owner(stored, context.schemas.writers)

    try:
        return await context.schemas.reading(None, read)
    except UnknownSchema as error:
        raise PartitionStopped(
            f"{at}@{stored.offset} can't be read: {error}",
            at=str(at),
            hint="a later release of Spawn wrote it: upgrade this node",
        ) from error


def read_owner(stored: StoredRecord, writers: Writers = SHIPPED) -> ClaimBody | None:
    """Return who wrote a claim; None for any other record. Raises: UnknownSchema."""
    try:
        record = decode_prefix(stored.value)
        if isinstance(record, Claim) and stored.value is not None:
            return decode_claim_body(stored.value, record.body_at, writers)
    except UnknownSchema:
        raise
    except (UnreadablePrefix, UnreadableBody):
        pass
    return None


async def append_claim(
    context: NodeContext, at: TopicPartition, machine: Partition, reason: str
) -> OwnRecord:
    """Append a claim on the current one; return it where it stands. Raises: LogUnavailable."""
    claim = machine.claim(context.new_id(), context.new_id())
    body = ClaimBody(context.system, context.owner, context.endpoint, reason)
    value = encode_claim(claim, encode_claim_body(body))
    time_ms = context.clock.time_us() // 1000
    offset = await context.log.append(at, (LogRecord(None, value),), time_ms)
    return OwnRecord(offset, None, value)


async def _claim(
    context: NodeContext, at: TopicPartition, machine: Partition, reason: str, start: int
) -> None:
    """Claim and read up to the claim, once more from the last record read before on.

    Else a leader of the log that was elected in between, lacks records and got as many others would
    not show: the claim would stand where it was expected (log protocol 11).

    Raises: PartitionLost - another one got in first.
    """
    own = await append_claim(context, at, machine, reason)
    if own.offset < machine.fold.position:
        raise LossDetected(f"the log put a claim at offset {own.offset}, which it had given before")
    await _read(context, at, machine, max(machine.fold.position - 1, start), own.offset)
    await fold_all(context, at, machine, [own], machine.replay)
    if not machine.owned:
        raise await lost_to(context, at, machine)


async def lost_to(context: NodeContext, at: TopicPartition, machine: Partition) -> PartitionLost:
    """Return the loss of a partition, with the new owner if the log still tells it."""
    claim = machine.fold.fence.claim
    end = machine.fold.position
    try:
        async for chunk in context.log.read(at, max(0, end - 1000), end):
            for stored in chunk:
                owner = await _owner_of(context, at, stored)
                record = decode_prefix(stored.value) if owner is not None else None
                if record is not None and record.claim == claim:
                    return PartitionLost(at, owner, stored.offset)
    except (LogError, UnreadablePrefix, PartitionStopped):
        pass  # a courtesy: the loss stands without it
    return PartitionLost(at, None, end - 1)
