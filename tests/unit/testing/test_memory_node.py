"""A node in memory: a system that runs within a test."""

import asyncio
import gc
from datetime import UTC, datetime

import pytest

from examples.counter import Counter
from spawn import Rejected, System
from spawn.errors import InvalidTarget, Unavailable
from spawn.testing import MemoryNode
from tests.unit.testing.diary import Diary, Registry, told


async def test_references_work_while_it_runs() -> None:
    """As beside a node in production, and not after it."""
    system = System("shop", actors=[Counter, Registry])
    async with MemoryNode(system):
        counter = system.actor(Counter, "a")
        assert await counter.add(5) == 5
        assert await asyncio.gather(*(counter.add(1) for _ in range(10))) == [*range(6, 16)]
        assert await counter.total() == 15
        assert await system.actor(Registry).put(1) == "Registry"
        with pytest.raises(Rejected, match="cannot add -1"):
            await counter.add(-1)
    with pytest.raises(Unavailable, match="the node in memory of system shop has ended") as ended:
        await counter.add(1)
    assert "async with MemoryNode(system)" in ended.value.hint


async def test_a_restart_keeps_what_was_acknowledged() -> None:
    """Every actor leaves memory and comes back from its snapshot."""
    system = System("shop", actors=[Diary])
    async with MemoryNode(system) as node:
        await system.actor(Diary, "a").write("one")
        await node.restart()
        told.clear()
        assert await system.actor(Diary, "a").count() == 2
        assert told == ["a@1"]


async def test_actors_see_the_time_of_its_clock() -> None:
    """It stands still until it is moved; reads go on after their lease ran out."""
    system = System("shop", actors=[Diary])
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    async with MemoryNode(system) as node:
        node.clock.move_to(noon)
        await system.actor(Diary, "a").write("one")
        node.clock.advance(3600)
        assert await system.actor(Diary, "a").last() == noon


async def test_it_leaves_the_garbage_collector_as_it_was() -> None:
    """A node has a process to itself, a test has not."""
    before = (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count())
    async with MemoryNode(System("shop", actors=[Counter])):
        pass
    assert (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()) == before


async def test_it_runs_once() -> None:
    """A second life is a restart; a system without actors is refused."""
    node = MemoryNode(System("shop", actors=[Counter]))
    with pytest.raises(RuntimeError, match="the node does not run"):
        await node.restart()
    async with node:
        pass
    with pytest.raises(RuntimeError, match="this node ran already"):
        await node.__aenter__()
    with pytest.raises(InvalidTarget, match="the system has no actors yet"):
        MemoryNode(System("shop"))
