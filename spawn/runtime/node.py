"""A node: partitions of its actor types, owned and served while it runs.

It knows no flags, files, sockets or client libraries: `spawn.node` gives it a plan.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from eventstore.log import EventLog, TopicPartition
from eventstore.snapshots import SnapshotStore
from spawn.core.behavior import Behavior
from spawn.core.ids import topic_of
from spawn.runtime.clock import Clock, SystemClock, random_id, stopwatch_s
from spawn.runtime.collector import Collector, ProcessCollector
from spawn.runtime.context import NodeContext, RuntimeSettings
from spawn.runtime.debugger import Debugger
from spawn.runtime.dispatcher import NodeDispatcher, Served
from spawn.runtime.elsewhere import Elsewhere
from spawn.runtime.partition_worker import PartitionWorker
from spawn.runtime.passivation import Passivation
from spawn.runtime.placed_ownership import PlacedOwnership
from spawn.runtime.placement import Everything, Placement
from spawn.runtime.tasks import first_error

__all__ = ["Node", "NodePlan"]


_TELL_S = 1.0
"""A stop mostly takes less; then it says what it waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    """What a node is to serve and with what."""

    system: str
    endpoint: str
    behaviors: Sequence[Behavior]
    topics: Mapping[str, int]
    """Event topic -> partitions, as they exist."""
    log: EventLog
    store: SnapshotStore
    settings: RuntimeSettings
    body_bytes_max: int
    say: Callable[[str], None]
    clock: Clock | None = None
    debugger: Debugger = field(default_factory=Debugger)
    new_id: Callable[[], bytes] = random_id
    """Makes random 16-byte ids."""
    stopwatch: Callable[[], float] = stopwatch_s
    """Seconds that user code takes."""
    route: Callable[[NodeDispatcher], Elsewhere] | None = None
    """Makes the way to other nodes; None: there are none."""
    collector: Collector = field(default_factory=ProcessCollector)
    """The garbage collector, which a node has to itself in production."""


class Node:
    """Owns partitions and answers calls; make it inside a running event loop."""

    def __init__(self, plan: NodePlan) -> None:
        self._plan = plan
        self.context = NodeContext(
            system=plan.system,
            owner=plan.new_id(),
            endpoint=plan.endpoint,
            log=plan.log,
            store=plan.store,
            clock=plan.clock or SystemClock(),
            settings=plan.settings,
            say=plan.say,
            debugger=plan.debugger,
            new_id=plan.new_id,
            stopwatch=plan.stopwatch,
        )
        served = self._serve_types()
        self._workers = _by_topic(served)
        self.dispatcher = NodeDispatcher(self.context, served, plan.body_bytes_max)
        if plan.route is not None:
            self.dispatcher.elsewhere = plan.route(self.dispatcher)
        self.serving = self.context.serving
        """Set once every partition was taken over that it was to own first."""

    def _serve_types(self) -> Mapping[str, Served]:
        plan = self._plan
        of_topic: dict[str, list[Behavior]] = {}
        for behavior in sorted(plan.behaviors, key=lambda b: b.type):
            topic = topic_of(plan.system, behavior.settings.topic or behavior.type)
            of_topic.setdefault(topic, []).append(behavior)
        served: dict[str, Served] = {}
        for topic, behaviors in of_topic.items():
            workers = [
                PartitionWorker(self.context, TopicPartition(topic, partition), behaviors)
                for partition in range(plan.topics[topic])
            ]
            for behavior in behaviors:
                served[behavior.type] = Served(behavior, workers)
        return served

    async def is_fresh(self) -> bool:
        """Tell whether nothing was ever written to this node's topics. Raises: LogUnavailable."""
        for worker in self._workers:
            _, end = await self.context.log.bounds(worker.at)
            if end > 0:
                return False
        return True

    @contextlib.asynccontextmanager
    async def running(self, placement: Placement | None = None) -> AsyncIterator[NodeDispatcher]:
        """Own what the placement says (all, without one) and serve it while the body runs.

        Then it stops without ceremony (see `drain`). An error that ends the node (Fenced) cancels
        the body and is raised from here.
        """
        ownership = PlacedOwnership(
            self._workers,
            placement or Everything(),
            self.context.say,
            self.dispatcher.elsewhere,
        )
        collector = self._plan.collector
        memory_bytes = self._plan.settings.actor_memory_bytes
        passivation = Passivation(self._workers, memory_bytes, collector)
        self.dispatcher.not_ready = ownership.not_ready
        collector.make_rare()
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [
                    tasks.create_task(ownership.run(self.serving)),
                    tasks.create_task(self.dispatcher.watch_deadlines()),
                    tasks.create_task(passivation.run()),
                    tasks.create_task(collector.hide_when(self.serving)),
                ]
                if (elsewhere := self.dispatcher.elsewhere) is not None:
                    background.append(tasks.create_task(elsewhere.run()))
                yield self.dispatcher
                for task in background:
                    task.cancel()
        except BaseExceptionGroup as group:
            raise first_error(group) from group
        finally:
            self.context.blocking.threads.close()

    async def drain(self, grace_s: float) -> None:
        """Planned stop: refuse new calls, finish and flush what there is, release all partitions.

        Call it inside `running`. Takes at most `grace_s`.
        """
        deadline = asyncio.get_running_loop().time() + grace_s
        async with asyncio.TaskGroup() as tasks:
            teller = tasks.create_task(self._tell_waiting())
            drains = [tasks.create_task(worker.drain(deadline)) for worker in self._workers]
            await asyncio.wait(drains)
            teller.cancel()

    async def _tell_waiting(self) -> None:
        """Say what a stop waits for, if it does not end at once."""
        await asyncio.sleep(_TELL_S)
        runs, now = self.context.runs, asyncio.get_running_loop().time()
        if count := len(runs.running):
            calls = "1 call" if count == 1 else f"{count} calls"
            self.context.say(f"the stop waits for {calls}: {runs.describe(now)}")


def _by_topic(served: Mapping[str, Served]) -> Sequence[PartitionWorker]:
    """Return all workers once, the deciding partition (0 of the first type by name) first."""
    workers: dict[TopicPartition, PartitionWorker] = {}
    for name in sorted(served):
        for worker in served[name].workers:
            workers.setdefault(worker.at, worker)
    return list(workers.values())
