"""Running commands and reads of one partition's actors.

A plain action runs to completion inside the step that started it; an async one in a task that
drains its actor's mailbox. One action at a time per actor, many actors at once; an actor's next
command runs on its uncommitted state. A read-only action runs at once on the committed state.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Any, Final

from eventstore.codec import CommitBody, decode_commit_body
from eventstore.errors import CorruptRecord, LogRefused, LogUnavailable
from eventstore.history import read_one
from eventstore.log import TopicPartition
from eventstore.records import Flag, Outcome
from spawn.core.actors import UNLOADED, Actor
from spawn.core.behavior import Behavior
from spawn.core.commands import Answer, Command
from spawn.core.decision import Decision, Refusal
from spawn.core.ids import Position
from spawn.core.keys import BoundKey
from spawn.core.partition import Partition
from spawn.errors import (
    ActorParked,
    LogUnreachable,
    NotStarted,
    ReplyGone,
    SpawnError,
)
from spawn.runtime.context import NodeContext
from spawn.runtime.outcomes import KEY_REUSED, fail, refused

__all__ = ["STATE_READ", "Execution"]

_logger = logging.getLogger("spawn.actor")

STATE_READ: Final = ""
"""The action name of a read of the whole state; no action can be named so."""
_INLINE_READS: Final = 64
"""Reads answered within one turn of the event loop; the next one waits for the next turn, so that
a loop of reads, whose futures are done at once, does not starve everything else."""


class Execution:
    """Runs what the machine of one partition says may run."""

    def __init__(
        self,
        context: NodeContext,
        at: TopicPartition,
        machine: Partition,
        tasks: asyncio.TaskGroup,
        wake: asyncio.Event,
    ) -> None:
        self._context = context
        self._at = at
        self._machine = machine
        self._tasks = tasks
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._time_us = context.clock.time_us
        self._inline_reads = 0

    # --- commands --------------------------------------------------------------------------------

    def start(self, actor: Actor) -> None:
        """Run the actor's commands until it has none left, or one takes a task of its own."""
        machine = self._machine
        while (command := machine.start(actor)) is not None:
            waiter = command.waiter
            now = self._now()
            if (
                now >= command.deadline or (waiter is not None and waiter.done())
            ) and not command.is_awaited(now):
                self._expire(actor, command)
                continue
            if command.key is not None:
                try:
                    bound = machine.bound_key(actor, command, self._time_us())
                except SpawnError as error:
                    self._refuse(actor, command, error)
                    continue
                if bound is not None:
                    command.started = True
                    self._spawn(self._repeat(actor, command, bound))
                    return
            command.started = True
            if actor.table.behavior.actions[command.action].is_async:
                self._spawn(self._run_async(actor, command))
                return
            time_us = machine.time(self._time_us())
            decision: Any = self._call(actor, command, time_us)
            machine.decide(actor, command, decision, time_us)
            self._wake.set()
            if (work := actor.work) is not None and not work.mailbox:
                return  # the usual case: nothing waits, and what was decided keeps it busy

    def _expire(self, actor: Actor, command: Command) -> None:
        """Drop a command that nobody waits for any more and that was never started."""
        error = NotStarted(f"the deadline passed before {command.action} was started")
        self._refuse(actor, command, error)

    def _refuse(self, actor: Actor, command: Command, error: SpawnError) -> None:
        self._machine.abandon(actor)
        error.at = error.at or actor.name
        fail(command, error, self._context.outstanding)

    def _call(self, actor: Actor, command: Command, time_us: int) -> Decision | Awaitable[Decision]:
        work = actor.work
        assert work is not None, "a started command keeps its actor busy"
        alive = work.revision if not work.deleted else 0
        return actor.table.behavior.run(
            command.action, actor.id.decode(), work.state, alive, time_us, command
        )

    async def _run_async(self, actor: Actor, command: Command) -> None:
        machine = self._machine
        time_us = machine.time(self._time_us())
        decision = self._call(actor, command, time_us)
        if not isinstance(decision, Decision):
            decision = await decision
        machine.decide(actor, command, decision, machine.time(time_us))
        self._wake.set()
        self._resume()
        self.start(actor)

    async def _repeat(self, actor: Actor, command: Command, bound: BoundKey) -> None:
        """Answer a command whose key is bound from the first record; it leaves its own record."""
        machine = self._machine
        work = actor.work
        assert work is not None, "a started command keeps its actor busy"
        assert command.key is not None, "only a key binds"
        try:
            first = await read_one(self._context.log, self._at, actor.id, bound.offset)
            body = decode_commit_body(first.value, first.commit.body_at)
            differs = command.key.payload != bound.payload
            reply = None if differs else _reply_again(actor.table.behavior, command, body)
        except ReplyGone as error:
            self._refuse(actor, command, error)
        except (LogRefused, CorruptRecord):
            text = f"{actor.name} did this before; its reply is no longer in the log"
            self._refuse(actor, command, ReplyGone(text))
        except LogUnavailable as error:
            self._refuse(actor, command, LogUnreachable(f"the first reply can't be read: {error}"))
        else:
            outcome = Outcome(first.commit.outcome)
            refusal = None if body.refusal is None else Refusal(*body.refusal)
            reply_json = body.reply
            if differs:
                outcome, reply_json = Outcome.REJECTED, b"null"
                refusal = Refusal(
                    KEY_REUSED,
                    f"the idempotency key was used with {actor.name} for {body.action} with "
                    "another payload; nothing was done",
                )
            elif outcome <= Outcome.UNCHANGED:
                outcome = Outcome.UNCHANGED
            decision = Decision(
                outcome, work.state, reply=reply, reply_json=reply_json, refusal=refusal
            )
            time_us = machine.time(self._time_us())
            first_place = (bound.offset, first.commit.revision)
            machine.decide(actor, command, decision, time_us, first_place)
            self._wake.set()
        self._resume()
        self.start(actor)

    def answer_recorded(self, command: Command, offset: int) -> None:
        """Answer a numbered request that is done, from its record (log protocol 7)."""
        copies, command.joined = command.joined or (), None
        for copy in copies:
            self.answer_recorded(copy, offset)
        self._spawn(self._answer_recorded(command, offset))

    async def _answer_recorded(self, command: Command, offset: int) -> None:
        name = f"{command.type}/{command.id.decode()}"
        behavior = self._machine.residents.tables[command.type].behavior
        log, outstanding = self._context.log, self._context.outstanding
        try:
            record = await read_one(log, self._at, command.id, offset)
            body = decode_commit_body(record.value, record.commit.body_at)
            reply = _reply_again(behavior, command, body)
            if record.commit.flags & Flag.REPEATS:  # of a key: callers are told the first's place
                record = await read_one(log, self._at, command.id, record.commit.repeats)
        except asyncio.CancelledError:
            self._machine.reads.append(command)  # the partition ended: it is judged elsewhere
            raise
        except ReplyGone as error:
            fail(command, error, outstanding)
        except (LogRefused, CorruptRecord):
            text = "this request was executed before; its reply is no longer in the log"
            fail(command, ReplyGone(text, at=name), outstanding)
        except LogUnavailable as error:
            text = f"this request was executed before; its reply can't be read now: {error}"
            fail(command, LogUnreachable(text, at=name), outstanding)
        else:
            outcome = Outcome(record.commit.outcome)
            if outcome > Outcome.UNCHANGED:
                refusal = None if body.refusal is None else Refusal(*body.refusal)
                fail(command, refused(outcome, refusal, name), outstanding)
                return
            outstanding.discard(command)
            if (waiter := command.waiter) is not None and not waiter.done():
                place = Position(*self._at, record.offset)
                answer = Answer(body.reply, record.commit.revision, place)
                waiter.set_result(answer if command.wants_answer else reply)

    def _spawn(self, work: Awaitable[None]) -> None:
        self._tasks.create_task(work)  # type: ignore[arg-type]

    def _resume(self) -> None:
        """Start the actors that the machine says may go on."""
        while actors := self._machine.resumable:
            self._machine.resumable = []
            for actor in actors:
                self.start(actor)

    def resume(self) -> None:
        """After something was settled: start the actors that waited for it."""
        if self._machine.resumable:
            self._resume()

    # --- reads -----------------------------------------------------------------------------------

    def read(self, command: Command) -> None:
        """Run a read now, or keep it until it may."""
        machine = self._machine
        actor = machine.read(command, self._context.clock.monotonic())
        if actor is None:
            if machine.reads:
                self._wake.set()
            return
        if self._inline_reads == 0:
            self._loop.call_soon(self._next_turn)
        self._inline_reads += 1
        if self._inline_reads > _INLINE_READS:
            self._loop.call_soon(self.run_read, actor, command)
        else:
            self.run_read(actor, command)

    def _next_turn(self) -> None:
        self._inline_reads = 0

    def readable(self) -> None:
        """After an acknowledged append: run the reads that it allows."""
        for command in self._machine.readable(self._context.clock.monotonic()):
            actor = self._machine.residents.actor(command.type, command.id)
            if actor.state is UNLOADED:
                self.read(command)
            else:
                self.run_read(actor, command)

    def run_read(self, actor: Actor, command: Command) -> None:
        """Run a read on the actor's committed state and tell its outcome.

        The lease was judged on arrival; a pause between that and the answer does no harm.
        """
        if command.waiter is None or command.waiter.done():
            self._context.outstanding.discard(command)
            return
        revision, offset = actor.revision, actor.offset
        if command.action == STATE_READ:
            self._context.outstanding.discard(command)
            command.waiter.set_result((actor.state, revision, self._position(offset)))
            return
        alive = revision if not actor.deleted else 0
        time_us = self._machine.time(self._time_us())
        behavior = actor.table.behavior
        try:
            reply = behavior.read(
                command.action, actor.id.decode(), actor.state, alive, time_us, command
            )
        except SpawnError as error:
            fail(command, error, self._context.outstanding)
            return
        if behavior.actions[command.action].is_async:
            self._spawn(self._read_async(actor, command, reply, revision, offset))
        else:
            self._answer(actor, command, reply, revision, offset)

    async def _read_async(
        self, actor: Actor, command: Command, running: Awaitable[Any], revision: int, offset: int
    ) -> None:
        try:
            reply = await running
        except asyncio.CancelledError:
            self._machine.reads.append(command)  # the partition ended: it is read elsewhere
            raise
        except SpawnError as error:
            fail(command, error, self._context.outstanding)
        else:
            self._answer(actor, command, reply, revision, offset)

    def _answer(
        self, actor: Actor, command: Command, reply: Any, revision: int, offset: int
    ) -> None:
        """Tell a read's reply; revision and offset are of the state that it was made from."""
        self._context.outstanding.discard(command)
        waiter = command.waiter
        if waiter is None or waiter.done():
            return
        if not command.wants_answer:
            waiter.set_result(reply)
            return
        try:
            encoded = actor.table.behavior.encode_reply(command.action, reply)
        except SpawnError as error:
            fail(command, error, self._context.outstanding)
        else:
            waiter.set_result(Answer(encoded, revision, self._position(offset)))

    def _position(self, offset: int) -> Position | None:
        return Position(*self._at, offset) if offset else None

    # --- refusals of a whole actor ---------------------------------------------------------------

    def park(self, actor: Actor, reason: str) -> None:
        """The actor's state can't be rebuilt: tell everybody who waits, and keep it so."""
        _logger.error("%s is parked: %s", actor.name, reason)
        for command in self._machine.residents.park(actor, reason):
            fail(command, ActorParked(reason, at=actor.name), self._context.outstanding)

    def refuse_all(self, commands: Sequence[Command], error: SpawnError) -> None:
        """Tell several commands the same reason."""
        for command in commands:
            fail(command, error, self._context.outstanding)


def _reply_again(behavior: Behavior, command: Command, body: CommitBody) -> Any:
    """Return the reply object of a recorded reply; callers over HTTP get the JSON itself.

    Raises: ReplyGone - today's code can't read it.
    """
    if command.wants_answer or body.refusal is not None:
        return None
    return behavior.decode_reply(body.action, body.reply)
