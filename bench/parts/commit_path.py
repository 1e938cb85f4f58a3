"""What a command costs without broker and database: a node on a log that answers at once.

    .venv/bin/python -m bench.parts.commit_path [--rounds N] [--operation add|total] [--profile]

Prints own CPU per operation, callers included: the first place to look when the figures of
`make bench` fall. `--profile` shows where it goes (under the profiler all is slower).
"""

import argparse
import asyncio
import cProfile
import pstats
import statistics
import time
from collections.abc import AsyncIterator, Mapping, Sequence

from bench.load import closed_loop
from bench.machine import future_hop_us, python_work_ms
from bench.world import NEVER_FLUSH, Counters, counter_id
from eventstore.log import LogRecord, TopicPartition
from eventstore.memory_snapshots import MemorySnapshots
from eventstore.records import StoredRecord
from examples.counter import Counter
from spawn import System
from spawn.runtime.event_loop import run_serving
from spawn.runtime.node import Node, NodePlan

_PARTITIONS = 8
_CALLERS = 64
_COUNTERS = 1_000
_SECONDS = 0.5


class NullLog:
    """A log that keeps nothing and answers in the next turn of the event loop."""

    def __init__(self) -> None:
        self._ends: dict[TopicPartition, int] = {}

    def way(self, at: TopicPartition) -> int:
        """Tell of no change."""
        return 0

    async def append(self, at: TopicPartition, batch: Sequence[LogRecord], time_ms: int) -> int:
        """Take a batch."""
        base = self._ends.get(at, 0)
        self._ends[at] = base + len(batch)
        await asyncio.sleep(0)
        return base

    async def bounds(self, at: TopicPartition) -> tuple[int, int]:
        """Return the first offset and the end."""
        return 0, self._ends.get(at, 0)

    async def read(
        self, at: TopicPartition, start: int, end: int
    ) -> AsyncIterator[Sequence[StoredRecord]]:
        """Give nothing back."""
        nothing: Sequence[Sequence[StoredRecord]] = ()
        for records in nothing:
            yield records

    async def partitions(self, topics: Sequence[str]) -> Mapping[str, int]:
        """Tell of none."""
        return {}

    async def close(self) -> None:
        """Nothing is open."""


async def _measure(rounds: int, operation: str, profile: bool) -> None:
    system = System("bench", actors=[Counter])
    node = Node(
        NodePlan(
            system="bench",
            endpoint="bench",
            behaviors=system.behaviors,
            topics={"spawn.bench.Counter": _PARTITIONS},
            log=NullLog(),
            store=MemorySnapshots(),
            settings=NEVER_FLUSH,
            body_bytes_max=1024 * 1024,
            say=print,
        )
    )
    async with node.running() as dispatcher:
        system.bind(dispatcher)
        await node.serving.wait()
        counters = Counters(system, node, 0.0)
        ids = [counter_id(n) for n in range(_COUNTERS)]
        add = counters.adding(ids)
        call = add if operation == "add" else counters.reading(ids[:1])
        await closed_loop(add, _CALLERS, 2 * _SECONDS)
        costs = []
        for _ in range(rounds):
            hop, work = await future_hop_us(), python_work_ms()
            cpu = time.process_time()
            count = len(await closed_loop(call, _CALLERS, _SECONDS))
            costs.append((time.process_time() - cpu) / count * 1e6)
            print(f"{operation}: {costs[-1]:.2f} us of CPU", end=" ")
            print(f"(future hop {hop:.2f} us, fixed work {work:.2f} ms)")
        print(f"median {statistics.median(costs):.2f}, least {min(costs):.2f} us")
        if profile:
            profiler = cProfile.Profile()
            profiler.enable()
            count = len(await closed_loop(call, _CALLERS, 4 * _SECONDS))
            profiler.disable()
            print(f"{count} operations")
            pstats.Stats(profiler).sort_stats("tottime").print_stats(32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.parts.commit_path", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--operation", choices=["add", "total"], default="add")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    run_serving(_measure(options.rounds, options.operation, options.profile))
