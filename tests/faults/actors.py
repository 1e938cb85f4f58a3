"""The actors under load: what they were given can be told from their state, exactly and cheaply.

A node whose environment names a planted bug has it from here: the runs have to find it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Final

from spawn import Actor, action, actor
from tests.faults.digest import EMPTY, chained

__all__ = ["PLANT", "Added", "Ledger", "Page"]

PLANT: Final = "FAULTS_PLANT"
"""Variable with the name of a bug in the simulation's list."""

if planted := os.environ.get(PLANT):
    from tests.simulation.plants import PLANTS

    PLANTS[planted]()


@dataclass(frozen=True)
class Added:
    """Event: one number more; each number is given once in a run."""

    number: int


@dataclass(frozen=True)
class Page:
    """State: the digest of all numbers so far, in their order."""

    digest: int = EMPTY


@actor(idle_timeout_s=20)
class Ledger(Actor[Page, Added]):
    """Keeps the digest of what it was given; its revision says how many numbers that were."""

    @action
    def add(self, number: int) -> int:
        """Put a number behind the others; returns the digest with it."""
        self.emit(Added(number))
        return self.state.digest

    @action.read
    def look(self) -> int:
        """Return the digest."""
        return self.state.digest

    @action.read
    def block(self, seconds: float) -> int:
        """Hold up the event loop of the owner, as code that should not be there does."""
        time.sleep(seconds)
        return self.state.digest

    @staticmethod
    def evolve(state: Page, event: Added) -> Page:
        """Chain one number to the others."""
        return Page(chained(state.digest, event.number))
