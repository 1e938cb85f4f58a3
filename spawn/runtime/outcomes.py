"""From a committed record to what its caller is told."""

from __future__ import annotations

from collections.abc import Sequence

from eventstore.log import TopicPartition
from eventstore.records import Outcome
from spawn.core.actors import Entry
from spawn.core.commands import Answer, Command
from spawn.core.decision import Refusal
from spawn.core.ids import Position
from spawn.errors import ActionFailed, BodyTooLarge, KeyReused, Rejected, SpawnError

__all__ = ["KEY_REUSED", "fail", "settle"]

KEY_REUSED = KeyReused.code


def settle(entries: Sequence[Entry], at: TopicPartition, outstanding: set[Command]) -> None:
    """Tell the waiters of committed commands their outcomes, which stand in the log."""
    for entry in entries:
        command, decision = entry.command, entry.decision
        outstanding.discard(command)
        waiter = command.waiter
        if waiter is None or waiter.done():
            continue
        if decision.outcome > Outcome.UNCHANGED:
            waiter.set_exception(_refused(decision.outcome, decision.refusal, entry.actor.name))
        elif not command.wants_answer:
            waiter.set_result(decision.reply)
        else:
            offset, revision = entry.offset, entry.revision
            if entry.repeats:
                offset, revision = entry.repeats, entry.first_revision
            waiter.set_result(Answer(decision.reply_json, revision, Position(*at, offset)))


def fail(command: Command, error: SpawnError) -> None:
    """Tell a command's waiter that it has no outcome here, and why."""
    if command.waiter is not None and not command.waiter.done():
        command.waiter.set_exception(error)


def _refused(outcome: Outcome, refusal: Refusal | None, at: str) -> SpawnError:
    code, message = refusal or Refusal("unknown", "the record gives no reason")
    if outcome is Outcome.REJECTED:
        if code == KEY_REUSED:
            return KeyReused(message, at=at)
        return Rejected(code, message, at=at)
    if code == BodyTooLarge.code:
        return BodyTooLarge(message, at=at)
    return ActionFailed(message, at=at)
