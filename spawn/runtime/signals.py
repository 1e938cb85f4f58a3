"""SIGINT and SIGTERM, by which people and service managers stop a process in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Final

__all__ = ["stop_signals"]

_NUMBERS: Final = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stop_signals(handle: Callable[[], None]) -> Iterator[None]:
    """Call `handle` for each one, also where they were inherited as ignored, in the body."""
    loop = asyncio.get_running_loop()
    for number in _NUMBERS:
        loop.add_signal_handler(number, handle)
    try:
        yield
    finally:
        for number in _NUMBERS:
            loop.remove_signal_handler(number)
