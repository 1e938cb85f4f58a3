"""Passivation: idle actors leave memory, and the least recently used ones when it is short.

Only what the store has may go: an actor that is clean and idle. How much memory actors take is
estimated, since Python does not tell: a fixed part each, and a multiple of the average encoded
state (`ACTOR_BYTES`, `STATE_FACTOR`; measured in `bench/`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from spawn.core.actors import Actor, Dirt, Table
from spawn.core.residents import Residents
from spawn.runtime.collector import Collector
from spawn.runtime.partition_worker import PartitionWorker

__all__ = ["ACTOR_BYTES", "STATE_FACTOR", "Passivation", "oldest_ticks"]

ACTOR_BYTES: Final = 450
"""Of an idle actor without its state: object, id, place in the table."""
STATE_FACTOR: Final = 4.0
"""A small frozen dataclass takes about that many times its Avro bytes."""
_EVERY_S: Final = 1.0
_SLICE: Final = 2_000
_FREEZE_STEP: Final = 50_000
"""So many more actors in memory, and they are hidden from the garbage collector: a full collection
over 300,000 actors would stop the event loop for 95 ms (commit-path measurement)."""


class Passivation:
    """Watches all actors of a node."""

    def __init__(
        self, workers: Sequence[PartitionWorker], memory_bytes: int, collector: Collector
    ) -> None:
        self._workers = workers
        self._collector = collector
        self._memory_bytes = memory_bytes
        self._frozen = 0
        self._tick = 0

    async def run(self) -> None:
        """Let actors go, once a second; never returns."""
        while True:
            await asyncio.sleep(_EVERY_S)
            self._tick += int(_EVERY_S)
            for worker in self._workers:
                worker.machine.residents.tick = self._tick
            await self._sweep()
            self._freeze()

    async def _sweep(self) -> None:
        """Look at every actor once; no list of the idle ones is made, there may be a million."""
        limit = -1
        if (excess := self._excess()) > 0:
            touched: Counter[int] = Counter()
            for _, _, table in self._tables():
                async for actors in _sliced(table):
                    touched.update([a.touched for a in actors if _may_go(a)])
            limit = oldest_ticks(touched, excess)
        for worker, residents, table in self._tables():
            before = max(limit + 1, self._tick - table.behavior.settings.idle_timeout_s)
            async for actors in _sliced(table):
                for actor in actors:
                    if actor.touched < before and residents.evict(actor):
                        worker.counts.passivations += 1

    def _tables(self) -> Sequence[tuple[PartitionWorker, Residents, Table]]:
        residents = [(worker, worker.machine.residents) for worker in self._workers]
        return [(w, r, table) for w, r in residents for table in r.tables.values()]

    def _excess(self) -> int:
        """Return how many actors are too many for the memory they may take."""
        bytes_used = 0.0
        actors = 0
        for worker in self._workers:
            count = len(worker.machine.residents)
            actors += count
            bytes_used += count * (ACTOR_BYTES + STATE_FACTOR * worker.state_bytes)
        if bytes_used <= self._memory_bytes:
            return 0
        return int(actors * (1 - 0.9 * self._memory_bytes / bytes_used))

    def _freeze(self) -> None:
        actors = sum(len(worker.machine.residents) for worker in self._workers)
        if actors - self._frozen >= _FREEZE_STEP:
            self._collector.hide()
            self._frozen = actors


async def _sliced(table: Table) -> AsyncIterator[Sequence[Actor]]:
    """Give a table's actors in pieces, with a turn of the event loop after each."""
    actors = list(table.actors.values())
    for start in range(0, len(actors), _SLICE):
        yield actors[start : start + _SLICE]
        await asyncio.sleep(0)


def _may_go(actor: Actor) -> bool:
    return actor.work is None and actor.dirt is Dirt.CLEAN


def oldest_ticks(touched: Mapping[int, int], excess: int) -> int:
    """Return the tick up to which actors must go so that at least `excess` go; -1: none.

    `touched` counts actors by the tick of their last use.
    """
    gone = 0
    for tick in sorted(touched):
        gone += touched[tick]
        if gone >= excess:
            return tick
    return max(touched, default=-1)
