"""From a call to its partition: the node's `Dispatcher` and `Ingress`.

Checks what can be checked before an actor is touched, makes the command, finds the partition, and
watches deadlines. A refusal here leaves no record (log protocol 2). What other nodes own goes to
them (`elsewhere`), also of types that this node does not host.

Over 400 lines: each kind of call is a few lines, and all share checks and partitions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from threading import get_ident
from typing import Any, Final

from eventstore.log import TopicPartition
from eventstore.records import NO_PREVIOUS, RequestNumber
from spawn.core.behavior import ActionInfo, Behavior
from spawn.core.commands import DELETE, UNDECODED, Answer, Command
from spawn.core.ids import ID_BYTES_MAX, Position, partition_of
from spawn.core.ingress import (
    ActorCommit,
    Call,
    CommitsAsked,
    Follower,
    NodeStatistics,
    StateAnswer,
    TypeServed,
)
from spawn.core.keys import digest_key
from spawn.errors import (
    BodyTooLarge,
    CallError,
    NotStarted,
    SpawnError,
    TooManyWaiting,
    UnknownRevision,
    UnknownType,
)
from spawn.runtime.call_checks import check_id, unknown_action, unknown_type
from spawn.runtime.commits import PastCommits
from spawn.runtime.context import NodeContext
from spawn.runtime.elsewhere import Elsewhere
from spawn.runtime.execution import STATE_READ, StateJson
from spawn.runtime.following import ActorFollower
from spawn.runtime.loop_watch import LoopWatch
from spawn.runtime.node_statistics import node_statistics
from spawn.runtime.partition_worker import PartitionWorker
from spawn.runtime.runs import CURRENT

__all__ = ["NodeDispatcher", "Served"]

_FOLLOW_WAIT_S: Final = 60.0
"""How long a follower waits for its actor to be read: as long as a call."""
_STOOD_STILL_S: Final = 0.2
"""An event loop that is so late, with a debugger attached, stood at a breakpoint."""


class Served:
    """One actor type on this node: its code and the partitions of its topic."""

    __slots__ = ("behavior", "partitions", "workers")

    def __init__(self, behavior: Behavior, workers: Sequence[PartitionWorker]) -> None:
        self.behavior = behavior
        self.workers = workers
        self.partitions = len(workers)

    def worker_of(self, actor_id: bytes) -> PartitionWorker:
        """Return the worker of the actor's partition."""
        return self.workers[partition_of(actor_id, self.partitions)]


class NodeDispatcher:
    """Implements `spawn.core.ingress.Dispatcher` and `Ingress` for the types of one node."""

    def __init__(
        self, context: NodeContext, served: Mapping[str, Served], body_bytes_max: int
    ) -> None:
        self._context = context
        self._served = served
        self._outstanding = context.outstanding
        self._calls_max = context.settings.calls_max
        self._body_bytes_max = body_bytes_max
        self._thread = get_ident()
        self._threads = context.blocking.threads
        self._loop = loop = asyncio.get_running_loop()
        # Dispatcher: the loop's own methods, since each call takes both.
        self.now: Callable[[], float] = loop.time
        self.new_waiter: Callable[[], asyncio.Future[Any]] = loop.create_future
        self._watch = LoopWatch(context.blocking, context.debugger)
        self._said_paused = False
        self._by_place: dict[tuple[str, int], PartitionWorker] = {
            worker.at: worker for each in served.values() for worker in each.workers
        }
        self._called: dict[str, Behavior] = {}
        """Types that this node calls and does not host."""
        self.elsewhere: Elsewhere | None = None
        """Other nodes; None: this one serves everything."""
        self.not_ready: Callable[[], Sequence[str]] = list
        """Why the node as a whole is not ready; the node gives it."""

    # --- Dispatcher ------------------------------------------------------------------------------

    def submit(self, command: Command) -> None:
        if self._threads.used and get_ident() != self._thread:
            raise RuntimeError(
                f"{command.type}.{command.action} can't be called from a thread: only code in the "
                "event loop calls actors, so make the calling action async"
            )
        outstanding = self._outstanding
        try:
            if len(outstanding) >= self._calls_max:
                raise TooManyWaiting(
                    f"the node holds {len(outstanding)} calls, as many as it may",
                    hint="call again later",
                )
            served = self._served.get(command.type)
            if served is None:
                at = self._place_elsewhere(command.type, command.id)
                outstanding[command] = None
                assert self.elsewhere is not None, "it has told the place"
                self.elsewhere.send(command, at)
                return
            current = CURRENT.get()
            if current is not None:
                self._refuse_own_call(current, command, served.behavior)
            outstanding[command] = None
            worker = served.workers[partition_of(command.id, served.partitions)]
            if self.elsewhere is None or worker.active.is_set():
                worker.submit(command)
            else:
                self.elsewhere.send(command, worker.at)
        except SpawnError as error:
            self._refuse(command, error)

    def _refuse(self, command: Command, error: SpawnError) -> None:
        self._outstanding.pop(command, None)
        self._outstanding.refusals[error.code] += 1
        if command.waiter is not None:
            command.waiter.set_exception(error)

    def _refuse_own_call(self, current: Command, command: Command, behavior: Behavior) -> None:
        """Raise for a call that could not begin before the action that makes it has ended."""
        info = behavior.actions.get(command.action)
        changes = info is not None and not info.read_only
        if changes and self._context.runs.is_held_by(current, command.type, command.id):
            name = f"{command.type}/{command.id.decode()}"
            raise CallError(
                f"{name} can't call its own {command.action} while it runs {current.action}: an "
                "actor does one action at a time, so each would wait for the other",
                at=name,
                hint="put what both need into a method without @action and call that: "
                "self.method(...)",
            )

    # --- for routing -----------------------------------------------------------------------------

    def serves(self, at: TopicPartition) -> bool:
        """Tell whether this node serves a partition now."""
        return self.serving(*at) is not None

    def serving(self, topic: str, partition: int) -> PartitionWorker | None:
        """Return the worker of a partition that this node serves now."""
        worker = self._by_place.get((topic, partition))
        return worker if worker is not None and worker.active.is_set() else None

    def claims(self, at: TopicPartition) -> bool:
        """Tell whether this node's claim on a partition is on its way, or waits for a lease."""
        worker = self._by_place.get(at)
        return worker is not None and worker.claiming

    def stop_of(self, at: TopicPartition) -> SpawnError | None:
        """Return why a partition can't be served here until somebody mends it, if that is so."""
        worker = self._by_place.get(at)
        return None if worker is None else worker.stop

    def submit_here(self, command: Command, at: TopicPartition) -> None:
        """Take a command for a partition that this node serves, or did a moment ago."""
        try:
            self.admit(command, at)
        except SpawnError as error:
            self._refuse(command, error)

    def admit(self, command: Command, at: TopicPartition) -> None:
        """As `submit_here`. Raises: SpawnError - it was not taken; its waiter is not told."""
        outstanding, worker = self._outstanding, self._by_place[at]
        if len(outstanding) >= self._calls_max and command not in outstanding:
            raise TooManyWaiting(
                f"the node holds {len(outstanding)} calls, as many as it may",
                hint="call again later",
            )
        if command.arguments is UNDECODED:
            self._decode(command, worker)
        outstanding[command] = None
        worker.submit(command)

    def _decode(self, command: Command, worker: PartitionWorker) -> None:
        """Check a command that another node took, and decode its arguments.

        Raises: UnknownType, UnknownAction, InvalidId, InvalidJson, BodyMismatch, CallError.
        """
        served, action = self._find_type(command.type), command.action
        behavior, at = served.behavior, worker.at
        if at.partition >= served.partitions or served.workers[at.partition] is not worker:
            raise UnknownType(
                f"{command.type} does not live in {at.topic} here, as it does on the node that "
                "was called",
                hint="the nodes run different versions of the class",
            )
        if behavior.settings.named_id or not 0 < len(command.id) <= ID_BYTES_MAX:
            check_id(behavior, command.id.decode(errors="replace"))
        if action == STATE_READ:
            command.arguments = None
        elif action == DELETE:
            command.arguments = ()
        else:
            info = behavior.actions.get(action)
            if info is None:
                raise unknown_action(behavior, action)
            if not info.read_only and command.request is None and self.elsewhere is not None:
                raise CallError(
                    f"{command.type}.{action} changes the actor here, and only reads it on the "
                    "node that was called",
                    hint="the nodes run different versions of the class",
                )
            command.arguments = behavior.decode_arguments(action, command.payload)

    def forget(self, command: Command) -> None:
        """A command that went elsewhere has its outcome."""
        self._outstanding.pop(command, None)

    def behavior_of(self, actor_type: str) -> Behavior:
        """Return the code of a type, hosted here or only called. Raises: UnknownType."""
        served = self._served.get(actor_type)
        if served is not None:
            return served.behavior
        if (called := self._called.get(actor_type)) is not None:
            return called
        raise unknown_type(actor_type)

    def follow_here(
        self, at: TopicPartition, actor_type: str, key: bytes, after: int | None
    ) -> ActorFollower | None:
        """Follow an actor while this node serves its partition; None: it does not now.

        Raises: UnknownType.
        """
        worker = self.serving(*at)
        if worker is None:
            return None
        served = self._find_type(actor_type)
        if worker not in served.workers:
            raise unknown_type(actor_type)
        follower = self._follower(served, worker, key, after)
        follower.moves = True
        return follower

    async def commits_here(
        self,
        at: TopicPartition,
        actor_type: str,
        key: bytes,
        asked: CommitsAsked,
        timeout_s: float,
    ) -> Sequence[ActorCommit]:
        """List an actor's past commits for another node. Raises: UnknownType, as `commits`."""
        return await self._list(self._find_type(actor_type), key, asked, timeout_s)

    def is_read(self, command: Command) -> bool:
        """Tell whether a command certainly changes nothing."""
        if command.action == STATE_READ:
            return True
        served = self._served.get(command.type)
        behavior = self._called.get(command.type) if served is None else served.behavior
        info = None if behavior is None else behavior.actions.get(command.action)
        return info is not None and info.read_only

    def partition_time_us(self, at: TopicPartition) -> int:
        """Return T of a partition, as far as this node knows it; 0: nothing is known."""
        worker, elsewhere = self._by_place.get(at), self.elsewhere
        own_us = 0 if worker is None else worker.machine.fold.time_us
        if elsewhere is None or (worker is not None and worker.active.is_set()):
            return own_us
        return max(own_us, elsewhere.time_us(at))

    # --- Ingress ---------------------------------------------------------------------------------

    def invoke(self, call: Call) -> asyncio.Future[Answer]:
        try:
            return self._invoke(call)
        except SpawnError as error:
            self._outstanding.refusals[error.code] += 1
            raise

    def _invoke(self, call: Call) -> asyncio.Future[Answer]:
        action, served = call.action, self._served.get(call.type)
        behavior = None if served is None else served.behavior
        if served is None:
            self._check_elsewhere(call.type)
        actor_id = check_id(behavior, call.id)
        payload = call.payload or b"null"
        if len(payload) > self._body_bytes_max:
            raise BodyTooLarge(
                f"the body has {len(payload)} bytes; the limit is {self._body_bytes_max}"
            )
        info = None if behavior is None else behavior.actions.get(action)
        if served is not None and (
            self.elsewhere is None or served.worker_of(actor_id).active.is_set()
        ):
            if info is None:
                raise unknown_action(served.behavior, action)
            arguments = served.behavior.decode_arguments(action, call.payload)
        else:
            arguments = UNDECODED  # the owner looks closer: its class may be newer
        command = Command(
            call.type,
            actor_id,
            action,
            payload,
            arguments,
            self.now() + call.timeout_s,
            None,
            True,
            caller=call.caller,
            metadata=call.metadata,
        )
        if info is not None and info.read_only:
            return self._send(command)
        return self._send(command, call.key, call.request)

    def delete(
        self,
        actor_type: str,
        actor_id: str,
        timeout_s: float,
        key: str | None = None,
        caller: str = "",
        *,
        metadata: Mapping[str, str] | None = None,
        request: RequestNumber | None = None,
    ) -> asyncio.Future[Answer]:
        served = self._served.get(actor_type)
        if served is None:
            self._check_elsewhere(actor_type)
        command = Command(
            actor_type,
            check_id(None if served is None else served.behavior, actor_id),
            DELETE,
            b"null",
            (),
            self.now() + timeout_s,
            None,
            True,
            caller=caller,
            metadata=metadata,
        )
        return self._send(command, key, request)

    def _send(
        self, command: Command, key: str | None = None, request: RequestNumber | None = None
    ) -> asyncio.Future[Answer]:
        command.waiter = waiter = self.new_waiter()
        command.request = request
        if key is not None:
            command.key = digest_key(key, command.action, command.payload)
            command.key_text = key
        self.submit(command)
        return waiter

    async def state(
        self, actor_type: str, actor_id: str, timeout_s: float, revision: int | None = None
    ) -> StateAnswer:
        served = self._served.get(actor_type)
        if served is None:
            return await self._state_elsewhere(actor_type, actor_id, timeout_s, revision)
        behavior = served.behavior
        key = check_id(behavior, actor_id)
        deadline = self.now() + timeout_s
        state, now, position = await self._read(actor_type, key, timeout_s)
        if revision is None or revision == now:
            shown = state if isinstance(state, StateJson) else behavior.state_json(state)
            return StateAnswer(shown, now, position if now else None)
        if revision > now:
            raise UnknownRevision(
                f"{actor_type}/{actor_id} has no revision {revision} yet, it is at {now}",
                hint="each change raises it by one; without a revision you get the state now",
            )
        if revision == 0:
            return StateAnswer(behavior.state_json(behavior.initial(actor_id)), 0, None)
        offset = NO_PREVIOUS if position is None else position.offset
        context, at = self._context, served.worker_of(key).at
        past = PastCommits(context.log, at, behavior, key, offset, context.schemas)
        try:
            async with asyncio.timeout_at(deadline):
                state, position = await past.state_at(revision)
        except TimeoutError:
            raise NotStarted(
                f"the history of {actor_type}/{actor_id} was not read before the deadline",
                hint="wait longer (Spawn-Timeout), or ask for a revision that is not as old",
            ) from None
        return StateAnswer(behavior.state_json(state), revision, position)

    async def _state_elsewhere(
        self, actor_type: str, actor_id: str, timeout_s: float, revision: int | None
    ) -> StateAnswer:
        """Have the owner of an actor show its state, now or at a revision."""
        self._check_elsewhere(actor_type)
        key, waiter = check_id(None, actor_id), self.new_waiter()
        asked = b"null" if revision is None else b"%d" % revision
        deadline = self.now() + timeout_s
        self.submit(Command(actor_type, key, STATE_READ, asked, UNDECODED, deadline, waiter))
        shown, at, position = await waiter
        return StateAnswer(shown, at, position)

    async def _read(
        self, actor_type: str, key: bytes, timeout_s: float
    ) -> tuple[Any, int, Position | None]:
        """Return an actor's state, revision, and the position of its last record."""
        waiter = self.new_waiter()
        deadline = self.now() + timeout_s
        self.submit(Command(actor_type, key, STATE_READ, b"null", None, deadline, waiter))
        found: tuple[Any, int, Position | None] = await waiter
        return found

    async def commits(
        self, actor_type: str, actor_id: str, asked: CommitsAsked, timeout_s: float
    ) -> Sequence[ActorCommit]:
        served = self._served.get(actor_type)
        if served is not None:
            return await self._list(served, check_id(served.behavior, actor_id), asked, timeout_s)
        key = check_id(None, actor_id)
        at = self._place_elsewhere(actor_type, key)
        assert self.elsewhere is not None, "it has told the place"
        return await self.elsewhere.commits(at, actor_type, key, asked, timeout_s)

    async def _list(
        self, served: Served, key: bytes, asked: CommitsAsked, timeout_s: float
    ) -> Sequence[ActorCommit]:
        deadline = self.now() + timeout_s
        _, past = await self._past(served, key, timeout_s)
        try:
            async with asyncio.timeout_at(deadline):
                return await past.listed(asked)
        except TimeoutError:
            raise NotStarted(
                f"the history of {served.behavior.type}/{key.decode()} was not read before the "
                "deadline",
                hint="ask for fewer events, or wait longer (Spawn-Timeout)",
            ) from None

    def follow(self, actor_type: str, actor_id: str, after: int | None) -> Follower:
        served = self._served.get(actor_type)
        key = check_id(None if served is None else served.behavior, actor_id)
        at = self._place_elsewhere(actor_type, key) if served is None else served.worker_of(key).at
        if self.elsewhere is not None:
            return self.elsewhere.follow(at, actor_type, key, after)
        assert served is not None, "there is nobody else"
        return self._follower(served, served.worker_of(key), key, after)

    def _follower(
        self, served: Served, worker: PartitionWorker, key: bytes, after: int | None
    ) -> ActorFollower:
        return ActorFollower(
            worker.followers,
            served.behavior,
            key,
            after,
            lambda: self._past(served, key, _FOLLOW_WAIT_S),
        )

    async def _past(self, served: Served, key: bytes, timeout_s: float) -> tuple[int, PastCommits]:
        """Return an actor's revision and its commits up to there."""
        behavior, at = served.behavior, served.worker_of(key).at
        _, revision, position = await self._read(behavior.type, key, timeout_s)
        offset = NO_PREVIOUS if position is None else position.offset
        context = self._context
        return revision, PastCommits(context.log, at, behavior, key, offset, context.schemas)

    def types(self) -> Mapping[str, Sequence[ActionInfo]]:
        return {
            name: list(served.behavior.actions.values()) for name, served in self._served.items()
        }

    def hosted(self) -> Mapping[str, str]:
        """Return the types that this node hosts, with their topics."""
        return {name: served.workers[0].at.topic for name, served in self._served.items()}

    def describe(self) -> Sequence[TypeServed]:
        return [
            TypeServed(
                name,
                served.workers[0].at.topic,
                served.partitions,
                served.behavior.settings.named_id,
                list(served.behavior.actions.values()),
                served.behavior.describe(),
            )
            for name, served in self._served.items()
        ]

    def elsewhere_types(self) -> Mapping[str, tuple[str, int]]:
        return {} if self.elsewhere is None else self.elsewhere.types()

    def log_time_us(self, actor_type: str, actor_id: str) -> int:
        key, served = actor_id.encode(errors="replace"), self._served.get(actor_type)
        if served is None:
            at = None if self.elsewhere is None else self.elsewhere.place_of(actor_type, key)
            return 0 if at is None else self.partition_time_us(at)
        return self.partition_time_us(served.worker_of(key).at)

    def statistics(self) -> NodeStatistics:
        workers = {w.at: w for served in self._served.values() for w in served.workers}
        return node_statistics(
            self._context, list(workers.values()), self._watch, self.not_ready(), self.now()
        )

    def refer(self, behavior: Behavior) -> bool:
        """Take the class of a type that is only called; tell whether another node hosts it."""
        if self.elsewhere is None or behavior.type not in self.elsewhere.types():
            return False
        self._called[behavior.type] = behavior
        return True

    # --- checks ----------------------------------------------------------------------------------

    def _find_type(self, name: str) -> Served:
        served = self._served.get(name)
        if served is None:
            raise unknown_type(name)
        return served

    def _check_elsewhere(self, name: str) -> None:
        """Raises: UnknownType - no other node hosts the type either."""
        if self.elsewhere is None or name not in self.elsewhere.types():
            raise unknown_type(name)

    def _place_elsewhere(self, name: str, key: bytes) -> TopicPartition:
        """Return the partition of an actor that other nodes host. Raises: UnknownType."""
        at = None if self.elsewhere is None else self.elsewhere.place_of(name, key)
        if at is None:
            raise unknown_type(name)
        return at

    # --- deadlines -------------------------------------------------------------------------------

    async def watch_deadlines(self) -> None:
        """Tell waiters whose deadline passed; measure how late the event loop is. Never returns."""
        loop, sweep_s = self._loop, self._context.settings.sweep_s
        while True:
            due = loop.time() + sweep_s
            await asyncio.sleep(sweep_s)
            now = loop.time()
            outstanding = self._outstanding
            self._watch.observe(now - due, now, outstanding, self._served)
            if self._context.runs.running and not self._context.debugger.is_attached:
                self._context.runs.observe(now)
            if now - due > _STOOD_STILL_S and self._context.debugger.is_attached:
                for command in outstanding:
                    command.deadline += now - due
                self._say_paused()
            for command in [c for c in outstanding if c.deadline <= now]:
                outstanding.pop(command, None)
                waiter = command.waiter
                if waiter is not None and not waiter.done():
                    error = self._context.runs.too_late(command, now)
                    outstanding.refusals[error.code] += 1
                    waiter.set_exception(error)

    def _say_paused(self) -> None:
        if not self._said_paused:
            self._said_paused = True
            self._context.say("a debugger is attached: deadlines wait while the node stands still")
