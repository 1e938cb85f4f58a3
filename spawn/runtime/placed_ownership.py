"""Owning what a placement wants: take over, keep, hand over (design 3.3).

Each partition has a task. It serves while the placement wants the partition here; when that ends it
hands over: nothing more is started, a Release is written, and calls wait for the next owner. A
partition that is lost to a claim of another node is taken again only if it is still wanted after a
pause, which grows while it is lost again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from eventstore.log import TopicPartition
from spawn.errors import ForeignLog, PartitionStopped
from spawn.runtime.elsewhere import Elsewhere
from spawn.runtime.partition_log import PartitionLogger
from spawn.runtime.partition_worker import PartitionWorker
from spawn.runtime.placement import Placement
from spawn.runtime.takeover import ForeignSnapshots, PartitionLost
from spawn.runtime.tasks import first_error
from spawn.runtime.waiting import Backoff

__all__ = ["PlacedOwnership"]

_LOGGER: Final = "spawn.node"
_HAND_OVER_S: Final = 0.1
"""For actions that run when a partition is handed over (design 3.3)."""
_MENDED_S: Final = 10.0
"""A partition that can't be taken over is tried again so often: an operator may have mended it."""
_CLAIM_POLL_S: Final = 0.01
_STEADY_S: Final = 5.0
"""A partition that was kept so long was no duel: its next loss is waited for shortly again."""


class PlacedOwnership:
    """Keeps the partitions owned that a placement wants."""

    def __init__(
        self,
        workers: Sequence[PartitionWorker],
        placement: Placement,
        say: Callable[[str], None],
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._workers = workers
        self._placement = placement
        self._say = say
        self._elsewhere = elsewhere
        self._serving = asyncio.Event()
        self._foreign: ForeignLog | None = None
        """The first snapshots that were found to be of another log."""
        self._stopped: dict[TopicPartition, str] = {}
        """Partitions that stopped, and why."""

    async def run(self, serving: asyncio.Event) -> None:
        """Own what is wanted; `serving` is set once all that was wanted first is owned.

        Never returns. Raises: Fenced - the placement says that this node is not to go on;
        ForeignLog - before it served, and nobody else does: log or database are another system's.
        """
        self._serving = serving
        await self._placement.begun()
        for worker in self._workers:
            worker.is_elsewhere = not self._placement.wants(worker.at)
        first = [worker for worker in self._workers if self._placement.wants(worker.at)]
        try:
            async with asyncio.TaskGroup() as tasks:
                for worker in self._workers:
                    tasks.create_task(self._keep(worker))
                for worker in first:
                    await worker.settled.wait()
                self._refuse_foreign(first)
                serving.set()
        except BaseExceptionGroup as group:
            raise first_error(group) from group

    def _refuse_foreign(self, first: Sequence[PartitionWorker]) -> None:
        """Refuse to go on where all snapshots that were found are of another log.

        Where some are right, or others serve with this database, the rest is a loss of the log, and
        no matter of the whole node.
        """
        is_right = any(worker.served and worker.machine.residents.base > 0 for worker in first)
        if self._foreign is not None and not is_right and self._placement.is_alone():
            raise self._foreign

    def not_ready(self) -> Sequence[str]:
        """Return why the node as a whole is not ready."""
        return [*self._stopped.values(), *self._placement.not_ready()]

    def _is_first(self) -> bool:
        return not self._serving.is_set() and self._placement.is_alone()

    async def _keep(self, worker: PartitionWorker) -> None:
        log = PartitionLogger(_LOGGER, worker.at)
        loop, backoff, reason = asyncio.get_running_loop(), Backoff(), "assigned"
        while True:
            worker.is_elsewhere = not self._placement.wants(worker.at)
            await self._until(worker, wanted=True)
            worker.be_wanted()
            since, served = loop.time(), worker.served
            try:
                await self._serve(worker, reason)
                worker.settled.set()  # another node's now: a start does not wait for it
                reason = "assigned"
            except PartitionLost as lost:
                log.warning("%s", lost, extra={"offset": lost.offset})
                if self._elsewhere is not None and lost.owner is not None:
                    epoch = worker.machine.fold.fence.epoch
                    self._elsewhere.learn(worker.at, epoch, lost.owner.endpoint)
                self._placement.taken(worker.at, lost.owner)
                worker.settled.set()
                if loop.time() - since > _STEADY_S:
                    backoff = Backoff()
                reason = "retake"
                await backoff.sleep()
            except (PartitionStopped, ForeignLog) as stopped:
                if isinstance(stopped, ForeignSnapshots):
                    self._foreign = self._foreign or stopped
                elif isinstance(stopped, ForeignLog) and self._is_first():
                    raise  # it was started on another system's log
                # The others go on: what is wrong is this partition's log.
                if self._stopped.get(worker.at) != str(stopped):
                    self._say(f"error: {stopped} [{stopped.code}]")
                self._stopped[worker.at] = str(stopped)
                worker.refuse(stopped)
                self._placement.stopped(worker.at)
                if worker.served != served:
                    # What an owner has seen of a loss, a new reading may not show: nobody goes on
                    # from there by himself.
                    await asyncio.get_running_loop().create_future()
                await asyncio.sleep(_MENDED_S)

    async def _serve(self, worker: PartitionWorker, reason: str) -> None:
        """Serve until it is no longer wanted. Raises: as `PartitionWorker.serve`."""
        is_lost = False
        try:
            async with asyncio.TaskGroup() as tasks:
                serving = tasks.create_task(worker.serve(reason, self._placement.may_claim))
                announcing = tasks.create_task(self._announce(worker))
                serving.add_done_callback(lambda _: announcing.cancel())
                unwanted = tasks.create_task(self._until_unwanted(worker))
                serving.add_done_callback(lambda _: unwanted.cancel())
                await asyncio.wait([unwanted])
                if not serving.done():
                    if worker.active.is_set():
                        await worker.hand_over(asyncio.get_running_loop().time() + _HAND_OVER_S)
                    serving.cancel()
        except BaseExceptionGroup as group:
            error = first_error(group)
            is_lost = isinstance(error, PartitionLost)
            raise error from group
        finally:
            epoch = worker.machine.fold.fence.epoch
            if (elsewhere := self._elsewhere) is not None:
                elsewhere.released(worker.at)
            self._placement.let_go(worker.at, epoch, is_lost=is_lost)
            if elsewhere is not None:
                for command in worker.take_waiting():
                    elsewhere.send(command, worker.at)

    async def _until_unwanted(self, worker: PartitionWorker) -> None:
        while True:
            await self._until(worker, wanted=False)
            # A claim on its way may land whatever happens here, and nobody else would know of it.
            if not await self._claim_ends(worker):
                return
            await asyncio.sleep(0)  # the placement hears that it is served

    async def _claim_ends(self, worker: PartitionWorker) -> bool:
        """Wait while a claim is under way; tell whether one was."""
        is_waited = False
        while worker.claiming:  # many things end it
            is_waited = True
            await asyncio.sleep(_CLAIM_POLL_S)
        return is_waited

    async def _announce(self, worker: PartitionWorker) -> None:
        await worker.active.wait()
        if self._stopped.pop(worker.at, None) is not None:
            self._say(f"{worker.at} is served again")
        if self._elsewhere is not None:
            self._elsewhere.owned(worker.at, worker.machine.fold.fence.epoch)
        self._placement.serving(worker.at)
        await asyncio.sleep(_STEADY_S)
        self._placement.kept(worker.at)

    async def _until(self, worker: PartitionWorker, *, wanted: bool) -> None:
        while self._placement.wants(worker.at) is not wanted:
            await self._placement.changed()
