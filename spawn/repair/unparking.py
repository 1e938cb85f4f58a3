"""Giving a parked actor back: read again, set back to a revision, or begun anew.

Parking is stored nowhere: whoever loads an actor rebuilds its state, and parks it if a record can't
be read (a snapshot row then only tells where its history ends). So code that can read the record is
enough, and the actor is read again when its partition is taken again. Where nothing can read it, a
commit of the operator's says the whole state from here on; nobody has to read what is before it.

Over 400 lines: the three ways share how the actor and its states are found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from eventstore.codec import encode_commit_body, read_effect
from eventstore.errors import CorruptRecord, OffsetGone, UnreadableBody
from eventstore.history import HistoryRecord, read_one, walk_back
from eventstore.log import LogRecord, TopicPartition
from eventstore.records import (
    NO_PREVIOUS,
    Cause,
    Commit,
    Flag,
    Outcome,
    StoredRecord,
    encode_commit,
)
from spawn.core.behavior import Behavior
from spawn.core.fold import Fold
from spawn.core.ids import partition_of
from spawn.core.partition import WAIT_S
from spawn.core.tail import WHOLE, Base, apply_commit
from spawn.errors import ActorParked, RepairRefused, UnknownRevision, UnknownType
from spawn.query.catalog import Catalog
from spawn.repair.accepting import CALLER
from spawn.repair.bodies import Bodies, history_problem, refolded, teach
from spawn.repair.claims import FENCES, append, read_on, take
from spawn.repair.plan import Plan, Tools, nothing
from spawn.repair.scan import Scan, fold_on, scan
from spawn.repair.skipping import scanned

__all__ = ["plan_unpark"]

_TRIES_MAX = 5


@dataclass(slots=True, kw_only=True)
class _Actor:
    """The actor as log and database know it."""

    at: TopicPartition
    type: str
    key: bytes
    name: str
    fold: Fold
    """At the log's end."""
    offset: int
    """Of its last record."""
    revision: int
    deleted: bool


async def plan_unpark(
    tools: Tools,
    actor: tuple[str, str],
    behavior: Behavior | None,
    *,
    to: int | None = None,
    delete: bool = False,
) -> Plan:
    """Return what giving an actor back does.

    `behavior` is its type's code, if it is at hand. `to`: its state becomes that of this revision;
    `delete`: it begins anew. Neither: it is only read again, if it can be.

    Raises: UnknownType (also: no such actor), UnknownRevision, ActorParked (it can't be read, so
    reading it again does not help), RepairRefused, SchemaIncompatible.
    """
    found = await _find(tools, actor)
    entries = await Catalog(tools.log, tools.admin, tools.system).schemas()
    bodies = Bodies(entries)
    if behavior is not None:
        teach([behavior], entries)
    problem = (
        ""
        if found.deleted
        else await history_problem(tools.log, found.at, actor, found.offset, bodies, behavior)
    )
    state = problem or (
        "it can be rebuilt from the log by this code"
        if behavior is not None
        else "its records can be read; whether its code takes them was not tried (--target)"
    )
    what = [(f"{found.name} has revision {found.revision}, its last record at "
            f"{found.at}@{found.offset}"), state]  # fmt: skip
    if delete:
        return _deletion(tools, found, what)
    if to is not None:
        return await _setting_back(tools, found, what, to, behavior, needed=bool(problem))
    if problem:
        good = await _Forward(tools, found, bodies, behavior).last_good()
        raise ActorParked(
            f"{found.name} can't be rebuilt: {problem}",
            at=f"{found.at}@{found.offset}",
            hint="start nodes with code that reads it, or give up what can't be read: spawn repair "
            f"unpark {found.name} "
            + (f"--to {good} (the last revision before it), or --delete" if good else "--delete"),
        )
    return _reading_again(tools, found, what)


def _reading_again(tools: Tools, found: _Actor, what: Sequence[str]) -> Plan:
    async def apply() -> Sequence[str]:
        claim = await take(tools, found.at, found.fold, "repair: unpark")
        return [
            (
                f"claim {claim.claim.hex()[:8]} stands in {found.at}: whoever takes it next reads "
                f"{found.name} again"
            )
        ]

    return Plan(
        title=f"have {found.name} read again",
        what=what,
        steps=[f"append a Claim to {found.at}: {FENCES}", "a node that starts reads it anyway"],
        loses=["nothing"],
        apply=apply,
    )


def _deletion(tools: Tools, found: _Actor, what: Sequence[str]) -> Plan:
    title = f"let {found.name} begin anew"
    if found.deleted:
        return Plan(
            title=title, what=[f"{found.name} is deleted"], steps=[], loses=[], apply=nothing
        )
    return Plan(
        title=title,
        what=what,
        steps=[f"append a Claim and a commit to {found.at} that deletes the actor", FENCES],
        loses=[f"the state of {found.name}; its history stays in the log"],
        apply=lambda: _commit(tools, found, None),
    )


async def _setting_back(
    tools: Tools,
    found: _Actor,
    what: Sequence[str],
    to: int,
    behavior: Behavior | None,
    *,
    needed: bool,
) -> Plan:
    if not 0 < to <= found.revision:
        raise UnknownRevision(
            f"{found.name} has the revisions 1 to {found.revision}, not {to}", at=found.name
        )
    title = f"set {found.name} back to revision {to}"
    if to == found.revision and not needed:
        return Plan(
            title=title,
            what=[*what, f"revision {to} is what it has"],
            steps=[],
            loses=[],
            apply=nothing,
        )
    deleted, state = await _state_at(tools, found, to, behavior)
    if not deleted and await _stands(tools, found, state):
        what = [*what, "an operator has set it back to that already"]
        return Plan(title=title, what=what, steps=[], loses=[], apply=nothing)
    events = found.revision - to
    return Plan(
        title=title,
        what=what,
        steps=[
            (
                f"append a Claim and a commit to {found.at} that says the actor's whole state, as "
                f"revision {found.revision + 1}"
            ),
            FENCES,
        ],
        loses=[f"what the {events} revisions behind {to} did to its state; they stay in the log"]
        if events
        else ["nothing that can be read"],
        apply=lambda: _commit(tools, found, None if deleted else state),
    )


class _Forward:
    """Reads an actor's records from the log's start on, where the way back is blocked."""

    def __init__(
        self, tools: Tools, found: _Actor, bodies: Bodies, behavior: Behavior | None
    ) -> None:
        self._tools = tools
        self._found = found
        self._bodies = bodies
        self._behavior = behavior
        self._base = Base(None, 0, False)
        self._good = 0
        self._broken = False
        self._wanted = 0
        self._offset: int | None = None

    async def last_good(self) -> int:
        """Return the last revision that can be rebuilt; 0: none, or the log has not all of it."""
        await self._read()
        return self._good

    async def offset_of(self, revision: int) -> int | None:
        """Return where the record stands that made a revision; None: it is not there."""
        self._wanted = revision
        await self._read()
        return self._offset

    async def _read(self) -> None:
        log, at = self._tools.log, self._found.at
        first, end = await log.bounds(at)
        if first == 0:
            await fold_on(log, at, Fold(), end, self._met)

    def _met(self, stored: StoredRecord, commit: Commit) -> None:
        found = self._found
        if stored.key != found.key or commit.type != found.type.encode() or stored.value is None:
            return
        if commit.outcome != Outcome.APPLIED:
            return
        if commit.revision == self._wanted:
            self._offset = stored.offset
        if not self._broken:
            try:
                self._base = self._step(stored.offset, stored.value, commit)
            except UnreadableBody:
                self._broken = True
            else:
                self._good = commit.revision

    def _step(self, offset: int, value: bytes, commit: Commit) -> Base:
        """Fold the record; by its bytes alone where the code is not at hand."""
        if self._behavior is not None:
            actor_id = self._found.key.decode()
            step = apply_commit(self._behavior, actor_id, self._base, offset, value)
            return Base(step.state, step.revision, step.deleted)
        problem = self._bodies.problem(self._found.type, value, commit.body_at)
        if problem or (commit.revision != self._base.revision + 1 and not commit.flags & WHOLE):
            raise UnreadableBody(problem)
        return Base(None, commit.revision, False)


async def _find(tools: Tools, actor: tuple[str, str]) -> _Actor:
    """Find the actor's last record. Raises: UnknownType, RepairRefused."""
    actor_type, actor_id = actor
    key = actor_id.encode()
    topics = await Catalog(tools.log, tools.admin, tools.system).topics_of(actor_type)
    for topic, partitions in topics.items():
        at = TopicPartition(topic, partition_of(key, partitions))
        stands = await scanned(tools, at)
        _require_readable(stands)
        last = await _last(tools, at, actor, key)
        if last is not None:
            commit, offset, deleted = last
            return _Actor(
                at=at,
                type=actor_type,
                key=key,
                name=f"{actor_type}/{actor_id}",
                fold=stands.fold,
                offset=offset,
                revision=commit,
                deleted=deleted,
            )
    raise UnknownType(
        f"{actor_type}/{actor_id} was never written in system {tools.system}",
        hint="`spawn actors` lists those that were",
    )


def _require_readable(stands: Scan) -> None:
    if stands.mismatch:
        raise RepairRefused(
            f"{stands.at}: {stands.mismatch}",
            at=str(stands.at),
            hint="`spawn repair` shows the ways out of that; they come first",
        )
    if stands.stop is not None:
        raise RepairRefused(
            f"{stands.at} is stopped: {stands.stop.text}",
            at=f"{stands.at}@{stands.stop.offset}",
            hint="`spawn repair` shows the ways out of that; they come first",
        )


async def _last(
    tools: Tools, at: TopicPartition, actor: tuple[str, str], key: bytes
) -> tuple[int, int, bool] | None:
    """Return revision, offset and whether it is deleted, of the actor's last record."""
    found: list[tuple[int, int, bool]] = []
    if tools.store is not None:
        loaded = await tools.store.load(at, [actor])
        if (row := loaded.actors.get(actor)) is not None:
            found = [(row.revision, row.offset, row.deleted)]

    def met(stored: StoredRecord, commit: Commit) -> None:
        if stored.key == key and commit.type == actor[0].encode():
            deleted = found[-1][2] if found else False
            if commit.outcome == Outcome.APPLIED:
                deleted = bool(commit.flags & Flag.DELETED)
            found[:] = [(commit.revision, stored.offset, deleted)]

    await scan(tools.log, tools.store, at, tools.system, met)
    return found[-1] if found else None


async def _state_at(
    tools: Tools, found: _Actor, to: int, behavior: Behavior | None
) -> tuple[bool, tuple[bytes, bytes]]:
    """Return the actor's state at a revision: whether it was deleted, fingerprint and bytes.

    Raises: RepairRefused - nobody has it; UnknownRevision.
    """
    record = await _record_of(tools, found, to)
    if record is None:
        offset = await _Forward(tools, found, Bodies([]), None).offset_of(to)
        if offset is not None:
            record = await read_one(tools.log, found.at, found.type, found.key, offset)
    if record is not None and record.commit.flags & Flag.DELETED:
        return True, (b"", b"")
    if record is not None and record.commit.flags & Flag.STATE:
        try:
            _, state = read_effect(record.value, record.commit.body_at)
        except CorruptRecord:
            state = None
        if state is not None:
            return False, state
    if tools.store is not None:
        name = (found.type, found.key.decode())
        row = await tools.store.history_before(found.at, name, to)
        if row is not None and row.revision == to and row.state is not None:
            return False, (row.fingerprint, row.state)
    if behavior is not None and record is not None:
        try:
            base = await refolded(tools.log, found.at, behavior, found.key, record.offset)
        except CorruptRecord as error:
            raise RepairRefused(
                f"the state of {found.name} at revision {to} can't be rebuilt either: {error}",
                at=f"{found.at}@{record.offset}",
                hint="go back further, or begin anew with --delete",
            ) from error
        fingerprint, data = behavior.encode_state(base.state)
        return base.deleted, (fingerprint, data)
    raise RepairRefused(
        f"the state of {found.name} at revision {to} is stored nowhere",
        at=found.name,
        hint="name the type's code, which folds it from the events: --target counter.py"
        if behavior is None
        else "its record is no longer in the log; begin anew with --delete",
    )


async def _stands(tools: Tools, found: _Actor, state: tuple[bytes, bytes]) -> bool:
    """Tell whether the actor's last record is an operator's, and says that state."""
    record = await _record_of(tools, found, found.revision)
    if record is None or record.commit.cause != Cause.OPERATOR:
        return False
    try:
        return read_effect(record.value, record.commit.body_at).state == state
    except CorruptRecord:
        return False


async def _record_of(tools: Tools, found: _Actor, revision: int) -> HistoryRecord | None:
    """Return the applied record that made a revision; None: the log has it no more."""
    try:
        async for record in walk_back(tools.log, found.at, found.type, found.key, found.offset):
            if record.commit.outcome != Outcome.APPLIED:
                continue
            if record.commit.revision == revision:
                return record
            if record.commit.revision < revision:
                return None
    except (CorruptRecord, OffsetGone):
        pass
    return None


async def _is_open(tools: Tools, found: _Actor) -> bool:
    """Tell whether the way back through the actor's records is open, as far as the log is kept."""
    try:
        async for _ in walk_back(tools.log, found.at, found.type, found.key, found.offset):
            pass
    except CorruptRecord:
        return False
    except OffsetGone:
        return True
    return True


async def _commit(tools: Tools, found: _Actor, state: tuple[bytes, bytes] | None) -> Sequence[str]:
    """Write the commit under a claim of our own; None deletes the actor.

    It says all, so a fold needs no `previous`. For people it names the record before, unless the
    way back is blocked behind that one: then the actor's history begins with this commit.
    """
    at, fold = found.at, found.fold
    flags = Flag.DELETED if state is None else Flag.STATE
    body = encode_commit_body("repair", b"", (), state, b"null", None, "", CALLER, None)
    is_open = await _is_open(tools, found)
    for _ in range(_TRIES_MAX):
        claim = await take(tools, at, fold, "repair: unpark")
        last = await _last(tools, at, (found.type, found.key.decode()), found.key)
        if last is None or last[0] != found.revision:
            raise RepairRefused(
                f"{found.name} was changed meanwhile",
                at=found.name,
                hint="it is not parked any more; look at it again",
            )
        previous = last[1] if is_open else NO_PREVIOUS
        commit = Commit(
            claim.claim, claim.epoch, 0, found.revision + 1,
            max(fold.time_us, tools.time_us()), previous, Outcome.APPLIED,
            Cause.OPERATOR, flags, found.type.encode(),
        )  # fmt: skip
        offset = await append(tools, at, [LogRecord(found.key, encode_commit(commit, body))])
        await read_on(tools, at, fold, offset + 1)
        if fold.fence.claim == claim.claim and fold.fence.next == 1:
            # Nobody is told before the lease of the owner that was displaced has run out.
            await asyncio.sleep(WAIT_S)
            return [
                f"{at}@{offset} is revision {found.revision + 1} of {found.name}, by an operator"
            ]
    raise RepairRefused(
        f"{at} was claimed by somebody else each time, so nothing was changed",
        at=str(at),
        hint="stop the node that owns it, or try again",
    )
