"""The appends of one partition: one in flight, the gap, the unknown outcome (log protocol 5)."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final

from eventstore.errors import (
    LogForbidden,
    LogRefused,
    LogTooLarge,
    LogUnavailable,
    TopicMissing,
    UnreadablePrefix,
)
from eventstore.log import LogRecord, TopicPartition
from eventstore.records import StoredRecord
from spawn.core.actors import Actor, Entry
from spawn.core.fold import LossDetected
from spawn.core.ingress import COMMIT_BUCKETS_S
from spawn.core.partition import Append, Partition, Phase
from spawn.errors import LogUnreachable, PartitionStopped
from spawn.runtime.context import NodeContext
from spawn.runtime.counts import BATCH_BUCKETS, PartitionCounts, keep_arrivals
from spawn.runtime.outcomes import fail
from spawn.runtime.partition_log import PartitionLogger
from spawn.runtime.takeover import append_claim, fold_all, lost_to
from spawn.runtime.waiting import Backoff

__all__ = ["Appends"]

SLOW_APPEND_S: Final = 2.0
"""An append that took longer may hide a change of the log's leader: its records, and the one before
them, are read again before they count (log protocol 11), as after a change that shows itself."""

_OBSERVED: Final = 2_000
"""Records folded between two turns of the event loop: a few milliseconds."""


class Appends:
    """Owns everything that is appended to one partition while its machine is active."""

    def __init__(
        self,
        context: NodeContext,
        at: TopicPartition,
        machine: Partition,
        counts: PartitionCounts,
        settled: Callable[[Sequence[Entry]], None],
        resumed: Callable[[Sequence[Actor]], None],
    ) -> None:
        self._context = context
        self._at = at
        self._machine = machine
        self._counts = counts
        self._commit_seconds = counts.commit_seconds
        self._log = PartitionLogger("spawn.partition", at)
        self._settled = settled
        self._resumed = resumed
        self.wake = asyncio.Event()
        """Set it when something was decided or a read waits."""
        self._forbidden = Backoff()
        self._way = context.log.way(at)
        """Which way the appends went whose records are known to stand: the claim's, at first."""

    async def run(self) -> None:
        """Append what is decided until the partition is lost; never returns.

        Raises: PartitionLost, PartitionStopped.
        """
        machine, clock = self._machine, self._context.clock
        while True:
            await self.wake.wait()
            self.wake.clear()
            try:
                while (append := machine.cut(clock.monotonic())) is not None:
                    await self._append(append)
            except (LossDetected, UnreadablePrefix) as error:
                hint = "the log lost or garbled records; nothing more is written here until an "
                raise self._stopped(error, hint + "operator decides") from error
            except (LogRefused, TopicMissing) as error:
                hint = "the log takes nothing more here; mend what it says, then restart the node"
                raise self._stopped(error, hint) from error

    def _stopped(self, error: Exception, hint: str) -> PartitionStopped:
        self._machine.phase = Phase.STOPPED
        return PartitionStopped(f"{self._at} stopped: {error}", at=str(self._at), hint=hint)

    async def _append(self, append: Append) -> None:
        machine, clock = self._machine, self._context.clock
        started = clock.monotonic()
        records = [LogRecord(key, value) for key, value in append.records]
        try:
            base = await self._context.log.append(self._at, records, clock.time_us() // 1000)
        except LogForbidden as error:
            await self._withdraw(error)
            return
        except LogUnavailable as error:
            await self._recover(error)
            return
        except LogTooLarge as error:
            actors = machine.too_large(str(error))
            if actors is None:
                raise
            text = "%s: a batch of %d records is too large and is made smaller: %s"
            self._log.warning(text, self._at, len(records), error)
            self._resumed(actors)
            return
        except (LogRefused, TopicMissing):
            machine.refused()  # certainly not stored: nobody is told that it may be
            raise
        self._forbidden.reset()
        elapsed = clock.monotonic() - started
        measured, counts = self._commit_seconds, self._counts
        measured.counts[bisect_left(COMMIT_BUCKETS_S, elapsed)] += 1
        measured.total += elapsed
        if not append.is_barrier:
            counts.batch_buckets[BATCH_BUCKETS[len(records)]] += 1
            counts.appended_bytes += append.body_bytes
        settled = None
        way = self._context.log.way(self._at)
        if elapsed < SLOW_APPEND_S and way == self._way:
            settled = machine.acknowledged(base)
        elif base < machine.fold.position:
            settled = machine.acknowledged(base)  # a loss in any case, which it raises
        else:
            machine.landed(base)
        if settled is None:
            await self._read_gap(base + len(records), way)
        else:
            self._settled(settled)

    async def _read_gap(self, end: int, way: int) -> None:
        """Read from our last record to the batch's end: what counts is what the log says.

        The batch does not stand where it was expected, or it took so long or went another way than
        the last one, so that the log's leader may have changed and lost what it had acknowledged.
        """
        try:
            await self._observe_to(end)
        except LogUnavailable as error:
            await self._recover(error)
            return
        self._way = way
        if self._machine.appending:
            raise LossDetected(f"an acknowledged batch is not in the log below offset {end}")

    async def _withdraw(self, cause: LogForbidden) -> None:
        """Nothing was stored, for want of rights: tell who waits for it, and go on a while later.

        What arrives meanwhile runs, and is the next try.
        """
        self._context.outstanding.log_failures += 1
        fields = {"claim": self._machine.mine.hex(), "offset": self._machine.fold.position}
        self._log.warning("%s: nothing can be appended: %s", self._at, cause, extra=fields)
        commands, actors = self._machine.withdraw()
        for command in commands:
            error = LogUnreachable(
                f"the log lets this node write nothing: {cause}",
                at=str(self._at),
                hint="nothing was executed; grant the node's user the rights to the topic",
            )
            fail(command, error, self._context.outstanding)
        self._resumed(actors)
        await self._forbidden.sleep()

    async def _recover(self, cause: LogUnavailable) -> None:
        """The outcome is unknown: claim again, read what counts, run the rest again."""
        machine = self._machine
        if machine.phase is Phase.RELEASED:
            return  # nothing may be written behind a Release
        counts, context, text = self._counts, self._context, "an append's outcome is unknown"
        fields = {"claim": machine.mine.hex(), "offset": machine.fold.position}
        self._log.warning("%s: %s (%s); claiming again", self._at, text, cause, extra=fields)
        counts.recoveries += 1
        context.outstanding.log_failures += 1
        keep_arrivals([entry.command for entry in machine.inflight + machine.pending])
        machine.lost()
        backoff = Backoff()
        before = machine.mine
        while True:
            try:
                own = await append_claim(self._context, self._at, machine, "recover")
                way = self._context.log.way(self._at)
                await self._observe_to(own.offset + 1)
            except LogUnavailable as error:
                context.outstanding.log_failures += 1
                self._log.warning("%s: recovery waits for the log: %s", self._at, error)
                await backoff.sleep()
                continue
            if machine.fold.fence.claim != before:
                self._way = way
                break
        self._resumed(machine.resume())

    def _observe(self, records: Sequence[StoredRecord]) -> None:
        self._settled(self._machine.observe(records))

    async def _observe_to(self, end: int) -> None:
        """Fold what the log has below `end`, in pieces with a turn of the event loop after each.

        It begins one record before the position, so that this one can be compared. Raises:
        PartitionLost, as soon as a valid foreign claim is met; LossDetected, LogUnavailable.
        """
        machine = self._machine
        start = max(machine.fold.position - 1, 0)
        async for chunk in self._context.log.read(self._at, start, end):
            for first in range(0, len(chunk), _OBSERVED):
                records = chunk[first : first + _OBSERVED]
                await fold_all(self._context, self._at, machine, records, self._observe)
                if machine.phase is Phase.FENCED:
                    raise await lost_to(self._context, self._at, machine)
                await asyncio.sleep(0)
