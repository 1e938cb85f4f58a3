"""Running commands and reads of one partition's actors.

A plain action runs to completion inside the step that started it; an async one in a task that
drains its actor's mailbox, and one that blocks in a thread that such a task waits for. One action
at a time per actor, many actors at once; an actor's next command runs on its uncommitted state. A
read-only action runs at once on the committed state.

Over 400 lines: commands and reads are run in the same three ways.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from eventstore.codec import CommitBody, decode_commit_body
from eventstore.errors import CorruptRecord, LogError, OffsetGone, UnreadableBody
from eventstore.history import HistoryRecord, read_one
from eventstore.log import TopicPartition
from eventstore.records import Flag, Outcome
from spawn.core.actors import Actor
from spawn.core.behavior import Behavior
from spawn.core.commands import DELETE, Answer, Command
from spawn.core.decision import Decision, Refusal
from spawn.core.ids import Position
from spawn.core.keys import BoundKey
from spawn.core.partition import Partition
from spawn.errors import (
    ActionFailed,
    LogUnreachable,
    NotStarted,
    ReplyGone,
    SpawnError,
)
from spawn.runtime.blocking import HELD_S
from spawn.runtime.context import NodeContext
from spawn.runtime.outcomes import KEY_REUSED, again, fail, refused
from spawn.runtime.partition_log import PartitionLogger
from spawn.runtime.runs import CURRENT

__all__ = ["STATE_READ", "Execution", "StateJson"]

STATE_READ: Final = ""
"""The action name of a read of the whole state; no action can be named so."""


class StateJson(bytes):
    """The whole state as JSON, in place of the state: it was read on another node."""


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
        is_ending: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_ending` tells whether the tasks are cancelled because the partition ends."""
        self._context = context
        self._is_ending = is_ending
        self._at = at
        self._machine = machine
        self._log = PartitionLogger("spawn.actor", at)
        self._tasks = tasks
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._time_us = context.clock.time_us
        self._stopwatch = context.stopwatch
        self._blocking = context.blocking
        self._inline = {
            name: context.blocking.inline(table.behavior)
            for name, table in machine.residents.tables.items()
        }
        """By type, the actions that run in this thread; measuring takes some away."""
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
            command.begun = now
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
            action = command.action
            if action not in self._inline[command.type]:
                command.arrived = command.arrived or now
                if self._start_rest(actor, command):
                    return
                continue
            command.started = True
            time_us = machine.time(self._time_us())
            began = self._stopwatch()
            work = actor.work
            assert work is not None, "a started command keeps its actor busy"
            behavior = actor.table.behavior
            # As in `_arguments`, whose call would show in what a commit costs.
            alive = 0 if work.deleted else work.revision
            decision: Any = behavior.run(
                action, actor.id.decode(), work.state, alive, time_us, command
            )
            if (held := self._stopwatch() - began) > HELD_S:
                self._blocking.held(behavior, action, held)
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

    def _start_rest(self, actor: Actor, command: Command) -> bool:
        """Start what is no plain action; tell whether a task has it now."""
        if command.action == DELETE:
            self._delete(actor, command)
            return False
        if actor.table.behavior.actions[command.action].is_async:
            command.started = True
            self._spawn(self.run_async(actor, command))
        else:
            self._spawn(self._run_in_thread(actor, command))
        return True

    def _delete(self, actor: Actor, command: Command) -> None:
        """Delete the actor, whatever its type; one that is new or deleted stays as it is."""
        machine, work = self._machine, actor.work
        assert work is not None, "a started command keeps its actor busy"
        command.started = True
        if work.deleted or not work.revision:
            decision = Decision(Outcome.UNCHANGED, work.state)
        else:
            try:
                state = actor.table.behavior.initial(actor.id.decode())
            except UnreadableBody as error:
                refusal = Refusal(ActionFailed.code, str(error))
                decision = Decision(Outcome.FAILED, work.state, refusal=refusal)
            else:
                decision = Decision(Outcome.APPLIED, state, deleted=True)
        machine.decide(actor, command, decision, machine.time(self._time_us()))
        self._wake.set()

    async def _run_in_thread(self, actor: Actor, command: Command) -> None:
        """Run a plain action in a thread.

        When the partition ends meanwhile, nobody waits for the decision: it is dropped.
        """
        machine, behavior = self._machine, actor.table.behavior
        time_us = machine.time(self._time_us())
        arguments = _arguments(actor, command, time_us)
        given_up = False

        def run() -> tuple[Any, float]:
            if given_up:
                return None, 0.0
            command.started = True
            command.begun = self._now()
            if not command.is_awaited(command.begun):
                return None, 0.0
            began = self._stopwatch()
            decision = behavior.run(*arguments)
            return decision, self._stopwatch() - began

        try:
            with self._context.runs.noted(command, actor):
                decision, seconds = await self._blocking.run_alone((command.type, actor.id), run)
        except asyncio.CancelledError:
            given_up = True  # if it still waits for a thread, it needs none any more
            raise
        if decision is None:
            self._expire(actor, command)
        else:
            self._blocking.ran(behavior, command.action, seconds)
            machine.decide(actor, command, decision, time_us)
            self._wake.set()
        self._resume()
        self.start(actor)

    async def run_async(self, actor: Actor, command: Command) -> None:
        """Run a command whose action is async or blocks; its own task, one an actor."""
        machine = self._machine
        time_us = machine.time(self._time_us())
        behavior = actor.table.behavior
        with self._context.runs.noted(command, actor):
            token = CURRENT.set(command)
            try:
                decision = behavior.run(*_arguments(actor, command, time_us))
                if not isinstance(decision, Decision):
                    decision = await self._blocking.watch(behavior, command.action, decision)
            except asyncio.CancelledError:
                if self._is_ending():
                    raise
                refusal = Refusal(ActionFailed.code, self._cancelled(actor, command))
                assert actor.work is not None, "a started command keeps its actor busy"
                decision = Decision(Outcome.FAILED, actor.work.state, refusal=refusal)
            CURRENT.reset(token)  # What is started below is no part of it.
        machine.decide(actor, command, decision, machine.time(time_us))
        self._wake.set()
        self._resume()
        self.start(actor)

    def _cancelled(self, actor: Actor, command: Command) -> str:
        """Log that user code has cancelled the task it runs in, which goes on; return the text."""
        task = asyncio.current_task()
        assert task is not None, "it runs in a task"
        while task.cancelling():
            task.uncancel()
        text = f"{command.type}.{command.action} of {actor.name} cancelled its own task"
        fields = {"actor": actor.name, "action": command.action}
        self._log.error("%s", text, extra=fields)
        return text

    async def _repeat(self, actor: Actor, command: Command, bound: BoundKey) -> None:
        """Answer a command whose key is bound from the first record; it leaves its own record."""
        machine = self._machine
        work = actor.work
        assert work is not None, "a started command keeps its actor busy"
        assert command.key is not None, "only a key binds"
        try:
            first = await read_one(
                self._context.log, self._at, command.type, actor.id, bound.offset
            )
            body = await self._body(first)
            differs = command.key.payload != bound.payload
            reply = None if differs else _reply_again(actor.table.behavior, command, body)
        except ReplyGone as error:
            self._refuse(actor, command, error)
        except (OffsetGone, CorruptRecord):
            text = f"{actor.name} did this before; its reply is no longer in the log"
            self._refuse(actor, command, ReplyGone(text))
        except LogError as error:
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

    async def _body(self, record: HistoryRecord) -> CommitBody:
        """Return a record's body. Raises: UnreadableBody; LogError - of the schema topic."""
        schemas = self._context.schemas

        async def decode() -> CommitBody:
            return decode_commit_body(record.value, record.commit.body_at, schemas.writers)

        return await schemas.reading(None, decode)

    def answer_recorded(self, command: Command, offset: int) -> None:
        """Answer a numbered request that is done, from its record (log protocol 7)."""
        command.started = True  # it is not to be told that it was never executed
        copies, command.joined = command.joined or (), None
        for copy in copies:
            self.answer_recorded(copy, offset)
        self._spawn(self._answer_recorded(command, offset))

    async def _answer_recorded(self, command: Command, offset: int) -> None:
        name = f"{command.type}/{command.id.decode()}"
        behavior = self._machine.residents.tables[command.type].behavior
        log, outstanding = self._context.log, self._context.outstanding
        try:
            record = await read_one(log, self._at, command.type, command.id, offset)
            body = await self._body(record)
            reply = _reply_again(behavior, command, body)
            outcome = Outcome(record.commit.outcome)
            if record.commit.flags & Flag.REPEATS:  # of a key: callers are told the first's place
                record = await read_one(
                    log, self._at, command.type, command.id, record.commit.repeats
                )
        except asyncio.CancelledError:
            self._machine.reads.append(command)  # the partition ended: it is judged elsewhere
            raise
        except ReplyGone as error:
            fail(command, error, outstanding)
        except (OffsetGone, CorruptRecord):
            text = "this request was executed before; its reply is no longer in the log"
            fail(command, ReplyGone(text, at=name), outstanding)
        except LogError as error:
            text = f"this request was executed before; its reply can't be read now: {error}"
            fail(command, LogUnreachable(text, at=name), outstanding)
        else:
            if outcome > Outcome.UNCHANGED:
                refusal = None if body.refusal is None else Refusal(*body.refusal)
                fail(command, refused(outcome, refusal, name), outstanding)
                return
            outstanding.pop(command, None)
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
            if actor.asleep:
                self.read(command)
            else:
                self.run_read(actor, command)

    def run_read(self, actor: Actor, command: Command) -> None:
        """Run a read on the actor's committed state and tell its outcome.

        The lease was judged on arrival; a pause between that and the answer does no harm.
        """
        if command.waiter is None or command.waiter.done():
            self._context.outstanding.pop(command, None)
            return
        revision, offset = actor.revision, actor.offset
        if command.action == STATE_READ:
            self._context.outstanding.pop(command, None)
            command.waiter.set_result((actor.state, revision, self._position(offset)))
            return
        alive = revision if not actor.deleted else 0
        time_us = self._machine.time(self._time_us())
        behavior, action = actor.table.behavior, command.action
        command.begun = self._now()
        arguments = (action, actor.id.decode(), actor.state, alive, time_us, command)
        is_inline = action in self._inline[command.type]
        if not (is_inline or behavior.actions[action].is_async):
            reading = self._read_in_thread(behavior, arguments)
            self._spawn(self.read_async(actor, command, reading, revision, offset))
            return
        began = self._stopwatch()
        try:
            reply = behavior.read(*arguments)
        except SpawnError as error:
            fail(command, error, self._context.outstanding)
            return
        finally:
            if is_inline and (held := self._stopwatch() - began) > HELD_S:
                self._blocking.held(behavior, action, held)
        if is_inline:
            self._answer(actor, command, reply, revision, offset)
        else:
            reading = self._blocking.watch(behavior, action, reply)
            self._spawn(self.read_async(actor, command, reading, revision, offset))

    async def _read_in_thread(self, behavior: Behavior, arguments: tuple[Any, ...]) -> Any:
        def read() -> tuple[Any, float]:
            began = self._stopwatch()
            reply = behavior.read(*arguments)
            return reply, self._stopwatch() - began

        reply, seconds = await self._blocking.threads.submit(read)
        self._blocking.ran(behavior, arguments[0], seconds)
        return reply

    async def read_async(
        self, actor: Actor, command: Command, running: Awaitable[Any], revision: int, offset: int
    ) -> None:
        """Answer a read whose action is async or blocks, in a task of its own."""
        try:
            reply = await running
        except asyncio.CancelledError:
            if self._is_ending():
                self._machine.reads.append(command)  # it is read elsewhere
                raise
            error = ActionFailed(self._cancelled(actor, command), at=actor.name)
            fail(command, error, self._context.outstanding)
        except SpawnError as error:
            fail(command, error, self._context.outstanding)
        else:
            self._answer(actor, command, reply, revision, offset)

    def _answer(
        self, actor: Actor, command: Command, reply: Any, revision: int, offset: int
    ) -> None:
        """Tell a read's reply; revision and offset are of the state that it was made from."""
        self._context.outstanding.pop(command, None)
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

    def park(self, actor: Actor, reason: SpawnError) -> None:
        """The actor's state can't be rebuilt here: tell everybody who waits, and keep it so."""
        self._log.error("%s is parked: %s", actor.name, reason, extra={"actor": actor.name})
        for command in self._machine.residents.park(actor, reason):
            fail(command, again(reason), self._context.outstanding)

    def refuse_all(self, commands: Sequence[Command], error: SpawnError) -> None:
        """Tell several commands the same reason."""
        for command in commands:
            fail(command, again(error), self._context.outstanding)


def _arguments(
    actor: Actor, command: Command, time_us: int
) -> tuple[str, str, Any, int, int, Command]:
    """Return what `Behavior.run` is called with for the actor's next command."""
    work = actor.work
    assert work is not None, "a started command keeps its actor busy"
    alive = work.revision if not work.deleted else 0
    return command.action, actor.id.decode(), work.state, alive, time_us, command


def _reply_again(behavior: Behavior, command: Command, body: CommitBody) -> Any:
    """Return the reply object of a recorded reply; callers over HTTP get the JSON itself.

    Raises: ReplyGone - today's code can't read it.
    """
    if command.wants_answer or body.refusal is not None or body.action == DELETE:
        return None
    return behavior.decode_reply(body.action, body.reply)
