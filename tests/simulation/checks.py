"""What must hold (log protocol 12), by its numbers there.

1. Fold of the log == memory of the current owner. 2. Each request is the cause of at most one valid
commit, and of exactly one if it was acknowledged. 3. Every reply told == the reply recorded; told
rejected: never applied. 5. Checkpoint == fold of the records below it, field by field; rows + tail
== fold. 7. Each actor's history is linearizable, reads included. 8. After faults all requests are
answered, and sets shrink. 9. Without truncation nobody stops. 12. The sweep: every copy again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from eventstore.log import TopicPartition
from eventstore.records import Outcome
from spawn.core.actors import UNLOADED
from spawn.core.checkpoint import restore_fold
from spawn.core.partition import Partition, Phase
from tests.simulation.reference import ActorSaid, Reference, Valid, reference_of

if TYPE_CHECKING:
    from tests.simulation.clients import Operation
    from tests.simulation.world import World

__all__ = ["checkpoint_is_the_fold", "everything", "owners_know_the_fold", "sweep"]


def owners_know_the_fold(world: World) -> list[str]:
    """Check 1, for every machine that believes that it is active: what it folded is what is there.

    A machine that was displaced without knowing it is behind in its fold, and may have loaded an
    actor that its successor changed: its commits are void, and its lease has run out.
    """
    wrong = []
    for process, node in world.nodes.values():
        for worker in node._workers:
            machine = worker.machine
            if worker.at in world.broker.truncated:
                continue
            if machine.phase not in (Phase.ACTIVE, Phase.RECOVERING):
                continue
            records = world.broker.records[worker.at]
            is_owner = reference_of(records).claim == machine.mine
            said = reference_of(records[: machine.fold.position])
            wrong += [f"{process} {worker.at}: {text}" for text in _unlike(machine, said, is_owner)]
    return wrong


def _unlike(machine: Partition, said: Reference, is_owner: bool) -> list[str]:
    fence, wrong = machine.fold.fence, []
    for name, ours, theirs in (
        ("claim", fence.claim, said.claim),
        ("next", fence.next, said.next),
        ("released", fence.released, said.released),
        ("time", machine.fold.time_us, said.time_us),
    ):
        if ours != theirs:
            wrong.append(f"{name} is {ours!r}, the log says {theirs!r}")
    sessions = machine.fold.sessions.by_id
    if {s: dict(each.done) for s, each in sessions.items()} != said.done:
        wrong.append(f"sessions are {sessions}, the log says {said.done}")
    if {s: each.low for s, each in sessions.items()} != said.low:
        wrong.append(f"lows are {sessions}, the log says {said.low}")
    if {s: each.newest_us for s, each in sessions.items()} != said.newest:
        wrong.append(f"newest are {sessions}, the log says {said.newest}")
    for actor in machine.residents.tables["List"].actors.values():
        if actor.state is UNLOADED or not is_owner:
            continue
        there = said.actors.get(actor.id.decode(), ActorSaid())
        if (actor.state, actor.revision) != (there.numbers, there.revision):
            wrong.append(f"{actor.name} is {actor.state} at {actor.revision}, the log says {there}")
        elif there.offset and actor.offset != there.offset:
            wrong.append(f"{actor.name} was at {actor.offset}, the log says {there.offset}")
    return wrong


def checkpoint_is_the_fold(world: World, at: TopicPartition) -> list[str]:
    """Check 5, when a flush applied: field by field, and every actor's row."""
    kept = world.store._partitions[at]
    stored = restore_fold(kept.checkpoint)
    said = reference_of(world.broker.records[at][: stored.position])
    wrong = []
    fields: Sequence[tuple[str, object, object]] = (
        ("claim", stored.fence.claim, said.claim),
        ("epoch", stored.fence.epoch, said.epoch),
        ("next", stored.fence.next, said.next),
        ("released", stored.fence.released, said.released),
        ("time", stored.time_us, said.time_us),
        ("done", {s: dict(each.done) for s, each in stored.sessions.by_id.items()}, said.done),
        ("low", {s: each.low for s, each in stored.sessions.by_id.items()}, said.low),
        ("newest", {s: e.newest_us for s, e in stored.sessions.by_id.items()}, said.newest),
    )
    for name, ours, theirs in fields:
        if ours != theirs:
            wrong.append(f"checkpoint of {at} at {stored.position}: {name} {ours!r} != {theirs!r}")
    for name, there in said.actors.items():
        row = kept.actors.get(("List", name))
        numbers = ",".join(str(number) for number in there.numbers).encode()
        if row is None:
            wrong.append(f"checkpoint of {at} at {stored.position}: no row of {name}")
        elif row.offset < stored.position and (
            row.revision != there.revision
            or row.offset != there.offset
            or (row.state or b"") != numbers
        ):
            wrong.append(f"checkpoint of {at} at {stored.position}: {row} != {there}")
    return wrong


async def sweep(world: World) -> None:
    """Check 12: every copy ever sent arrives again, at the owner and elsewhere."""
    await asyncio.sleep(1.0)
    before = _applied(world)
    for _ in range(2):
        for client in world.clients:
            for operation in client.operations:
                if operation.action == "all":
                    continue
                at = world.partition_of(operation.actor)
                owner = world.owner(at)
                client.send_again(operation, owner)
        await asyncio.sleep(1.5 if world.is_joined else 3.0)
    # Those of unknown outcome may take effect only now; nothing else may.
    unknown = sum(
        operation.outcome != "done" and operation.action != "all"
        for client in world.clients
        for operation in client.operations
    )
    grown = _applied(world) - before
    if grown > unknown:
        world.wrong(f"the sweep applied {grown} commits, {unknown} operations were open")


def _applied(world: World) -> int:
    return sum(
        commit.outcome is Outcome.APPLIED
        for at in world.partitions
        for commit in _commits(world, at)
    )


def _commits(world: World, at: TopicPartition) -> Sequence[Valid]:
    return reference_of(world.broker.records[at]).commits


def everything(world: World) -> list[str]:
    """All that is checked once, at the end."""
    wrong = owners_know_the_fold(world)
    operations = [each for client in world.clients for each in client.operations]
    by_request = {
        (each.request.session, each.request.n): each
        for each in operations
        if each.request is not None
    }
    for at in sorted(world.broker.truncated):
        _judge_loss(world, at, [e for e in operations if world.partition_of(e.actor) == at])
    whole = [at for at in world.partitions if at not in world.broker.truncated]
    operations = [e for e in operations if world.partition_of(e.actor) in whole]
    for at in whole:
        said = reference_of(world.broker.records[at])
        wrong += _each_once(said, by_request)
        wrong += _all_serve(world, at)
    wrong += _told_is_recorded(world, operations)
    for actor in world.actors:
        if world.partition_of(actor) not in whole:
            continue
        final = reference_of(world.broker.records[world.partition_of(actor)])
        numbers = final.actors.get(actor, ActorSaid()).numbers
        wrong += _linearizable(numbers, [each for each in operations if each.actor == actor])
    return wrong


def _judge_loss(world: World, at: TopicPartition, operations: Sequence[Operation]) -> None:
    """Check 9 under truncation: who lost what was acknowledged has stopped; misses are counted."""
    try:
        there = {(c.session, c.n) for c in _commits(world, at)}
    except AssertionError:
        there = set()
    lost = [
        each
        for each in operations
        if each.request is not None
        and each.outcome in ("done", "rejected")
        and (each.request.session, each.request.n) not in there
    ]
    stopped = any(
        worker.at == at and worker.machine.phase is Phase.STOPPED
        for _, node in world.nodes.values()
        for worker in node._workers
    ) or any(str(at) in text for text in world.stopped)
    what = "harmless" if not lost else "stopped" if stopped else "missed"
    world.losses[what] = world.losses.get(what, 0) + 1


def _each_once(said: Reference, by_request: dict[tuple[bytes, int], Operation]) -> list[str]:
    wrong, seen = [], set()
    sessions = {session for session, _ in by_request}
    for commit in said.commits:
        if not commit.n:
            continue  # told by its key; a number twice in a list is found there
        cause = (commit.session, commit.n)
        if cause in seen:
            wrong.append(f"request {commit.n} is the cause of two commits: {commit}")
        seen.add(cause)
        operation = by_request.get(cause)
        if operation is None and commit.session not in sessions:
            continue  # a node's own number, for a command that its caller told by a key
        if operation is None:
            wrong.append(f"a commit that nobody asked for: {commit}")
        elif commit.number is not None and commit.number != operation.number:
            wrong.append(f"{commit} is not what was asked for: {operation}")
        elif operation.outcome == "rejected" and commit.outcome is Outcome.APPLIED:
            wrong.append(f"told rejected, and applied: {operation}")
    return wrong


def _all_serve(world: World, at: TopicPartition) -> list[str]:
    """Check 9: somebody serves it, and nobody stopped."""
    active = [
        process.name
        for process, node in world.nodes.values()
        for worker in node._workers
        if worker.at == at and worker.machine.phase is Phase.ACTIVE and worker.active.is_set()
    ]
    stopped = [
        process.name
        for process, node in world.nodes.values()
        for worker in node._workers
        if worker.at == at and worker.machine.phase is Phase.STOPPED
    ]
    wrong = [f"{name} stopped {at}" for name in stopped]
    if not active:
        wrong.append(f"nobody serves {at} at the end")
    return wrong


def _told_is_recorded(world: World, operations: Sequence[Operation]) -> list[str]:
    recorded: dict[tuple[bytes, int], Valid] = {}
    for at in world.partitions:
        for commit in _commits(world, at):
            recorded.setdefault((commit.session, commit.n), commit)
    wrong = []
    for operation in operations:
        request = operation.request
        if request is None or operation.outcome not in ("done", "rejected"):
            continue
        told = recorded.get((request.session, request.n))
        if told is None:
            wrong.append(f"acknowledged, and not in the log: {operation}")
        elif operation.outcome == "done" and told.reply != operation.reply:
            wrong.append(f"told {operation}, recorded {told}")
        elif (operation.outcome == "rejected") != (told.outcome is Outcome.REJECTED):
            wrong.append(f"told another outcome, {operation}, than {told}")
    return wrong


def _linearizable(final: Sequence[int], operations: Sequence[Operation]) -> list[str]:
    """Check 7: the list is the order; what ended before another began is not behind it.

    An addition's version is its place in the list, a read's the length of what it saw; a read must
    have seen a beginning of the list.
    """
    wrong: list[str] = []
    place = {number: index + 1 for index, number in enumerate(final)}
    if len(place) != len(final):
        wrong.append(f"a number stands twice in {final}")
    timed: list[tuple[float, float, int, bool, Operation]] = []
    for each in operations:
        if each.outcome != "done":
            continue
        if each.action == "add":
            version = place.get(each.number)
            if version is None:
                wrong.append(f"acknowledged, and not in the list: {each}")
            elif each.reply != str(version).encode():
                wrong.append(f"told another place than {version}: {each}")
            else:
                timed.append((each.began, each.ended, version, True, each))
        elif each.action == "all":
            if list(final[: len(each.reply)]) != each.reply:
                wrong.append(f"read what never was: {each}; the list is {final}")
            else:
                timed.append((each.began, each.ended, len(each.reply), False, each))
    ends = sorted(timed, key=lambda each: each[1])
    newest, newest_operation, index = -1, None, 0
    for began, _, version, adds, operation in sorted(timed, key=lambda each: each[0]):
        while index < len(ends) and ends[index][1] < began:
            if ends[index][2] > newest:
                newest, newest_operation = ends[index][2], ends[index][4]
            index += 1
        if version < newest or (adds and version == newest):
            wrong.append(f"stale: {operation} began after {newest_operation} had ended")
    return wrong
