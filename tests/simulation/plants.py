"""Planted bugs: each is a mistake that somebody could make, and that the simulation must find.

A plant changes production code in memory, for good: it needs a process of its own (`mutants`). Its
name says the mistake. Source: log protocol 13. Over 400 lines: each is a few lines, in one list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import eventstore.memory_snapshots
import spawn.core.partition
import spawn.runtime.takeover
from eventstore.fencing import Fence, Verdict
from eventstore.log import TopicPartition
from eventstore.records import Claim, Commit, Outcome, Release, decode_prefix
from spawn.cluster.choice import Choice, Choices
from spawn.core import checkpoint
from spawn.core.actors import UNLOADED, Dirt, Work
from spawn.core.fold import Fold
from spawn.core.keys import Keys
from spawn.core.partition import LEASE_S, Partition, Phase
from spawn.core.residents import Residents
from spawn.core.sessions import Arrival, Sessions
from spawn.errors import Rejected
from spawn.membership.handing import Handing
from spawn.membership.membership import Membership
from spawn.runtime import activation, outcomes
from spawn.runtime.activation import Activation
from spawn.runtime.appends import Appends
from spawn.runtime.execution import Execution
from spawn.runtime.partition_worker import PartitionWorker
from tests.simulation.node_ports import NodeClock

__all__ = ["PLANTS"]

Plant = Callable[[], None]
PLANTS: dict[str, Plant] = {}


def plant(name: str) -> Callable[[Plant], Plant]:
    """Register a planted bug under its name."""

    def register(function: Plant) -> Plant:
        PLANTS[name] = function
        return function

    return register


def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put `make(original)` in the place of an attribute."""
    setattr(owner, name, make(getattr(owner, name)))


# --- the fence ------------------------------------------------------------------------------------


@plant("fence: the offset of an append is not looked at")
def _offset() -> None:
    replace(
        Partition,
        "acknowledged",
        lambda original: lambda self, base: original(self, self.fold.position),
    )


@plant("fence: a claim counts whatever it is based on")
def _claim() -> None:
    def make(original: Any) -> Any:
        def step(self: Fence, record: Any) -> Verdict:
            if isinstance(record, Claim):
                self.claim, self.epoch, self.log_id = record.claim, record.epoch, record.log_id
                self.next, self.released = 0, False
                return Verdict.VALID
            verdict: Verdict = original(self, record)
            return verdict

        return step

    replace(Fence, "step", make)


@plant("fence: sequence numbers are not looked at")
def _sequence() -> None:
    def sequenced(self: Fence, record: Any) -> Verdict:
        if record.claim == self.claim and not self.released:
            self.next = record.sequence + 1
            return Verdict.VALID
        return Verdict.VOID

    replace(Fence, "_sequenced", lambda _: sequenced)


@plant("fence: a batch without an answer is believed to be stored")
def _believed() -> None:
    def make(_: Any) -> Any:
        async def recover(self: Appends, cause: Exception) -> None:
            settled = self._machine.acknowledged(self._machine.fold.position)
            assert settled is not None
            self._settled(settled)

        return recover

    replace(Appends, "_recover", make)


@plant("fence: after an unknown outcome it goes on without a new claim")
def _no_claim() -> None:
    def make(_: Any) -> Any:
        async def recover(self: Appends, cause: Exception) -> None:
            machine = self._machine
            machine.lost()
            mine = machine.mine
            self._resumed(machine.resume())
            machine.mine = mine

        return recover

    replace(Appends, "_recover", make)


@plant("fence: own entries are told done although a foreign claim came first")
def _own_after_fence() -> None:
    def make(original: Any) -> Any:
        def observe(self: Partition, records: Any) -> Any:
            inflight = list(self.inflight)
            settled = original(self, records)
            return inflight if self.phase is Phase.FENCED else settled

        return observe

    replace(Partition, "observe", make)


# --- replies --------------------------------------------------------------------------------------


@plant("replies: told before the log has acknowledged")
def _early_reply() -> None:
    def make(original: Any) -> Any:
        async def append(self: Appends, batch: Any) -> None:
            outcomes.settle(self._machine.inflight, self._at, self._context.outstanding, 0.0)
            await original(self, batch)

        return append

    replace(Appends, "_append", make)


@plant("replies: a copy of a command in flight is answered from memory")
def _from_memory() -> None:
    def make(original: Any) -> Any:
        def arrive(self: Partition, command: Any) -> Any:
            for entry in [*self.inflight, *self.pending]:
                if command.request is not None and entry.request is not None:
                    ours = entry.request.session, entry.request.n
                    if ours == (command.request.session, command.request.n):
                        copied = [_copy_of(entry, command)]
                        outcomes.settle(copied, _AT, _nobody(), 0.0)
                        return None
            return original(self, command)

        return arrive

    replace(Partition, "arrive", make)


@plant("replies: a refusal leaves no record")
def _no_record() -> None:
    def make(original: Any) -> Any:
        def decide(self: Partition, actor: Any, command: Any, decision: Any, *rest: Any) -> None:
            if decision.outcome is Outcome.REJECTED and not actor.work.stale:
                self.abandon(actor)
                if command.waiter is not None and not command.waiter.done():
                    command.waiter.set_exception(Rejected("no", "never"))
                return
            original(self, actor, command, decision, *rest)

        return decide

    replace(Partition, "decide", make)


# --- reads ----------------------------------------------------------------------------------------


@plant("reads: answered without any check")
def _no_check() -> None:
    def make(original: Any) -> Any:
        def read(self: Partition, command: Any, now: float) -> Any:
            actor = self.residents.actor(command.type, command.id)
            return actor if actor.state is not UNLOADED else original(self, command, now)

        return read

    replace(Partition, "read", make)


@plant("reads: of uncommitted state")
def _uncommitted() -> None:
    def make(original: Any) -> Any:
        def run_read(self: Execution, actor: Any, command: Any) -> None:
            kept = actor.state
            if actor.work is not None and actor.work.uncommitted:
                actor.state = actor.work.state
            try:
                original(self, actor, command)
            finally:
                actor.state = kept

        return run_read

    replace(Execution, "run_read", make)


@plant("reads: strict ones are content with a lease")
def _strict_lease() -> None:
    def make(original: Any) -> Any:
        def read(self: Partition, command: Any, now: float) -> Any:
            command.strict = False
            if now - self._lease_from < 20 * LEASE_S:
                self._lease_from = now
            return original(self, command, now)

        return read

    replace(Partition, "read", make)


@plant("reads: the lease begins with the acknowledgement")
def _lease_from_ack() -> None:
    def make(original: Any) -> Any:
        def acknowledged(self: Partition, base: int) -> Any:
            self._started = asyncio.get_running_loop().time()
            return original(self, base)

        return acknowledged

    replace(Partition, "acknowledged", make)


@plant("reads: a new owner does not wait for the old one's lease")
def _no_wait() -> None:
    vars(spawn.runtime.takeover)["WAIT_S"] = 0.0


@plant("reads: the wait is half a lease")
def _half_wait() -> None:
    vars(spawn.runtime.takeover)["WAIT_S"] = 0.55 * LEASE_S


@plant("reads: any release spares the wait")
def _any_release() -> None:
    def make(original: Any) -> Any:
        def replay(self: Partition, records: Any) -> None:
            original(self, records)
            if any(isinstance(decode_prefix(each.value), Release) for each in records):
                _released.add(id(self))
            if id(self) in _released:
                self.displaces_live_claim = False

        return replay

    replace(Partition, "replay", make)


@plant("reads: the lease's clock stands still while the process is frozen")
def _stopping_clock() -> None:
    def make(original: Any) -> Any:
        def init(self: NodeClock, world: Any, process: Any, name: str) -> None:
            original(self, world, process, name)
            self.monotonic = lambda: (world.loop.now - process.frozen_s) * process.rate

        return init

    replace(NodeClock, "__init__", make)


# --- take-over and snapshots ----------------------------------------------------------------------


def _restored(change: Callable[[Fold], None]) -> None:
    def make(original: Any) -> Any:
        def restore(stored: Any) -> Fold:
            fold: Fold = original(stored)
            change(fold)
            return fold

        return restore

    replace(spawn.core.partition, "restore_fold", make)
    replace(checkpoint, "restore_fold", make)


@plant("take-over: the next sequence number is not in the checkpoint")
def _no_next() -> None:
    _restored(lambda fold: setattr(fold.fence, "next", 0))


@plant("take-over: the sessions are not in the checkpoint")
def _no_sessions() -> None:
    _restored(lambda fold: setattr(fold, "sessions", Sessions()))


@plant("take-over: the time is not in the checkpoint")
def _no_time() -> None:
    _restored(lambda fold: setattr(fold, "time_us", 0))


@plant("take-over: low is not in the checkpoint")
def _no_low() -> None:
    def change(fold: Fold) -> None:
        for session in fold.sessions.by_id.values():
            session.low = 0

    _restored(change)


@plant("take-over: the newest time of a session is not in the checkpoint")
def _no_newest() -> None:
    def change(fold: Fold) -> None:
        for session in fold.sessions.by_id.values():
            session.newest_us = 0

    _restored(change)


@plant("take-over: the tail's actors are not written with the next flush")
def _tail_clean() -> None:
    def make(original: Any) -> Any:
        def add_run(self: Residents, run: Any) -> None:
            original(self, run)
            for actor in self.dirty:
                if actor.tail is not None:
                    actor.dirt = Dirt.CLEAN
            self.dirty = [actor for actor in self.dirty if actor.tail is None]

        return add_run

    replace(Residents, "add_run", make)


@plant("take-over: an actor's tail is forgotten when it is loaded")
def _no_tail() -> None:
    replace(
        activation, "fold_tail", lambda _: lambda behavior, actor_id, base, records, writers: base
    )


@plant("take-over: records that the snapshot has are folded again")
def _twice() -> None:
    def make(original: Any) -> Any:
        async def rebuild(self: Activation, actor: Any, stored: Any) -> None:
            rows = {name: row._replace(offset=-1) for name, row in stored.actors.items()}
            await original(self, actor, stored._replace(actors=rows))

        return rebuild

    replace(Activation, "_rebuild", make)


@plant("snapshots: a lazy load does not see that the database went back")
def _stale_load() -> None:
    def make(_: Any) -> Any:
        async def read(self: Activation, actors: Any) -> Any:
            names = [(actor.table.type, actor.id.decode()) for actor in actors]
            return await self._store.load(self._at, names)

        return read

    replace(Activation, "_read", make)


@plant("snapshots: a flush only has to go forward")
def _forward_only() -> None:
    def applies(new: Any, base: int, stored: int | None, log: bytes | None) -> bool:
        return stored is None or stored < new.offset

    vars(eventstore.memory_snapshots)["flush_applies"] = applies


@plant("snapshots: a flush takes what is not committed yet")
def _speculative_flush() -> None:
    def make(original: Any) -> Any:
        def capture(self: Residents, fold: Any) -> Any:
            captured = original(self, fold)
            actors = [
                each._replace(state=each.actor.work.state, revision=each.actor.work.revision)
                if each.actor.work is not None and each.actor.work.uncommitted
                else each
                for each in captured.actors
            ]
            return captured._replace(actors=actors)

        return capture

    replace(Residents, "capture", make)


@plant("snapshots: a failed flush forgets what it was to write")
def _forgetful_flush() -> None:
    def failed(self: Residents, capture: Any) -> None:
        for each in capture.actors:
            each.actor.dirt = Dirt.CLEAN

    replace(Residents, "flush_failed", lambda _: failed)


@plant("memory: an actor goes although its snapshot is old")
def _dirty_eviction() -> None:
    def make(original: Any) -> Any:
        def evict(self: Residents, actor: Any) -> bool:
            if actor.work is None and actor in self.dirty:
                actor.dirt = Dirt.CLEAN
                self.dirty.remove(actor)
            gone: bool = original(self, actor)
            return gone

        return evict

    replace(Residents, "evict", make)


@plant("memory: speculation stays after an unknown outcome")
def _stays() -> None:
    def reset(self: Work, actor: Any) -> None:
        if self.state is UNLOADED or self.revision == 0:
            self.state, self.revision, self.deleted = actor.state, actor.revision, actor.deleted
        self.uncommitted, self.keys, self.batch = 0, None, 0

    replace(Work, "reset", lambda _: reset)


# --- sessions and keys ----------------------------------------------------------------------------


@plant("sessions: a void record marks its number done")
def _void_done() -> None:
    def make(original: Any) -> Any:
        def step(self: Fold, stored: Any, *rest: Any) -> Any:
            commit = original(self, stored, *rest)
            record = decode_prefix(stored.value)
            if commit is None and isinstance(record, Commit) and record.request is not None:
                self.sessions.fold(record.request, record.flags, stored.offset)
            return commit

        return step

    replace(Fold, "step", make)


@plant("sessions: a number below low is run")
def _below_low() -> None:
    def make(original: Any) -> Any:
        def arrival(self: Sessions, request: Any, durable: bool, horizon_us: int) -> Arrival:
            found: Arrival = original(self, request, durable, horizon_us)
            return Arrival.RUN if found is Arrival.DROP else found

        return arrival

    replace(Sessions, "arrival", make)


@plant("sessions: a done number is run again")
def _done_runs() -> None:
    def make(original: Any) -> Any:
        def arrival(self: Sessions, request: Any, durable: bool, horizon_us: int) -> Arrival:
            found: Arrival = original(self, request, durable, horizon_us)
            return Arrival.RUN if found is Arrival.DONE else found

        return arrival

    replace(Sessions, "arrival", make)


@plant("sessions: forgotten after a second")
def _forgotten() -> None:
    replace(
        Sessions,
        "forget",
        lambda original: lambda self, horizon: original(self, horizon + (15 * 60 - 1) * 1_000_000),
    )


@plant("sessions: low is taken from what is not committed")
def _uncommitted_low() -> None:
    def make(original: Any) -> Any:
        def recorded(self: Partition, command: Any, request: Any) -> Any:
            session = self.fold.sessions.by_id.get(request.session)
            if session is not None and request.low > session.low:
                for n in [n for n in session.done if n < request.low]:
                    del session.done[n]
                session.low = request.low
            return original(self, command, request)

        return recorded

    replace(Partition, "recorded", make)


@plant("sessions: a copy in flight is run beside the first one")
def _beside() -> None:
    replace(Work, "request_in_flight", lambda _: lambda self, request: None)


@plant("keys: forgotten when an actor is loaded")
def _keys_lost() -> None:
    def make(original: Any) -> Any:
        def loaded(self: Residents, actor: Any, base: Any, offset: int, keys: Any) -> None:
            original(self, actor, base, offset, None)

        return loaded

    replace(Residents, "loaded", make)


@plant("keys: bound before the record is in the log")
def _keys_early() -> None:
    def make(original: Any) -> Any:
        def decide(self: Partition, actor: Any, command: Any, *rest: Any) -> None:
            if command.key is not None:
                keys = actor.keys = actor.keys or Keys()
                keys.bind(command.key, self.fold.position, rest[1])
            original(self, actor, command, *rest)

        return decide

    replace(Partition, "decide", make)


@plant("hand-over: the old owner reads on after its release")
def _reads_after_release() -> None:
    def make(original: Any) -> Any:
        def read(self: Partition, command: Any, now: float) -> Any:
            actor = self.residents.actor(command.type, command.id)
            if self.phase is Phase.RELEASED and actor.state is not UNLOADED:
                return actor
            return original(self, command, now)

        return read

    async def hand_over(self: PartitionWorker, deadline: float) -> None:
        await original_hand_over(self, deadline)
        await asyncio.sleep(0.4)

    original_hand_over = PartitionWorker.hand_over
    replace(Partition, "read", make)
    replace(PartitionWorker, "hand_over", lambda _: hand_over)


# --- members of a cluster -------------------------------------------------------------------------


@plant("members: a hand-over is answered before anything is released")
def _early_release() -> None:
    def make(original: Any) -> Any:
        def promise(self: Handing, link: Any, asked: Any) -> None:
            original(self, link, asked)
            self.let_go(TopicPartition(asked.topic, asked.partition), 0, is_lost=False)

        return promise

    replace(Handing, "promise", make)


@plant("members: a live owner is not asked but claimed from")
def _unasked() -> None:
    def make(original: Any) -> Any:
        def choose(self: Choices, place: Any, now: float) -> Choice:
            found: Choice = original(self, place, now)
            return Choice.CLAIM if found is Choice.ASK else found

        return choose

    replace(Choices, "choose", make)


@plant("members: what was asked for is promised and never let go")
def _never_given() -> None:
    replace(Choices, "give", lambda _: lambda self, place: None)


@plant("members: a node that misses the log does not say so")
def _unfit_untold() -> None:
    replace(Membership, "_fit", lambda _: lambda self, missing: None)


@plant("members: the first look does not wait for the owners' news")
def _no_first_look() -> None:
    def make(original: Any) -> Any:
        async def read_roll(self: Membership) -> None:
            await original(self)
            if not self._has_begun.is_set():
                self._begin()

        return read_roll

    replace(Membership, "_read_roll", make)


@plant("members: a node that starts again is taken for the one before it")
def _predecessor() -> None:
    def make(original: Any) -> Any:
        def put(self: Membership, node: Any) -> None:
            former = self._choices.at_endpoint(node.endpoint)
            if former is None or former is self.node:
                original(self, node)

        return put

    replace(Membership, "_put", make)


@plant("members: an unreachable owner is waited for")
def _waits_for_dead() -> None:
    def make(original: Any) -> Any:
        def choose(self: Choices, place: Any, now: float) -> Choice:
            found: Choice = original(self, place, now)
            owner = self.at_endpoint(self._owner_of(place).endpoint)
            is_dead = owner is not None and not owner.is_reached
            return Choice.LEAVE if is_dead and not self.is_mine(place) else found

        return choose

    replace(Choices, "choose", make)


_AT: Final = TopicPartition("spawn.sim.List", 0)
_released: set[int] = set()


def _nobody() -> Any:
    from spawn.runtime.counts import Outstanding

    return Outstanding()


def _copy_of(entry: Any, command: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(entry, command=command)
