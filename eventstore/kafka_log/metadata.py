"""Which topics and partitions there are, and who leads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.metadata import MetadataRequest

from eventstore.log import TopicPartition

__all__ = ["Broker", "Partitions", "leader", "leaders", "partitions", "topics"]

Partitions = Sequence[Mapping[str, Any]]
"""What the brokers say of a topic's partitions: partition (its number), leader, replicas, ..."""


class Broker(NamedTuple):
    """A broker and where it is reached; another address is another broker to us."""

    id: int
    host: str
    port: int


async def partitions(client: AIOKafkaClient, names: Sequence[str]) -> Mapping[str, Partitions]:
    """Return those topics of these names that exist, and create none."""
    return _partitions(await _ask(client, names))


async def leaders(client: AIOKafkaClient, topic: str) -> Mapping[int, Broker]:
    """Return the leader of each partition that has one; none if the topic is not known."""
    answer = await _ask(client, [topic])
    brokers = {
        each["node_id"]: Broker(each["node_id"], each["host"], each["port"])
        for each in answer["brokers"]
    }
    return {
        each["partition"]: brokers[each["leader"]]
        for each in _partitions(answer).get(topic, ())
        if each["leader"] in brokers  # -1: nobody
    }


async def leader(client: AIOKafkaClient, at: TopicPartition) -> Any:
    """Return the id of the partition's leader, as the client knows it.

    Raises: LeaderNotAvailableError - nobody knows it now.
    """
    node = client.cluster.leader_for_partition(at)
    if node is None:  # the client has not met the topic before
        await client.add_topic(at.topic)
        node = client.cluster.leader_for_partition(at)
    if node is None or node == -1:
        raise kafka.LeaderNotAvailableError(at)
    return node


async def topics(client: AIOKafkaClient) -> Sequence[str]:
    """Return the names of all topics."""
    return list(_partitions(await _ask(client, None)))


async def _ask(client: AIOKafkaClient, topics: Sequence[str] | None) -> Mapping[str, Any]:
    """Ask for some topics; None: for all."""
    names = None if topics is None else list(topics)
    request = MetadataRequest(names, allow_auto_topic_creation=False)
    answer = await client.send(client.get_random_node(), request)
    told: Mapping[str, Any] = answer.to_object()
    return told


def _partitions(answer: Mapping[str, Any]) -> Mapping[str, Partitions]:
    found: dict[str, Partitions] = {}
    for told in answer["topics"]:
        error = kafka.for_code(told["error_code"])
        if error is kafka.NoError:
            found[told["topic"]] = told["partitions"]
        elif error is not kafka.UnknownTopicOrPartitionError:
            raise error(told["topic"])
    return found
