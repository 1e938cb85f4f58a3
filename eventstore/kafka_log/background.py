"""Tasks of clients and connections that outlive whoever asked for them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["Background"]

_T = TypeVar("_T")


class Background:
    """Starts and ends of clients, apart from the tasks that asked for them.

    A caller that is cancelled must not cut a start in half (aiokafka would leak the connection),
    and nobody waits for the end of a client whose broker is dead: it gives up what it holds first,
    and a connection with unsent bytes to a frozen peer never ends. That is why they live in no
    TaskGroup: it could only end with the last of them.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def run(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Let `work` run; who wants its error waits for the task."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, so the loop does not report it

    async def wait(self, timeout_s: float) -> None:
        """Wait for the end of all; what is left then ends by itself, or with the loop."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
