"""Actor classes on a node over a log and a store in memory."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from eventstore.codec import CommitBody, decode_commit_body
from eventstore.log import TopicPartition, TopicSettings
from eventstore.memory_log import MemoryLog
from eventstore.memory_snapshots import MemorySnapshots
from eventstore.records import Commit, decode_prefix
from spawn import System
from spawn.runtime.clock import stopwatch_s
from spawn.runtime.context import RuntimeSettings
from spawn.runtime.dispatcher import NodeDispatcher
from spawn.runtime.node import Node, NodePlan
from spawn.sdk.actor import Actor

__all__ = ["Program"]


class Program:
    """A system whose nodes share one log and one store; each type has one partition."""

    def __init__(self, *actors: type[Actor[Any, Any]], **settings: Any) -> None:
        self.system = System("test", actors=actors)
        self.log = MemoryLog()
        self.store = MemorySnapshots()
        self.said: list[str] = []
        self.settings = RuntimeSettings(**{"flush_interval_s": 1000.0, **settings})
        self.stopwatch: Callable[[], float] = stopwatch_s
        """What runs of plain actions are measured with."""
        self.topics = {f"spawn.test.{behavior.type}": 1 for behavior in self.system.behaviors}

    @contextlib.asynccontextmanager
    async def node(self, drain_s: float | None = None) -> AsyncIterator[NodeDispatcher]:
        """Run a node while the body runs; with `drain_s` it is stopped as planned, else it dies."""
        await self.log.create({topic: TopicSettings(partitions=1) for topic in self.topics})
        plan = NodePlan(
            system="test",
            endpoint="http://node",
            behaviors=self.system.behaviors,
            topics=self.topics,
            log=self.log,
            store=self.store,
            settings=self.settings,
            body_bytes_max=1024 * 1024,
            say=self.said.append,
            stopwatch=self.stopwatch,
        )
        node = Node(plan)
        async with node.running() as dispatcher:
            self.system.bind(dispatcher)
            await node.serving.wait()
            yield dispatcher
            if drain_s is not None:
                await node.drain(drain_s)

    async def commits(self, actor_type: str) -> list[tuple[Commit, CommitBody]]:
        """Return all commits of a type, as they stand in the log."""
        at = TopicPartition(f"spawn.test.{actor_type}", 0)
        start, end = await self.log.bounds(at)
        found: list[tuple[Commit, CommitBody]] = []
        async for records in self.log.read(at, start, end):
            for record in records:
                prefix = decode_prefix(record.value)
                if isinstance(prefix, Commit):
                    assert record.value is not None, "a commit has a value"
                    found.append((prefix, decode_commit_body(record.value, prefix.body_at)))
        return found
