"""An actor's history with the state after each record, and what comes later."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum

import pytest

from eventstore.memory_log import MemoryLog
from examples.counter import Counter
from spawn import Actor, System, action
from spawn.errors import Rejected, UnknownType
from spawn.query.inspection import LogReader
from spawn.testing import MemoryNode
from tests.unit.query.writing import Writer

SYSTEM = System("shop", actors=[Counter])


class Colour(Enum):
    """Its values are not its names."""

    RED = "#f00"


@dataclass(frozen=True)
class Turned:
    """Event: it has another colour."""

    to: Colour


@dataclass(frozen=True)
class Light:
    """State of a lamp."""

    colour: Colour = Colour.RED


class Lamp(Actor[Light, Turned]):
    """Shines."""

    @action
    def turn(self, to: Colour) -> None:
        """Change the colour."""
        self.emit(Turned(to))

    @staticmethod
    def evolve(state: Light, event: Turned) -> Light:
        """Have it."""
        return Light(event.to)


@pytest.fixture
async def node() -> AsyncIterator[MemoryNode]:
    """A node in memory that serves the counter."""
    async with MemoryNode(SYSTEM) as node:
        yield node


def reader(node: MemoryNode, *, stored: bool = True) -> LogReader:
    """Return a reader of what the node wrote."""
    return LogReader(node._log, node._log, node._store if stored else None, "shop")


async def test_states_are_folded_by_the_types_code(node: MemoryNode) -> None:
    """After a refusal the state is what it was."""
    counter = SYSTEM.actor(Counter, "a")
    await counter.add(5)
    with pytest.raises(Rejected):
        await counter.add(-1)
    await counter.add(2)
    [behavior] = SYSTEM.behaviors
    history = await reader(node).history("Counter", "a", behavior)
    assert [line.state for line in history.lines] == [{"total": 5}, {"total": 5}, {"total": 7}]
    assert [line.outcome for line in history.lines] == ["applied", "rejected", "applied"]
    without = await reader(node).history("Counter", "a")
    assert [line.state for line in without.lines] == [None, None, None]


async def test_newer_records_come_once_each(node: MemoryNode) -> None:
    """Those of the actor that is followed, from where the first look ended."""
    counter, other = SYSTEM.actor(Counter, "a"), SYSTEM.actor(Counter, "b")
    await counter.add(5)
    [behavior] = SYSTEM.behaviors
    history = await reader(node).history("Counter", "a", behavior)
    assert await history.newer() == []
    await other.add(1)
    await counter.add(2)
    await counter.add(3)
    assert [line.state for line in await history.newer()] == [{"total": 7}, {"total": 10}]
    assert await history.newer() == []


async def test_an_actor_can_be_followed_before_it_is_written(node: MemoryNode) -> None:
    """Its first record comes like any other."""
    history = await reader(node).history("Counter", "new")
    assert history.lines == []
    await SYSTEM.actor(Counter, "new").add(1)
    assert [line.revision for line in await history.newer()] == [1]


@pytest.mark.parametrize("stored", [True, False])
async def test_a_snapshot_changes_nothing_of_what_is_shown(node: MemoryNode, stored: bool) -> None:
    """After a flush the walk begins at the row, without a store at the log's start."""
    counter = SYSTEM.actor(Counter, "a")
    for number in range(20):
        await counter.add(number)
    await node.restart()
    await counter.add(100)
    history = await reader(node, stored=stored).history("Counter", "a")
    assert [line.revision for line in history.lines] == list(range(1, 22))


async def test_an_unknown_type_is_told() -> None:
    """With the topic that was looked for."""
    log = MemoryLog()
    with pytest.raises(UnknownType, match=r"spawn\.shop\.Counter"):
        await LogReader(log, log, None, "shop").history("Counter", "a")


async def test_a_failing_fold_leaves_the_later_states_unknown() -> None:
    """Those before are shown, and why is told."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("a")
    writer.commit("a")
    [behavior] = SYSTEM.behaviors

    class Broken:
        """The counter's behavior, whose fold fails on the second commit."""

        def __init__(self) -> None:
            self.folds = 0

        def __getattr__(self, name: str) -> object:
            return getattr(behavior, name)

        def evolve(self, *_: object) -> object:
            from eventstore.errors import UnreadableBody

            self.folds += 1
            if self.folds == 2:
                raise UnreadableBody("evolve raised")
            return behavior.initial("a")

    broken: object = Broken()
    reading = LogReader(writer.log, writer.log, None, "shop")
    history = await reading.history("Counter", "a", broken)  # type: ignore[arg-type]
    assert [line.state for line in history.lines] == [{"total": 0}, None]
    assert "evolve raised" in history.state_problem


async def test_a_repetition_names_what_it_repeats(node: MemoryNode) -> None:
    """By revision, which people see; a repeated key is no change."""
    counter = SYSTEM.actor(Counter, "a")
    for _ in range(2):
        await counter.add.options(idempotency_key="k")(5)
    await counter.add(2)
    history = await reader(node).history("Counter", "a")
    assert [(line.outcome, line.repeats) for line in history.lines] == [
        ("applied", None), ("unchanged", 1), ("applied", None),
    ]  # fmt: skip


async def test_events_are_shown_as_the_code_reads_them() -> None:
    """Enums by value, as over HTTP."""
    system = System("shop", actors=[Lamp])
    async with MemoryNode(system) as node:
        await system.actor(Lamp, "a").turn(Colour.RED)
        [behavior] = system.behaviors
        told = await reader(node).history("Lamp", "a", behavior)
        assert told.lines[0].events == [("Turned", {"to": "#f00"})]
