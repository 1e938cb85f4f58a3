"""What only an operator can decide about, partition by partition, with the ways out of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from eventstore.errors import UnreadableBody
from eventstore.log import TopicPartition
from eventstore.records import Commit, Outcome, StoredRecord
from eventstore.rows import ActorName
from spawn.core.behavior import Behavior
from spawn.core.tail import WHOLE
from spawn.repair.bodies import Bodies, history_problem
from spawn.repair.plan import Finding, Tools, Way
from spawn.repair.scan import Scan, behind, scan

__all__ = ["find"]

_AT_ONCE = 4
_PAGE = 1_000
_RESTORE = Way("", "nothing: put the topic back from a replica or a backup, and restart the nodes")


async def find(
    tools: Tools,
    topics: Mapping[str, int],
    bodies: Bodies,
    behaviors: Mapping[str, Behavior],
) -> AsyncIterator[Finding]:
    """Yield what is found in some topics, by topic and partition.

    `behaviors` are the types whose code is at hand, taught their topics' schemas. Raises:
    LogUnavailable, SnapshotError.
    """
    places = [TopicPartition(topic, n) for topic, count in topics.items() for n in range(count)]
    for begin in range(0, len(places), _AT_ONCE):
        async with asyncio.TaskGroup() as tasks:
            looks = [
                tasks.create_task(_look_at(tools, at, bodies, behaviors))
                for at in places[begin : begin + _AT_ONCE]
            ]
        for look in looks:
            for finding in look.result():
                yield finding
    for topic in () if tools.store is None else await tools.store.topics():
        if topic not in topics:
            yield _without_topic(topic)


def _without_topic(topic: str) -> Finding:
    return Finding(
        kind="lost",
        position=f"{topic}/0@0",
        what=f"the database has rows of topic {topic}, which the log does not have",
        ways=[
            _RESTORE,
            Way(
                "spawn init TARGET, with as many partitions as it had; then spawn repair again",
                "events and replies, which only the log had; states can then be written into it",
            ),
            Way(f"spawn repair drop-type {topic.rpartition('.')[2]}", "its states too"),
        ],
    )


async def _look_at(
    tools: Tools, at: TopicPartition, bodies: Bodies, behaviors: Mapping[str, Behavior]
) -> Sequence[Finding]:
    suspects = await _without_state(tools, at)
    tail = _Tail(bodies, suspects)
    stands = await scan(tools.log, tools.store, at, tools.system, tail.met)
    findings = [each async for each in _of_partition(tools, stands)]
    if stands.foreign or stands.mismatch:
        return findings  # what the rows say of offsets does not hold here
    for name, (offset, revision) in sorted({**suspects, **tail.bad}.items()):
        behavior = behaviors.get(name[0])
        problem = await history_problem(tools.log, at, name, offset, bodies, behavior)
        if problem:
            findings.append(_parked(at, name, offset, revision, problem))
        elif behavior is None:
            findings.append(_suspect(at, name, offset, revision))
    return findings


async def _without_state(tools: Tools, at: TopicPartition) -> dict[ActorName, tuple[int, int]]:
    """Return the actors whose rows say only where their history ends: offset and revision."""
    found: dict[ActorName, tuple[int, int]] = {}
    after: ActorName | None = None
    while tools.store is not None:
        rows = await tools.store.unusable(at, after=after, limit=_PAGE)
        if not rows:
            break
        found |= {(row.type, row.id): (row.offset, row.revision) for row in rows}
        after = rows[-1].type, rows[-1].id
    return found


class _Tail:
    """Looks at what stands behind the checkpoint, and keeps what can't be read of it."""

    def __init__(self, bodies: Bodies, suspects: dict[ActorName, tuple[int, int]]) -> None:
        self._bodies = bodies
        self._suspects = suspects
        self.bad: dict[ActorName, tuple[int, int]] = {}
        """Offset and revision of the last record of each."""

    def met(self, stored: StoredRecord, commit: Commit) -> None:
        """Take the next valid commit."""
        if stored.key is None or stored.value is None:
            return
        name = commit.type.decode(errors="replace"), stored.key.decode(errors="replace")
        place = stored.offset, commit.revision
        if commit.outcome == Outcome.APPLIED:
            problem = self._problem(name[0], stored.value, commit.body_at)
            if not problem and commit.flags & WHOLE:
                self._suspects.pop(name, None)
                self.bad.pop(name, None)
                return
            if problem:
                self.bad[name] = place
        if name in self._suspects:
            self._suspects[name] = place
        if name in self.bad:
            self.bad[name] = place

    def _problem(self, actor_type: str, value: bytes, body_at: int) -> str:
        try:
            return self._bodies.problem(actor_type, value, body_at)
        except UnreadableBody as error:
            return str(error)


async def _of_partition(tools: Tools, stands: Scan) -> AsyncIterator[Finding]:
    at = stands.at
    if stands.foreign:
        yield Finding(
            kind="foreign",
            position=f"{at}@{stands.first}",
            what=f"the topic was written by {stands.foreign}, not by {tools.system!r}",
            ways=[Way("", "nothing: use another system name, or another topic")],
        )
        return
    accept = f"spawn repair accept-loss {at}"
    if stands.mismatch:
        yield Finding(
            kind="lost",
            position=f"{at}@{stands.end}",
            what=stands.mismatch,
            ways=[
                _RESTORE,
                Way(
                    accept,
                    "events and replies that only the log had; states stay as of the last flush: "
                    "they are written into the log again",
                ),
                Way(f"{accept} --states drop", "that, and all states that the log has not"),
            ],
        )
    stop = stands.stop
    if stop is None:
        checkpoint = stands.checkpoint
        if (
            checkpoint is not None
            and not stands.mismatch
            and checkpoint.log_id != stands.fold.fence.log_id
        ):
            yield Finding(
                kind="lost",
                position=f"{at}@{stands.end}",
                what="the log has another id than the checkpoint in the database: a loss was "
                "accepted, and that was interrupted",
                ways=[Way(accept, "nothing")],
            )
        return
    rest = await behind(tools.log, at, stop.offset, stands.end)
    if stop.is_loss:
        yield Finding(
            kind="lost",
            position=f"{at}@{stop.offset}",
            what=stop.text,
            ways=[_RESTORE, Way(accept, f"all from there on: {rest.text()}")],
        )
    else:
        yield Finding(
            kind="stopped",
            position=f"{at}@{stop.offset}",
            what=f"{stop.text}; {rest.records - 1} records stand behind it",
            ways=[
                Way("", "nothing: run the release that wrote it, or put the topic back"),
                Way(
                    f"spawn repair skip {at}@{stop.offset}",
                    "this record: if it was a commit, its whole effect; its actor is parked where "
                    "later events build on it",
                ),
            ],
        )


def _parked(
    at: TopicPartition, name: ActorName, offset: int, revision: int, problem: str
) -> Finding:
    actor = f"{name[0]}/{name[1]}"
    return Finding(
        kind="parked",
        position=f"{at}@{offset}",
        actor=actor,
        what=f"its state can't be rebuilt: {problem}",
        ways=[
            Way("", "nothing: start nodes with code that reads it; they read it again"),
            Way(
                f"spawn repair unpark {actor} --to REVISION",
                f"what the revisions behind that one, up to {revision}, did to its state",
            ),
            Way(f"spawn repair unpark {actor} --delete", "its state: it begins anew"),
        ],
    )


def _suspect(at: TopicPartition, name: ActorName, offset: int, revision: int) -> Finding:
    actor = f"{name[0]}/{name[1]}"
    return Finding(
        kind="suspect",
        position=f"{at}@{offset}",
        actor=actor,
        what=f"the database has no state of it at revision {revision}, so a node could not rebuild "
        "or store it (evolve raised, or the state is too large for a snapshot); its records can be "
        "read",
        ways=[
            Way("spawn repair --target FILE", "nothing: tries its type's code"),
            Way(f"spawn repair unpark {actor} --target FILE", "nothing: it is read again"),
        ],
    )
