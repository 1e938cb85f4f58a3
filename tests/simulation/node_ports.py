"""What a simulated node is handed: placement, clocks, database, garbage collector."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Sequence
from typing import TYPE_CHECKING, Any

from eventstore.codec import ClaimBody
from eventstore.errors import SnapshotsUnavailable
from eventstore.log import TopicPartition
from eventstore.rows import ActorName, Checkpoint, FlushSlice, Loaded
from spawn.runtime.placement import Everything
from tests.simulation import checks

if TYPE_CHECKING:
    from tests.simulation.loop import Process
    from tests.simulation.world import World

__all__ = ["NoCollector", "NodeClock", "NodePlacement", "NodeStore", "SimPlacement"]


class SimPlacement:
    """What every node is to own, as the world says."""

    def __init__(self, names: Sequence[str], partitions: Sequence[TopicPartition]) -> None:
        self._names = names
        self.owners: dict[TopicPartition, set[str]] = {
            at: {names[number % len(names)]} for number, at in enumerate(partitions)
        }
        self._waiting: list[asyncio.Future[None]] = []

    def everybody(self, at: TopicPartition) -> None:
        """Let all nodes believe that a partition is theirs."""
        self.owners[at] = set(self._names)
        self._wake()

    def only(self, at: TopicPartition, name: str) -> None:
        """Give a partition to one node."""
        self.owners[at] = {name}
        self._wake()

    def also(self, at: TopicPartition, name: str) -> None:
        """Let one more node believe that a partition is its own."""
        self.owners[at].add(name)
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def of(self, name: str) -> NodePlacement:
        """Return one node's view."""
        return NodePlacement(self, name)

    def waiter(self) -> asyncio.Future[None]:
        """Return a future that ends with the next change."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        return future


class NodePlacement(Everything):
    """Implements `spawn.runtime.placement.Placement`: moves as the world says, unasked."""

    def __init__(self, shared: SimPlacement, name: str) -> None:
        self._shared = shared
        self._name = name

    def wants(self, at: TopicPartition) -> bool:
        """Tell whether the node is to own it."""
        return self._name in self._shared.owners[at]

    async def changed(self) -> None:
        """Wait for the next change."""
        await self._shared.waiter()

    def is_alone(self) -> bool:
        """The others serve, or will."""
        return False

    def taken(self, at: TopicPartition, owner: ClaimBody | None) -> None:
        """Nobody is a stranger."""


class NodeClock:
    """The two clocks of a node."""

    def __init__(self, world: World, process: Process, name: str) -> None:
        self.monotonic = world.loop.time
        self._world = world
        self._process = process
        self._name = name

    def time_us(self) -> int:
        """Return the wall clock, which jumps."""
        return self._world.wall_us(self._name)


class NoCollector:
    """The garbage collector belongs to the simulation."""

    def make_rare(self) -> None:
        """Nothing."""

    def hide(self) -> None:
        """Nothing."""

    async def hide_when(self, serving: asyncio.Event) -> None:
        """Nothing."""


class NodeStore:
    """`SnapshotStore` of one process: what it asks takes its time; what is written is checked."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.store, name)

    async def checkpoint(self, at: TopicPartition) -> Checkpoint | None:
        """Return the stored checkpoint."""
        await self._way()
        return await self._world.store.checkpoint(at)

    async def load(self, at: TopicPartition, actors: Sequence[ActorName]) -> Loaded:
        """Read rows."""
        await self._way()
        return await self._world.store.load(at, actors)

    async def flush(
        self,
        at: TopicPartition,
        checkpoint: Checkpoint,
        base: int,
        slices: AsyncIterable[FlushSlice],
    ) -> bool:
        """Write a checkpoint; the rows go over the wire before anything is decided."""
        pieces = [piece async for piece in slices]
        await self._way()

        async def given() -> Any:
            for piece in pieces:
                yield piece

        applied = await self._world.store.flush(at, checkpoint, base, given())
        if applied:
            self._world.note(f"flushed {at} at {checkpoint.offset}")
            if at not in self._world.broker.truncated:
                self._world.wrongs += checks.checkpoint_is_the_fold(self._world, at)
        await self._way()
        return applied

    async def _way(self) -> None:
        if self._process.is_dead:
            raise SnapshotsUnavailable("the process is dead")
        await asyncio.sleep(self._world.dice.uniform(0.0005, 0.02))
