"""A system of nodes on log, database, group and mesh in memory, in virtual time.

What a test breaks: `cut` (ways between nodes), a node's own way to the log (`Reach.is_cut`), the
coordinator (`groups.is_down`), processes (`kill`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from eventstore.errors import LogUnavailable
from eventstore.log import LogRecord, TopicPartition, TopicSettings
from eventstore.memory_log import MemoryLog
from eventstore.memory_snapshots import MemorySnapshots
from eventstore.records import Claim, Release, StoredRecord, decode_prefix
from spawn.cluster.members import Member, encode_member
from spawn.core.ids import nodes_topic
from spawn.membership.membership import Membership, MembershipPlan
from spawn.membership.roll import Roll
from spawn.mesh.memory_mesh import Delivery, MemoryNetwork
from spawn.mesh.wire import LEAST_VERSION, VERSION, Hello
from spawn.routing.router import Router
from spawn.runtime.context import RuntimeSettings
from spawn.runtime.dispatcher import NodeDispatcher
from spawn.runtime.node import Node, NodePlan
from tests.simulation.groups import TimedGroups
from tests.simulation.loop import Process, SimLoop
from tests.simulation.node_ports import NoCollector
from tests.simulation.reference import reference_of
from tests.unit.core.harness import Lists

__all__ = ["GROUP", "ROLL", "TOPIC", "Reach", "Running", "System", "entry"]

_SYSTEM: Final = "shop"
TOPIC: Final = "spawn.shop.List"
GROUP: Final = "spawn.shop"
ROLL: Final = TopicPartition(nodes_topic(_SYSTEM), 0)
_PARTITIONS: Final = 6


def entry(endpoint: str, node_id: bytes, topics: dict[str, int] | None = None) -> Member:
    """Return what a node says of itself."""
    return Member(
        node_id=node_id,
        mesh=endpoint,
        http="",
        release="test",
        protocol=VERSION,
        protocol_min=LEAST_VERSION,
        topics={TOPIC: _PARTITIONS} if topics is None else topics,
    )


class Reach:
    """One node's way to the log."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.is_cut = False

    async def append(self, at: TopicPartition, batch: Sequence[LogRecord], time_ms: int) -> int:
        """As the log does, or no answer."""
        await self._way()
        return await self._log.append(at, batch, time_ms)

    async def read(
        self, at: TopicPartition, start: int, end: int
    ) -> AsyncIterator[Sequence[StoredRecord]]:
        """As the log does, or no answer."""
        await self._way()
        async for chunk in self._log.read(at, start, end):
            yield chunk

    async def bounds(self, at: TopicPartition) -> tuple[int, int]:
        """As the log does, or no answer."""
        await self._way()
        return await self._log.bounds(at)

    def way(self, at: TopicPartition) -> int:
        """As the log does."""
        return self._log.way(at)

    async def partitions(self, topics: Sequence[str]) -> Mapping[str, int]:
        """As the log does, or no answer."""
        await self._way()
        return await self._log.partitions(topics)

    async def close(self) -> None:
        """Nothing is open."""

    async def _way(self) -> None:
        await asyncio.sleep(2.0 if self.is_cut else 0.001)
        if self.is_cut:
            raise LogUnavailable("the log does not answer")


@dataclass(slots=True)
class Running:
    """A node's process."""

    process: Process
    node: Node
    membership: Membership
    log: Reach
    task: asyncio.Task[Any] | None = None
    stopped: bool = False
    errors: list[BaseException] = field(default_factory=list)

    def mine(self, number: int) -> bytes:
        """Return its claim on a partition."""
        return next(w.machine.mine for w in self.node._workers if w.at.partition == number)

    @property
    def serves(self) -> list[int]:
        """The partitions that it serves."""
        serves = self.node.dispatcher.serves
        return [n for n in range(_PARTITIONS) if serves(TopicPartition(TOPIC, n))]


class System:
    """All of it."""

    def __init__(self, seed: int = 1) -> None:
        self.loop = SimLoop(random.Random(seed))
        self._dice = random.Random(seed)
        self.log = MemoryLog()
        self.store = MemorySnapshots()
        self.groups = TimedGroups(GROUP, lambda: self.loop.now, self._later)
        self.cut: dict[tuple[str, str], None] = {}
        self.network = MemoryNetwork(self._later, lambda: self.loop.now, self._fate)
        self.network.run_at = self._run_at
        self.nodes: dict[str, Running] = {}
        self._started: list[Running] = []

    def run(self, story: Callable[[], Awaitable[None]]) -> None:
        """Let a test's story happen."""
        try:
            self.loop.run_until_complete(self._tell(story))
        finally:
            self.loop.run_until_complete(self._end())
            self.loop.close()
        assert not self.loop.failures

    async def _tell(self, story: Callable[[], Awaitable[None]]) -> None:
        topics = {TOPIC: TopicSettings(partitions=_PARTITIONS)}
        self.groups.watch()
        self._look()
        await self.log.create(topics | {ROLL.topic: TopicSettings(partitions=1, compacted=True)})
        await story()

    async def _end(self) -> None:
        """End all processes; those that were killed have stood still until now."""
        tasks = [each.task for each in self._started if each.task is not None]
        for each in self._started:
            self.network.kill(each.node.context.endpoint)
            self.loop.thaw(each.process)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- nodes -----------------------------------------------------------------------------------

    def start(self, name: str) -> Running:
        """Start a node; its name is its endpoint."""
        process = Process(f"{name}.{len(self._started)}")
        dice = random.Random(self._dice.random())
        reach = Reach(self.log)
        with self.loop.inside(process):
            routers: list[Router] = []
            new_id = lambda: dice.randbytes(16)  # noqa: E731

            def route(dispatcher: NodeDispatcher) -> Router:
                router = Router(dispatcher, self.loop.time, dice.random, self._time_us, new_id)
                routers.append(router)
                return router

            node = Node(
                NodePlan(
                    system=_SYSTEM,
                    endpoint=name,
                    behaviors=[Lists()],
                    topics={TOPIC: _PARTITIONS},
                    log=reach,
                    store=self.store,
                    settings=RuntimeSettings(sweep_s=0.1),
                    body_bytes_max=1024,
                    say=lambda text: None,
                    new_id=new_id,
                    stopwatch=float,
                    collector=NoCollector(),
                    route=route,
                )
            )
            router = routers[0]
            owner = node.context.owner
            hello = Hello(VERSION, LEAST_VERSION, _SYSTEM, owner.hex(), name, "test")
            router.use(self.network.join(hello, router.peers))
            membership = Membership(
                MembershipPlan(
                    me=entry(name, owner),
                    router=router,
                    roll=Roll(reach, _SYSTEM),
                    group=lambda participant: self.groups.member(GROUP, participant),
                    probes={"the log": lambda: reach.bounds(ROLL), "the database": self.store.ping},
                    serves=node.dispatcher.serves,
                    now=self.loop.time,
                    time_ms=lambda: self._time_us() // 1000,
                )
            )
        running = self.nodes[name] = Running(process, node, membership, reach)
        self._started.append(running)
        running.task = self.loop.start(process, self._live(running))
        return running

    async def _live(self, running: Running) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                member = tasks.create_task(running.membership.run())
                async with running.node.running(running.membership):
                    while not running.stopped:
                        await asyncio.sleep(0.05)
                    deadline = self.loop.time() + 10.0
                    await running.membership.hand_over(deadline - 5.0)
                    async with asyncio.TaskGroup() as last:
                        last.create_task(running.membership.leave(deadline))
                        last.create_task(running.node.drain(10.0))
                member.cancel()
        except BaseExceptionGroup as group:
            running.errors += group.exceptions
        self.network.kill(running.node.context.endpoint)

    async def stop(self, name: str) -> None:
        """Stop a node as planned, and wait until it has ended."""
        running = self.nodes.pop(name)
        running.stopped = True
        assert running.task is not None
        await running.task

    def kill(self, name: str) -> None:
        """End a node's process without a word."""
        self.loop.freeze(self.nodes.pop(name).process)
        self.network.kill(name)

    def isolate(self, name: str, *others: str) -> None:
        """Let nothing go between a node and others."""
        for other in others:
            self.cut.update({(name, other): None, (other, name): None})

    # --- what a test sees ------------------------------------------------------------------------

    async def until(self, holds: Callable[[], object], within_s: float) -> float:
        """Wait for something, in virtual time; return how long it took."""
        began = self.loop.now
        while not holds():
            assert self.loop.now - began < within_s, f"not within {within_s:g} s: {self.shares}"
            await asyncio.sleep(0.01)
        return self.loop.now - began

    @property
    def shares(self) -> dict[str, list[int]]:
        """The partitions that each node serves, as the log says too."""
        return {name: self._share(running) for name, running in self.nodes.items()}

    def _share(self, running: Running) -> list[int]:
        if running.process.is_frozen:
            return []
        return [number for number in running.serves if self._claim(number) == running.mine(number)]

    def _claim(self, number: int) -> bytes:
        return reference_of(self.log.records(TopicPartition(TOPIC, number))).claim

    @property
    def is_whole(self) -> bool:
        """Whether each partition is served by exactly one node."""
        served = [number for share in self.shares.values() for number in share]
        return sorted(served) == list(range(_PARTITIONS))

    @property
    def is_even(self) -> bool:
        """Whether it is whole, and nobody has two more than another one."""
        counts = [len(share) for share in self.shares.values()]
        return self.is_whole and max(counts) - min(counts) <= 1

    @property
    def claims(self) -> int:
        """How many claims stand in the log."""
        return self._records(Claim)

    @property
    def releases(self) -> int:
        """How many releases stand in the log."""
        return self._records(Release)

    def _records(self, kind: type) -> int:
        return sum(
            isinstance(decode_prefix(stored.value), kind)
            for number in range(_PARTITIONS)
            for stored in self.log.records(TopicPartition(TOPIC, number))
        )

    @property
    def on_roll(self) -> list[str]:
        """Endpoints of those who stand on the roll now, as one that reads it finds."""
        found: dict[bytes, Member] = {}
        roll = Roll(self.log, _SYSTEM)
        for stored in self.log.records(ROLL):
            roll._take(stored)
        found = roll._members
        return [member.mesh for member in found.values()]

    def put_on_roll(self, member: Member) -> None:
        """Write a node down that is not there."""
        self.log.put(ROLL, LogRecord(member.node_id, encode_member(member)))

    # --- time and ways ---------------------------------------------------------------------------

    def _later(self, delay: float, work: Callable[[], Any]) -> None:
        with self.loop.inside(None):
            self.loop.call_later(delay, work)

    def _look(self) -> None:
        """Let owners append something now and then, as calls make them do."""
        for running in self.nodes.values():
            with self.loop.inside(running.process):
                for worker in running.node._workers:
                    self.loop.call_soon(worker.look)
        self._later(0.5, self._look)

    def _run_at(self, endpoint: str, work: Callable[[], None]) -> None:
        found = self.nodes.get(endpoint)
        if found is None:
            work()
            return
        with self.loop.inside(found.process):
            self.loop.call_soon(work)

    def _fate(self, delivery: Delivery) -> Sequence[float]:
        return () if (delivery.source, delivery.target) in self.cut else (0.001,)

    def _time_us(self) -> int:
        return int(self.loop.now * 1e6) + 1_750_000_000_000_000
