"""Nodes over one log and store in memory and a network in memory; a test says who owns what."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

from eventstore.log import TopicPartition, TopicSettings
from eventstore.memory_log import MemoryLog
from eventstore.memory_snapshots import MemorySnapshots
from spawn.core.behavior import Behavior
from spawn.core.ids import partition_of, topic_of
from spawn.mesh.memory_mesh import MemoryNetwork
from spawn.mesh.wire import LEAST_VERSION, VERSION, Hello
from spawn.routing.router import Router
from spawn.runtime.clock import SystemClock, random_id
from spawn.runtime.context import RuntimeSettings
from spawn.runtime.dispatcher import NodeDispatcher
from spawn.runtime.node import Node, NodePlan
from spawn.runtime.placement import Everything

SYSTEM = "test"


class _Chosen(Everything):
    """The placement of one node: what the test gave it."""

    def __init__(self, name: str, nodes: Nodes) -> None:
        super().__init__()
        self._name, self._nodes = name, nodes

    def wants(self, at: TopicPartition) -> bool:
        return self._nodes.owner_of(at) == self._name

    async def changed(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._nodes.waiting.append(waiter)
        await waiter

    def taken(self, at: TopicPartition, owner: Any) -> None:
        """It is another node's now."""


class Nodes:
    """Some nodes of one system."""

    def __init__(self, partitions: int = 2, owner: str = "b") -> None:
        self.partitions = partitions
        self.log = MemoryLog()
        self.store = MemorySnapshots()
        loop = asyncio.get_running_loop()
        self.network = MemoryNetwork(loop.call_later, loop.time)
        self.waiting: list[asyncio.Future[None]] = []
        self._owners: dict[TopicPartition, str] = {}
        self._first = owner
        self.routers: dict[str, Router] = {}
        self._hosted: dict[str, dict[str, tuple[str, int]]] = {}

    def owner_of(self, at: TopicPartition) -> str:
        """Return who should own a partition."""
        return self._owners.get(at, self._first)

    def give(self, at: TopicPartition, name: str) -> None:
        """Let another node own a partition."""
        self._owners[at] = name
        waiting, self.waiting = self.waiting, []
        for waiter in waiting:
            waiter.set_result(None)

    def place(self, actor_type: str, actor_id: str) -> TopicPartition:
        """Return where an actor lives."""
        number = partition_of(actor_id.encode(), self.partitions)
        return TopicPartition(topic_of(SYSTEM, actor_type), number)

    def ids(self, actor_type: str, at: TopicPartition) -> list[str]:
        """Return a few actors of one partition."""
        numbered = (f"actor-{n}" for n in itertools.count())
        return list(itertools.islice((i for i in numbered if self.place(actor_type, i) == at), 3))

    @contextlib.asynccontextmanager
    async def running(
        self, **behaviors: Sequence[Behavior]
    ) -> AsyncIterator[Mapping[str, NodeDispatcher]]:
        """Run nodes, each with its own types; ends when the body ends."""
        async with contextlib.AsyncExitStack() as stack:
            nodes = {}
            for name, hosted in behaviors.items():
                topics = {topic_of(SYSTEM, each.type): self.partitions for each in hosted}
                for topic, count in topics.items():
                    with contextlib.suppress(Exception):
                        await self.log.create({topic: TopicSettings(partitions=count)})
                self._hosted[name] = {
                    each.type: (topic_of(SYSTEM, each.type), self.partitions) for each in hosted
                }
                node = Node(
                    NodePlan(
                        system=SYSTEM,
                        endpoint=name,
                        behaviors=hosted,
                        topics=topics,
                        log=self.log,
                        store=self.store,
                        settings=RuntimeSettings(flush_interval_s=1000.0, sweep_s=0.05),
                        body_bytes_max=1024 * 1024,
                        say=print,
                        route=partial(self._route, name),
                    )
                )
                nodes[name] = await stack.enter_async_context(node.running(_Chosen(name, self)))
                await node.serving.wait()
            yield nodes

    def _route(self, name: str, dispatcher: NodeDispatcher) -> Router:
        now = asyncio.get_running_loop().time
        router = Router(dispatcher, now, lambda: 0.5, SystemClock().time_us, random_id)
        router.hint = self.owner_of
        router.hosted = lambda: {
            kind: place
            for other, kinds in self._hosted.items()
            if other != name
            for kind, place in kinds.items()
        }
        hello = Hello(VERSION, LEAST_VERSION, SYSTEM, random_id().hex(), name, "test")
        router.use(self.network.join(hello, router.peers))
        self.routers[name] = router
        return router
