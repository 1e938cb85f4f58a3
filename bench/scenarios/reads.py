"""Linearizable reads of one actor in process, on the lease (log protocol 6)."""

from __future__ import annotations

from bench.figures import Figure, Target
from bench.load import closed_loop
from bench.world import World, counter_id

__all__ = ["run"]


async def run(world: World) -> list[Figure]:
    """64 callers that read one counter, then as many that read 1,000."""
    async with world.counters("reads") as counters:
        ids = [counter_id(n) for n in range(1_000)]
        await closed_loop(counters.adding(ids), 64, 1)

        async def read(count: int) -> list[dict[str, float]]:
            call = counters.reading(ids[:count])
            await closed_loop(call, 64, 0.5)
            return [
                dict(await world.measure_load(lambda: closed_loop(call, 64, world.seconds)))
                for _ in range(world.runs)
            ]

        return [
            Figure(
                "reads", "reads of one actor, 64 callers", await read(1), [Target("rate", 150_000)]
            ),
            Figure("reads", "reads of 1,000 actors, 64 callers", await read(1_000)),
        ]
