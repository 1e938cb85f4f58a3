"""The consumer group of a system's nodes, as other programs might use it."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer

from eventstore.kafka_log import KafkaAdmin, KafkaSettings
from eventstore.log import TopicSettings
from tests.integration.node.servers import NewNodes
from tests.services.apache_kafka import ApacheKafka


async def test_a_node_does_not_start_where_consumers_use_its_group(
    apache_kafka: ApacheKafka, postgres_dsn: str, new_nodes: NewNodes
) -> None:
    """Nothing is claimed; the text names the group and the ways out."""
    nodes = new_nodes(apache_kafka.bootstrap, postgres_dsn)
    topic, group = f"alien-{nodes.system}", f"spawn.{nodes.system}"
    await KafkaAdmin(KafkaSettings(servers=apache_kafka.bootstrap)).create({
        topic: TopicSettings(partitions=1)
    })  # fmt: skip
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=apache_kafka.bootstrap, group_id=group)
    await consumer.start()
    try:
        node = nodes.start()
        assert await node.ended(30) == 1
        assert f"group {group} has members that are no nodes of Spawn" in node.text
        assert "[start-refused]" in node.text
        assert "taken over" not in node.text
    finally:
        await consumer.stop()
    assert await (await nodes.start().serving()).stop() == 0
