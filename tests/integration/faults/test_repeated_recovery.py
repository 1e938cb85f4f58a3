"""An action that is still running while its partition recovers, more than once (memory twins)."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from eventstore.memory_log import Fault
from spawn.core.behavior import ActionInfo
from spawn.core.commands import Command
from spawn.core.decision import Decision
from tests.integration.runtime.running import AT, Cluster, add, numbers, submit
from tests.unit.core.harness import FakeLog, FakeStore, Lists, Owner, command


class SlowLists(Lists):
    """Lists with an action that goes on only when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.runs = 0
        self.actions["slow"] = ActionInfo("slow", False, True, "slow(n: int) -> int")

    def run(
        self, action: str, actor_id: str, state: Any, revision: int, time_us: int, command: Command
    ) -> Any:
        if action == "slow":
            return self._slow(actor_id, state, revision, time_us, command)
        return super().run(action, actor_id, state, revision, time_us, command)

    async def _slow(
        self, actor_id: str, state: Any, revision: int, time_us: int, command: Command
    ) -> Decision:
        self.runs += 1
        await self.gate.wait()
        return super().run("add", actor_id, state, revision, time_us, command)


async def test_an_action_that_outlasts_two_recoveries_takes_effect_once() -> None:
    """Its result is dropped and it runs again, once, however often the outcome was unknown."""
    behavior = SlowLists()
    cluster = Cluster()
    async with cluster.node(behavior) as node:
        slow = submit(node, "slow", "a", b"7")
        await asyncio.sleep(0)
        for number in range(3):
            cluster.log.fail(AT, Fault.LOST)
            assert await add(node, number, "b") == number + 1
        behavior.gate.set()
        assert await slow == 1
        assert await add(node, 8, "a") == 2
        assert await numbers(node, "a") == [7, 8]
        assert behavior.runs == 2


def test_a_command_that_runs_while_its_partition_is_lost_is_given_back_once() -> None:
    """After a recovery it stands in its mailbox too; it is one command all the same."""
    log = FakeLog()
    owner = Owner(log, FakeStore(), random.Random(1))
    assert owner.take_over()
    machine = owner.machine
    actor = machine.arrive(command("add", "a", 1))
    assert actor is not None
    running = machine.start(actor)
    machine.lost()
    owner.claim()
    machine.observe(log.read(machine.fold.position - 1))
    machine.resume()
    assert list(machine.unsettled()) == [running]
