"""One partition on its owner: take-over, then the tasks around the state machine until it ends.

`serve` is the life of a partition here. Calls that come before it is active wait in order and are
bounded by the node's number of calls; each gives up at its own deadline.

Over 400 lines: the whole life of a partition on its node stands in one place.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from eventstore.errors import LogError, SnapshotError
from eventstore.log import LogRecord, TopicPartition
from spawn.core.actors import UNLOADED, Actor, Entry
from spawn.core.behavior import Behavior
from spawn.core.commands import Command
from spawn.core.ingress import PartitionStatistics
from spawn.core.partition import Partition, Phase
from spawn.errors import (
    ActorParked,
    Draining,
    ForeignLog,
    LogUnreachable,
    OutcomeUnknown,
    PartitionStopped,
    SpawnError,
    StoreUnreachable,
)
from spawn.runtime.activation import BATCH, Activation
from spawn.runtime.appends import Appends
from spawn.runtime.context import NodeContext
from spawn.runtime.counts import PartitionCounts, keep_arrivals
from spawn.runtime.execution import STATE_READ, Execution
from spawn.runtime.flushing import Flusher, keep_flushing
from spawn.runtime.following import Followers
from spawn.runtime.outcomes import again, fail, settle
from spawn.runtime.partition_log import PartitionLogger
from spawn.runtime.takeover import PartitionLost, take_over
from spawn.runtime.tasks import first_error

__all__ = ["ELSEWHERE", "PartitionWorker"]

ELSEWHERE: Final = "elsewhere"
"""The phase that is told of a partition that another node is to serve."""

_ENDING: Final = (Phase.FENCED, Phase.STOPPED)
"""Between the loss of a partition and the end of its tasks calls wait for the next owner."""
_WRITING: Final = (Phase.ACTIVE, Phase.RECOVERING)
_DRAIN_POLL_S: Final = 0.01
_APPENDS_S: Final = 2.0
"""For appends that are on their way when a partition is handed over."""
_HAND_OVER_POLL_S: Final = 0.002
_LOOK_S: Final = 1.0
"""Between two looks into the log for the sake of parked actors."""


class PartitionWorker:
    """Serves one partition of one topic with the actor types that live in it."""

    def __init__(
        self, context: NodeContext, at: TopicPartition, behaviors: Sequence[Behavior]
    ) -> None:
        self.at = at
        self._context = context
        self._behaviors = behaviors
        self.machine = Partition(behaviors, context.settings.limits)
        self.counts = PartitionCounts()
        self.followers = Followers()
        self._log = PartitionLogger("spawn.partition", at)
        self._now = asyncio.get_running_loop().time
        self.active = asyncio.Event()
        self.settled = asyncio.Event()
        """Set once it was active for the first time, or is refused for good."""
        self.inactive_since = self._now()
        """Since when it should be served here and is not; infinite: it is."""
        self.served = 0
        """How often it became active here."""
        self.claiming = False
        """A claim is on its way, or stands and waits for a lease to end."""
        self.is_elsewhere = False
        """It is another node's to serve, as far as this one knows."""
        self._waiting: list[Command] = []
        self._refusal: SpawnError | None = None
        """Why calls are refused at once: stopped, fenced or draining."""
        self._execution: Execution | None = None
        self._appends: Appends | None = None
        self._activation: Activation | None = None
        self._flusher: Flusher | None = None
        self._loads = asyncio.Event()
        self._flush = asyncio.Event()
        self._flushing = asyncio.Lock()
        self._looked = float("-inf")
        self._flush_fails = False
        """The last flush failed, and it was said."""
        context.blocking.beat.listeners.append(self.look)

    def be_wanted(self) -> None:
        """It should be served here from now on."""
        self.is_elsewhere = False
        self.inactive_since = self._now()

    # --- life ------------------------------------------------------------------------------------

    async def serve(
        self, reason: str, may_claim: Callable[[TopicPartition], Awaitable[bool]]
    ) -> None:
        """Take the partition over and serve it; ends only by an exception or by cancellation.

        `may_claim` is awaited between the reading of the log and the claim.

        Commands without an outcome are kept and run again by the next `serve`, unless `refuse`
        comes first.

        Raises: PartitionLost, PartitionStopped, ForeignLog.
        """
        context = self._context
        try:
            machine = await self._take_over(reason, may_claim)
            async with asyncio.TaskGroup() as tasks:
                self._appends = Appends(
                    context, self.at, machine, self.counts, self._settle, self._resumed
                )
                appending = tasks.create_task(self._appends.run())
                self._execution = Execution(
                    context,
                    self.at,
                    machine,
                    tasks,
                    self._appends.wake,
                    # It ends with the partition only.
                    lambda: appending.done() or appending.cancelling() > 0,
                )
                activation = Activation(
                    self.at, machine, context.log, context.store, context.schemas
                )
                self._activation = activation
                self._flusher = Flusher(
                    self.at,
                    machine,
                    context.store,
                    self.counts,
                    context.settings.state_bytes_max,
                    activation.read_again,
                )
                tasks.create_task(self._heed_stops())
                tasks.create_task(self._load(activation, tasks))
                tasks.create_task(
                    keep_flushing(
                        self._flush_once,
                        self._flush,
                        context.settings.flush_interval_s,
                    )
                )
                self._begin()
        except PartitionLost:
            self.counts.fences += 1
            raise
        except BaseExceptionGroup as group:
            error = first_error(group)
            if isinstance(error, PartitionLost):
                self.counts.fences += 1
            raise error from group
        finally:
            self._end()

    async def _heed_stops(self) -> None:
        """End when the topic may not be served any more. Raises: PartitionsChanged."""
        try:
            await self._context.topic_stops.wait(self.at.topic)
        except PartitionStopped:
            self.machine.phase = Phase.STOPPED
            raise

    async def _take_over(
        self, reason: str, may_claim: Callable[[TopicPartition], Awaitable[bool]]
    ) -> Partition:
        self._context.topic_stops.check(self.at.topic)

        async def claim(at: TopicPartition) -> bool:
            is_old = await may_claim(at)
            self._context.topic_stops.check(at.topic)
            self.claiming = True
            return is_old

        started = self._now()
        machine = await take_over(
            self._context, self.at, self._behaviors, reason, claim, self._keep
        )
        seconds = self._now() - started
        self.counts.takeover_seconds.observe(seconds)
        position = machine.fold.position
        tail = position - machine.residents.base
        fields = {
            "claim": machine.mine.hex(),
            "epoch": machine.fold.fence.epoch,
            "offset": position,
        }
        text = "%s: taken over (%s) in %.2f s, %d records behind the checkpoint"
        self._log.info(text, self.at, reason, seconds, tail, extra=fields)
        return machine

    def _keep(self, machine: Partition) -> None:
        self.claiming = False
        self.counts.keep(self.machine)
        self.machine = machine

    def _begin(self) -> None:
        if self.machine.residents.dirty:
            self.counts.changed_at = self._now()
        if len(self.machine.residents.dirty) >= self._context.settings.flush_actors:
            self._flush.set()
        self.served += 1
        if isinstance(self._refusal, PartitionStopped | ForeignLog):
            self._refusal = None  # it was mended
        self.active.set()
        self.inactive_since = math.inf
        self.claiming = False
        self.settled.set()
        waiting, self._waiting = self._waiting, []
        for command in waiting:
            if command.waiter is None or not command.waiter.done() or command.joined:
                self.submit(command)

    def _end(self) -> None:
        """Keep what certainly has no effect; forget everything else of the partition.

        Lost by a foreign claim: everything that is not valid in the log is void, so it may run
        again. Ended otherwise: what is in flight may still land, and its callers are told so.
        """
        self.active.clear()
        self.inactive_since = self._now()
        self.claiming = False
        self._execution = self._appends = self._activation = self._flusher = None
        self.followers.look_again()
        machine = self.machine
        if machine.phase is not Phase.FENCED:
            for entry in machine.inflight:
                name = f"{entry.command.action} of {entry.actor.name}"
                self._tell(entry.command, OutcomeUnknown(f"{name} was on its way into the log"))
            machine.inflight = []
            if machine.phase is not Phase.STOPPED:
                machine.phase = Phase.FENCED
        unsettled = machine.unsettled()
        keep_arrivals(unsettled)
        self._waiting = [*unsettled, *self._waiting]
        if self._refusal is not None:
            self.refuse(self._refusal)

    def refuse(self, error: SpawnError) -> None:
        """From now on every call, also those that wait, is told `error`."""
        self._refusal = error
        self.settled.set()
        waiting, self._waiting = self._waiting, []
        for command in waiting:
            self._tell(command, error)

    def _tell(self, command: Command, error: SpawnError) -> None:
        fail(command, again(error), self._context.outstanding)

    # --- calls -----------------------------------------------------------------------------------

    def submit(self, command: Command) -> None:
        """Take a command or read; it waits until the partition is active."""
        execution, machine = self._execution, self.machine
        if execution is None or self._refusal is not None or machine.phase in _ENDING:
            self._keep_or_refuse(command)
            return
        behavior = machine.residents.tables[command.type].behavior
        try:
            action = behavior.actions.get(command.action)
            if command.action == STATE_READ or (action is not None and action.read_only):
                command.strict = behavior.settings.strict_reads
                execution.read(command)
            elif (
                command.request is not None
                and (
                    offset := machine.recorded(
                        command, command.request, self._context.clock.time_us()
                    )
                )
                is not None
            ):
                execution.answer_recorded(command, offset)
            else:
                actor = machine.arrive(command)
                if actor is not None:
                    execution.start(actor)
                else:
                    command.arrived = self._now()
        except SpawnError as error:
            self._tell(command, error)
            if isinstance(error, ActorParked) and self._now() - self._looked >= _LOOK_S:
                # Told from memory, where nothing is appended: an operator may have mended it.
                self._looked = self._now()
                self.look()
            return
        if machine.residents.loads:
            self._loads.set()

    def _keep_or_refuse(self, command: Command) -> None:
        if self._refusal is not None:
            self._tell(command, self._refusal)
        else:
            command.arrived = command.arrived or self._now()
            self._waiting.append(command)

    def _settle(self, entries: Sequence[Entry]) -> None:
        """Tell outcomes that stand in the log, start who waited for them, run allowed reads."""
        now = self._now()
        settle(entries, self.at, self._context.outstanding, now)
        if not self.counts.changed_at:
            self.counts.changed_at = now
        if self.followers.by_actor:
            self.followers.tell(entries, self.at)
        execution, machine = self._execution, self.machine
        if execution is None:
            return
        execution.resume()
        if machine.phase is Phase.ACTIVE:
            execution.readable()
        if len(machine.residents.dirty) >= self._context.settings.flush_actors:
            self._flush.set()

    def _resumed(self, actors: Sequence[Actor]) -> None:
        """After a recovery: run again what the log does not have."""
        execution = self._execution
        assert execution is not None, "only an active partition recovers"
        for actor in actors:
            execution.start(actor)

    # --- loading and flushing --------------------------------------------------------------------

    async def _load(self, activation: Activation, tasks: asyncio.TaskGroup) -> None:
        machine = self.machine
        while True:
            await self._loads.wait()
            self._loads.clear()
            while machine.residents.loads:
                batch, machine.residents.loads = (
                    machine.residents.loads[:BATCH],
                    machine.residents.loads[BATCH:],
                )
                await self._load_batch(activation, batch, tasks)

    async def _load_batch(
        self, activation: Activation, batch: Sequence[Actor], tasks: asyncio.TaskGroup
    ) -> None:
        execution = self._execution
        assert execution is not None, "only an active partition loads actors"
        broken: Mapping[Actor, SpawnError] = {}
        failure: SnapshotError | LogError | None = None
        try:
            broken = await activation.load(batch)
        except (SnapshotError, LogError) as error:
            self._count_failure(error)
            failure = error
        for actor in batch:
            if actor in broken:
                self._park(execution, actor, broken[actor])
            elif actor.state is UNLOADED:
                if failure is not None:
                    self._give_up_load(execution, actor, _not_loaded(actor, failure))
            else:
                self.counts.loads += 1
                if actor.asleep:
                    # Not waited for: what it waits for is nobody else's matter.
                    tasks.create_task(activation.wake(actor, tasks, self._woken))
                else:
                    self._go_on(execution, actor)

    def _woken(self, actor: Actor, error: SpawnError | None) -> None:
        """An actor's `on_activate` has ended, or was given up."""
        execution = self._execution
        if execution is None:
            return
        if error is None:
            self.machine.residents.woken(actor)
            self._go_on(execution, actor)
        else:
            self._log.error("%s", error, extra={"actor": actor.name, "action": "on_activate"})
            self._give_up_load(execution, actor, error)

    def _go_on(self, execution: Execution, actor: Actor) -> None:
        """Run what waited for an actor's load."""
        work = actor.work
        if work is None:
            return
        reads, work.reads = work.reads, []
        for command in reads:
            execution.read(command)
        execution.start(actor)

    def _give_up_load(self, execution: Execution, actor: Actor, error: SpawnError) -> None:
        execution.refuse_all(self.machine.residents.load_failed(actor), error)

    def _park(self, execution: Execution, actor: Actor, reason: SpawnError) -> None:
        self.counts.parked += 1
        execution.park(actor, reason)

    def _count_failure(self, error: SnapshotError | LogError) -> None:
        if isinstance(error, LogError):
            self._context.outstanding.log_failures += 1
        else:
            self._context.outstanding.store_failures += 1

    async def _flush_once(self) -> None:
        """Load what is dirty and only known as bytes, then write one checkpoint.

        Raises: SnapshotError, LogError, PartitionStopped.
        """
        flusher, execution, activation = self._flusher, self._execution, self._activation
        if flusher is None or execution is None or activation is None:
            return
        async with self._flushing:
            try:
                while unloaded := self._unloaded():
                    for start in range(0, len(unloaded), BATCH):
                        broken = await activation.load(unloaded[start : start + BATCH])
                        for actor, reason in broken.items():
                            self._park(execution, actor, reason)
                await flusher.flush()
            except (SnapshotError, LogError) as error:
                self._count_failure(error)
                if not self._flush_fails:  # not every few seconds for as long as it lasts
                    self._flush_fails = True
                    self._log.warning("%s: not flushed, tried again: %s", self.at, error)
                raise
            self._flush_fails = False

    def _unloaded(self) -> Sequence[Actor]:
        """Return the dirty actors that a flush could not write whole: their keys would be lost."""
        dirty = self.machine.residents.dirty
        return [actor for actor in dirty if actor.state is UNLOADED and actor.parked is None]

    # --- stopping, watching ---------------------------------------------------------

    async def drain(self, deadline: float) -> None:
        """Planned stop: finish what runs, flush, release; refuse everything new.

        What is not done by `deadline` (event loop time) stays undone; nothing acknowledged is
        lost by that. No Release is written unless all is committed.
        """
        self.refuse(Draining("the node is stopping", hint="call again: another node answers"))
        loop = asyncio.get_running_loop()
        if self._appends is None or self.machine.phase not in _WRITING:
            return
        # A partition that recovers is its own again soon: what it does not release, the next owner
        # waits for.
        while self._unfinished() and loop.time() < deadline:  # noqa: ASYNC110 - many things end it
            await asyncio.sleep(_DRAIN_POLL_S)
        try:
            async with asyncio.timeout_at(deadline):
                await self._flush_once()
        except (TimeoutError, SnapshotError, LogError, PartitionStopped) as error:
            self._log.warning("%s: not flushed at the stop: %r", self.at, error)
        while self._unfinished() and loop.time() < deadline:  # noqa: ASYNC110 - as above
            await asyncio.sleep(_DRAIN_POLL_S)
        if self._busy() or self.machine.phase is not Phase.ACTIVE:
            return
        await self._append_release(deadline)

    async def hand_over(self, deadline: float) -> None:
        """Planned move: start nothing more, release.

        Calls wait for whoever serves the partition next; actions that still run at `deadline`
        (event loop time) are begun again there. Cancel `serve` afterwards.
        """
        loop, machine = asyncio.get_running_loop(), self.machine
        machine.holds = True
        while self._settling() and loop.time() < deadline:  # noqa: ASYNC110 - many things end it
            await asyncio.sleep(_HAND_OVER_POLL_S)
        # What is decided is waited for: given up, its callers could only be told "unknown".
        deadline += _APPENDS_S
        while self._is_writing(machine) and loop.time() < deadline:  # noqa: ASYNC110 - as above
            await asyncio.sleep(_HAND_OVER_POLL_S)
        if machine is not self.machine or machine.phase is not Phase.ACTIVE:
            return
        if not (machine.pending or machine.appending):
            await self._append_release(deadline + _APPENDS_S)

    async def _append_release(self, deadline: float) -> None:
        """Give the partition up: whoever is next need not wait for this owner's lease."""
        value, time_ms = self.machine.release(), self._context.clock.time_us() // 1000
        try:
            async with asyncio.timeout_at(deadline):
                await self._context.log.append(self.at, (LogRecord(None, value),), time_ms)
        except (TimeoutError, LogError) as error:
            self._log.warning("%s: its release may not stand in the log: %r", self.at, error)

    def _is_writing(self, machine: Partition) -> bool:
        is_served = machine is self.machine and machine.phase is Phase.ACTIVE
        return is_served and bool(machine.pending or machine.appending)

    def _settling(self) -> bool:
        machine = self.machine
        return bool(machine.pending or machine.appending or machine.runs_anything())

    @property
    def stop(self) -> SpawnError | None:
        """Why the partition can't be served until somebody mends it; None: nothing is wrong."""
        is_stop = isinstance(self._refusal, PartitionStopped | ForeignLog)
        return self._refusal if is_stop else None

    def take_waiting(self) -> Sequence[Command]:
        """Return the commands that wait for an owner, which is another node's matter now."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def _unfinished(self) -> bool:
        phase = self.machine.phase
        return phase is Phase.RECOVERING or (phase is Phase.ACTIVE and self._busy())

    def _busy(self) -> bool:
        machine = self.machine
        return bool(machine.pending or machine.appending or machine.reads or machine.residents.busy)

    def look(self) -> None:
        """Append something, so that a foreign claim in the log is met and folded."""
        if self._appends is not None:
            self.machine.barrier_wanted = True
            self._appends.wake.set()

    def statistics(self) -> PartitionStatistics:
        """Return what the partition is doing."""
        machine, counts = self.machine, self.counts
        return PartitionStatistics(
            topic=self.at.topic,
            partition=self.at.partition,
            phase=ELSEWHERE if self.is_elsewhere else machine.phase.value,
            epoch=machine.fold.fence.epoch,
            position=machine.fold.position,
            checkpoint=machine.residents.base,
            actors=len(machine.residents),
            dirty=len(machine.residents.dirty),
            uncommitted=len(machine.pending) + len(machine.inflight),
            waiting=len(self._waiting),
            commits=counts.commits + machine.commits,
            batches=counts.batches + machine.batches,
            barriers=counts.barriers + machine.barriers,
            fences=counts.fences,
            appended_bytes=counts.appended_bytes,
            takeovers=sum(counts.takeover_seconds.counts),
            recoveries=counts.recoveries,
            flushes=sum(counts.flush_seconds.counts),
            flush_failures=counts.flush_failures,
            flushed_actors=counts.flushed_actors,
            unflushed_s=counts.unflushed_s(self._now()),
            loads=counts.loads,
            parked=counts.parked,
            passivations=counts.passivations,
        )

    @property
    def state_bytes(self) -> float:
        """How large an encoded state is on average."""
        return 64.0 if self._flusher is None else self._flusher.state_bytes


def _not_loaded(actor: Actor, failure: SnapshotError | LogError) -> SpawnError:
    text = f"{actor.name} is not in memory and can't be loaded: {failure}"
    hint = "actors in memory go on; call again when the {} answers"
    if isinstance(failure, LogError):
        return LogUnreachable(text, at=actor.name, hint=hint.format("log"))
    return StoreUnreachable(text, at=actor.name, hint=hint.format("database"))
