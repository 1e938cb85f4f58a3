"""What a case is: a name, what it needs, and what happens to nodes and servers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.faults.stage import Stage

__all__ = ["Case"]


def _nothing_missing() -> str:
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of fault."""

    name: str
    about: str
    """For people, in a line."""
    play: Callable[[Stage], Awaitable[None]]
    """Does it to a stage that is calm, and returns when its last effect has been looked at."""
    brokers: int = 1
    gated: bool = False
    is_short: bool = False
    """Part of `make faults-short`."""
    preload: bool = False
    """Nodes are started with the library that lets their wall clocks jump."""
    missing: Callable[[], str] = _nothing_missing
    """What this machine lacks for it; empty: nothing."""
