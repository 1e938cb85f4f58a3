"""The port through which HTTP, CLI and other edges call actors, and what they may see of a node.

Free of server and client-library types, so that an edge can be exchanged (dependencies: HTTP).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from eventstore.records import RequestNumber
from spawn.core.behavior import ActionInfo, Behavior, TypeDescription
from spawn.core.commands import Answer, Command, Waiter
from spawn.core.ids import Position

__all__ = [
    "COMMIT_BUCKETS_S",
    "DISTRIBUTIONS",
    "ActorCommit",
    "Awaiter",
    "Call",
    "CommitsAsked",
    "Dispatcher",
    "Distribution",
    "Follower",
    "Ingress",
    "NodeStatistics",
    "PartitionStatistics",
    "PendingAnswer",
    "StateAnswer",
    "TypeServed",
    "TypeStatistics",
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


class TypeServed(NamedTuple):
    """An actor type as a node serves it."""

    type: str
    topic: str
    partitions: int
    named_id: str
    """The only id of a named type; empty: any id."""
    actions: Sequence[ActionInfo]
    description: TypeDescription


class ActorCommit(msgspec.Struct, frozen=True, gc=False):
    """One committed change of an actor, for people and programs that watch it."""

    revision: int
    time_us: int
    position: Position
    action: str
    caller: str
    events: Sequence[tuple[str, bytes]]
    """(name, fields as JSON) in order."""
    state: bytes | None = None
    """JSON; only where the change is the new state itself."""
    deleted: bool = False


class CommitsAsked(NamedTuple):
    """Which of an actor's commits are wanted."""

    from_revision: int
    limit: int
    newest_first: bool


class Follower(Protocol):
    """Somebody who is told an actor's commits as they happen, each once and in order."""

    def commits(self) -> AsyncIterator[ActorCommit | None]:
        """Yield them until `close`; None now and then, when there was nothing for a while.

        Raises: TooSlow, and what ended it: Draining, UnreadableBody as ActorParked, ...
        """
        ...

    def close(self) -> None:
        """End it, from outside: the iterator ends."""
        ...


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
    """Acknowledged since the node's start, as all counts that follow."""
    batches: int
    """Appends acknowledged, barriers among them."""
    barriers: int
    fences: int
    """Times that the partition was lost to another owner's claim."""
    appended_bytes: int = 0
    """Of commits that were sent to the log: commands, events, replies, without their prefixes."""
    takeovers: int = 0
    recoveries: int = 0
    """Appends whose outcome was unknown, so that the partition was claimed again."""
    flushes: int = 0
    """Checkpoints that stand in the store."""
    flush_failures: int = 0
    flushed_actors: int = 0
    """Rows of actors written."""
    unflushed_s: float = 0.0
    """Age of the oldest change that is in the log and in no checkpoint; 0: there is none."""
    loads: int = 0
    """Actors loaded from store and log."""
    parked: int = 0
    """Actors met whose state could not be rebuilt."""
    passivations: int = 0
    """Actors that left memory: idle, or too many."""


class TypeStatistics(msgspec.Struct, frozen=True):
    """One actor type on its node at one instant."""

    type: str
    actors: int
    """In memory."""
    mailbox_calls: int
    """Commands in mailboxes: not started yet."""
    mailbox_calls_max: int
    """Commands waiting or uncommitted of the actor that has most."""
    mailbox_size_max: int
    """As many an actor may have; one more is refused (`mailbox-full`)."""


class Distribution(msgspec.Struct, frozen=True):
    """How often values were how large, since the node's start."""

    bounds: Sequence[float]
    """Upper bounds of the buckets, each included."""
    counts: Sequence[int]
    """Values per bucket (not cumulative), then those above all bounds."""
    total: float
    """The sum of all values."""


class NodeStatistics(msgspec.Struct, frozen=True):
    """A node at one instant; CLI, metrics and health read the same values."""

    system: str
    owner: str
    """Random id of this process's start, in hex."""
    ready: bool
    reasons: Sequence[str]
    """Why it is not ready; empty when it is."""
    partitions: Sequence[PartitionStatistics]
    types: Sequence[TypeStatistics] = ()
    distributions: Mapping[str, Distribution] = {}
    """By name: those of `DISTRIBUTIONS`, all or none."""
    loop_lag_s: float = 0.0
    """The delay of the event loop a moment ago; a large one fades within a second."""
    loop_lag_max_s: float = 0.0
    """Its largest delay within the last 30 to 60 seconds, so that no scrape misses one."""
    loop_stalls: int = 0
    """Times that the event loop stood still for more than 100 ms."""
    loop_blocks: int = 0
    """Times that it stood still for more than 250 ms: every read lease ran out by it."""
    loop_block_max_s: float = 0.0
    """The longest of them since the start."""
    clock_ahead_s: float = 0.0
    """How far the node's clock was ahead of the database's (negative: behind) a minute ago."""
    calls: int = 0
    """Calls that the node holds: waiting, running or not acknowledged by the log yet."""
    calls_max: int = 0
    """As many it may hold; one more is refused (`too-many-waiting`)."""
    refusals: Mapping[str, int] = {}
    """Calls that ended without a record, by code of the error."""
    outcomes: Mapping[tuple[str, str, str], int] = {}
    """Committed records that are no success, by (type, action, `rejected` or `failed`)."""
    threads: int = 0
    """Threads that actions which block may have."""
    thread_jobs: int = 0
    """Actions that run in one or wait for one."""
    log_failures: int = 0
    """Times that the log did not answer."""
    store_failures: int = 0
    """Times that the database did not answer."""


COMMIT_BUCKETS_S = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
_LONG_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

DISTRIBUTIONS: Mapping[str, Sequence[float]] = {
    "commit_seconds": COMMIT_BUCKETS_S,
    "call_seconds": COMMIT_BUCKETS_S,
    "batch_commits": tuple(float(4**n) for n in range(7)),
    "flush_seconds": _LONG_BUCKETS_S,
    "takeover_seconds": _LONG_BUCKETS_S,
}
"""What a node measures, and the upper bounds of the buckets: appends of commits and barriers until
their acknowledgement; commands from their arrival until their record is in the log; commits of one
append; checkpoints written; partitions taken over."""


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
    ) -> PendingAnswer:
        """Start to delete an actor: a command like any other, without an action of its type.

        The reply is null. An actor that was never written or is deleted stays as it is. The actor's
        next use starts from the initial state; its revision goes on. Raises as `invoke` does.
        """
        ...

    async def state(
        self, actor_type: str, actor_id: str, timeout_s: float, revision: int | None = None
    ) -> StateAnswer:
        """Read an actor's state."""
        ...

    async def commits(
        self, actor_type: str, actor_id: str, asked: CommitsAsked, timeout_s: float
    ) -> Sequence[ActorCommit]:
        """Read an actor's past changes from the log; it sees every acknowledged one."""
        ...

    def follow(self, actor_type: str, actor_id: str, after: int | None) -> Follower:
        """Follow an actor's changes: those above revision `after`, or None: those from now on."""
        ...

    def types(self) -> Mapping[str, Sequence[ActionInfo]]:
        """Return the actor types here and their actions."""
        ...

    def describe(self) -> Sequence[TypeServed]:
        """Return what programs need to know of the types here; always the same."""
        ...

    def elsewhere_types(self) -> Mapping[str, tuple[str, int]]:
        """Return the types that other nodes alone host, with their topics and those' partitions."""
        ...

    def log_time_us(self, actor_type: str, actor_id: str) -> int:
        """Return T of the actor's partition (log protocol 4); 0: nothing is known. Never raises."""
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

    def refer(self, behavior: Behavior) -> bool:
        """Take the class of a type that is not hosted here; tell whether another node hosts it."""
        ...
