"""An actor whose state is the list of all numbers that it was given, in order, for checkers.

From such lists it shows who took effect, how often and in which order (list-append).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from spawn import Actor, action, actor

__all__ = ["Appended", "Journal", "Numbers"]


@dataclass(frozen=True)
class Appended:
    """Event: a number was put behind the others."""

    n: int


@dataclass(frozen=True)
class Numbers:
    """State: all numbers so far."""

    numbers: tuple[int, ...] = ()


@actor(idle_timeout_s=2)
class Journal(Actor[Numbers, Appended]):
    """Keeps numbers; leaves memory soon, so that it is loaded again and again."""

    @action
    def append(self, n: int) -> int:
        """Put a number behind the others; returns how many there are."""
        self.emit(Appended(n))
        return len(self.state.numbers)

    @action
    async def append_slowly(self, n: int, wait_s: float) -> int:
        """Wait, then do as `append`."""
        await asyncio.sleep(wait_s)
        self.emit(Appended(n))
        return len(self.state.numbers)

    @staticmethod
    def evolve(state: Numbers, event: Appended) -> Numbers:
        """Fold one event."""
        return Numbers((*state.numbers, event.n))
