"""A node's inside as the HTTP server sees it: small, in memory, and as awkward as told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence

from eventstore.records import RequestNumber
from spawn.core.behavior import ActionDescription, ActionInfo, TypeDescription
from spawn.core.commands import Answer
from spawn.core.ids import Position
from spawn.core.ingress import (
    COMMIT_BUCKETS_S,
    ActorCommit,
    Call,
    CommitsAsked,
    Distribution,
    NodeStatistics,
    PartitionStatistics,
    StateAnswer,
    TypeServed,
)
from spawn.errors import InvalidId, SpawnError, UnknownAction, UnknownRevision, UnknownType

ADD = ActionInfo("add", read_only=False, is_async=False, signature="add(n: int) -> int")
TOTAL = ActionInfo("total", read_only=True, is_async=False, signature="total() -> int")
TOPIC = "spawn.shop.Counter"
TIME_US = 1_795_558_931_000_000
"""T of every partition, and the time of every commit."""
DESCRIPTION = TypeDescription(
    "Adds up numbers.",
    {
        "add": ActionDescription("Add a number.", {"type": "integer"}, {"type": "integer"}),
        "total": ActionDescription("Return the sum.", {"type": "null"}, {"type": "integer"}),
    },
    {"Added": {"$ref": "#/$defs/Added"}},
    {"$ref": "#/$defs/Total"},
    {
        "Added": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
        "Total": {"type": "object", "properties": {"total": {"type": "integer"}}},
    },
)


class FakeIngress:
    """Counters: `add` answers the new total, `echo` of type Echo its body."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.state_timeouts_s: list[float] = []
        self.totals: dict[str, int] = {}
        self.revisions: dict[str, int] = {}
        self.error: Exception | None = None
        """Raised by every call while it is set."""
        self.gate: asyncio.Event | None = None
        """Calls wait for it while it is there."""
        self.arrived = asyncio.Event()
        """A call is inside."""
        self.finished: list[Call] = []
        """Calls that came to their end, also where nobody waits any more."""
        self.statistics_now = statistics()
        self.commits_of: dict[str, list[ActorCommit]] = {}
        self.asked: list[CommitsAsked] = []
        self.followers: list[FakeFollower] = []
        self._waiting: set[asyncio.Task[Answer]] = set()

    def invoke(self, call: Call) -> asyncio.Future[Answer]:
        self.calls.append(call)
        self.arrived.set()
        if self.gate is not None:
            waiting = asyncio.get_running_loop().create_task(self._invoke_later(self.gate, call))
            self._waiting.add(waiting)
            waiting.add_done_callback(self._waiting.discard)
            return waiting
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(self._invoke_now(call))
        return answer

    async def _invoke_later(self, gate: asyncio.Event, call: Call) -> Answer:
        await gate.wait()
        return self._invoke_now(call)

    def _invoke_now(self, call: Call) -> Answer:
        if self.error is not None:
            raise self.error
        if not call.id or len(call.id.encode()) > 255:
            raise InvalidId(f"an actor id has 1 to 255 bytes, this one {len(call.id.encode())}")
        if call.type == "Echo":
            answer = Answer(call.payload, 1, Position("spawn.shop.Echo", 0, 1))
        else:
            answer = self._count(call)
        self.finished.append(call)
        return answer

    def _count(self, call: Call) -> Answer:
        if call.type != "Counter":
            raise UnknownType(f"there is no actor type `{call.type}` here")
        if call.action not in ("add", "total"):
            raise UnknownAction(f"Counter has no action `{call.action}`")
        if call.action == "add":
            self.totals[call.id] = self.totals.get(call.id, 0) + int(call.payload)
            self._commit(call.id, "add", (("Added", b'{"n":%b}' % call.payload),), call.caller)
        revision = self.revisions.get(call.id, 0)
        reply = str(self.totals.get(call.id, 0)).encode()
        return Answer(reply, revision, Position(TOPIC, 3, 100 + revision) if revision else None)

    def _commit(
        self, actor_id: str, action: str, events: Sequence[tuple[str, bytes]], caller: str
    ) -> None:
        revision = self.revisions[actor_id] = self.revisions.get(actor_id, 0) + 1
        position = Position(TOPIC, 3, 100 + revision)
        deleted = action == "$delete"
        commit = ActorCommit(revision, TIME_US, position, action, caller, events, deleted=deleted)
        self.commits_of.setdefault(actor_id, []).append(commit)

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
        call = Call(actor_type, actor_id, "$delete", b"", timeout_s, key, caller, metadata, request)
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        if actor_type != "Counter":
            raise UnknownType(f"there is no actor type `{actor_type}` here")
        if actor_id in self.totals:
            del self.totals[actor_id]
            self._commit(actor_id, "$delete", (), caller)
        revision = self.revisions.get(actor_id, 0)
        position = Position(TOPIC, 3, 100 + revision) if revision else None
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(Answer(b"null", revision, position))
        return answer

    async def commits(
        self, actor_type: str, actor_id: str, asked: CommitsAsked, timeout_s: float
    ) -> Sequence[ActorCommit]:
        self.asked.append(asked)
        if self.error is not None:
            raise self.error
        all_of_it = self.commits_of.get(actor_id, [])
        found = [each for each in all_of_it if each.revision >= asked.from_revision]
        return (found[::-1] if asked.newest_first else found)[: asked.limit]

    def follow(self, actor_type: str, actor_id: str, after: int | None) -> FakeFollower:
        if actor_type != "Counter":
            raise UnknownType(f"there is no actor type `{actor_type}` here")
        follower = FakeFollower(after)
        self.followers.append(follower)
        return follower

    def describe(self) -> Sequence[TypeServed]:
        return [TypeServed("Counter", TOPIC, 4, "", (ADD, TOTAL), DESCRIPTION)]

    def elsewhere_types(self) -> Mapping[str, tuple[str, int]]:
        return {}

    def log_time_us(self, actor_type: str, actor_id: str) -> int:
        return TIME_US if actor_type in self.types() else 0

    async def state(
        self, actor_type: str, actor_id: str, timeout_s: float, revision: int | None = None
    ) -> StateAnswer:
        self.state_timeouts_s.append(timeout_s)
        if self.error is not None:
            raise self.error
        if actor_type != "Counter":
            raise UnknownType(f"there is no actor type `{actor_type}` here")
        now = self.revisions.get(actor_id, 0)
        total = self.totals.get(actor_id, 0)
        if revision is None:
            revision = now
        elif revision > now:
            raise UnknownRevision(f"{actor_type}/{actor_id} is at revision {now}")
        else:
            lived = self.commits_of.get(actor_id, [])[:revision]
            total = sum(int(json.loads(f)["n"]) for each in lived for _, f in each.events)
        state = b'{"total":%d}' % total
        return StateAnswer(
            state, revision, Position(TOPIC, 3, 100 + revision) if revision else None
        )

    def types(self) -> Mapping[str, Sequence[ActionInfo]]:
        return {"Counter": (ADD, TOTAL), "Echo": ()}

    def statistics(self) -> NodeStatistics:
        return self.statistics_now


class FakeFollower:
    """Yields what a test puts in; an error ends it."""

    def __init__(self, after: int | None) -> None:
        self.after = after
        self.queue: asyncio.Queue[ActorCommit | SpawnError | None] = asyncio.Queue()
        self.closed = asyncio.Event()

    async def commits(self) -> AsyncIterator[ActorCommit | None]:
        while True:
            get = asyncio.get_running_loop().create_task(self.queue.get())
            close = asyncio.get_running_loop().create_task(self.closed.wait())
            await asyncio.wait((get, close), return_when=asyncio.FIRST_COMPLETED)
            close.cancel()
            if not get.done():
                get.cancel()
                return
            if isinstance(found := get.result(), SpawnError):
                raise found
            yield found

    def close(self) -> None:
        self.closed.set()


def statistics(*, ready: bool = True, reasons: Sequence[str] = ()) -> NodeStatistics:
    """Return the statistics of a node with one partition."""
    partition = PartitionStatistics(
        topic=TOPIC,
        partition=3,
        phase="active",
        epoch=4,
        position=1200,
        checkpoint=1000,
        actors=70,
        dirty=50,
        uncommitted=6,
        waiting=5,
        commits=900,
        batches=300,
        barriers=2,
        fences=1,
    )
    return NodeStatistics(
        system="shop",
        owner="c0ffee",
        ready=ready,
        reasons=reasons,
        partitions=(partition,),
        distributions={
            "commit_seconds": Distribution(
                COMMIT_BUCKETS_S, (1, 2, *(0,) * (len(COMMIT_BUCKETS_S) - 2), 1), 12.5
            )
        },
        loop_lag_s=0.003,
    )
