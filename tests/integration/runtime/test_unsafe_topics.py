"""Topics whose settings lose acknowledged events, on a real broker."""

from __future__ import annotations

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from eventstore.kafka_log import KafkaAdmin, KafkaSettings
from eventstore.memory_snapshots import MemorySnapshots
from spawn.errors import UnsafeTopic
from spawn.provision import UnsafeTopics, ensure_topics
from tests.contract.log_contract import new_topic
from tests.services.apache_kafka import ApacheKafka


async def test_a_topic_that_was_made_unsafe_is_told_or_refused(apache_kafka: ApacheKafka) -> None:
    """As the settings say; one that we made is right."""
    topic = new_topic()
    admin = KafkaAdmin(KafkaSettings(servers=apache_kafka.bootstrap))
    said: list[str] = []

    async def start(unsafe: UnsafeTopics) -> None:
        said.clear()
        await ensure_topics(
            admin,
            MemorySnapshots(),
            topic.replace(".", "-"),
            {topic: 2},
            replication=None,
            create=True,
            say=said.append,
            unsafe=unsafe,
        )

    await start("auto")
    assert said == ["warning: one broker: what it acknowledged is lost with its disk"]
    client = AIOKafkaAdminClient(bootstrap_servers=apache_kafka.bootstrap)
    await client.start()
    changed = {"unclean.leader.election.enable": "true", "retention.ms": "60000"}
    await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, changed)])
    await client.close()
    await start("auto")  # one copy
    assert [text for text in said if "unclean.leader.election.enable=true" in text]
    with pytest.raises(UnsafeTopic, match="1 of 3 copies") as told:
        await start("refuse")
    assert "retention.ms=60000" in told.value.message
    assert "unclean.leader.election.enable=false" in told.value.hint
