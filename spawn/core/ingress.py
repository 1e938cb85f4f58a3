"""The port through which HTTP, CLI and other edges call actors, and what they may see of a node.

Free of server and client-library types, so that an edge can be exchanged (dependencies: HTTP).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from eventstore.records import RequestNumber
from spawn.core.behavior import ActionInfo
from spawn.core.commands import Answer, Command, Waiter
from spawn.core.ids import Position

__all__ = [
    "COMMIT_BUCKETS_S",
    "Awaiter",
    "Call",
    "Dispatcher",
    "Ingress",
    "NodeStatistics",
    "PartitionStatistics",
    "PendingAnswer",
    "StateAnswer",
]


class Call(msgspec.Struct, frozen=True):
    """One call from outside; nothing of it is checked yet."""

    type: str
    id: str
    action: str
    payload: bytes
    """The body as it came; empty stands for `null`."""
    timeout_s: float
    """How long the caller waits, from now."""
    key: str | None = None
    """The caller's idempotency key."""
    caller: str = ""
    """Who calls, for the record: e.g. `http 127.0.0.1`."""
    metadata: Mapping[str, str] | None = None
    request: RequestNumber | None = None
    """The number that the caller gave it in a session of its own (protocol 7)."""


class StateAnswer(msgspec.Struct, frozen=True, gc=False):
    """An actor's state as read: linearizable like every read."""

    state: bytes
    """JSON."""
    revision: int
    """0: never written; `state` is then the type's initial one."""
    position: Position | None
    """Of the actor's last record; None at revision 0."""


class PartitionStatistics(msgspec.Struct, frozen=True):
    """One partition as its node sees it at one instant."""

    topic: str
    partition: int
    phase: str
    """`taking-over`, `active`, `recovering` (an outcome is unknown), `fenced`, `stopped`."""
    epoch: int
    position: int
    """Offset of the next record: all below it is folded."""
    checkpoint: int
    """X of the last checkpoint known to be stored."""
    actors: int
    """In memory."""
    dirty: int
    """Actors changed since the last checkpoint."""
    uncommitted: int
    """Commands run but not acknowledged by the log yet."""
    waiting: int
    """Calls that wait for the partition or for an actor to be loaded."""
    commits: int
    """Acknowledged since this node took the partition over."""
    batches: int
    barriers: int
    fences: int


class NodeStatistics(msgspec.Struct, frozen=True):
    """A node at one instant; CLI, metrics and health read the same values."""

    system: str
    owner: str
    """Random id of this process's start, in hex."""
    ready: bool
    reasons: Sequence[str]
    """Why it is not ready; empty when it is."""
    partitions: Sequence[PartitionStatistics]
    commit_seconds: Sequence[int] = ()
    """Commit latencies, counts per bucket of `COMMIT_BUCKETS_S`, then the rest."""
    commit_seconds_sum: float = 0.0
    loop_lag_s: float = 0.0
    """The largest delay of the event loop within the last seconds."""


COMMIT_BUCKETS_S = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds of the buckets of `commit_seconds`."""


class PendingAnswer(Awaitable[Answer], Protocol):
    """The answer to a call, once it is there; an `asyncio.Future` is one.

    It can be awaited, or taken by a callback: a call then costs its edge no task.
    """

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None: ...
    def cancel(self) -> bool: ...
    def cancelled(self) -> bool: ...
    def exception(self) -> BaseException | None: ...
    def result(self) -> Answer: ...


class Ingress(Protocol):
    """What an edge may ask of a node. Every method may raise any `SpawnError`."""

    def invoke(self, call: Call) -> PendingAnswer:
        """Start an action; its answer is there when its commit is in the log.

        Cancelling gives up the wait, never the command. What validation finds is raised at once;
        the pending answer may end with Rejected, ActionFailed, KeyReused, MailboxFull,
        TooManyWaiting, NotStarted (the deadline passed and it was not started), OutcomeUnknown (it
        may have been), Fenced, Draining.
        """
        ...

    async def state(self, actor_type: str, actor_id: str, timeout_s: float) -> StateAnswer:
        """Read an actor's state."""
        ...

    def types(self) -> Mapping[str, Sequence[ActionInfo]]:
        """Return the actor types here and their actions."""
        ...

    def statistics(self) -> NodeStatistics:
        """Return what the node is doing; cheap enough to call each second."""
        ...


class Awaiter(Waiter, Awaitable[Any], Protocol):
    """A waiter that can be awaited; an `asyncio.Future` is one."""


class Dispatcher(Protocol):
    """How references inside the node's process reach actors: no copy of the call, no extra task."""

    def now(self) -> float:
        """Return the monotonic clock that deadlines are measured with, in seconds."""
        ...

    def new_waiter(self) -> Awaiter:
        """Return the future that a command's outcome will be set on."""
        ...

    def submit(self, command: Command) -> None:
        """Hand a command (or read) to its actor; every outcome and error reaches its waiter.

        Never blocks. The behavior of `command.type` decides whether it is a read.
        """
        ...
