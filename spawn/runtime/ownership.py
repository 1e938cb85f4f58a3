"""Which partitions this node owns, and what it does when it loses one.

In this release a node joins no group: at its start it claims every partition of its types. Should
two nodes of one system be started by mistake, the log fences one of them on every partition, and
the *deciding* partition (0 of the first type by name) says which node ends: whoever does not hold
the current claim there. It is claimed first, and looked at once a second, so that an idle node
notices too. Safety never rests on any of this: it is the log protocol's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from eventstore.errors import LogError, UnreadablePrefix
from spawn.core.partition import Phase
from spawn.errors import Fenced, PartitionStopped
from spawn.runtime.partition_log import PartitionLogger
from spawn.runtime.partition_worker import PartitionWorker
from spawn.runtime.takeover import PartitionLost
from spawn.runtime.tasks import first_error
from spawn.runtime.waiting import Backoff

__all__ = ["Ownership"]

_LOGGER: Final = "spawn.node"

_LOOK_S: Final = 1.0
_GRACE_S: Final = 2.0
"""For the appends in flight on partitions not lost yet, when a fenced node ends."""


class Ownership:
    """Keeps all partitions of a node owned, until another node owns the deciding one."""

    def __init__(self, workers: Sequence[PartitionWorker], say: Callable[[str], None]) -> None:
        self._deciding, *self._others = workers
        self._workers = workers
        self._say = say
        self.stopped: list[str] = []
        """Partitions that stopped, and why."""

    async def run(self, serving: asyncio.Event) -> None:
        """Claim everything, set `serving` when all is owned, keep it; never returns.

        Raises: Fenced (another node owns the deciding partition), ForeignLog.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep(self._deciding))
                await self._deciding.settled.wait()
                for worker in self._others:
                    tasks.create_task(self._keep(worker))
                for worker in self._others:
                    await worker.settled.wait()
                serving.set()
                tasks.create_task(self._look())
        except BaseExceptionGroup as group:
            raise first_error(group) from group

    async def _keep(self, worker: PartitionWorker) -> None:
        reason = "start"
        backoff = Backoff()
        log = PartitionLogger(_LOGGER, worker.at)
        while True:
            try:
                await worker.serve(reason)
            except PartitionLost as lost:
                log.warning("%s", lost, extra={"offset": lost.offset})
                if worker is self._deciding or not await self._ours():
                    raise await self._fenced(lost, worker) from lost
                reason = "retake"
                await backoff.sleep()
            except PartitionStopped as stopped:
                self._say(f"error: {stopped} [{stopped.code}]")
                self.stopped.append(str(stopped))
                worker.refuse(stopped)
                return

    async def _ours(self) -> bool:
        """Tell whether the deciding partition is ours, as its log says to its end."""
        backoff = Backoff()
        log = PartitionLogger(_LOGGER, self._deciding.at)
        while self._deciding.machine.phase is not Phase.STOPPED:
            try:
                return await self._deciding.owned_in_log()
            except (LogError, UnreadablePrefix) as error:
                log.warning("%s can't be read: %s", self._deciding.at, error)
                await backoff.sleep()
        return False

    async def _look(self) -> None:
        worker = self._deciding
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                if not worker.active.is_set() or await worker.owned_in_log():
                    continue
            except (LogError, UnreadablePrefix):
                continue
            # Its own next append meets the foreign claim; a read makes one even where all is idle.
            worker.look()

    async def _fenced(self, lost: PartitionLost, loser: PartitionWorker) -> Fenced:
        """Return why this node ends, after everybody who waits for another partition was told."""
        fenced = Fenced(
            f"{lost}; this node has stopped writing, nothing acknowledged is lost",
            at=f"{lost.at}@{lost.offset}",
            hint="two nodes were started on one system: give one of them another SPAWN_SYSTEM",
        )
        loser.refuse(fenced)
        deadline = asyncio.get_running_loop().time() + _GRACE_S
        others = [worker for worker in self._workers if worker is not loser]
        await asyncio.gather(*(worker.quiesce(fenced, deadline) for worker in others))
        return fenced
