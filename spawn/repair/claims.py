"""Claims made by an operator, outside any node (log protocol 2, 3 and 5)."""

from __future__ import annotations

from collections.abc import Sequence

from eventstore.codec import ClaimBody, encode_claim_body
from eventstore.errors import LogForbidden, LogNotAdmitted, LogUnavailable
from eventstore.log import LogRecord, TopicPartition
from eventstore.records import NO_CLAIM, Claim, encode_claim
from spawn.core.fold import Fold
from spawn.errors import OutcomeUnknown, RepairRefused
from spawn.repair.plan import Tools
from spawn.repair.scan import fold_on

__all__ = ["FENCES", "append", "append_claim", "read_on", "take"]

FENCES = (
    "a node that owns the partition loses it by that claim at its next write, and takes it again"
)
"""What a claim does to whoever runs."""
_TRIES_MAX = 5


async def append(tools: Tools, at: TopicPartition, records: Sequence[LogRecord]) -> int:
    """Append; return the offset of the first record.

    Raises: OutcomeUnknown - the log did not answer; LogForbidden and LogRefused: nothing was done.
    """
    try:
        return await tools.log.append(at, records, tools.time_us() // 1000)
    except (LogForbidden, LogNotAdmitted):
        raise
    except LogUnavailable as error:
        raise OutcomeUnknown(
            f"the log did not say whether it took what was to be written to {at}: {error}",
            at=str(at),
            hint="nothing else was done; `spawn repair` shows how it stands, and the same command "
            "again does no harm",
        ) from error


async def append_claim(
    tools: Tools,
    at: TopicPartition,
    fold: Fold,
    *,
    reason: str,
    skips: Sequence[int] = (),
    log_id: bytes | None = None,
    epoch: int = 0,
) -> tuple[Claim, int]:
    """Append a Claim on the fold's current one; return it and where it stands.

    Whether it is current is for the reader to say. `log_id`: another than the current claim's.
    """
    fence = fold.fence
    if log_id is None:
        log_id = fence.log_id if fence.claim != NO_CLAIM else tools.new_id()
    claim = Claim(
        tools.new_id(), max(epoch, fence.epoch) + 1, fence.claim, log_id, tuple(sorted(skips))
    )
    body = encode_claim_body(ClaimBody(tools.system, tools.owner, "", reason))
    offset = await append(tools, at, [LogRecord(None, encode_claim(claim, body))])
    return claim, offset


async def take(tools: Tools, at: TopicPartition, fold: Fold, reason: str) -> Claim:
    """Make the partition ours; the fold is then at our claim. Returns the claim.

    Raises: RepairRefused - it stops, or others were faster each time; OutcomeUnknown.
    """
    for _ in range(_TRIES_MAX):
        await read_on(tools, at, fold)
        claim, offset = await append_claim(tools, at, fold, reason=reason)
        await read_on(tools, at, fold, offset + 1)
        if fold.fence.claim == claim.claim:
            return claim
    raise RepairRefused(
        f"{at} was claimed by somebody else each time it was tried",
        at=str(at),
        hint="are nodes fighting for it? `spawn partitions` shows its owner; try again",
    )


async def read_on(tools: Tools, at: TopicPartition, fold: Fold, end: int | None = None) -> None:
    """Fold up to `end`, or the log's. Raises: RepairRefused - the partition stops there."""
    if end is None:
        _, end = await tools.log.bounds(at)
    if (stop := await fold_on(tools.log, at, fold, end)) is not None:
        raise RepairRefused(
            f"{at} is stopped: {stop.text}",
            at=f"{at}@{stop.offset}",
            hint="`spawn repair` shows the ways out of that; they come first",
        )
