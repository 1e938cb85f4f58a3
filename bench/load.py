"""Load: closed loop (callers that wait for each answer) and open loop (a rate, come what may)."""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from spawn.errors import TooManyWaiting

__all__ = ["Call", "closed_loop", "each_once", "open_loop"]

Call = Callable[[int], Awaitable[Any]]
"""Starts operation number n."""

_TICK_NS: Final = 500_000
_STRIDE: Final = 131
"""Callers begin so far from one another in the row of actors."""


async def closed_loop(call: Call, callers: int, seconds: float) -> Sequence[float]:
    """Return the latency of each call."""
    clock = time.perf_counter
    latencies: list[float] = []
    end = clock() + seconds

    async def caller(number: int) -> None:
        started = clock()
        while started < end:
            await call(number)
            number += 1
            now = clock()
            latencies.append(now - started)
            started = now

    async with asyncio.TaskGroup() as tasks:
        for number in range(callers):
            tasks.create_task(caller(number * _STRIDE))
    return latencies


async def each_once(call: Call, count: int, callers: int) -> None:
    """Call with every number below `count`."""
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            await call(number)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(callers):
            tasks.create_task(caller())


async def open_loop(
    call: Callable[[int], asyncio.Future[Any]], rate: float, seconds: float
) -> Sequence[float]:
    """Start calls at a steady rate, answered or not; return latencies from the *intended* starts.

    The pacer looks every half millisecond what is due: up to that much of a latency is its own.
    Calls that are refused as too many are left out of what is returned, so that the rate tells.
    """
    clock = time.perf_counter
    total, issued, refused = int(rate * seconds), 0, 0
    latencies: list[float] = []
    finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def answered(intended: float, answer: asyncio.Future[Any]) -> None:
        nonlocal refused
        error = answer.exception()
        if error is None:
            latencies.append(clock() - intended)
        elif isinstance(error, TooManyWaiting):
            refused += 1
        elif not finished.done():
            finished.set_exception(error)
        if len(latencies) + refused == total and not finished.done():
            finished.set_result(None)

    def issue_due() -> None:
        nonlocal issued
        due = min(int((clock() - began) * rate) + 1, total)
        while issued < due:
            call(issued).add_done_callback(partial(answered, began + issued / rate))
            issued += 1

    began = clock()
    with _ticking(issue_due):
        await finished
    return latencies


@contextmanager
def _ticking(tick: Callable[[], None]) -> Iterator[None]:
    """Call `tick` every half millisecond; event loops round their timers up to a whole one."""
    loop = asyncio.get_running_loop()
    if sys.platform != "linux":
        raise NotImplementedError("the open loop needs timerfd, which Linux has")
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)
    interval = struct.pack("qqqq", 0, _TICK_NS, 0, _TICK_NS)
    if fd < 0 or libc.timerfd_settime(fd, 0, interval, None) < 0:
        raise OSError(ctypes.get_errno(), "timerfd")

    def due() -> None:
        os.read(fd, 8)
        tick()

    loop.add_reader(fd, due)
    try:
        yield
    finally:
        loop.remove_reader(fd)
        os.close(fd)
