"""What must be there before a node can serve: topics, their settings, their types."""

from __future__ import annotations

from dataclasses import replace

import pytest

from eventstore.log import TopicState
from eventstore.schema_topic import TopicEntry
from spawn.core.behavior import TypeSettings
from spawn.errors import PartitionsChanged, UnsafeTopic
from spawn.provision import (
    UnsafeTopics,
    judge_partitions,
    judge_types,
    made_partitions,
    refuse_unsafe,
    unhosted_types,
)
from tests.unit.core.harness import Lists

OWN = "spawn.shop.List"
SHARED = "spawn.shop.sales"


def lists(name: str = "List", topic: str = "") -> Lists:
    """Return an actor type."""
    return Lists(TypeSettings(topic=topic), name)


def test_a_new_topic_is_recorded_for_each_of_its_types() -> None:
    """Once."""
    behaviors = [lists(), lists("Cart", "sales"), lists("Order", "sales")]
    topics = {OWN: 4, SHARED: 8}
    fresh = judge_partitions("shop", behaviors, topics, [])
    assert list(fresh) == [
        TopicEntry(OWN, "List", 4),
        TopicEntry(SHARED, "Cart", 8),
        TopicEntry(SHARED, "Order", 8),
    ]
    assert judge_partitions("shop", behaviors, topics, fresh) == []


@pytest.mark.parametrize("has", [3, 5])
def test_another_number_than_it_was_made_with_is_refused(has: int) -> None:
    """More or fewer; whatever was recorded later."""
    recorded = [TopicEntry(OWN, "List", 4), TopicEntry(OWN, "Late", has)]
    assert made_partitions(recorded) == {OWN: 4}
    with pytest.raises(
        PartitionsChanged, match=f"has {has} partitions, it was made with 4"
    ) as told:
        judge_partitions("shop", [lists()], {OWN: has}, recorded)
    assert told.value.at == OWN


def test_types_that_share_a_topic_are_missed_where_one_is_not_served() -> None:
    """Other topics' types are nobody's business."""
    recorded = [
        TopicEntry(SHARED, "Cart", 8),
        TopicEntry(SHARED, "Order", 8),
        TopicEntry("spawn.shop.Else", "Else", 8),
    ]
    cart, order = lists("Cart", "sales"), lists("Order", "sales")
    assert unhosted_types("shop", [cart, order], recorded) == {}
    assert unhosted_types("shop", [cart], recorded) == {SHARED: ["Order"]}
    [text] = judge_types("shop", [cart], recorded)
    assert "Order, which this node does not serve" in text


def test_a_type_that_moved_to_another_topic_is_told() -> None:
    """Its actors are not there."""
    recorded = [TopicEntry(OWN, "List", 4)]
    [text] = judge_types("shop", [lists(topic="sales")], recorded)
    assert "List was in topic spawn.shop.List and is in spawn.shop.sales now" in text
    moved = [*recorded, TopicEntry(SHARED, "List", 8)]
    assert judge_types("shop", [lists(topic="sales")], moved) == []


SCHEMAS = "spawn.shop._schemas"
SAFE = TopicState(
    name=OWN,
    partitions=4,
    replication=3,
    settings={
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "min.insync.replicas": "2",
        "unclean.leader.election.enable": "false",
    },
)


def topics(copies: int, **changed: str) -> dict[str, TopicState]:
    """Return an event topic with other settings, and a schema topic as it should be."""
    settings = {name.replace("_", "."): value for name, value in changed.items()}
    own = replace(SAFE, replication=copies, settings={**SAFE.settings, **settings})
    schemas = {**SAFE.settings, "cleanup.policy": "compact"}
    return {OWN: own, SCHEMAS: replace(SAFE, name=SCHEMAS, replication=copies, settings=schemas)}


@pytest.mark.parametrize("policy", ["auto", "refuse", "warn"])
def test_three_copies_with_the_right_settings_are_safe(policy: UnsafeTopics) -> None:
    """Nothing is said; nor of settings that the broker does not tell."""
    assert refuse_unsafe(topics(3), [SCHEMAS], policy) == []
    untold = {OWN: replace(SAFE, settings={})}
    assert refuse_unsafe(untold, [SCHEMAS], policy) == []


UNSAFE = [
    ({"unclean_leader_election_enable": "true"}, "unclean.leader.election.enable=false"),
    ({"min_insync_replicas": "1"}, "min.insync.replicas=2"),
    ({"retention_ms": "604800000"}, "retention.ms=-1"),
    ({"retention_bytes": "1000"}, "retention.bytes=-1"),
    ({"cleanup_policy": "compact,delete"}, "cleanup.policy=delete"),
]


@pytest.mark.parametrize(("changed", "mend"), UNSAFE)
@pytest.mark.parametrize("policy", ["auto", "refuse"])
def test_settings_that_lose_events_of_several_copies_are_refused(
    changed: dict[str, str], mend: str, policy: UnsafeTopics
) -> None:
    """With the command that mends it."""
    with pytest.raises(UnsafeTopic) as told:
        refuse_unsafe(topics(3, **changed), [SCHEMAS], policy)
    assert f"kafka-configs.sh --alter --topic {OWN} --add-config {mend}" in told.value.hint
    assert mend.split("=", maxsplit=1)[0] in told.value.message
    [text] = refuse_unsafe(topics(3, **changed), [SCHEMAS], "warn")
    assert mend.split("=", maxsplit=1)[0] in text


def test_one_copy_is_a_developers_machine_unless_it_is_said_otherwise() -> None:
    """Its disk is the greater risk."""
    unsafe = topics(1, retention_ms="1000")
    assert len(refuse_unsafe(unsafe, [SCHEMAS], "auto")) == 1
    with pytest.raises(UnsafeTopic, match="1 of 3 copies"):
        refuse_unsafe(topics(1), [SCHEMAS], "refuse")


def test_a_schema_topic_that_forgets_is_unsafe_too() -> None:
    """Compaction is right there, and nothing else."""
    found = topics(3)
    found[SCHEMAS] = replace(found[SCHEMAS], settings=SAFE.settings)
    with pytest.raises(UnsafeTopic, match=r"_schemas has cleanup.policy=delete"):
        refuse_unsafe(found, [SCHEMAS], "auto")


def test_a_small_message_limit_is_said_and_never_refused() -> None:
    """It loses nothing."""
    [text] = refuse_unsafe(topics(3, max_message_bytes="1000"), [SCHEMAS], "refuse")
    assert "max.message.bytes" in text
