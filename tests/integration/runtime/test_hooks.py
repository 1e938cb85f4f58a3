"""`on_create` and `on_activate` through the lives of an actor."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from spawn import Actor, action, actor
from spawn.errors import NotStarted
from spawn.runtime import activation
from spawn.runtime.dispatcher import NodeDispatcher
from tests.integration.runtime.programs import Program

CALLED: list[str] = []


@dataclass(frozen=True)
class Total:
    """A state."""

    total: int = 0


@actor(idle_timeout_s=1.0)
class Counter(Actor[Total]):
    """Tells of its hooks."""

    def on_create(self) -> None:
        """Tell, and begin at 100."""
        CALLED.append("create")
        self.state = Total(100)

    def on_activate(self) -> None:
        """Tell what is there."""
        CALLED.append(f"activate {self.revision} {self.state.total}")

    @action
    def add(self, n: int) -> int:
        """Change something."""
        self.state = Total(self.state.total + n)
        return self.state.total

    @action
    def drop(self) -> None:
        """Delete it."""
        self.delete()

    @action
    def look(self) -> int:
        """Change nothing."""
        return self.state.total


class Slow(Actor[Total]):
    """Waits for something outside when it comes into memory."""

    waits: Callable[[str], Awaitable[None]]

    async def on_activate(self) -> None:
        """Wait."""
        CALLED.append(self.id)
        await type(self).waits(self.id)

    @action
    def add(self, n: int) -> int:
        """Change something."""
        self.state = Total(self.state.total + n)
        return self.state.total

    @action.read
    def total(self) -> int:
        """Read it."""
        return self.state.total


async def ends(_id: str) -> None:
    """End at once."""


async def flush(node: NodeDispatcher) -> None:
    """Let the partition write a checkpoint."""
    await node._served["Slow"].workers[0]._flush_once()


async def test_hooks_are_called_once_for_each_life_and_each_activation() -> None:
    """Also for an actor that was never written, and one whose last life has ended."""
    CALLED.clear()
    program = Program(Counter)
    async with program.node(drain_s=5):
        counter = program.system.actor(Counter, "a")
        assert await counter.look() == 100
        assert await counter.add(1) == 101
        assert await counter.add(1) == 102
        assert CALLED == ["activate 0 0", "create", "create"]
    CALLED.clear()
    async with program.node(drain_s=5):
        counter = program.system.actor(Counter, "a")
        assert await counter.add(1) == 103
        await counter.drop()
        assert await counter.add(1) == 101
        assert CALLED == ["activate 2 102", "create"]
        await counter.drop()
    CALLED.clear()
    async with program.node(drain_s=5):
        assert await program.system.actor(Counter, "a").add(5) == 105
        assert CALLED == ["activate 0 0", "create"]


async def test_a_hook_that_hangs_fails_its_own_actor_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Loads, commands and flushes of the others go on meanwhile; later it may succeed."""
    monkeypatch.setattr(activation, "HOOK_S", 0.5)
    program = Program(Slow)
    for stubborn in (False, True):

        async def hangs(actor_id: str, stubborn: bool = stubborn) -> None:
            if actor_id.startswith("stuck"):
                try:
                    await asyncio.sleep(3)
                except asyncio.CancelledError:
                    if not stubborn:
                        raise
                    await asyncio.sleep(3)

        monkeypatch.setattr(Slow, "waits", staticmethod(hangs), raising=False)
        async with program.node() as node:
            name = f"stuck{stubborn}"
            stuck = asyncio.gather(
                program.system.actor(Slow, name).add(1),
                program.system.actor(Slow, name).total(),
                return_exceptions=True,
            )
            await asyncio.sleep(0)
            async with asyncio.timeout(0.4):
                await program.system.actor(Slow, "b").add(1)
                await flush(node)
            async with asyncio.timeout(1):
                refused = await stuck
            assert [type(each) for each in refused] == [NotStarted] * 2
            assert refused[0] is not refused[1]
            assert f"on_activate of Slow/{name} has not ended within 0.5 s" in str(refused[0])
            monkeypatch.setattr(Slow, "waits", staticmethod(ends))
            assert await program.system.actor(Slow, name).add(1) == 1


async def test_the_hooks_of_many_actors_run_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them waits until all have begun."""
    begun: list[str] = []
    all_begun = asyncio.Event()

    async def waits(actor_id: str) -> None:
        begun.append(actor_id)
        if len(begun) == 50:
            all_begun.set()
        await all_begun.wait()

    monkeypatch.setattr(Slow, "waits", staticmethod(waits), raising=False)
    program = Program(Slow)
    async with program.node():
        async with asyncio.timeout(5):
            adds = (program.system.actor(Slow, f"a{n}").add(1) for n in range(50))
            assert await asyncio.gather(*adds) == [1] * 50


async def test_a_flush_calls_no_hook_and_the_first_call_does_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An actor of the tail is loaded for the flush alone; nobody has called it yet."""
    monkeypatch.setattr(Slow, "waits", staticmethod(ends), raising=False)
    program = Program(Slow)
    async with program.node():
        for name in "ab":
            await program.system.actor(Slow, name).add(1)
    CALLED.clear()
    async with program.node() as node:
        await flush(node)
        assert node.statistics().partitions[0].dirty == 0
        assert CALLED == []
        assert await program.system.actor(Slow, "a").add(1) == 2
        assert await program.system.actor(Slow, "a").total() == 2
        assert await program.system.actor(Slow, "b").total() == 1
        assert await program.system.actor(Slow, "b").add(1) == 2
        await flush(node)
        assert CALLED == ["a", "b"]
