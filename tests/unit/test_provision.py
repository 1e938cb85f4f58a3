"""What must be there before a node can serve: topics, their settings, their types."""

from __future__ import annotations

import pytest

from eventstore.schema_topic import TopicEntry
from spawn.core.behavior import TypeSettings
from spawn.errors import PartitionsChanged
from spawn.provision import judge_partitions, judge_types, made_partitions, unhosted_types
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
