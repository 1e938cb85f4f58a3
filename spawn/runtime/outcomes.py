"""From a committed record to what its caller is told."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from copy import copy

import msgspec

from eventstore.errors import WrittenByNewerCode
from eventstore.log import TopicPartition
from eventstore.records import Outcome
from spawn.core.actors import Entry
from spawn.core.commands import Answer, Command
from spawn.core.decision import Refusal
from spawn.core.ids import Position
from spawn.core.ingress import COMMIT_BUCKETS_S
from spawn.errors import (
    ActionFailed,
    ActorParked,
    BodyTooLarge,
    KeyReused,
    NewerCodeNeeded,
    Rejected,
    SpawnError,
)
from spawn.runtime.counts import Outstanding

__all__ = ["KEY_REUSED", "again", "fail", "refused", "settle", "unreadable"]

KEY_REUSED = KeyReused.code


def settle(
    entries: Sequence[Entry], at: TopicPartition, outstanding: Outstanding, now: float
) -> None:
    """Tell the waiters of committed commands their outcomes, which stand in the log.

    `now` is on the clock of `Command.begun`.
    """
    if entries:
        _measure(entries, outstanding, now)
    for entry in entries:
        command, decision = entry.command, entry.decision
        outstanding.pop(command, None)
        waiter = command.waiter
        if waiter is not None and not waiter.done():
            if decision.outcome > Outcome.UNCHANGED:
                how = "rejected" if decision.outcome is Outcome.REJECTED else "failed"
                outstanding.outcomes[command.type, command.action, how] += 1
                waiter.set_exception(refused(decision.outcome, decision.refusal, entry.actor.name))
            elif not command.wants_answer:
                waiter.set_result(decision.reply)
            else:
                offset, revision = entry.offset, entry.revision
                if entry.repeats:
                    offset, revision = entry.repeats, entry.first_revision
                waiter.set_result(Answer(decision.reply_json, revision, Position(*at, offset)))
        if command.joined is not None:
            copies = [msgspec.structs.replace(entry, command=each) for each in command.joined]
            settle(copies, at, outstanding, now)


def _measure(entries: Sequence[Entry], outstanding: Outstanding, now: float) -> None:
    """Count how long the commands took, from their arrival to now.

    Of those of one append one is measured, by turns, and stands for all: to measure each would cost
    more than 1 % of a commit.
    """
    size = len(entries)
    outstanding.turn = turn = outstanding.turn + 1
    command = entries[turn % size].command
    seconds = now - (command.arrived or command.begun)
    measured = outstanding.call_seconds
    measured.counts[bisect_left(COMMIT_BUCKETS_S, seconds)] += size
    measured.total += seconds * size


def fail(command: Command, error: SpawnError, outstanding: Outstanding) -> None:
    """Tell a command's waiters that it has no outcome here, and why."""
    outstanding.pop(command, None)
    if not isinstance(error, Rejected):  # that code is the actor's own, and stands in a record
        outstanding.refusals[error.code] += 1
    if command.waiter is not None and not command.waiter.done():
        command.waiter.set_exception(error)
    for joined in command.joined or ():
        fail(joined, again(error), outstanding)


def again(error: SpawnError) -> SpawnError:
    """Return the same error for somebody else.

    Each who is told raises it, and that writes a traceback into the object.
    """
    other = copy(error)
    other.__cause__ = error.__cause__
    return other


def unreadable(name: str, text: str, error: Exception) -> SpawnError:
    """Return what the callers of an actor are told of which something can't be read here."""
    if isinstance(error, WrittenByNewerCode):
        hint = "call again: a node with the newer code can serve it; finish the upgrade"
        return NewerCodeNeeded(text, at=name, hint=hint)
    return ActorParked(text, at=name)


def refused(outcome: Outcome, refusal: Refusal | None, at: str) -> SpawnError:
    """Return the error that a record with such an outcome stands for."""
    code, message = refusal or Refusal("unknown", "the record gives no reason")
    if outcome is Outcome.REJECTED:
        if code == KEY_REUSED:
            return KeyReused(message, at=at)
        return Rejected(code, message, at=at)
    if code == BodyTooLarge.code:
        return BodyTooLarge(message, at=at)
    return ActionFailed(message, at=at)
