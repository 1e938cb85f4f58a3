"""The clocks of the shell; simulated time replaces them in tests."""

from __future__ import annotations

import os
import time
from typing import Protocol

__all__ = ["Clock", "SystemClock", "random_id"]


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

    def monotonic(self) -> float:
        if _BOOTTIME is None:
            return time.monotonic()
        return time.clock_gettime(_BOOTTIME)

    def time_us(self) -> int:
        return time.time_ns() // 1000


def random_id() -> bytes:
    """Return a random 16-byte id: of a claim, a log, a process's start."""
    return os.urandom(16)
