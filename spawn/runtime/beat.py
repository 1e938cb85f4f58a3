"""Signs of life of the event loop: what its own measurement leaves for others to see.

The deadline sweeper touches it fifty times a second (`loop_watch`). The watchdog's thread reads it
while the loop stands still; what was put into `listeners` is called, in the loop, after a block
that was long enough for other nodes to have taken partitions over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from spawn.core.partition import LEASE_S

__all__ = ["BLOCK_S", "DOUBT_S", "LoopBeat"]

BLOCK_S: Final = LEASE_S
"""A loop that stood still for longer was blocked: every read lease of the node ran out by it."""
DOUBT_S: Final = 1.0
"""After so long a block others may own the partitions: peers that get no answer claim within about
a second (design 3.3)."""


class LoopBeat:
    """Written in the loop, read by anybody; each field is one word."""

    def __init__(self) -> None:
        self.count = 0
        """Grows with each touch."""
        self.at_s = 0.0
        """When that was, by the loop's clock (the system's monotonic one)."""
        self.is_debugged = False
        """A debugger looked at the loop's thread at the last touch."""
        self.blocks = 0
        """Times that the loop stood still for more than `BLOCK_S`, whatever held it."""
        self.longest_s = 0.0
        """The longest of them."""
        self.named = 0
        """Blocks that the watchdog named in the log."""
        self.listeners: list[Callable[[], None]] = []
        """Called after a block of more than `DOUBT_S`: ask the log who owns what."""

    def touch(self, now: float, lag_s: float, *, is_debugged: bool) -> None:
        """The loop runs, `lag_s` later than it was to."""
        self.count += 1
        self.at_s = now
        self.is_debugged = is_debugged
        if lag_s <= BLOCK_S:
            return
        if not is_debugged:
            self.blocks += 1
            self.longest_s = max(self.longest_s, lag_s)
        if lag_s > DOUBT_S:
            for listener in self.listeners:
                listener()
