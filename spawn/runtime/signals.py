"""SIGINT and SIGTERM, by which people and service managers stop a process in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Final

__all__ = ["Stop", "stop_signals"]

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


class Stop:
    """Asks for a stop on the first signal, cancels the task that made it on the second."""

    def __init__(self, asked: asyncio.Event) -> None:
        self.asked = asked
        self._task = asyncio.current_task()
        self._starting = False

    def on_signals(self) -> contextlib.AbstractContextManager[None]:
        """Handle the signals while the body runs."""
        return stop_signals(self._signalled)

    @contextlib.contextmanager
    def cancels(self) -> Iterator[None]:
        """While the body runs, already the first signal breaks it off."""
        self._starting = True
        try:
            yield
        except asyncio.CancelledError:
            if not self.asked.is_set() or self._task is None or self._task.uncancel() > 0:
                raise
        finally:
            self._starting = False

    async def unless(self, event: asyncio.Event) -> None:
        """Wait for `event` or for the stop, whichever comes first."""
        async with asyncio.TaskGroup() as tasks:
            waits = [tasks.create_task(event.wait()), tasks.create_task(self.asked.wait())]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()

    def _signalled(self) -> None:
        again = self.asked.is_set()
        self.asked.set()
        if (again or self._starting) and self._task is not None:
            self._task.cancel()
