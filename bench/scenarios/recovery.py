"""How long a new node needs for a long tail: nothing of it is in a snapshot."""

from __future__ import annotations

import asyncio
import random
import time

from bench.figures import Figure, Target
from bench.load import each_once
from bench.world import NEVER_FLUSH, World, counter_id, resident_bytes

__all__ = ["run", "start"]

_COMMITS_EACH = 10
_CALLERS = 512
"""Of the process that writes the tail: about 64 records a batch."""
_ANSWERS = 1_000


async def run(world: World) -> list[Figure]:
    """Write the tail through a node that never flushes, then start nodes on it."""
    figures = []
    actors = world.sized(100_000)
    commits = actors * _COMMITS_EACH
    for partitions in (8, 16):
        name = f"recovery{partitions}p"
        await world.in_child("bench.scenarios.recovery:fill", name, partitions, actors)
        runs = [
            await world.in_child("bench.scenarios.recovery:start", name, partitions, actors)
            for _ in range(world.runs)
        ]
        figures.append(
            Figure(
                "recovery",
                f"recovery, {commits:,} commits over {actors:,} actors, {partitions} partitions",
                runs,
                [Target("serving_s", 6, at_most=True)],
            )
        )
    return figures


async def fill(world: World, name: str, partitions: int, actors: int) -> None:
    """Write the tail; the node ends without a Release, as if killed."""
    async with world.counters(name, partitions=partitions, settings=NEVER_FLUSH) as counters:
        ids = [counter_id(n) for n in range(actors)]
        await each_once(counters.adding(ids), actors * _COMMITS_EACH, _CALLERS)


async def start(world: World, name: str, partitions: int, actors: int) -> dict[str, float]:
    """Start a node on the tail; it never flushes, so that the next one finds the same."""
    choose = random.Random(7)
    ids = [counter_id(choose.randrange(actors)) for _ in range(_ANSWERS)]
    async with world.measuring() as run:
        started = time.perf_counter()
        cpu = time.process_time()
        async with world.counters(name, partitions=partitions, settings=NEVER_FLUSH) as counters:
            run["serving_s"] = counters.start_s
            run["serving_cpu_s"] = time.process_time() - cpu
            read = counters.reading(ids)
            totals = [await read(0)]
            run["first_answer_s"] = time.perf_counter() - started
            totals += await asyncio.gather(*(read(n) for n in range(1, _ANSWERS)))
            run["answers_1000_s"] = time.perf_counter() - started
            assert set(totals) == {_COMMITS_EACH}, "the tail was folded wrongly"
            run["resident_mib"] = resident_bytes() / 2**20
    return run
