"""Dropping a type or a system touches nothing else, and is finished by the same again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from eventstore.codec import SchemaEntry
from eventstore.errors import LogUnavailable
from eventstore.log import LogRecord, TopicPartition, TopicSettings
from eventstore.memory_log import MemoryLog
from eventstore.memory_snapshots import MemorySnapshots
from eventstore.rows import Checkpoint, FlushSlice
from eventstore.schema_topic import read_schemas, write_schemas
from spawn.errors import RepairRefused, UnknownType
from spawn.repair.dropping import plan_drop_system, plan_drop_type
from tests.unit.repair.tools import make_tools

SYSTEMS = ("shop", "shop2", "sho", "shop-2", "shop_2")


async def systems() -> tuple[MemoryLog, MemorySnapshots]:
    """Return a log with several systems whose names begin alike, and the rows of `shop`."""
    log, store = MemoryLog(), MemorySnapshots()
    for system in SYSTEMS:
        names = [f"spawn.{system}.{each}" for each in ("Cart", "Cart2", "_schemas", "_nodes")]
        await log.create({name: TopicSettings(partitions=2) for name in names})
        entries = [
            SchemaEntry(each, "event", "Added", each.ljust(8).encode(), '"long"')
            for each in ("Cart", "Cart2", "Order")
        ]
        await write_schemas(log, f"spawn.{system}._schemas", entries, 0)
        log.put(TopicPartition(names[0], 1), LogRecord(b"a", b"x"))
        log.groups[f"spawn.{system}"] = []

    async def slices() -> AsyncIterator[FlushSlice]:
        yield FlushSlice([])

    checkpoint = Checkpoint(offset=1, claim=b"c" * 16, epoch=1, log_id=b"l" * 16, fold=b"")
    for name in ("Cart", "Cart2"):
        await store.flush(TopicPartition(f"spawn.shop.{name}", 1), checkpoint, 0, slices())
    return log, store


async def test_a_type_goes_with_its_rows_and_schemas() -> None:
    """A type whose name begins alike stays, as does the type of that name of other systems."""
    log, store = await systems()
    before = set(await log.topics("spawn."))
    plan = await plan_drop_type(make_tools(log, store), "Cart")
    assert plan.confirm_name == "Cart"
    assert plan.what[0] == "1 topics with 1 records"
    await plan.apply()
    assert before - set(await log.topics("spawn.")) == {"spawn.shop.Cart"}
    assert await store.topics() == ["spawn.shop.Cart2"]
    left = await read_schemas(log, "spawn.shop._schemas")
    assert [each.type for each in left] == ["Cart2", "Order"]
    with pytest.raises(UnknownType, match="no actor type Cart"):
        await plan_drop_type(make_tools(log, store), "Cart")


async def test_a_system_goes_and_no_other() -> None:
    """Topics of our own too, and its group."""
    log, store = await systems()
    log.groups["other"] = []
    before = set(await log.topics("spawn."))
    await (await plan_drop_system(make_tools(log, store))).apply()
    gone = before - set(await log.topics("spawn."))
    assert gone == {f"spawn.shop.{each}" for each in ("Cart", "Cart2", "_schemas", "_nodes")}
    assert await store.topics() == []
    assert "spawn.shop" not in log.groups
    assert {"other", "spawn.shop2"} <= set(log.groups)
    with pytest.raises(UnknownType, match="there is no system shop"):
        await plan_drop_system(make_tools(log, store))


async def test_a_drop_that_died_is_finished_by_the_same_again() -> None:
    """After the rows, or after the topic: what is left of it is still found."""
    log, store = await systems()
    plan = await plan_drop_type(make_tools(log, store), "Cart")
    log.is_down = True
    with pytest.raises(LogUnavailable):
        await plan.apply()
    log.is_down = False
    assert "spawn.shop.Cart" in await log.topics("spawn.shop.")
    await log.delete(["spawn.shop.Cart"])
    plan = await plan_drop_type(make_tools(log, store), "Cart")
    await plan.apply()
    assert "Cart" not in [each.type for each in await read_schemas(log, "spawn.shop._schemas")]


async def test_nothing_is_dropped_while_nodes_run() -> None:
    """They are named."""
    log, store = await systems()
    log.groups["spawn.shop"] = ["spawn at 10.0.0.8"]
    for plan in (
        plan_drop_type(make_tools(log, store), "Cart"),
        plan_drop_system(make_tools(log, store)),
    ):
        with pytest.raises(
            RepairRefused, match=r"1 nodes of system shop run: spawn at 10\.0\.0\.8"
        ):
            await plan


async def test_a_type_in_a_shared_topic_is_not_dropped_alone() -> None:
    """The others would go with it."""
    log, store = await systems()
    await log.create({"spawn.shop.sales": TopicSettings(partitions=1)})
    with pytest.raises(RepairRefused, match=r"shares one with other types: spawn\.shop\.sales"):
        await plan_drop_type(make_tools(log, store), "Order")
