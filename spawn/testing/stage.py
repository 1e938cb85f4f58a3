"""One partition in memory on which a kit's commands run, one at a time.

The machine, take-over, activation, execution and flush are those of production; this shell calls
them in the order in which a `PartitionWorker` does, but without tasks that outlive a command: so a
kit needs no set-up and no end, and its caller's stack leads straight into the action.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar

from eventstore.log import LogRecord, TopicPartition, TopicSettings
from eventstore.memory_log import MemoryLog
from eventstore.memory_snapshots import MemorySnapshots
from eventstore.records import Outcome as RecordOutcome
from spawn.core.actors import UNLOADED, Actor, Entry
from spawn.core.commands import Command
from spawn.core.decision import Decision
from spawn.core.ids import topic_of
from spawn.core.ingress import Awaiter
from spawn.core.partition import Partition
from spawn.errors import ActionFailed, SpawnError
from spawn.runtime.activation import Activation, tell_activated
from spawn.runtime.clock import random_id
from spawn.runtime.context import NodeContext, RuntimeSettings
from spawn.runtime.counts import PartitionCounts
from spawn.runtime.debugger import Debugger
from spawn.runtime.execution import Execution
from spawn.runtime.flushing import Flusher
from spawn.runtime.outcomes import fail, settle
from spawn.runtime.placement import Everything
from spawn.runtime.takeover import take_over
from spawn.sdk.actor import Actor as ActorClass
from spawn.sdk.behavior import ClassBehavior
from spawn.sdk.run import Run
from spawn.testing.cast import SYSTEM, cast_of
from spawn.testing.replay import Replay
from spawn.testing.virtual_clock import VirtualClock

__all__ = ["Given", "Ran", "Stage"]

T = TypeVar("T")

Given = Callable[[Run], Decision]
"""Decides one commit of an actor's past."""


class Ran(NamedTuple):
    """What a command came to."""

    reply: Any
    events: Sequence[Any]


class Stage:
    """Runs the actors of one type; implements `Dispatcher` for references to them."""

    def __init__(self, cls: type[ActorClass[Any, Any]], clock: VirtualClock) -> None:
        self.clock = clock
        self.cast = cast_of(cls)
        self.behavior = self.cast.behavior
        topic = topic_of(SYSTEM, self.behavior.settings.topic or self.behavior.type)
        self._at = TopicPartition(topic, 0)
        self._log = MemoryLog()
        self._store = MemorySnapshots()
        _drive(self._log.create({topic: TopicSettings(partitions=1)}))
        self._context = NodeContext(
            system=SYSTEM,
            owner=bytes(16),
            endpoint="",
            log=self._log,
            store=self._store,
            clock=clock,
            settings=RuntimeSettings(),
            say=lambda _text: None,
            debugger=Debugger(),
            new_id=random_id,
        )
        self._machine: Partition | None = None
        self._replays: dict[bytes, Replay] = {}
        self._sent: list[Command] = []
        self._running = ""
        self.forgotten = ""
        """A command that was written down and never run."""

    def reference(self, actor_id: str | None) -> ActorClass[Any, Any]:
        """Return a reference to an actor. Raises: InvalidId."""
        return self.cast.system.actor(self.behavior.cls, actor_id)

    def replay(self, actor_id: str) -> Replay:
        """Return what is known of an actor. Raises: RuntimeError - a command was never run."""
        self.require_nothing_forgotten()
        key = actor_id.encode()
        if key not in self._replays:
            self._replays[key] = Replay(self.cast, actor_id)
        return self._replays[key]

    def require_nothing_forgotten(self) -> None:
        """Raises: RuntimeError - a command was never run."""
        if self.forgotten:
            text, self.forgotten = self.forgotten, ""
            raise RuntimeError(
                f"{text} was never run: write `await kit.when(...)`, or `kit.when(...).now()` in "
                "a test that is not async"
            )

    # --- Dispatcher ------------------------------------------------------------------------------

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def new_waiter(self) -> Awaiter:
        return asyncio.get_running_loop().create_future()

    def submit(self, command: Command) -> None:
        self._sent.append(command)

    # --- the past --------------------------------------------------------------------------------

    def give(self, actor_id: str, past: Sequence[Given]) -> None:
        """Write commits as an earlier node did. An actor in memory leaves it first."""
        replay = self.replay(actor_id)
        self.close()
        machine = _drive(self._open(self.cast.author))
        try:
            for given in past:
                self._write(machine, actor_id, given)
                replay.check()
        finally:
            self._release(machine)

    def _write(self, machine: Partition, actor_id: str, given: Given) -> None:
        key = actor_id.encode()
        command = Command(self.behavior.type, key, "given", b"null", (), float("inf"))
        actor = machine.residents.actor(self.behavior.type, key)
        machine.arrive(command)
        _drive(self._load(machine))
        machine.start(actor)
        work = actor.work
        assert work is not None, "a started command keeps its actor busy"
        time_us = machine.time(self.clock.time_us())
        alive = work.revision if not work.deleted else 0
        run = Run(
            self.behavior.type, actor_id, work.state, alive, time_us, command, self.cast.kinds
        )
        try:
            decision = given(run)
        except BaseException:
            machine.abandon(actor)
            raise
        machine.decide(actor, command, decision, time_us)
        _drive(self._append(machine))

    def restart(self, *, snapshot: bool) -> None:
        """Let all actors leave memory as at the stop of a node, with a snapshot or without one."""
        self.require_nothing_forgotten()
        self.close()
        if snapshot:
            machine = _drive(self._open(self.cast.author))
            try:
                activation = self._activation(machine)
                dirty = [each for each in machine.residents.dirty if each.state is UNLOADED]
                _drive(activation.load(dirty))
                size = self._context.settings.state_bytes_max
                flusher = Flusher(
                    self._at,
                    machine,
                    self._store,
                    PartitionCounts(),
                    size,
                    activation.read_again,
                )
                _drive(flusher.flush())
            finally:
                self._release(machine)

    def close(self) -> None:
        """Let all actors leave memory."""
        if self._running:
            raise RuntimeError(f"{self._running} still runs: await it first")
        machine, self._machine = self._machine, None
        if machine is not None:
            self._release(machine)

    def _release(self, machine: Partition) -> None:
        """Give the partition up, so that the next one who takes it over waits for no lease."""
        machine.roll_back()
        record = LogRecord(None, machine.release())
        _drive(self._log.append(self._at, [record], self.clock.time_us() // 1000))

    # --- one command -----------------------------------------------------------------------------

    async def run(
        self,
        text: str,
        actor_id: str,
        call: Callable[[], object],
        change: Callable[[Command], None],
    ) -> Ran:
        """Run the command that `call` sends, up to its record and the replay of that.

        `text` names it. Raises: what its caller would get; ReplayDiffers.
        """
        replay = self.replay(actor_id)
        if self._running:
            raise RuntimeError(
                f"{text} was begun while {self._running} still runs: a kit runs one command at a "
                "time, a MemoryNode many"
            )
        self._running = text
        causes = _Causes()
        try:
            self.cast.system.bind(self)
            call()
            command = self._sent.pop()
            change(command)
            if self._machine is None:
                self._machine = await self._open(self.behavior)
            with causes:
                await self._perform(self._machine, command)
        finally:
            self._running = ""
            self._sent.clear()
            self._context.blocking.threads.close()  # others start when they are needed
        waiter: Any = command.waiter
        events = replay.check()
        error = waiter.exception()
        if isinstance(error, ActionFailed) and causes.found is not None:
            raise error from causes.found
        return Ran(waiter.result(), events)

    async def _perform(self, machine: Partition, command: Command) -> None:
        waiter: Any = command.waiter
        wake = asyncio.Event()
        waiter.add_done_callback(lambda _: wake.set())
        try:
            async with asyncio.TaskGroup() as tasks:
                execution = Execution(self._context, self._at, machine, tasks, wake)
                self._submit(machine, execution, command)
                while True:
                    wake.clear()
                    for actor, broken in await self._load(machine):
                        if broken is None and actor.asleep:
                            await tell_activated(actor)
                            machine.residents.woken(actor)
                        self._start(execution, actor, broken)
                    settled = await self._append(machine)
                    if settled is not None:
                        settle(settled, self._at, self._context.outstanding, command.begun)
                        execution.resume()
                        execution.readable()
                    elif waiter.done():
                        break
                    else:
                        await wake.wait()
        except BaseException as error:
            # Nobody knows what ran: the next command finds what the log has.
            self._machine = None
            self._release(machine)
            while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
                error = error.exceptions[0]
            raise error from error.__cause__

    def _submit(self, machine: Partition, execution: Execution, command: Command) -> None:
        """As `PartitionWorker.submit`."""
        try:
            if self.behavior.actions[command.action].read_only:
                command.strict = self.behavior.settings.strict_reads
                execution.read(command)
            elif (actor := machine.arrive(command)) is not None:
                execution.start(actor)
        except SpawnError as error:
            fail(command, error, self._context.outstanding)

    def _start(self, execution: Execution, actor: Actor, broken: SpawnError | None) -> None:
        """As `PartitionWorker._load_batch`, once the actor is loaded or can't be."""
        if broken is not None:
            execution.park(actor, broken)
            return
        self.replay(actor.id.decode()).check_loaded(actor.revision, actor.state)
        work = actor.work
        assert work is not None, "somebody waits for a loaded actor"
        reads, work.reads = work.reads, []
        for command in reads:
            execution.read(command)
        execution.start(actor)

    # --- the partition ---------------------------------------------------------------------------

    async def _open(self, behavior: ClassBehavior) -> Partition:
        machine = await take_over(
            self._context,
            self._at,
            [behavior],
            "test",
            Everything().may_claim,
            lambda _machine: None,
        )
        # Else actors of an empty log would not be activated, as those of any other log are.
        machine.residents.all_in_memory = False
        return machine

    def _activation(self, machine: Partition) -> Activation:
        return Activation(self._at, machine, self._log, self._store, self._context.schemas)

    async def _load(self, machine: Partition) -> Sequence[tuple[Actor, SpawnError | None]]:
        """Load the actors that are wanted; return them with why they can't be, if so."""
        wanted, machine.residents.loads = machine.residents.loads, []
        if not wanted:
            return ()
        broken = await self._activation(machine).load(wanted)
        return [(actor, broken.get(actor)) for actor in wanted]

    async def _append(self, machine: Partition) -> Sequence[Entry] | None:
        """Append what is decided; return what is committed by that. None: nothing was decided."""
        append = machine.cut(self.clock.monotonic())
        if append is None:
            return None
        records = [LogRecord(key, value) for key, value in append.records]
        base = await self._log.append(self._at, records, self.clock.time_us() // 1000)
        entries = machine.acknowledged(base)
        assert entries is not None, "nobody else writes this log"
        # A Barrier is no entry.
        for entry, (_, value) in zip(entries, append.records, strict=False):
            if entry.outcome == RecordOutcome.APPLIED:
                self._replays[entry.actor.id].add(entry, value)
        return entries


class _Causes(logging.Handler):
    """Catches what user code raised on its way into the log of the program."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.found = record.exc_info[1]

    def __enter__(self) -> None:
        logging.getLogger("spawn.actor").addHandler(self)

    def __exit__(self, *_exception: object) -> None:
        logging.getLogger("spawn.actor").removeHandler(self)


def _drive(work: Coroutine[Any, Any, T]) -> T:
    """Run what only takes turns and waits for nothing; no event loop is needed."""
    while True:
        try:
            waited_for = work.send(None)
        except StopIteration as end:
            result: T = end.value
            return result
        assert waited_for is None, f"nothing in memory waits, this did: {waited_for!r}"
