"""What one command of a test came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Outcome"]

S = TypeVar("S")
E = TypeVar("E")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[S, E, R]):
    """Then: what an action that was neither rejected nor failed did."""

    events: list[E]
    """Those of this action's record, decoded again; of a state-style actor none."""
    reply: R
    state: S
    """After it; of a deleted actor the initial one."""
    revision: int
    """After it. One that changed nothing leaves it as it was, and so does a read."""
    deleted: bool
    """The actor has no state (any more): the next action starts from the initial one."""
