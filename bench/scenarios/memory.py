"""What an idle actor takes: resident memory with many of them loaded."""

from __future__ import annotations

import asyncio
import gc

from bench.figures import Figure, Target
from bench.load import each_once
from bench.world import NEVER_FLUSH, Counters, World, counter_id, resident_bytes
from spawn.core.ids import partition_of
from spawn.runtime.passivation import ACTOR_BYTES

__all__ = ["run"]


async def run(world: World) -> list[Figure]:
    """Load counters by one commit each; the difference in resident memory, divided."""
    actors = world.sized(300_000)
    async with world.counters("memory", settings=NEVER_FLUSH) as counters, world.measuring() as run:
        for number in range(100_000):  # its cache has a limit, and is no part of an actor
            partition_of(counter_id(number + 10**6).encode(), 8)
        await _load(counters, 0, actors // 10)
        before = resident_bytes()
        await _load(counters, actors // 10, actors)
        each = (resident_bytes() - before) / (actors - actors // 10)
    figures = {
        "actors_per_gib": 2**30 / each,
        "bytes_each": each,
        "actor_bytes_setting": float(ACTOR_BYTES),
        **run,
    }
    target = [Target("actors_per_gib", 1_000_000)]
    return [Figure("memory", f"idle actors per GiB, {actors:,} loaded", [figures], target)]


async def _load(counters: Counters, first: int, end: int) -> None:
    actor = counters.system.actor
    from examples.counter import Counter

    await each_once(lambda n: actor(Counter, counter_id(first + n)).add(1), end - first, 256)
    await asyncio.sleep(0.2)
    gc.collect()
