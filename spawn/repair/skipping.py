"""Skipping records that can't be read: a Claim that declares them void (log protocol 3, rule 4).

Only what can't be read is ever skipped. A record that can be read and counts was acknowledged: it
stays (invariant I1), and there is no flag that says otherwise. One that is evidence of loss is
`accepting`'s matter.
"""

from __future__ import annotations

from collections.abc import Sequence

from eventstore.errors import TopicMissing, UnreadablePrefix
from eventstore.log import TopicPartition
from eventstore.records import StoredRecord, decode_prefix
from spawn.core.fold import Fold
from spawn.errors import OutcomeUnknown, RepairRefused, UnknownPosition
from spawn.repair.claims import append_claim
from spawn.repair.plan import Plan, Tools, nothing
from spawn.repair.scan import Scan, Stop, behind, describe, fold_on, read_at, scan

__all__ = ["SKIPS_MAX", "plan_skip"]

SKIPS_MAX = 1_000
"""Records that one command skips; more are a loss to be accepted."""
_PARKS = (
    "the actor that it was of is parked where later events build on it; `spawn repair` lists it"
)


async def plan_skip(tools: Tools, at: TopicPartition, offsets: Sequence[int]) -> Plan:
    """Return what skipping these records does.

    Raises: UnknownPosition; RepairRefused - one of them can be read, or another one comes first.
    """
    wanted = sorted(set(offsets))
    if len(wanted) > SKIPS_MAX:
        raise RepairRefused(
            f"{len(wanted)} records are too many to be skipped one by one", at=str(at)
        )
    found = await scanned(tools, at)
    for offset in wanted:
        stored = await _existing(tools, found, offset)
        if not _is_unreadable(stored):
            await _refuse_readable(tools, found, stored)
    stop = found.stop
    if stop is None or stop.offset > wanted[-1]:
        what = "is" if len(wanted) == 1 else "are"
        return Plan(
            title=f"skip {_list(at, wanted)}",
            what=[f"it {what} passed over by every reader already"],
            steps=[],
            loses=[],
            apply=nothing,
        )
    if stop.offset not in wanted:
        raise RepairRefused(
            f"{at} stops at offset {stop.offset} first: {stop.text}",
            at=f"{at}@{stop.offset}",
            hint=f"name it too: spawn repair skip {_list(at, [stop.offset, *wanted])}"
            if not stop.is_loss
            else f"spawn repair accept-loss {at}",
        )
    fold = found.fold
    claim = fold.fence.claim
    before = _copy(fold)
    named = [offset for offset in wanted if offset >= stop.offset]
    fold.declared |= dict.fromkeys(named, found.end)
    after = await fold_on(tools.log, at, fold, found.end)
    left = [offset for offset in named if after is not None and offset >= after.offset]
    if left and fold.fence.claim != claim:
        named = [offset for offset in named if offset not in left]
    rest = await behind(tools.log, at, stop.offset + 1, found.end)

    async def apply() -> Sequence[str]:
        declared, where = await append_claim(tools, at, before, reason="repair: skip", skips=named)
        again = await scan(tools.log, tools.store, at, tools.system)
        if again.stop is not None and again.stop.offset <= stop.offset:
            raise OutcomeUnknown(
                f"the claim {declared.claim.hex()} at {at}@{where} does not count: the log changed "
                "meanwhile",
                at=str(at),
                hint="`spawn repair` shows how it stands",
            )
        done = [
            f"claim {declared.claim.hex()[:8]} at {at}@{where} declares {_list(at, named)} void"
        ]
        return [*done, *_next(at, again.stop)]

    return Plan(
        title=f"skip {_list(at, named)}",
        what=[stop.text, f"behind it stand {rest.text()}"],
        steps=[
            f"append a Claim on {claim.hex()[:8]} to {at} that names {_list(at, named)} as void",
            *_next(at, after),
        ],
        loses=[
            f"{_list(at, named)}: if it was a commit, its whole effect, though it was acknowledged",
            _PARKS,
        ],
        apply=apply,
    )


async def scanned(tools: Tools, at: TopicPartition) -> Scan:
    """Return how the partition stands. Raises: UnknownPosition; RepairRefused - it is not ours."""
    try:
        found = await scan(tools.log, tools.store, at, tools.system)
    except TopicMissing:
        topics = await tools.admin.topics(f"spawn.{tools.system}.")
        raise UnknownPosition(
            f"there is no partition {at} in this log",
            at=str(at),
            hint=f"system {tools.system} has {', '.join(topics)}"
            if topics
            else f"system {tools.system} has no topics in this log",
        ) from None
    if found.foreign:
        raise RepairRefused(
            f"topic {at.topic} was written by {found.foreign}, not by {tools.system!r}",
            at=str(at),
            hint="nothing of another system is touched: name that one with --system",
        )
    return found


async def _existing(tools: Tools, found: Scan, offset: int) -> StoredRecord:
    at = found.at
    stored = None
    if found.first <= offset < found.end:
        stored = await read_at(tools.log, at, offset)
    if stored is None:
        raise UnknownPosition(
            f"there is no record at {at}@{offset}: the partition has {found.first} to "
            f"{found.end - 1}"
            if found.end > found.first
            else f"there is no record at {at}@{offset}: the partition is empty",
            at=f"{at}@{offset}",
        )
    return stored


def _is_unreadable(stored: StoredRecord) -> bool:
    try:
        decode_prefix(stored.value)
    except UnreadablePrefix:
        return True
    return False


async def _refuse_readable(tools: Tools, found: Scan, stored: StoredRecord) -> None:
    at, stop = found.at, found.stop
    if stop is not None and stop.offset == stored.offset:
        raise RepairRefused(
            f"{at}@{stored.offset} can be read; it stops its readers since it follows records that "
            "are gone",
            at=f"{at}@{stored.offset}",
            hint=f"that is a loss: spawn repair accept-loss {at}",
        )
    raise RepairRefused(
        f"{at}@{stored.offset} can be read: it is {describe(stored)}. Only a record that can't be "
        "read is skipped",
        at=f"{at}@{stored.offset}",
        hint="what was acknowledged is never taken back; an actor can undo it by an action of its "
        "own, or be set back by `spawn repair unpark TYPE/ID --to REVISION`",
    )


def _copy(fold: Fold) -> Fold:
    """Return a fold at the same place, as far as a claim needs it."""
    copy = Fold(fold.position)
    copy.fence = fold.fence.copy()
    return copy


def _list(at: TopicPartition, offsets: Sequence[int]) -> str:
    return " ".join(f"{at}@{offset}" for offset in sorted(set(offsets)))


def _next(at: TopicPartition, stop: Stop | None) -> Sequence[str]:
    """Say where readers stop after this."""
    if stop is None:
        return [f"{at} can then be read to its end: restart the nodes that say it is stopped"]
    way = f"accept-loss {at}" if stop.is_loss else f"skip {at}@{stop.offset}"
    return [f"{at} then stops at offset {stop.offset}: {stop.text}; next: spawn repair {way}"]
