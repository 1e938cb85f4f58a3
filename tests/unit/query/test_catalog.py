"""What a system has in its log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from eventstore.codec import SchemaEntry
from eventstore.log import TopicSettings, TopicState
from eventstore.memory_log import MemoryLog
from eventstore.schema_topic import write_schemas
from spawn.errors import UnknownType
from spawn.query.catalog import Catalog


async def log_with(*topics: str, types: tuple[str, ...] = ()) -> MemoryLog:
    """Return a log with these topics, and schemas of these types in that of the system `shop`."""
    log = MemoryLog()
    await log.create({name: TopicSettings(partitions=2) for name in topics})
    if types:
        await log.create({"spawn.shop._schemas": TopicSettings(partitions=1, compacted=True)})
        entries = [SchemaEntry(name, "event", "E", b"f" * 8, '"string"') for name in types]
        await write_schemas(log, "spawn.shop._schemas", entries, 0)
    return log


async def test_topics_are_those_of_the_system_that_hold_events() -> None:
    """Not another system's, whose name begins alike; not the schemas, not the doctor's scratch."""
    log = await log_with(
        "spawn.shop.Counter", "spawn.shop2.Counter", "spawn.shop._doctor", "x", types=("Counter",)
    )
    assert await Catalog(log, log, "shop").topics() == {"spawn.shop.Counter": 2}


async def test_a_type_is_in_its_own_topic() -> None:
    """Also before anything was written."""
    log = await log_with("spawn.shop.Counter")
    assert await Catalog(log, log, "shop").topics_of("Counter") == {"spawn.shop.Counter": 2}


async def test_a_type_without_a_topic_of_its_own_is_in_a_shared_one() -> None:
    """One that is not named after a type."""
    log = await log_with("spawn.shop.Counter", "spawn.shop.all", types=("Counter", "Cart", "Order"))
    assert await Catalog(log, log, "shop").topics_of("Cart") == {"spawn.shop.all": 2}


@pytest.mark.parametrize(
    ("name", "hint"),
    [("counter", "did you mean `Counter`?"), ("Zebra", "(--system, SPAWN_SYSTEM)")],
)
async def test_an_unknown_type_comes_with_the_nearest(name: str, hint: str) -> None:
    """Whatever its case; far from all, the system may be the wrong one."""
    log = await log_with("spawn.shop.Counter", types=("Counter",))
    with pytest.raises(UnknownType) as raised:
        await Catalog(log, log, "shop").topics_of(name)
    assert hint in raised.value.hint


@pytest.mark.parametrize("name", ["Counter/1", "", "a b", "Cöunter", "x" * 200, "\udcff", "."])
async def test_what_is_no_name_of_a_type_is_not_asked_for(name: str) -> None:
    """A broker would refuse the topic, in words of its own."""

    class Asked(MemoryLog):
        async def describe(self, topics: Sequence[str]) -> Mapping[str, TopicState]:
            raise AssertionError(topics)

    log = Asked()
    with pytest.raises(UnknownType, match="is no name of an actor type") as caught:
        await Catalog(log, log, "shop").topics_of(name)
    assert caught.value.hint == ("the type alone: Counter" if "/" in name else "")
