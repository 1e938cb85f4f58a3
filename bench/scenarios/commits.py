"""Durable commits in process: closed loops, one caller, one hot actor, and open loops."""

from __future__ import annotations

from bench.figures import Figure, Target
from bench.load import closed_loop, open_loop
from bench.world import World, counter_id

__all__ = ["run", "warm_up"]


async def warm_up(world: World, seconds: float) -> None:
    """Let the broker's compiler see the load: cold it costs three times the CPU."""
    async with world.counters("warm") as counters:
        ids = [counter_id(n) for n in range(1_000)]
        await closed_loop(counters.adding(ids), 64, seconds)


async def run(world: World) -> list[Figure]:
    """1,000 counters in 8 partitions; default settings, so snapshots are written meanwhile."""
    figures: list[Figure] = []
    async with world.counters("commits") as counters:
        ids = [counter_id(n) for n in range(1_000)]
        add, add_hot = counters.adding(ids), counters.adding(ids[:1])
        await closed_loop(add, 64, world.seconds)

        async def closed(name: str, call: object, callers: int, *targets: Target) -> None:
            chosen = add if call is add else add_hot
            runs = [
                await world.measure_load(lambda: closed_loop(chosen, callers, world.seconds))
                for _ in range(world.runs)
            ]
            figures.append(Figure("commits", name, runs, targets))

        await closed(
            "commits, 64 callers, 1,000 counters, 8 partitions", add, 64,
            Target("rate", 35_000), Target("p99_ms", 5, at_most=True),
        )  # fmt: skip
        await closed("commits, 1 caller", add, 1, Target("p50_ms", 0.6, at_most=True))
        await closed("commits, one hot actor, 256 callers", add_hot, 256, Target("rate", 40_000))
        for rate in (5_000, 15_000, 25_000):
            runs = [
                await world.measure_load(lambda: open_loop(add, rate, world.seconds))  # noqa: B023
                for _ in range(world.runs)
            ]
            figures.append(Figure("commits", f"commits, open loop, {rate:,}/s", runs))
    return figures
