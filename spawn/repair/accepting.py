"""Accepting a loss: a Claim with a new log id, behind which the partition goes on (protocol 11).

Two kinds. The log itself shows that records are gone: everything from the record that is evidence
up to our Claim is void. Or the log does not reach what the database has of it (truncated, trimmed,
made anew): then the states that only the database still has are written into the log again, each as
one commit that says the whole state, before the snapshots are discarded; log and database agree
afterwards, and the log is the truth again (invariant I6). Until that last step no node can take the
partition, so a repair that died half-way is simply begun anew.

Over 400 lines: both kinds share what their Claim names, and read as one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from eventstore.codec import encode_commit_body
from eventstore.log import LogRecord, TopicPartition
from eventstore.records import (
    NO_PREVIOUS,
    Cause,
    Claim,
    Commit,
    Flag,
    Outcome,
    StoredRecord,
    encode_commit,
)
from eventstore.rows import NO_STATE, ActorName, ActorRow
from spawn.core.fold import Fold
from spawn.core.ids import partition_of
from spawn.errors import OutcomeUnknown, RepairRefused
from spawn.query.catalog import Catalog
from spawn.repair.claims import append, append_claim, read_on
from spawn.repair.plan import Plan, Tools, nothing
from spawn.repair.scan import Behind, Scan, behind, fold_on
from spawn.repair.skipping import scanned

__all__ = ["CALLER", "plan_acceptance"]

CALLER = "spawn repair"
"""Who an operator's commit says that it is from."""
_PAGE = 1_000
_BATCH_BYTES_MAX = 512 * 1024
_BATCH_RECORDS_MAX = 1_000
_EPOCH_LEAP = 1_000
"""Claims that may have been lost: what their owners still write is then void as any zombie's, and
no new evidence of loss."""
_NAMED_MAX = 20
"""Actors named one by one in a plan."""


async def plan_acceptance(tools: Tools, at: TopicPartition, *, keep_states: bool = True) -> Plan:
    """Return what accepting the partition's loss does.

    `keep_states`: write what only the database still has into the log; else it is lost too.
    Raises: UnknownPosition, RepairRefused.
    """
    found = await scanned(tools, at)
    fold, checkpoint = found.fold, found.checkpoint
    if not found.mismatch and found.stop is None:
        if checkpoint is None or checkpoint.log_id == fold.fence.log_id:
            return Plan(
                title=f"accept the loss in {at}",
                what=["the partition can be read to its end, and the database fits it"],
                steps=[],
                loses=[],
                apply=nothing,
            )
        return _relabelling(tools, found)
    start = Fold(fold.position)
    start.fence = fold.fence.copy()
    start.time_us = fold.time_us
    skips, rest = await _skips(tools, found)
    if found.mismatch:
        return await _with_snapshots(tools, found, start, skips, rest, keep_states=keep_states)
    return _without_snapshots(tools, found, start, skips, rest)


async def _skips(tools: Tools, found: Scan) -> tuple[Sequence[int], Behind]:
    """Return what the Claim has to name, up to the first evidence, and what is void by that."""
    at, fold, stop = found.at, found.fold, found.stop
    if stop is None:
        return (), Behind()
    claim = fold.fence.claim
    skips: list[int] = []
    while stop is not None:
        if fold.fence.claim != claim:
            raise RepairRefused(
                f"{at} has more than one record that stops its readers, under several claims",
                at=f"{at}@{skips[0]}",
                hint=f"skip the first one first: spawn repair skip {at}@{skips[0]}",
            )
        skips.append(stop.offset)
        if stop.is_loss:
            break
        fold.declared[stop.offset] = found.end
        stop = await fold_on(tools.log, at, fold, found.end)
    if stop is None and not found.mismatch:
        raise RepairRefused(
            f"nothing is lost in {at}: a record can't be read, and all behind it can",
            at=f"{at}@{skips[0]}",
            hint="spawn repair skip " + " ".join(f"{at}@{offset}" for offset in skips),
        )
    return skips, await behind(tools.log, at, skips[-1] if stop else found.end, found.end)


def _relabelling(tools: Tools, found: Scan) -> Plan:
    """The rest of an acceptance that was interrupted: the checkpoint's log id."""

    async def apply() -> Sequence[str]:
        await _relabel(tools, found, found.fold.fence.log_id)
        return ["the checkpoint belongs to the log's new id; restart the nodes that own it"]

    return Plan(
        title=f"accept the loss in {found.at}: what is left of it",
        what=["the log has another id than the checkpoint, so no flush is taken by the database"],
        steps=["give the checkpoint the log's id"],
        loses=["nothing"],
        apply=apply,
    )


async def _relabel(tools: Tools, found: Scan, log_id: bytes) -> None:
    if tools.store is None or found.checkpoint is None:
        return
    if not await tools.store.relabel(found.at, found.checkpoint, log_id):
        raise RepairRefused(
            f"the checkpoint of {found.at} was changed meanwhile: a node runs and owns it",
            at=str(found.at),
            hint="`spawn repair` shows how it stands now",
        )


def _without_snapshots(
    tools: Tools, found: Scan, start: Fold, skips: Sequence[int], rest: Behind
) -> Plan:
    """The log shows the loss; the database, if any, fits what stands before it."""
    at, stop = found.at, _last_stop(found, skips)

    async def apply() -> Sequence[str]:
        await _require_same(tools, found)
        log_id = tools.new_id()
        # First the database: while the Claim is not there no node can take the partition.
        await _relabel(tools, found, log_id)
        claim, where = await append_claim(
            tools,
            at,
            start,
            reason="repair: accept loss",
            skips=skips,
            log_id=log_id,
            epoch=_epoch(found, start, rest),
        )
        await read_on(tools, at, start, where + 1)
        _require(start, claim, at)
        return [f"claim {claim.claim.hex()[:8]} at {at}@{where} begins log {log_id.hex()[:8]}", _GO]

    return Plan(
        title=f"accept the loss in {at}",
        what=[stop],
        steps=[
            *(["give the checkpoint in the database the new log id"] if found.checkpoint else []),
            (
                f"append a Claim with a new log id to {at}; all from offset {skips[-1]} up to it "
                "is void for every reader"
            ),
        ],
        loses=[
            "the records that are not there, whatever they were",
            f"what stands from offset {skips[-1]} to {found.end - 1}: {rest.text()}",
            *(f"the unreadable record at {at}@{offset}" for offset in skips[:-1]),
        ],
        apply=apply,
    )


def _epoch(found: Scan, start: Fold, rest: Behind) -> int:
    """Return what the Claim's epoch has to be above: also of claims that the log lost."""
    stored = 0 if found.checkpoint is None else found.checkpoint.epoch
    return max(rest.epoch, start.fence.epoch, stored) + _EPOCH_LEAP


def _last_stop(found: Scan, skips: Sequence[int]) -> str:
    stop = found.stop
    assert stop is not None, "without one there is nothing to accept here"
    return stop.text if len(skips) == 1 else f"{stop.text}; and {len(skips) - 1} more behind it"


@dataclass(slots=True)
class _Survey:
    """What only the database has."""

    kept: int = 0
    """Actors whose state is written into the log again."""
    in_log: int = 0
    """Actors that the log knows as well or better."""
    gone: list[str] = field(default_factory=list)
    """Actors of which the database has no state, and the log not their last records."""
    never: int = 0
    """Actors that were never changed."""
    fingerprints: set[tuple[str, bytes]] = field(default_factory=set)
    """Type and schema of the states to be written."""


async def _with_snapshots(
    tools: Tools,
    found: Scan,
    start: Fold,
    skips: Sequence[int],
    rest: Behind,
    *,
    keep_states: bool,
) -> Plan:
    """The log does not reach what the database has of it."""
    at = found.at
    known = await _known(tools, found, skips)
    survey = _Survey()
    topics = await tools.admin.describe([at.topic])
    partitions = topics[at.topic].partitions if at.topic in topics else 1
    async for row in _rows(tools, at):
        if partition_of(row.id.encode(), partitions) != at.partition:
            raise RepairRefused(
                f"{at.topic} was made anew with another number of partitions: {row.type}/{row.id} "
                f"was in {at.partition}, and of {partitions} it belongs elsewhere",
                at=str(at),
                hint="delete the topic and make it with as many partitions as it had",
            )
        _judge(row, known, survey)

    async def apply() -> Sequence[str]:
        assert tools.store is not None, "what does not fit is the database's"
        await _require_same(tools, found)
        claim, where = await append_claim(
            tools,
            at,
            start,
            reason="repair: accept loss",
            skips=skips,
            log_id=tools.new_id(),
            epoch=_epoch(found, start, rest),
        )
        await read_on(tools, at, start, where + 1)
        _require(start, claim, at)
        written = await _write_states(tools, at, start, claim, known) if keep_states else 0
        _, end = await tools.log.bounds(at)
        await read_on(tools, at, start, end)
        _require(start, claim, at)
        if start.fence.next != written:
            raise OutcomeUnknown(
                f"{start.fence.next} of {written} states count in {at}; the snapshots were kept",
                at=str(at),
                hint="the same command again begins anew, and does no harm",
            )
        await tools.store.discard(at)
        return [
            f"claim {claim.claim.hex()[:8]} at {at}@{where} begins a new log",
            f"{written} states were written into it, and the snapshots discarded",
            _GO,
        ]

    states = [
        f"write the states of {survey.kept} actors, which only the database has, into {at}"
        if keep_states
        else f"drop the states of {survey.kept} actors, which only the database has"
    ]
    loses = [
        "the history of what is gone from the log: events and replies, not only states",
        "what was written after the last flush of the database and is gone from the log",
        (
            "the idempotency keys of those actors, and what was known of numbered requests: a call "
            "of the last 24 h (15 min) that is sent once more may run again"
        ),
    ]
    if not keep_states:
        loses.insert(0, f"the states of {survey.kept} actors: they go back to what the log has")
    if survey.gone:
        names = ", ".join(survey.gone[:_NAMED_MAX])
        more = f" and {len(survey.gone) - _NAMED_MAX} more" * (len(survey.gone) > _NAMED_MAX)
        loses.append(f"{len(survey.gone)} actors of which the database has no state: {names}{more}")
    if unknown := await _unknown_schemas(tools, survey):
        loses.append(
            f"states written with {unknown} schemas that the schema topic has no more: code that "
            "writes another schema today can't read them, and parks their actors"
        )
    if skips:
        loses.append(f"what stands from offset {skips[0]} to {found.end - 1}: {rest.text()}")
    return Plan(
        title=f"accept the loss in {at}",
        what=[found.mismatch, f"{survey.in_log} actors are known to the log as well or better"],
        steps=[
            f"append a Claim with a new log id to {at}",
            *states,
            f"discard the snapshots of {at}: a node makes them again from the log",
        ],
        loses=loses,
        apply=apply,
    )


async def _unknown_schemas(tools: Tools, survey: _Survey) -> int:
    entries = await Catalog(tools.log, tools.admin, tools.system).schemas()
    return len(survey.fingerprints - {(each.type, each.fingerprint) for each in entries})


async def _known(tools: Tools, found: Scan, skips: Sequence[int]) -> dict[tuple[bytes, bytes], int]:
    """Return the last revision of each actor by the records that count, `skips` being void."""
    known: dict[tuple[bytes, bytes], int] = {}

    def note(stored: StoredRecord, commit: Commit) -> None:
        known[commit.type, stored.key or b""] = commit.revision

    fold = Fold(found.first)
    stop = await fold_on(tools.log, found.at, fold, found.end, note)
    while stop is not None and not stop.is_loss and stop.offset in skips:
        fold.declared[stop.offset] = found.end
        stop = await fold_on(tools.log, found.at, fold, found.end, note)
    return known


def _judge(
    row: ActorRow, known: dict[tuple[bytes, bytes], int], survey: _Survey | None = None
) -> bool:
    """Tell whether the row's state has to be written into the log; count it."""
    survey = survey or _Survey()
    if row.revision == 0:
        survey.never += 1
    elif known.get((row.type.encode(), row.id.encode()), 0) >= row.revision:
        survey.in_log += 1
    elif row.version == NO_STATE:
        survey.gone.append(f"{row.type}/{row.id}")
    else:
        survey.kept += 1
        if row.state is not None:
            survey.fingerprints.add((row.type, row.fingerprint))
        return True
    return False


async def _rows(tools: Tools, at: TopicPartition) -> AsyncIterator[ActorRow]:
    """Yield all rows with their states, a page at a time."""
    if tools.store is None:
        return
    after: ActorName | None = None
    while page := await tools.store.actors(at, after=after, limit=_PAGE):
        names = [(each.type, each.id) for each in page]
        loaded = await tools.store.load(at, names)
        for name in names:
            if name in loaded.actors:
                yield loaded.actors[name]
        after = names[-1]


async def _write_states(
    tools: Tools,
    at: TopicPartition,
    fold: Fold,
    claim: Claim,
    known: dict[tuple[bytes, bytes], int],
) -> int:
    """Append one commit for each state that only the database has; return how many."""
    batch: list[LogRecord] = []
    size = sequence = 0
    time_us = max(fold.time_us, tools.time_us())
    async for row in _rows(tools, at):
        if not _judge(row, known):
            continue
        record = restored(claim, sequence, row, time_us)
        length = len(record.value or b"")
        if batch and (size + length > _BATCH_BYTES_MAX or len(batch) >= _BATCH_RECORDS_MAX):
            await append(tools, at, batch)
            batch, size = [], 0
        batch.append(record)
        size += length
        sequence += 1
    if batch:
        await append(tools, at, batch)
    return sequence


def restored(claim: Claim, sequence: int, row: ActorRow, time_us: int) -> LogRecord:
    """Return the commit that says a row's whole state; the actor's history begins with it."""
    flags = Flag.DELETED if row.deleted or row.state is None else Flag.STATE
    state = None if flags == Flag.DELETED or row.state is None else (row.fingerprint, row.state)
    commit = Commit(
        claim.claim, claim.epoch, sequence, row.revision, time_us, NO_PREVIOUS, Outcome.APPLIED,
        Cause.OPERATOR, flags, row.type.encode(),
    )  # fmt: skip
    body = encode_commit_body("repair", b"", (), state, b"null", None, "", CALLER, None)
    return LogRecord(row.id.encode(), encode_commit(commit, body))


async def _require_same(tools: Tools, found: Scan) -> None:
    """Refuse what was planned for something that is no longer so. Raises: RepairRefused."""
    again = await scanned(tools, found.at)
    was, now = found.stop, again.stop
    same = (was is None) == (now is None) and (was is None or now is None or was == now)
    if not same or again.mismatch != found.mismatch:
        raise RepairRefused(
            f"{found.at} is not as it was when this was planned; nothing was changed",
            at=str(found.at),
            hint="`spawn repair` shows how it stands now",
        )


def _require(fold: Fold, claim: Claim, at: TopicPartition) -> None:
    if fold.fence.claim != claim.claim:
        raise RepairRefused(
            f"somebody else claimed {at} meanwhile",
            at=str(at),
            hint="`spawn repair` shows how it stands now",
        )


_GO = "restart the nodes that say the partition is stopped"
