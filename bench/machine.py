"""What the figures were seen on: the machine, the versions, its speed, and who else used it.

On shared or virtual machines the same code costs several times more CPU in one minute than in the
next. So every run carries the machine's speed just before it (`hop_us`, `work_ms`) and how many
cores other processes used during it (`others`): busy moments can be told from quiet ones.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["CpuMeter", "future_hop_us", "machine_facts", "python_loop_us", "python_work_ms"]

_PACKAGES: Final = ("aiokafka", "asyncpg", "msgspec", "fastavro", "aiohttp", "uvloop")
_SOURCE: Final = "\n".join(
    f"def f{n}(a, *, b: int = {n}, **c: str) -> list[str]:\n"
    f"    return [f'{{a}}:{{x!r}}' for x in c.items() if not (b + {n}) % 7]"
    for n in range(20)
)
_HOPS: Final = 200
_CALLERS: Final = 64
_TICKS: Final = os.sysconf("SC_CLK_TCK")


async def future_hop_us() -> float:
    """Return the CPU time of making a future and waking its waiter by it; 2 us or less is fast.

    The best of three rounds of 64 callers: how fast the machine is now, not how busy.
    """
    return min([await _hops() for _ in range(3)])


async def _hops() -> float:
    loop = asyncio.get_running_loop()
    made: list[asyncio.Future[None]] = []

    async def caller() -> None:
        for _ in range(_HOPS):
            future = loop.create_future()
            made.append(future)
            await future

    started = time.process_time()
    async with asyncio.TaskGroup() as tasks:
        callers = [tasks.create_task(caller()) for _ in range(_CALLERS)]
        while not all(task.done() for task in callers):
            await asyncio.sleep(0)
            waiting, made = made, []
            for future in waiting:
                future.set_result(None)
    return (time.process_time() - started) / _CALLERS / _HOPS * 1e6


def python_work_ms() -> float:
    """Return the CPU time of a fixed piece of Python work that needs much code and many objects.

    What a busy neighbour does to the caches slows this down, as it does a node, while small loops
    such as the two other references hardly notice.
    """

    def once() -> float:
        started = time.process_time()
        ast.unparse(ast.parse(_SOURCE))
        return (time.process_time() - started) * 1e3

    return min(once() for _ in range(5))


def python_loop_us() -> float:
    """Return the CPU time of one step of a plain Python loop, the median of five."""

    def once() -> float:
        started = time.process_time()
        total = 0
        for number in range(100_000):
            total += number & 7
        return (time.process_time() - started) * 10

    return statistics.median(once() for _ in range(5))


class CpuMeter:
    """Tells the CPU time that processes outside our own tree used since the last question."""

    def __init__(self, root: int) -> None:
        """`root` is the process that started servers and scenarios."""
        self._root = root
        self._last = self._now()

    def restart(self) -> None:
        """Measure from now on."""
        self._last = self._now()

    def others(self) -> float:
        """Return how many cores others used."""
        clock, busy, own = self._now()
        last_clock, last_busy, last_own = self._last
        return max(0.0, (busy - last_busy - own + last_own) / (clock - last_clock))

    def _now(self) -> tuple[float, float, float]:
        # user, nice, system, idle, iowait, irq, softirq, steal
        spent = [int(word) for word in _read("/proc/stat").split("\n", 1)[0].split()[1:9]]
        busy = sum(spent) - spent[3] - spent[4]
        return time.perf_counter(), busy / _TICKS, _tree_ticks(self._root) / _TICKS


def _tree_ticks(root: int) -> int:
    """Return the ticks of a process and all that it started, those that ended included."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                fields = _read(f"/proc/{folder.name}/stat").rpartition(")")[2].split()
                parents[int(folder.name)] = int(fields[1])
                ticks[int(folder.name)] = sum(map(int, fields[11:15]))
    total = 0
    for pid, spent in ticks.items():
        ancestor = pid
        while ancestor != root and ancestor in parents:
            ancestor = parents[ancestor]
        if ancestor == root:
            total += spent
    return total


def machine_facts(servers: Sequence[str]) -> dict[str, str]:
    """Return what ran where, for people."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in _read("/proc/cpuinfo").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = [f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES]
    return {
        "machine": f"{os.cpu_count()} x {model}, {memory:.0f} GiB, {platform.platform()}",
        "software": f"CPython {platform.python_version()}, " + ", ".join(versions),
        "servers": ", ".join(servers) + ", all on this machine; one broker, acks=all, no fsync "
        "before an acknowledgement: safe against a killed process, not against a power cut",
    }


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")
