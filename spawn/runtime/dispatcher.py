"""From a call to its partition: the node's `Dispatcher` and `Ingress`.

Checks what can be checked before an actor is touched, makes the command, finds the partition, and
watches deadlines. A refusal here leaves no record (log protocol 2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from spawn.core.behavior import ActionInfo, Behavior
from spawn.core.commands import Answer, Command
from spawn.core.ids import ID_BYTES_MAX, Position, partition_of
from spawn.core.ingress import COMMIT_BUCKETS_S, Call, NodeStatistics, StateAnswer
from spawn.core.keys import digest_key
from spawn.errors import (
    BodyTooLarge,
    InvalidId,
    NotStarted,
    OutcomeUnknown,
    SpawnError,
    TooManyWaiting,
    UnknownAction,
    UnknownType,
)
from spawn.runtime.context import NodeContext
from spawn.runtime.execution import STATE_READ
from spawn.runtime.partition_worker import PartitionWorker

__all__ = ["NodeDispatcher", "Served"]

_SWEEP_S: Final = 0.02
"""How late a deadline is noticed at most."""


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
        self._loop = loop = asyncio.get_running_loop()
        # Dispatcher: the loop's own methods, since each call takes both.
        self.now: Callable[[], float] = loop.time
        self.new_waiter: Callable[[], asyncio.Future[Any]] = loop.create_future
        self.loop_lag_s = 0.0
        self.not_ready: list[str] = []
        """Why the node as a whole is not ready; the node writes it."""

    # --- Dispatcher ------------------------------------------------------------------------------

    def submit(self, command: Command) -> None:
        outstanding = self._outstanding
        try:
            if len(outstanding) >= self._calls_max:
                raise TooManyWaiting(
                    f"the node holds {len(outstanding)} calls, as many as it may",
                    hint="call again later",
                )
            served = self._served.get(command.type)
            if served is None:
                raise self._unknown_type(command.type)
            outstanding.add(command)
            served.workers[partition_of(command.id, served.partitions)].submit(command)
        except SpawnError as error:
            outstanding.discard(command)
            if command.waiter is not None:
                command.waiter.set_exception(error)

    # --- Ingress ---------------------------------------------------------------------------------

    def invoke(self, call: Call) -> asyncio.Future[Answer]:
        served = self._find_type(call.type)
        behavior = served.behavior
        if call.action not in behavior.actions:
            raise self._unknown_action(behavior, call.action)
        actor_id = self._check_id(behavior, call.id)
        payload = call.payload or b"null"
        if len(payload) > self._body_bytes_max:
            raise BodyTooLarge(
                f"the body has {len(payload)} bytes; the limit is {self._body_bytes_max}"
            )
        waiter = self.new_waiter()
        command = Command(
            call.type,
            actor_id,
            call.action,
            payload,
            behavior.decode_arguments(call.action, payload),
            self.now() + call.timeout_s,
            waiter,
            True,
            caller=call.caller,
            metadata=call.metadata,
        )
        if not behavior.actions[call.action].read_only:
            command.request = call.request
            if call.key is not None:
                command.key = digest_key(call.key, call.action, payload)
                command.key_text = call.key
        self.submit(command)
        return waiter

    async def state(self, actor_type: str, actor_id: str, timeout_s: float) -> StateAnswer:
        behavior = self._find_type(actor_type).behavior
        waiter = self.new_waiter()
        self.submit(
            Command(
                actor_type,
                self._check_id(behavior, actor_id),
                STATE_READ,
                b"null",
                None,
                self.now() + timeout_s,
                waiter,
            )
        )
        state: Any
        position: Position | None
        state, revision, position = await waiter
        return StateAnswer(behavior.state_json(state), revision, position if revision else None)

    def types(self) -> Mapping[str, Sequence[ActionInfo]]:
        return {
            name: list(served.behavior.actions.values()) for name, served in self._served.items()
        }

    def statistics(self) -> NodeStatistics:
        workers = {w.at: w for served in self._served.values() for w in served.workers}
        partitions = [worker.statistics() for worker in workers.values()]
        buckets = [0] * (len(COMMIT_BUCKETS_S) + 1)
        seconds = 0.0
        for worker in workers.values():
            counts, worker_seconds = worker.latencies
            seconds += worker_seconds
            for index, count in enumerate(counts):
                buckets[index] += count
        reasons = [*self.not_ready]
        reasons += [
            f"{p.topic}/{p.partition} is {p.phase}" for p in partitions if p.phase != "active"
        ]
        return NodeStatistics(
            system=self._context.system,
            owner=self._context.owner.hex(),
            ready=not reasons,
            reasons=reasons,
            partitions=partitions,
            commit_seconds=buckets,
            commit_seconds_sum=seconds,
            loop_lag_s=self.loop_lag_s,
        )

    # --- checks ----------------------------------------------------------------------------------

    def _find_type(self, name: str) -> Served:
        served = self._served.get(name)
        if served is None:
            raise self._unknown_type(name)
        return served

    @staticmethod
    def _unknown_type(name: str) -> UnknownType:
        return UnknownType(f"no actor type `{name}` is here")

    @staticmethod
    def _unknown_action(behavior: Behavior, name: str) -> UnknownAction:
        return UnknownAction(f"{behavior.type} has no action `{name}`")

    @staticmethod
    def _check_id(behavior: Behavior, actor_id: str) -> bytes:
        named = behavior.settings.named_id
        if named and actor_id != named:
            raise UnknownType(
                f"{behavior.type} is one actor, {named!r}; there is none with id {actor_id!r}",
                hint=f"call {behavior.type}/{named}",
            )
        try:
            encoded = actor_id.encode()
        except UnicodeEncodeError as error:
            raise InvalidId(f"the id of an actor is not UTF-8: {error}") from error
        if not 0 < len(encoded) <= ID_BYTES_MAX:
            raise InvalidId(
                f"the id has {len(encoded)} bytes of UTF-8; 1 to {ID_BYTES_MAX} are allowed"
            )
        return encoded

    # --- deadlines -------------------------------------------------------------------------------

    async def watch_deadlines(self) -> None:
        """Tell waiters whose deadline passed; measure how late the event loop is. Never returns."""
        loop = self._loop
        while True:
            due = loop.time() + _SWEEP_S
            await asyncio.sleep(_SWEEP_S)
            now = loop.time()
            self.loop_lag_s = max(now - due, self.loop_lag_s * 0.95)
            outstanding = self._outstanding
            for command in [c for c in outstanding if c.deadline <= now]:
                outstanding.discard(command)
                waiter = command.waiter
                if waiter is not None and not waiter.done():
                    waiter.set_exception(_too_late(command))


def _too_late(command: Command) -> SpawnError:
    name = f"{command.type}/{command.id.decode()}"
    if command.started:
        return OutcomeUnknown(
            f"the deadline passed while {command.action} was on its way into the log; it may have "
            "taken effect, now or later",
            at=name,
            hint="call again with the same Idempotency-Key: it never takes effect twice",
        )
    return NotStarted(
        f"the deadline passed before {command.action or 'the read'} was started; it was not "
        "executed",
        at=name,
        hint="call again, or wait longer (Spawn-Timeout)",
    )
