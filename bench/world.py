"""A scenario's surroundings: servers, sizes, measuring, and nodes of counters in this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bench.figures import Run, percentiles
from bench.machine import CpuMeter, future_hop_us, python_work_ms
from eventstore.kafka_log import KafkaAdmin, KafkaLog, KafkaSettings
from eventstore.postgres_snapshots import PostgresSnapshots
from eventstore.snapshots import SnapshotStore
from examples.counter import Counter
from spawn import System
from spawn.provision import ensure_schemas, ensure_topics, event_topics
from spawn.runtime.clock import SystemClock
from spawn.runtime.context import RuntimeSettings
from spawn.runtime.dispatcher import NodeDispatcher
from spawn.runtime.elsewhere import Elsewhere
from spawn.runtime.node import Node, NodePlan
from spawn.runtime.placement import Placement

__all__ = ["NEVER_FLUSH", "ROOT", "Counters", "World", "counter_id", "resident_bytes"]

ROOT: Final = Path(__file__).parent.parent
NEVER_FLUSH: Final = RuntimeSettings(flush_interval_s=1e6, flush_actors=2**60)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a scenario is given."""

    kafka: str
    dsn: str
    root_pid: int
    """The process that started everything: what is not below it is somebody else's."""
    runs: int
    seconds: float
    """Of one run."""
    quick: bool
    """Small sizes: to see that it works, not how fast."""
    tag: str
    """Makes the names of systems unique."""

    def sized(self, full: int) -> int:
        """Return a size, a tenth of it when things must go quickly."""
        return full // 10 if self.quick else full

    async def measure_load(self, load: Callable[[], Awaitable[Sequence[float]]]) -> Run:
        """Run a load that returns latencies in seconds; return rate, percentiles, CPU."""
        async with self.measuring() as run:
            started, cpu = time.perf_counter(), time.process_time()
            latencies = await load()
            elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
        own = {"rate": len(latencies) / elapsed, "cpu_us": cpu / len(latencies) * 1e6}
        return {**own, **percentiles(latencies), **run}

    @contextlib.asynccontextmanager
    async def measuring(self) -> AsyncIterator[dict[str, float]]:
        """Give a dict with the machine's speed now; after the body it has `others` too."""
        run = {"hop_us": await future_hop_us(), "work_ms": python_work_ms()}
        meter = CpuMeter(self.root_pid)
        yield run
        run["others"] = meter.others()

    async def in_child(self, function: str, *args: Any) -> Any:
        """Run `module:function(world, *args)`, a coroutine, in a process of its own."""
        arguments = json.dumps([asdict(self), *args])
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.child", function, arguments),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await child.communicate()
        if child.returncode:
            raise RuntimeError(f"{function} failed with exit code {child.returncode}")
        return json.loads(output)

    @contextlib.asynccontextmanager
    async def counters(
        self,
        name: str,
        *,
        partitions: int = 8,
        settings: RuntimeSettings | None = None,
        wrap_store: Callable[[SnapshotStore], SnapshotStore] = lambda store: store,
        placement: Placement | None = None,
        route: Callable[[NodeDispatcher], Elsewhere] | None = None,
    ) -> AsyncIterator[Counters]:
        """Run a node with counters in this process; it stops without flushing."""
        started = time.perf_counter()
        address = KafkaSettings(servers=self.kafka)
        log, admin = KafkaLog(address), KafkaAdmin(address)
        store = PostgresSnapshots(self.dsn, "bench")
        system = System(f"{name}{self.tag}", actors=[Counter])
        assert system.name is not None
        try:
            wanted = event_topics(system.name, system.behaviors, partitions)
            topics = await ensure_topics(
                *(admin, store, system.name, wanted),
                replication=None,
                create=True,
                say=_say_nothing,
            )
            now_ms = SystemClock().time_us() // 1000
            await ensure_schemas(log, system.name, system.behaviors, now_ms)
            node = Node(
                NodePlan(
                    system=system.name,
                    endpoint="bench",
                    behaviors=system.behaviors,
                    topics=topics,
                    log=log,
                    store=wrap_store(store),
                    settings=settings or RuntimeSettings(),
                    body_bytes_max=1024 * 1024,
                    say=_say_nothing,
                    route=route,
                )
            )
            async with node.running(placement) as dispatcher:
                system.bind(dispatcher)
                await node.serving.wait()
                yield Counters(system, node, time.perf_counter() - started)
        finally:
            await log.close()
            await store.close()


@dataclass(frozen=True, slots=True)
class Counters:
    """A node that serves counters, and the references to them."""

    system: System
    node: Node
    start_s: float
    """From the first connection until it served."""

    def adding(self, ids: Sequence[str]) -> Callable[[int], Any]:
        """Return the call that adds 1 to counter number n, through its reference."""
        actor, count = self.system.actor, len(ids)
        return lambda n: actor(Counter, ids[n % count]).add(1)

    def reading(self, ids: Sequence[str]) -> Callable[[int], Any]:
        """Return the call that reads counter number n."""
        actor, count = self.system.actor, len(ids)
        return lambda n: actor(Counter, ids[n % count]).total()


def _say_nothing(_text: str) -> None:
    pass


def counter_id(number: int) -> str:
    """Return the id of counter number n."""
    return f"counter-{number:07}"


def resident_bytes() -> int:
    """Return how much memory this process holds."""
    status = Path("/proc/self/statm").read_text(encoding="ascii")
    return int(status.split()[1]) * 4096
