"""Topics: making, describing and deleting them; and who is in a group."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.protocol.admin import (
    CreateTopicsRequest,
    DeleteGroupsRequest,
    DeleteTopicsRequest,
    DescribeConfigsRequest,
    DescribeGroupsRequest,
)

from eventstore.errors import LogForbidden, LogRefused
from eventstore.kafka_log.background import Background
from eventstore.kafka_log.failures import REFUSALS, quieten_client, refusal
from eventstore.kafka_log.metadata import Partitions, partitions
from eventstore.kafka_log.metadata import topics as all_topics
from eventstore.kafka_log.requests import Requests
from eventstore.kafka_log.settings import KafkaSettings
from eventstore.log import TopicSettings, TopicState

__all__ = ["KafkaAdmin"]

_T = TypeVar("_T")

_TOPIC: Final = 2
"""The kind of resource whose settings are asked for."""
_DELETION_DISABLED: Final = 73
_NON_EMPTY_GROUP: Final = 68
_GROUP_ID_NOT_FOUND: Final = 69
"""Codes of the protocol that aiokafka has no errors for, or not the right ones."""
_UNLED: Final[Partitions] = ({"leader": -1},)


class KafkaAdmin:
    """`LogAdmin` on Kafka; connects for each call, since it is needed at start only.

    A call fails at once when no broker can be reached, so that the caller can say what it waits
    for. Other failures that may pass are met by asking again until `admin_timeout_s` is over.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        quieten_client()
        self._settings = settings

    async def brokers(self) -> int:
        async def ask(client: AIOKafkaClient) -> int:
            return _known_brokers(client)

        return await self._until_answered("the brokers", ask)

    async def topics(self, prefix: str) -> Sequence[str]:
        async def ask(client: AIOKafkaClient) -> Sequence[str]:
            return sorted(name for name in await all_topics(client) if name.startswith(prefix))

        return await self._until_answered("listing topics", ask)

    async def describe(self, topics: Sequence[str]) -> Mapping[str, TopicState]:
        async def ask(client: AIOKafkaClient) -> Mapping[str, TopicState]:
            found = await partitions(client, topics)
            settings = await _topic_settings(client, list(found))
            return {
                name: TopicState(
                    name=name,
                    partitions=len(told),
                    replication=min(len(each["replicas"]) for each in told),
                    settings=settings.get(name, {}),
                )
                for name, told in found.items()
            }

        return await self._until_answered("describing topics", ask) if topics else {}

    async def create(self, topics: Mapping[str, TopicSettings]) -> None:
        async def ask(client: AIOKafkaClient) -> bool | None:
            """Create those that are not there yet; done when each partition has a leader."""
            brokers = _known_brokers(client)
            wanted = [_new_topic(name, each, brokers) for name, each in topics.items()]
            timeout_ms = int(self._settings.admin_timeout_s * 400)
            request = CreateTopicsRequest(wanted, timeout_ms, validate_only=False)
            answer = await client.send(client.cluster.controller.nodeId, request)
            for name, code, *message in answer.topic_errors:
                error = kafka.for_code(code)
                reason = " ".join(filter(None, message)) or error.__name__
                if error in REFUSALS:
                    raise LogRefused(f"Kafka refused to create topic {name}: {reason}")
                if error not in (kafka.NoError, kafka.TopicAlreadyExistsError):
                    raise error(f"topic {name}: {reason}")
            found = await partitions(client, list(topics))
            leaders = [each["leader"] for name in topics for each in found.get(name, _UNLED)]
            return min(leaders) >= 0 or None

        if topics:
            await self._until_answered("creating topics", ask)

    async def delete(self, topics: Sequence[str]) -> None:
        async def ask(client: AIOKafkaClient) -> bool | None:
            """Delete those that are still there; done when none is shown any more."""
            left = list(await partitions(client, topics))
            if not left:
                return True
            timeout_ms = int(self._settings.admin_timeout_s * 400)
            _known_brokers(client)
            answer = await client.send(
                client.cluster.controller.nodeId, DeleteTopicsRequest(left, timeout_ms)
            )
            for name, code in answer.topic_error_codes:
                error = kafka.for_code(code)
                if code == _DELETION_DISABLED or error in REFUSALS:
                    why = "deleting topics is disabled" if code == _DELETION_DISABLED else ""
                    text = f"Kafka refused to delete topic {name}: {why or error.__name__}"
                    raise refusal(error, text)
                if error not in (kafka.NoError, kafka.UnknownTopicOrPartitionError):
                    raise error(f"topic {name}: {error.__name__}")
            return None

        if topics:
            await self._until_answered("deleting topics", ask)

    async def group_members(self, group: str) -> Sequence[str] | None:
        async def ask(client: AIOKafkaClient) -> tuple[Sequence[str] | None]:
            node = await client.coordinator_lookup(CoordinationType.GROUP, group)
            try:
                answer = await client.send(node, DescribeGroupsRequest([group]))
            except (kafka.IncompatibleBrokerVersion, kafka.UnsupportedVersionError):
                return (None,)
            members: list[str] = []
            for code, _, _, _, _, found, *_ in answer.groups:
                _raise_of_group(code, group)
                members += [f"{each[1]} at {each[2].removeprefix('/')}" for each in found]
            return (members,)

        (told,) = await self._until_answered(f"describing group {group}", ask)
        return told

    async def group_kind(self, group: str) -> str:
        async def ask(client: AIOKafkaClient) -> str:
            node = await client.coordinator_lookup(CoordinationType.GROUP, group)
            try:
                answer = await client.send(node, DescribeGroupsRequest([group]))
            except (kafka.IncompatibleBrokerVersion, kafka.UnsupportedVersionError):
                return ""
            for code, _, _, kind, _, members, *_ in answer.groups:
                _raise_of_group(code, group)
                if members:
                    return str(kind)
            return ""

        return await self._until_answered(f"describing group {group}", ask)

    async def delete_group(self, group: str) -> None:
        async def ask(client: AIOKafkaClient) -> bool:
            node = await client.coordinator_lookup(CoordinationType.GROUP, group)
            try:
                answer = await client.send(node, DeleteGroupsRequest([group]))
            except (kafka.IncompatibleBrokerVersion, kafka.UnsupportedVersionError):
                return True  # a broker that deletes none forgets them by itself
            for _, code in answer.results:
                _raise_of_group(code, group)
            return True

        await self._until_answered(f"deleting group {group}", ask)

    async def _until_answered(
        self, what: str, ask: Callable[[AIOKafkaClient], Awaitable[_T | None]]
    ) -> _T:
        background = Background()
        timeout_s = self._settings.admin_timeout_s
        requests = Requests(self._settings, background, timeout_s, reconnects=False, diagnoses=True)
        try:
            return await requests.until_answered(what, ask)
        finally:
            requests.close()
            await background.wait(self._settings.close_timeout_s)


def _raise_of_group(code: int, group: str) -> None:
    """Raise for what a coordinator answers of a group; one that it does not know is well."""
    error = kafka.for_code(code)
    if error is kafka.GroupAuthorizationFailedError:
        raise LogForbidden(f"Kafka does not let us at group {group}")
    if code == _NON_EMPTY_GROUP:
        raise LogRefused(f"group {group} has members")
    if code not in (0, _GROUP_ID_NOT_FOUND):
        raise error(f"group {group}: {error.__name__}")


def _known_brokers(client: AIOKafkaClient) -> int:
    """Return how many brokers the client was told of when it connected.

    Raises: BrokerNotAvailableError - none: a cluster that is just starting says so.
    """
    brokers = client.cluster.brokers()
    if not brokers or client.cluster.controller is None:
        raise kafka.BrokerNotAvailableError("the cluster tells no broker or no controller yet")
    return len(brokers)


async def _topic_settings(
    client: AIOKafkaClient, topics: Sequence[str]
) -> Mapping[str, Mapping[str, str]]:
    request = DescribeConfigsRequest([(_TOPIC, name, None) for name in topics])
    try:
        answer = await client.send(client.get_random_node(), request)
    except (kafka.IncompatibleBrokerVersion, kafka.UnsupportedVersionError):
        return {}
    return {
        name: {key: value for key, value, *_ in entries if value is not None}
        for _, _, _, name, entries in answer.resources
    }


def _new_topic(name: str, settings: TopicSettings, brokers: int) -> tuple[Any, ...]:
    replication = settings.replication or min(3, brokers)
    configs = {
        "cleanup.policy": "compact" if settings.compacted else "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "max.message.bytes": str(settings.max_message_bytes),
        # Said even where it is 1: the cluster's default may be 2, which two copies could not keep.
        "min.insync.replicas": "2" if replication >= 3 else "1",
        "unclean.leader.election.enable": "false",
    }
    placed_by_hand: list[tuple[int, list[int]]] = []
    return name, settings.partitions, replication, placed_by_hand, list(configs.items())
