"""A node over a log and a store in memory, for tests of the runtime."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

from eventstore.codec import ClaimBody
from eventstore.log import TopicPartition, TopicSettings
from eventstore.memory_log import MemoryLog
from eventstore.memory_snapshots import MemorySnapshots
from spawn.core.behavior import Behavior
from spawn.core.commands import Command
from spawn.core.ingress import Call
from spawn.runtime.clock import Clock
from spawn.runtime.context import RuntimeSettings
from spawn.runtime.dispatcher import NodeDispatcher
from spawn.runtime.node import Node, NodePlan
from spawn.runtime.partition_worker import PartitionWorker
from spawn.runtime.placement import Everything, Placement
from tests.unit.core.harness import Lists

SYSTEM = "test"
TOPIC = "spawn.test.List"
AT = TopicPartition(TOPIC, 0)


class Cluster:
    """One log and one store, and nodes on them."""

    def __init__(self, partitions: int = 1, **settings: Any) -> None:
        self.log = MemoryLog()
        self.store = MemorySnapshots()
        self.partitions = partitions
        self.said: list[str] = []
        self.settings = RuntimeSettings(**{"flush_interval_s": 1000.0, **settings})

    @contextlib.asynccontextmanager
    async def node(
        self,
        behavior: Behavior | None = None,
        *,
        clock: Clock | None = None,
        placement: Placement | None = None,
    ) -> AsyncIterator[NodeDispatcher]:
        """Run a node that serves all partitions of the type while the body runs."""
        await self.log.create({TOPIC: TopicSettings(partitions=self.partitions)})
        node = Node(dataclasses.replace(self.plan(behavior or Lists()), clock=clock))
        async with node.running(placement) as dispatcher:
            await node.serving.wait()
            yield dispatcher

    def plan(self, behavior: Behavior) -> NodePlan:
        return NodePlan(
            system=SYSTEM,
            endpoint="http://node",
            behaviors=[behavior],
            topics={TOPIC: self.partitions},
            log=self.log,
            store=self.store,
            settings=self.settings,
            body_bytes_max=1024,
            say=self.said.append,
        )


class Retaking(Everything):
    """The placement of a node that takes again what another one claims."""

    def taken(self, at: TopicPartition, owner: ClaimBody | None) -> None:
        pass


def add(
    node: NodeDispatcher, number: int, actor: str = "a", timeout_s: float = 5.0, **more: Any
) -> asyncio.Future[Any]:
    """Begin to add a number to an actor's list; its future gets the list's new length."""
    return submit(node, "add", actor, str(number).encode(), timeout_s, **more)


def submit(
    node: NodeDispatcher,
    action: str,
    actor: str = "a",
    payload: bytes = b"null",
    timeout_s: float = 5.0,
    **more: Any,
) -> asyncio.Future[Any]:
    """Begin a command or read of an actor."""
    waiter = node.new_waiter()
    deadline = node.now() + timeout_s
    node.submit(Command("List", actor.encode(), action, payload, payload, deadline, waiter, **more))
    return waiter


async def numbers(node: NodeDispatcher, actor: str = "a") -> list[int]:
    """Return an actor's list by a linearizable read."""
    found: list[int] = await submit(node, "all", actor)
    return found


def call(action: str, payload: bytes = b"", **more: Any) -> Call:
    """Return a call from outside to actor `a`."""
    return Call(
        **{"type": "List", "id": "a", "timeout_s": 5.0, **more}, action=action, payload=payload
    )


def worker_of(node: NodeDispatcher) -> PartitionWorker:
    """Return the worker of a node's first partition."""
    return node._served["List"].workers[0]


async def flushed(node: NodeDispatcher) -> None:
    """Wait until everything committed so far stands in the store."""
    machine = worker_of(node).machine
    position = machine.fold.position
    while machine.residents.base < position:
        await asyncio.sleep(0.01)
