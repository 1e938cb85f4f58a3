"""What a node's partitions cost that nobody uses: those that it owns, and those of other nodes.

Each size in a process of its own, over a log and a database in memory. So what is measured is the
node's own work; an idle partition asks nothing of a broker or a database (no fetches, no lease that
is kept up, no empty checkpoint).
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from bench.world import resident_bytes
from eventstore.log import TopicPartition, TopicSettings
from eventstore.memory_log import MemoryLog
from eventstore.memory_snapshots import MemorySnapshots
from examples.counter import Counter
from spawn import System
from spawn.cluster.choice import Choices, Node, Owned, Place, Standing
from spawn.core.ids import topic_of
from spawn.routing.owners import OwnerTable
from spawn.runtime.context import RuntimeSettings
from spawn.runtime.event_loop import run_serving
from spawn.runtime.node import Node as RuntimeNode
from spawn.runtime.node import NodePlan
from spawn.runtime.placement import Everything

__all__ = ["measure"]

_ROOT: Final = Path(__file__).parents[2]
_SIZES: Final = ((1, 1), (16, 16), (160, 160), (1_600, 1_600), (1_600, 16), (10_000, 100))
"""Partitions of the types that it hosts, and how many of them it owns."""
_SETTLE_S: Final = 2.0
_IDLE_S: Final = 10.0


class _First(Everything):
    """The first so many of a topic are its own."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count
        self._changed = asyncio.Event()

    def wants(self, at: TopicPartition) -> bool:
        return at.partition < self._count

    async def changed(self) -> None:
        await self._changed.wait()

    def change(self) -> None:
        """Wake all who wait; nothing is different."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


async def _row(hosted: int, owned: int) -> None:
    log, store, system = MemoryLog(), MemorySnapshots(), System("idle", actors=[Counter])
    topic = topic_of("idle", "Counter")
    await log.create({topic: TopicSettings(partitions=hosted)})
    gc.collect()
    before, began, cpu = resident_bytes(), time.monotonic(), time.process_time()
    placement = _First(owned)
    node = RuntimeNode(
        NodePlan(
            system="idle",
            endpoint="bench",
            behaviors=system.behaviors,
            topics={topic: hosted},
            log=log,
            store=store,
            settings=RuntimeSettings(),
            body_bytes_max=1024 * 1024,
            say=lambda _text: None,
        )
    )
    async with node.running(placement):
        await node.serving.wait()
        took, cpu = time.monotonic() - began, time.process_time() - cpu
        await asyncio.sleep(_SETTLE_S)
        gc.collect()
        taken = resident_bytes() - before
        at, used = time.monotonic(), time.process_time()
        await asyncio.sleep(_IDLE_S)
        idle = (time.process_time() - used) / (time.monotonic() - at)
        used = time.process_time()
        placement.change()
        await asyncio.sleep(1.0)
        change_ms = (time.process_time() - used - idle) * 1e3
        print(
            f"| {hosted:,} | {owned:,} | {idle:.2%} | {taken / 2**20:.1f}"
            f" | {taken / hosted / 1024:.1f} | {took:.2f} | {cpu / owned * 1e3:.2f}"
            f" | {max(change_ms, 0):.0f} |",
            flush=True,
        )


def row(hosted: int, owned: int) -> None:
    """Measure one size in this process."""
    run_serving(_row(hosted, owned))


def _deciding(nodes: int, partitions: int) -> None:
    """Print what it takes to look at every partition once, as membership does 10 times a second."""
    others = [
        Node(id=n.to_bytes(16), endpoint=f"n{n}:7400", topics={}, standing=Standing.SERVING)
        for n in range(nodes)
    ]
    table = OwnerTable()
    places: list[Place] = []
    for number in range(partitions):
        at = TopicPartition(f"spawn.shop.Type{number % 100}", number // 100)
        table.learn(at, 1, f"n{number % nodes}:7400")
        places.append(at)

    def owner_of(place: Place) -> Owned:
        owner = table.of(TopicPartition(*place))
        return Owned(owner.epoch, owner.endpoint)

    choices = Choices(others[0], owner_of)
    for node in others[1:]:
        choices.put(node)
    choices.assign(places[::nodes])
    for place in places[::nodes]:
        choices.took(place)
    took = []
    for _ in range(3):
        began = time.process_time()
        for place in places:
            choices.choose(place, 10.0)
        took.append(time.process_time() - began)
    print(
        f"\nchoosing about all {partitions:,} partitions of the hosted types once:"
        f" {min(took) * 1e3:.0f} ms, {min(took) / partitions * 1e6:.1f} us each"
    )


def measure(nodes: int, partitions: int, _rounds: int) -> None:
    """Print a line for each size, and what membership adds."""
    print("idle: no calls, log and database in memory\n")
    print(
        "| partitions hosted | owned | idle, of a core | MiB | KiB each | s until served"
        " | CPU ms to take one over | CPU ms when the placement changes |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for hosted, owned in (*_SIZES, (partitions, max(1, partitions // nodes))):
        code = f"from bench.scale.idle import row; row({hosted}, {owned})"
        subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=_ROOT, check=True)
    _deciding(nodes, partitions)
