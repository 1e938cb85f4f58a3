"""`on_create` and `on_activate` through the lives of an actor."""

from __future__ import annotations

from dataclasses import dataclass

from spawn import Actor, action, actor
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
