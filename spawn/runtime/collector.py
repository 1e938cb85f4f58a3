"""Python's garbage collector, kept away from a node's actors.

It belongs to the whole process: a simulation of many nodes gives them one that does nothing.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Final, Protocol

__all__ = ["Collector", "ProcessCollector"]

_THRESHOLDS: Final = (50_000, 20, 100)
"""Rare collections: records and commands are freed by their counts, and a full collection over all
actors stops the event loop (commit-path measurement, traps)."""


class Collector(Protocol):
    """What a node asks of the garbage collector."""

    def make_rare(self) -> None:
        """Let it run seldom."""
        ...

    def hide(self) -> None:
        """Let it look at nothing again that exists now."""
        ...

    async def hide_when(self, serving: asyncio.Event) -> None:
        """Keep it off until `serving` is set, then hide what there is."""
        ...


class ProcessCollector:
    """The real one."""

    def make_rare(self) -> None:
        gc.set_threshold(*_THRESHOLDS)

    def hide(self) -> None:
        gc.freeze()

    async def hide_when(self, serving: asyncio.Event) -> None:
        gc.disable()
        try:
            await serving.wait()
        finally:
            gc.enable()
        gc.freeze()
