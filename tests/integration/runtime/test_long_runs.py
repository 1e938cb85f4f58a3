"""Actions that run for long, or for ever: what is said of them, and to whom."""

from __future__ import annotations

import asyncio
import logging

import pytest

from spawn import Actor, NotStarted, OutcomeUnknown, System, action
from spawn.errors import ActionFailed
from spawn.runtime import node as runtime_node
from spawn.runtime import runs
from tests.integration.runtime.programs import Program
from tests.integration.runtime.test_blocking import Added, Total

GATES: list[asyncio.Event] = []
SYSTEM: list[System] = []
LATER: list[asyncio.Task[int]] = []


class Account(Actor[Total, Added]):
    """Waits for whatever it is told to."""

    @action
    async def forever(self) -> int:
        """Wait for the gate."""
        await GATES[-1].wait()
        self.emit(Added(1))
        return self.state.total

    @action
    def add(self, n: int) -> int:
        """Add at once."""
        self.emit(Added(n))
        return self.state.total

    @action
    async def add_by_itself(self, other: str) -> int:
        """Call an account, perhaps this one."""
        return await SYSTEM[-1].actor(Account, other).add(1)

    @action
    async def add_later(self) -> None:
        """Begin what goes on when this has ended."""

        async def later() -> int:
            await GATES[-1].wait()
            return await SYSTEM[-1].actor(Account, self.id).add(1)

        LATER.append(asyncio.get_running_loop().create_task(later()))

    @staticmethod
    def evolve(state: Total, event: Added) -> Total:
        """Add."""
        return Total(state.total + event.n)


@pytest.fixture
def program() -> Program:
    """Accounts, and a gate that is closed."""
    GATES[:] = [asyncio.Event()]
    program = Program(Account)
    SYSTEM[:] = [program.system]
    return program


async def test_a_long_run_is_named_in_the_log_once(
    program: Program, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With how many wait for it."""
    monkeypatch.setattr(runs, "LONG_S", 0.05)
    monkeypatch.setattr(runs, "_LOOK_S", 0.01)
    async with program.node():
        account = program.system.actor(Account, "x")
        running = asyncio.ensure_future(account.forever())
        waiting = asyncio.ensure_future(account.add(1))
        async with asyncio.timeout(5):
            while "has run for" not in caplog.text:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        GATES[-1].set()
        assert (await running, await waiting) == (1, 2)
    told = [each for each in caplog.records if "has run for" in each.message]
    assert [each.levelno for each in told] == [logging.WARNING]
    assert told[0].message.startswith("Account.forever of Account/x has run for 0 s (")
    assert told[0].message.endswith("; 1 call waits for it")


async def test_callers_are_told_what_still_runs(program: Program) -> None:
    """The one whose action it is, and the one behind it; a key is spoken of where one was sent."""
    async with program.node():
        account = program.system.actor(Account, "x")
        with pytest.raises(OutcomeUnknown, match="while forever still ran") as unknown:
            await account.forever.options(timeout_s=0.05)()
        assert "same Idempotency-Key" not in unknown.value.hint
        with pytest.raises(NotStarted, match=r"behind Account/x\.forever \(for 0 s\)"):
            await account.add.options(timeout_s=0.05)(1)
        keyed = program.system.actor(Account, "y").forever
        with pytest.raises(OutcomeUnknown) as unknown:
            await keyed.options(timeout_s=0.05, idempotency_key="k")()
        assert "same Idempotency-Key" in unknown.value.hint
        GATES[-1].set()


async def test_a_call_to_itself_is_refused_at_once(program: Program) -> None:
    """It could never begin; calls to others, and those made afterwards, are none."""
    async with program.node():
        account = program.system.actor(Account, "x")
        async with asyncio.timeout(2):
            with pytest.raises(ActionFailed, match="can't call its own add while it runs add_by"):
                await account.add_by_itself("x")
        assert await account.add_by_itself("y") == 1
        await account.add_later()
        GATES[-1].set()
        assert await LATER.pop() == 1


async def test_a_stop_says_what_it_waits_for(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it does not end at once."""
    monkeypatch.setattr(runtime_node, "_TELL_S", 0.02)

    async def open_later() -> None:
        await asyncio.sleep(0.2)
        GATES[-1].set()

    async with asyncio.TaskGroup() as tasks:
        async with program.node(drain_s=5.0):
            running = asyncio.ensure_future(program.system.actor(Account, "x").forever())
            await asyncio.sleep(0.01)
            tasks.create_task(open_later())
        await running
    assert program.said[-1] == "the stop waits for 1 call: Account/x.forever (for 0 s)"
