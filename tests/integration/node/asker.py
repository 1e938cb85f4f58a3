"""A node that does not host what it calls."""

from __future__ import annotations

from dataclasses import dataclass

from examples.counter import Counter
from spawn import Actor, System, action

__all__ = ["Asker", "system"]


@dataclass(frozen=True)
class Asked:
    """How often counters were asked."""

    times: int = 0


class Asker(Actor[Asked]):
    """Adds to counters, which other nodes host."""

    @action
    async def ask(self, counter: str) -> int:
        """Add one to a counter; return its total."""
        total = await system.actor(Counter, counter).add(1)
        self.state = Asked(self.state.times + 1)
        return total


system = System(actors=[Asker])
