"""The longest pause of the event loop with many actors in memory, while committing and flushing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from bench.figures import Figure, Target
from bench.load import Call, closed_loop, each_once
from bench.world import World, counter_id

__all__ = ["run"]

_BEAT_S = 0.001
_STRIDE = 37


class _Watch:
    """Wakes every millisecond; how late, and how much CPU the loop's thread used up to then."""

    def __init__(self) -> None:
        self.longest_s = self.longest_cpu_s = 0.0

    async def run(self) -> None:
        clock, cpu_clock = time.perf_counter, time.thread_time
        while True:
            last, last_cpu = clock(), cpu_clock()
            await asyncio.sleep(_BEAT_S)
            self.longest_s = max(self.longest_s, clock() - last - _BEAT_S)
            self.longest_cpu_s = max(self.longest_cpu_s, cpu_clock() - last_cpu)


async def run(world: World) -> list[Figure]:
    """300,000 counters in 8 partitions, walked by 64 callers, with default settings."""
    actors = world.sized(300_000)
    ids = [counter_id(n) for n in range(actors)]
    async with world.counters("pauses") as counters:
        add = counters.adding(ids)
        await each_once(add, actors, 256)
        await asyncio.sleep(2)
        runs = [
            await _watched(world, lambda number: add(number * _STRIDE)) for _ in range(world.runs)
        ]
    target = [Target("pause_ms", 50, at_most=True)]
    return [Figure("pauses", f"longest pause, {actors:,} actors, committing", runs, target)]


async def _watched(world: World, call: Call) -> dict[str, float]:
    watch = _Watch()

    async def load() -> Sequence[float]:
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch.run())
            latencies = await closed_loop(call, 64, max(world.seconds * 3, 6))
            watching.cancel()
        return latencies

    run = dict(await world.measure_load(load))
    run["pause_ms"] = watch.longest_s * 1e3
    run["pause_cpu_ms"] = watch.longest_cpu_s * 1e3
    return run
