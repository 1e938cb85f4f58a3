"""A node's inside as the HTTP server sees it: small, in memory, and as awkward as told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from spawn.core.behavior import ActionInfo
from spawn.core.commands import Answer
from spawn.core.ids import Position
from spawn.core.ingress import (
    COMMIT_BUCKETS_S,
    Call,
    NodeStatistics,
    PartitionStatistics,
    StateAnswer,
)
from spawn.errors import InvalidId, UnknownAction, UnknownType

ADD = ActionInfo("add", read_only=False, is_async=False, signature="add(n: int) -> int")
TOTAL = ActionInfo("total", read_only=True, is_async=False, signature="total() -> int")
TOPIC = "spawn.shop.Counter"


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
            self.revisions[call.id] = self.revisions.get(call.id, 0) + 1
        revision = self.revisions.get(call.id, 0)
        reply = str(self.totals.get(call.id, 0)).encode()
        return Answer(reply, revision, Position(TOPIC, 3, 100 + revision) if revision else None)

    async def state(self, actor_type: str, actor_id: str, timeout_s: float) -> StateAnswer:
        self.state_timeouts_s.append(timeout_s)
        if self.error is not None:
            raise self.error
        if actor_type != "Counter":
            raise UnknownType(f"there is no actor type `{actor_type}` here")
        revision = self.revisions.get(actor_id, 0)
        state = b'{"total":%d}' % self.totals.get(actor_id, 0)
        return StateAnswer(
            state, revision, Position(TOPIC, 3, 100 + revision) if revision else None
        )

    def types(self) -> Mapping[str, Sequence[ActionInfo]]:
        return {"Counter": (ADD, TOTAL), "Echo": ()}

    def statistics(self) -> NodeStatistics:
        return self.statistics_now


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
        commit_seconds=(1, 2, *(0,) * (len(COMMIT_BUCKETS_S) - 2), 1),
        commit_seconds_sum=12.5,
        loop_lag_s=0.003,
    )
