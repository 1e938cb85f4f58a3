"""Waiting for something that fails: bounded exponential back-off, in one place."""

from __future__ import annotations

import asyncio
from typing import Final

__all__ = ["Backoff"]

_FIRST_S: Final = 0.05
_LONGEST_S: Final = 1.0


class Backoff:
    """Sleeps longer after each failure, from 50 ms to 1 s."""

    def __init__(self) -> None:
        self._next_s = _FIRST_S

    async def sleep(self) -> None:
        """Sleep, and double the next sleep."""
        await asyncio.sleep(self._next_s)
        self._next_s = min(self._next_s * 2, _LONGEST_S)

    def reset(self) -> None:
        """The last try succeeded: start again with the shortest sleep."""
        self._next_s = _FIRST_S
