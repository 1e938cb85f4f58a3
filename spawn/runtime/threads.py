"""A bounded pool of threads for user code that blocks.

Its threads are daemons, unlike those of `concurrent.futures`: a thread that never comes back must
not keep a process from ending whose partitions are released already.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import queue
import threading
from collections.abc import Callable
from typing import Any, Final

__all__ = ["Threads"]

_THREADS_MAX: Final = 32
_THREADS_MORE: Final = 4
"""Than processors: code that blocks mostly waits. The same numbers as in `concurrent.futures`."""

_Job = tuple[asyncio.AbstractEventLoop, asyncio.Future[Any], Callable[[], Any]]


class Threads:
    """Runs functions in at most `size` threads, which start when they are needed.

    What waits for a thread is bounded by the calls that a node holds.
    """

    def __init__(self, size: int | None = None) -> None:
        """`size` None: four more than there are processors, at most 32."""
        self.size = size or min(_THREADS_MAX, (os.cpu_count() or 1) + _THREADS_MORE)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._open = 0
        """Jobs waiting or running."""
        self._started = 0
        self.used = False
        """Something ran in a thread: only then may anything be called from one."""

    @property
    def jobs(self) -> int:
        """How many functions run in a thread or wait for one."""
        return self._open

    def submit(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run a function in a thread, with a copy of the caller's context variables.

        The future gets its result. Cancelling that gives up the result, never the function.
        """
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()
        self._open += 1
        self.used = True
        if self._started < min(self._open, self.size):
            self._started += 1
            name = f"spawn-action-{self._started}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
        self._jobs.put((loop, outcome, lambda: context.run(function)))
        return outcome

    def close(self) -> None:
        """Let the threads end that have nothing to do, and the others after what they do."""
        for _ in range(self._started):
            self._jobs.put(None)
        self._started = 0

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, outcome, function = job
            result, error = None, None
            try:
                result = function()
            except BaseException as raised:  # noqa: BLE001 - told to who waits
                error = raised
            # The loop may be closed: the node has stopped without this thread.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._end, outcome, result, error)
            del job, loop, outcome, function, result, error

    def _end(self, outcome: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._open -= 1
        if outcome.done():
            return
        if error is None:
            outcome.set_result(result)
        elif isinstance(error, StopIteration):
            # A future takes none.
            outcome.set_exception(RuntimeError(f"StopIteration in a thread: {error!r}"))
        else:
            outcome.set_exception(error)
