"""The clocks of the shell; simulated time replaces them in tests."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import Final, Protocol

__all__ = ["Clock", "SystemClock", "random_id", "stopwatch_s"]


stopwatch_s: Final = time.monotonic
"""Seconds that user code takes, without suspend; decides nothing but where it runs."""


class Clock(Protocol):
    """Two clocks: one for leases and waits, one that people read."""

    def monotonic(self) -> float:
        """Return seconds that never go back and count suspend (log protocol 6)."""
        ...

    def time_us(self) -> int:
        """Return microseconds since 1970 UTC; it may jump."""
        ...


_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)


class SystemClock:
    """The machine's clocks; CLOCK_BOOTTIME where there is one, since it runs on in suspend."""

    def __init__(self) -> None:
        # No method: it is asked three times per command, and a method takes twice as long.
        self.monotonic: Callable[[], float] = (
            time.monotonic
            if _BOOTTIME is None
            else functools.partial(time.clock_gettime, _BOOTTIME)
        )

    def time_us(self) -> int:
        return time.time_ns() // 1000


def random_id() -> bytes:
    """Return a random 16-byte id: of a claim, a log, a process's start."""
    return os.urandom(16)
