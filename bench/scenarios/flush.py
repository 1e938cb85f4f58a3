"""Snapshots of changed actors written beside commits: every commit changes another actor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import cast

from bench.figures import Figure, Target
from bench.load import closed_loop, each_once
from bench.world import NEVER_FLUSH, Counters, World, counter_id
from eventstore.log import TopicPartition
from eventstore.rows import Checkpoint, FlushSlice
from eventstore.snapshots import SnapshotStore
from spawn.runtime.context import RuntimeSettings

__all__ = ["CountingStore", "run"]


class CountingStore:
    """A store that counts the rows written to it; all else is the store's own."""

    def __init__(self, store: SnapshotStore) -> None:
        self._store = store
        self.rows = 0
        self.flushes = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def flush(
        self,
        at: TopicPartition,
        checkpoint: Checkpoint,
        base: int,
        slices: AsyncIterable[FlushSlice],
    ) -> bool:
        """Flush, counting."""
        applied = await self._store.flush(at, checkpoint, base, self._counted(slices))
        self.flushes += applied
        return applied

    async def _counted(self, slices: AsyncIterable[FlushSlice]) -> AsyncIterator[FlushSlice]:
        async for each in slices:
            self.rows += len(each.actors)
            yield each


async def run(world: World) -> list[Figure]:
    """100,000 actors in 8 partitions, changed in turn by 64 callers; first without flushes."""
    seconds = world.seconds * 3
    ids = [counter_id(n) for n in range(world.sized(100_000))]
    name = f"commits over {len(ids):,} actors"
    async with world.counters("noflush", settings=NEVER_FLUSH) as counters:
        await each_once(counters.adding(ids), len(ids), 256)
        without = [await _run(world, counters, ids, seconds, None) for _ in range(world.runs)]
    stores: list[CountingStore] = []

    def wrap(store: SnapshotStore) -> SnapshotStore:
        stores.append(CountingStore(store))
        return cast("SnapshotStore", stores[0])

    async with world.counters("flush", settings=RuntimeSettings(), wrap_store=wrap) as counters:
        await each_once(counters.adding(ids), len(ids), 256)
        await _in_turn(counters, ids, 8 if not world.quick else 2)
        flushing = [await _run(world, counters, ids, seconds, stores[0]) for _ in range(world.runs)]
    targets = [Target("rate", 25_000), Target("rows", 25_000), Target("p99_ms", 15, at_most=True)]
    return [
        Figure("flush", f"{name}, no flush", without),
        Figure("flush", f"{name}, flushed meanwhile", flushing, targets),
    ]


async def _run(
    world: World,
    counters: Counters,
    ids: Sequence[str],
    seconds: float,
    store: CountingStore | None,
) -> dict[str, float]:
    rows = store.rows if store else 0
    started = time.perf_counter()
    run = dict(await world.measure_load(lambda: _in_turn(counters, ids, seconds)))
    if store:
        run["rows"] = (store.rows - rows) / (time.perf_counter() - started)
    return run


async def _in_turn(counters: Counters, ids: Sequence[str], seconds: float) -> Sequence[float]:
    """Let 64 callers share one walk over all actors: each commit changes the next one."""
    add, number = counters.adding(ids), 0

    def next_one(_: int) -> asyncio.Future[int]:
        nonlocal number
        number += 1
        made: asyncio.Future[int] = add(number)
        return made

    return await closed_loop(next_one, 64, seconds)
