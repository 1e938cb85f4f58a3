"""States whose copying or encoding raises: their actor fails, and nothing else does."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from spawn import Actor, action
from spawn.core.decision import EncodedState
from spawn.errors import ActionFailed, ActorParked
from tests.integration.runtime.programs import Program
from tests.integration.runtime.running import Cluster, add, numbers
from tests.unit.core.harness import Lists

FAILS: dict[str, bool] = {"copy": False, "empty too": True}


class Bag(BaseModel):
    """A state with a list, which is copied for each run; in a bad mood that raises."""

    model_config = ConfigDict(frozen=True)
    items: list[int] = []

    def __deepcopy__(self, memo: Any = None) -> Bag:
        if FAILS["copy"] and (self.items or FAILS["empty too"]):
            raise RecursionError("too deep")
        return Bag(items=list(self.items))


class Put(BaseModel):
    """Event: something was put in."""

    model_config = ConfigDict(frozen=True)
    item: int


class Keeper(Actor[Bag, Put]):
    """Keeps things, in every way that an action may run."""

    @action
    def put(self, item: int) -> int:
        """Put something in."""
        self.emit(Put(item=item))
        return len(self.state.items)

    @action
    async def put_slowly(self, item: int) -> int:
        """Put something in, later."""
        await asyncio.sleep(0)
        self.emit(Put(item=item))
        return len(self.state.items)

    @action(blocking=True)
    def put_in_a_thread(self, item: int) -> int:
        """Put something in, elsewhere."""
        self.emit(Put(item=item))
        return len(self.state.items)

    @action.read
    def items(self) -> list[int]:
        """Read them."""
        return self.state.items

    @staticmethod
    def evolve(state: Bag, event: Put) -> Bag:
        """Fold."""
        return Bag(items=[*state.items, event.item])


class Waking(Keeper):
    """One that is told when it comes into memory."""

    def on_activate(self) -> None:
        """Look."""
        assert self.state is not None


@pytest.fixture(autouse=True)
def good_mood() -> None:
    FAILS.update({"copy": False, "empty too": True})


async def test_a_state_that_can_not_be_copied_fails_the_command_and_the_actor_goes_on() -> None:
    """Plain, async, in a thread, or reading; the next command finds the actor as it was."""
    program = Program(Keeper)
    async with program.node():
        keeper = program.system.actor(Keeper, "a")
        assert await keeper.put(1) == 1
        FAILS["copy"] = True
        for call in (keeper.put, keeper.put_slowly, keeper.put_in_a_thread):
            with pytest.raises(ActionFailed, match="RecursionError: too deep"):
                await call(2)
        with pytest.raises(ActionFailed, match="RecursionError: too deep"):
            await keeper.items()
        FAILS["copy"] = False
        assert await keeper.put(3) == 2
        assert await keeper.items() == [1, 3]


async def test_an_actor_that_can_not_be_copied_when_it_is_loaded_is_parked_alone() -> None:
    """Its fold needs copies; the node goes on, and so do the hooks of others."""
    program = Program(Keeper, Waking)
    async with program.node():
        await program.system.actor(Keeper, "a").put(1)
        await program.system.actor(Keeper, "a").put(2)
        await program.system.actor(Waking, "w").put(1)
    FAILS.update({"copy": True, "empty too": False})
    async with program.node():
        with pytest.raises(ActorParked, match="can't be copied: RecursionError: too deep"):
            await program.system.actor(Keeper, "a").put(2)
        FAILS["copy"] = False
        assert await program.system.actor(Keeper, "b").put(1) == 1
        assert await program.system.actor(Waking, "w").put(2) == 2


async def test_a_new_actor_whose_first_state_can_not_be_copied_is_parked_alone() -> None:
    """It was never written, so it is looked at again when it is called again."""
    program = Program(Keeper)
    async with program.node():
        FAILS["copy"] = True
        with pytest.raises(ActorParked, match="RecursionError"):
            await program.system.actor(Keeper, "a").put(1)
        FAILS["copy"] = False
        assert await program.system.actor(Keeper, "b").put(1) == 1


class Unencodable(Lists):
    """Lists whose encoder gives up on some of them."""

    def encode_state(self, state: Any) -> EncodedState:
        if 13 in state:
            raise RecursionError("too deep")
        return super().encode_state(state)


async def test_an_encoder_that_raises_makes_a_row_without_a_state_and_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The others are written, and the actor is folded from the log when it is loaded again."""
    cluster = Cluster()
    behavior = Unencodable()
    async with cluster.node(behavior) as node:
        await add(node, 13)
        await add(node, 1, "b")
        with caplog.at_level(logging.WARNING, "spawn.snapshots"):
            await node._served["List"].workers[0]._flush_once()
        (line,) = [record.getMessage() for record in caplog.records]
        assert line == "List/a has a state that can't be stored: RecursionError: too deep"
        assert node.statistics().partitions[0].dirty == 0
    async with cluster.node(behavior) as node:
        assert await numbers(node) == [13]
        assert await numbers(node, "b") == [1]
