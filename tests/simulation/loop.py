"""An event loop in virtual time, on which several processes run, freeze and die.

Everything that a real process's loop does in some order that it does not choose is chosen here by
dice: which of the handles that are ready runs next. Time moves only when nothing is ready.

A *process* is whatever was started under it: a handle belongs to the process that was current when
its callback was registered (a context variable, which tasks and futures hand on). A frozen process
runs nothing until it is thawed, while its timers go on. A killed one never runs again, not even its
`finally` clauses: what it left is kept until the world ends.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Process", "SimLoop"]

_current: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


_WORLD = contextvars.Context()


class Process:
    """One process of the simulated system."""

    def __init__(self, name: str, rate: float = 1.0) -> None:
        """`rate`: how fast its clock runs."""
        self.name = name
        self.rate = rate
        self.context: contextvars.Context | None = None
        """One in which it is the current one."""
        self.is_frozen = False
        self.is_dead = False
        self.frozen_at = self.frozen_s = 0.0
        """World time of the last freeze, and how long it was frozen in all."""
        self.held: list[asyncio.Handle] = []
        """What became ready while it was frozen."""
        self.remains: list[Any] = []
        """What a killed one left: never run, and never finalised before the world ends."""

    def __repr__(self) -> str:
        return self.name


class _Task(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address."""

    def __init__(self, number: int, *args: Any, **kwargs: Any) -> None:
        self._number = number
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimLoop(asyncio.BaseEventLoop):
    """Runs handles of all processes, in an order drawn from `dice`."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self._dice = dice
        self._global_s = 0.0
        self._runnable: list[asyncio.Handle] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0
        self.steps = 0
        self.steps_max = 300_000
        """A world that takes more spins."""
        self.failures: list[str] = []
        """What tasks and callbacks raised and nobody took."""
        self.set_task_factory(self._make_task)  # type: ignore[arg-type]
        self.set_exception_handler(self._take_failure)

    # --- time ------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """The world's time in seconds, which no process sees."""
        return self._global_s

    def time(self) -> float:
        """Return the current process's monotonic time."""
        process = _current.get()
        return self._global_s if process is None else self._global_s * process.rate

    # --- processes -------------------------------------------------------------------------------

    @contextmanager
    def inside(self, process: Process | None) -> Iterator[None]:
        """Run the body as a process; None: as the world around them all."""
        token = _current.set(process)
        try:
            yield
        finally:
            _current.reset(token)

    def start(self, process: Process, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a process's first task."""
        with self.inside(process):
            return self.create_task(work)

    def soon_inside(self, process: Process, work: Callable[[], object]) -> None:
        """Run something as a process, as `inside` and `call_soon` do, for less."""
        if process.context is None:
            with self.inside(process):
                process.context = contextvars.copy_context()
        self._runnable.append(asyncio.Handle(work, (), self, process.context.copy()))

    def world_later(self, delay: float, work: Callable[[], object]) -> None:
        """Do something in world time, whoever lives then."""
        when = self._global_s + delay
        self._count += 1
        timer = asyncio.TimerHandle(when, work, (), self, _WORLD.copy())
        heapq.heappush(self._timers, (when, self._count, timer))

    def freeze(self, process: Process) -> None:
        """Let it run nothing more until `thaw`."""
        if not process.is_frozen:
            process.is_frozen, process.frozen_at = True, self._global_s

    def thaw(self, process: Process) -> None:
        """Let it go on with all that became ready meanwhile."""
        if process.is_frozen:
            process.is_frozen = False
            process.frozen_s += self._global_s - process.frozen_at
        held, process.held = process.held, []
        self._runnable += held

    def kill(self, process: Process) -> None:
        """End it at once, as SIGKILL does."""
        process.is_dead = True
        process.remains += process.held
        process.held = []

    # --- what asyncio asks of a loop -------------------------------------------------------------

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **kwargs: Any
    ) -> asyncio.Task[Any]:
        self._count += 1
        task = _Task(self._count, work, loop=loop, **kwargs)
        if (process := _current.get()) is not None:
            process.remains.append(task)
            if len(process.remains) > 2_000:
                process.remains = [each for each in process.remains if not _is_over(each)]
        return task

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._runnable.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, *args: Any, **kwargs: Any
    ) -> asyncio.Handle:
        raise RuntimeError("a simulation has one thread")

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        process = _process_of(timer)
        self._count += 1
        at = when if process is None else when / process.rate
        heapq.heappush(self._timers, (at, self._count, timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass  # it is dropped when its time comes

    def _run_once(self) -> None:
        timers = self._timers
        while not self._runnable:
            if not timers:
                raise RuntimeError("nothing can happen any more, and somebody waits")
            at, _, timer = heapq.heappop(timers)
            if timer.cancelled():
                continue
            self._global_s = max(self._global_s, at)
            self._ready_now(timer)
            while timers and timers[0][0] <= self._global_s:
                _, _, timer = heapq.heappop(timers)
                if not timer.cancelled():
                    self._ready_now(timer)
        runnable, self._runnable = self._runnable, []
        if len(runnable) > 1 and self._dice.random() < 0.5:
            self._shuffle(runnable)
        for handle in runnable:
            if handle.cancelled():
                continue
            process = _process_of(handle)
            if process is not None and (process.is_dead or process.is_frozen):
                (process.remains if process.is_dead else process.held).append(handle)
                continue
            self.steps += 1
            handle._run()
        if self.steps > self.steps_max:
            raise RuntimeError(f"more than {self.steps_max} steps: something spins")

    def _ready_now(self, handle: asyncio.Handle) -> None:
        self._runnable.append(handle)

    def _shuffle(self, handles: list[asyncio.Handle]) -> None:
        """Mix the handles of different processes; within one, asyncio promises their order."""
        queues: dict[Process | None, list[asyncio.Handle]] = {}
        for handle in handles:
            queues.setdefault(_process_of(handle), []).append(handle)
        if len(queues) == 1:
            return
        order = [process for process, queue in queues.items() for _ in queue]
        self._dice.shuffle(order)
        for queue in queues.values():
            queue.reverse()
        handles[:] = [queues[process].pop() for process in order]

    def _process_events(self, event_list: object) -> None:
        raise AssertionError("there are no sockets in a simulation")

    def _asyncgen_finalizer_hook(self, agen: object) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def _take_failure(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.failures.append(f"{context.get('message')}: {context.get('exception')!r}")


def _process_of(handle: asyncio.Handle) -> Process | None:
    context: contextvars.Context = handle._context  # type: ignore[attr-defined]
    return context.get(_current)


def _is_over(each: Any) -> bool:
    return isinstance(each, asyncio.Task) and each.done()
