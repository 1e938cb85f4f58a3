"""A topic whose partitions were changed behind our back stops; types of other topics go on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from eventstore.kafka_log import KafkaAdmin, KafkaLog, KafkaSettings
from eventstore.log import EventLog, LogAdmin, TopicPartition, TopicSettings
from eventstore.memory_log import MemoryLog
from eventstore.memory_snapshots import MemorySnapshots
from eventstore.schema_topic import read_schema_topic, read_schemas
from spawn import Actor, System, action, actor
from spawn.errors import PartitionsChanged
from spawn.provision import ensure_schemas, ensure_topics, event_topics
from spawn.runtime.context import RuntimeSettings
from spawn.runtime.node import Node, NodePlan
from spawn.runtime.topic_watch import TopicStops, TopicWatch
from tests.contract.log_contract import new_topic
from tests.services.apache_kafka import ApacheKafka

SCHEMAS = TopicPartition("spawn.shop._schemas", 0)


@dataclass(frozen=True)
class Total:
    """A state."""

    n: int = 0


@dataclass(frozen=True)
class Added:
    """An event."""

    n: int


class Cart(Actor[Total, Added]):
    """One type."""

    @action
    def add(self, n: int) -> int:
        """Add."""
        self.emit(Added(n))
        return self.state.n

    @staticmethod
    def evolve(state: Total, event: Added) -> Total:
        """Fold."""
        return Total(state.n + event.n)


@actor(name="Order")
class Order(Cart):
    """Another one."""


class Installation:
    """A system on a log, as `spawn run` prepares and runs it."""

    def __init__(self, log: EventLog, admin: LogAdmin, name: str) -> None:
        self.system = System(name, actors=[Cart, Order])
        self.log, self.admin = log, admin
        self.store = MemorySnapshots()
        self.said: list[str] = []

    async def prepare(self) -> dict[str, int]:
        """Make and check topics and schemas."""
        name, behaviors = self.system.name, self.system.behaviors
        assert name is not None
        topics = await ensure_topics(
            self.admin,
            self.store,
            name,
            event_topics(name, behaviors, 2),
            replication=1,
            create=True,
            say=self.said.append,
        )
        await ensure_schemas(self.log, name, behaviors, 0, topics=topics, say=self.said.append)
        return dict(topics)

    def node(self, topics: dict[str, int]) -> Node:
        """Return a node."""
        assert self.system.name is not None
        return Node(
            NodePlan(
                system=self.system.name,
                endpoint="http://node",
                behaviors=self.system.behaviors,
                topics=topics,
                log=self.log,
                store=self.store,
                settings=RuntimeSettings(),
                body_bytes_max=1024,
                say=self.said.append,
            )
        )

    def topic(self, kind: str) -> str:
        """Return a topic's name."""
        return f"spawn.{self.system.name}.{kind}"


async def lives_through_a_change(installation: Installation, widen: Any) -> None:
    """Serve both types, change one's topic, look at what becomes of both; then start again."""
    topics = await installation.prepare()
    node = installation.node(topics)
    watch = TopicWatch(node.context.log, topics, node.context.topic_stops)
    async with node.running() as dispatcher, asyncio.TaskGroup() as tasks:
        installation.system.bind(dispatcher)
        watching = tasks.create_task(watch.run())
        await node.serving.wait()
        cart: Any = installation.system.actor(Cart, "a")
        order: Any = installation.system.actor(Order, "a")
        assert await cart.add(1) == 1
        assert await order.add(1) == 1
        await widen(installation.topic("Cart"))
        async with asyncio.timeout(10):
            while not node.context.topic_stops.is_stopped(installation.topic("Cart")):
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.1)
        with pytest.raises(PartitionsChanged, match="has 5 partitions, it was made with 2"):
            await cart.add(2)
        assert await order.add(2) == 3
        found = dispatcher.statistics()
        assert not found.ready
        phases = {(p.topic, p.phase) for p in found.partitions}
        assert sum(p.takeovers for p in found.partitions) == 4, "nothing is claimed again"
        carts, orders = installation.topic("Cart"), installation.topic("Order")
        assert phases == {(carts, "stopped"), (orders, "active")}
        watching.cancel()
    with pytest.raises(PartitionsChanged, match="has 5 partitions, it was made with 2"):
        await installation.prepare()
    assert any("partitions-changed" in text for text in installation.said)


async def test_a_topic_in_memory_is_widened() -> None:
    """Within seconds; a start is refused."""
    log = MemoryLog()

    async def widen(topic: str) -> None:
        log.widen(topic, 5)

    await lives_through_a_change(Installation(log, log, "shop"), widen)


async def test_a_topic_of_apache_kafka_is_widened(apache_kafka: ApacheKafka) -> None:
    """By its own tools' request."""
    settings = KafkaSettings(servers=apache_kafka.bootstrap)
    log = KafkaLog(settings)

    async def widen(topic: str) -> None:
        client = AIOKafkaAdminClient(bootstrap_servers=apache_kafka.bootstrap)
        await client.start()
        try:
            await client.create_partitions({topic: NewPartitions(total_count=5)})
        finally:
            await client.close()

    name = new_topic().replace("spawn.", "").replace(".", "-")[:40]
    try:
        await lives_through_a_change(Installation(log, KafkaAdmin(settings), name), widen)
    finally:
        await log.close()


async def test_what_is_recorded_is_written_once_and_no_schema() -> None:
    """Starts that find nothing new write nothing."""
    log = MemoryLog()
    installation = Installation(log, log, "shop")
    await installation.prepare()
    before = await read_schema_topic(log, "spawn.shop._schemas")
    _, end = await log.bounds(SCHEMAS)
    await installation.prepare()
    assert await log.bounds(SCHEMAS) == (0, end)
    assert [tuple(entry) for entry in before.topics] == [
        ("spawn.shop.Cart", "Cart", 2),
        ("spawn.shop.Order", "Order", 2),
    ]
    assert await read_schemas(log, "spawn.shop._schemas") == before.schemas


async def test_a_change_that_is_told_once_is_not_believed() -> None:
    """Brokers that learn of topics one after the other stop nobody; nor does a log that is away."""

    class Wavering(MemoryLog):
        answers = 0

        async def partitions(self, topics: Any) -> Any:
            self.answers += 1
            found = dict(await super().partitions(topics))
            if self.answers % 2:
                self.is_down = self.answers % 4 == 1
                return {topic: count - 1 for topic, count in found.items()}
            return found

    log = Wavering()
    await log.create({"t": TopicSettings(partitions=3)})
    stops = TopicStops()
    watching = asyncio.ensure_future(TopicWatch(log, {"t": 3}, stops).run())
    await asyncio.sleep(3.5)
    log.is_down = False
    await asyncio.sleep(3)
    watching.cancel()
    assert log.answers >= 3
    assert not stops.is_stopped("t")
