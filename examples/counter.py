"""The smallest actor: a counter, and every change of it an event.

Serve it with `spawn dev examples/counter.py`, then from another terminal

    curl -d 5 localhost:9001/v1/actors/Counter/a/add
    spawn events Counter/a --state
"""

from __future__ import annotations

from dataclasses import dataclass

from spawn import Actor, Rejected, action, actor

__all__ = ["Added", "Counter", "Total"]


@dataclass(frozen=True)
class Added:
    """Event: somebody added a number."""

    n: int


@dataclass(frozen=True)
class Total:
    """State: what all numbers of one counter add up to."""

    total: int = 0


@actor(idle_timeout_s=300)
class Counter(Actor[Total, Added]):
    """Adds up numbers; its id is any name."""

    @action
    def add(self, n: int) -> int:
        """Add a number that is not negative; returns the new total."""
        if n < 0:
            raise Rejected("negative", f"cannot add {n}")
        self.emit(Added(n))
        return self.state.total

    @action.read
    def total(self) -> int:
        """Return the sum so far."""
        return self.state.total

    @staticmethod
    def evolve(state: Total, event: Added) -> Total:
        """Add one event to the total. Pure: it runs live and in every replay."""
        return Total(state.total + event.n)
