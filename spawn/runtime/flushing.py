"""Write-behind: changed actors and the checkpoint of their partition, to the store in batches.

Off the commit path: a slow or dead store delays nothing but the next flush. Everything written was
captured from committed state in one step (log protocol 4); it is encoded in slices, so that no
flush holds up the event loop.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

from eventstore.errors import LogError, SnapshotError
from eventstore.log import TopicPartition
from eventstore.rows import NO_STATE, ActorRow, FlushSlice, HistoryRow, KeyRow
from eventstore.snapshots import SnapshotStore
from spawn.core.actors import UNLOADED, Actor
from spawn.core.partition import Partition
from spawn.core.residents import Capture, Captured
from spawn.runtime.clock import stopwatch_s
from spawn.runtime.counts import PartitionCounts
from spawn.runtime.partition_log import PartitionLogger

__all__ = ["UNREADABLE", "Flusher"]

SLICE: Final = 250
"""Actors encoded between two turns of the event loop: about 1 ms; fewer cost more CPU each."""
UNREADABLE: Final = NO_STATE
"""The `version` of a row without a usable state: its actor is refolded from the log."""
_NO_FINGERPRINT: Final = bytes(8)


class Flusher:
    """Flushes one partition."""

    def __init__(
        self,
        at: TopicPartition,
        machine: Partition,
        store: SnapshotStore,
        counts: PartitionCounts,
        state_bytes_max: int,
        read_again: Callable[[], Awaitable[None]],
    ) -> None:
        self._at = at
        self._machine = machine
        self._store = store
        self._counts = counts
        self._log = PartitionLogger("spawn.snapshots", at)
        self._state_bytes_max = state_bytes_max
        self._read_again = read_again
        self.state_bytes = 64.0
        """Moving average of an encoded state's size; passivation estimates memory with it."""

    async def flush(self) -> bool:
        """Write one checkpoint with all actors changed since the last; tell whether it stands.

        Every dirty actor must be loaded. Raises: SnapshotError - nothing was written, or nobody
        knows; the actors stay dirty either way, and a row never replaces a newer one.
        """
        machine = self._machine
        if machine.fold.position <= machine.residents.base:
            return True
        counts = self._counts
        capture = machine.residents.capture(machine.fold)
        counts.capture()
        started = stopwatch_s()
        applied = False
        try:
            applied = await self._store.flush(
                self._at, capture.checkpoint, capture.base, self._slices(capture)
            )
        finally:
            counts.flushed(applied)
            if applied:
                machine.residents.flushed(capture)
                counts.flushed_actors += len(capture.actors)
                counts.flush_seconds.observe(stopwatch_s() - started)
            else:
                counts.flush_failures += 1
                machine.residents.flush_failed(capture)
        if not applied:
            await self._read_again()
        return applied

    async def _slices(self, capture: Capture) -> AsyncIterator[FlushSlice]:
        actors = capture.actors
        for start in range(0, len(actors), SLICE):
            chunk = actors[start : start + SLICE]
            yield FlushSlice(
                [self._row(captured) for captured in chunk],
                (),
                [row for captured in chunk for row in _key_rows(captured)],
                [
                    (captured.actor.table.type, captured.actor.id.decode(), key)
                    for captured in chunk
                    for key in captured.dropped_keys
                ],
            )
            await asyncio.sleep(0)
        for start in range(0, len(capture.history), SLICE):
            chunk_of_history = capture.history[start : start + SLICE]
            yield FlushSlice((), _history_rows(chunk_of_history))
            await asyncio.sleep(0)

    def _row(self, captured: Captured) -> ActorRow:
        actor = captured.actor
        behavior = actor.table.behavior
        name = (actor.table.type, actor.id.decode())
        if captured.deleted or captured.revision == 0:
            return ActorRow(
                *name, captured.revision, captured.offset, captured.deleted, None,
                _NO_FINGERPRINT, behavior.settings.snapshot_version, 0,
            )  # fmt: skip
        if captured.state is UNLOADED:
            return _unreadable_row(captured, name)
        try:
            fingerprint, data = behavior.encode_state(captured.state)
        except Exception as error:  # noqa: BLE001 - user code, or an encoder that it brought along
            fields = {
                "actor": actor.name,
                "revision": captured.revision,
                "offset": captured.offset,
            }
            text = "%s has a state that can't be stored: %s: %s"
            kind = type(error).__name__
            self._log.warning(text, actor.name, kind, error, extra=fields)
            return _unreadable_row(captured, name)
        self.state_bytes += (len(data) - self.state_bytes) * 0.01
        if len(data) > self._state_bytes_max:
            return _unreadable_row(captured, name)
        return ActorRow(
            *name, captured.revision, captured.offset, False, data, fingerprint,
            behavior.settings.snapshot_version, zlib.crc32(data),
        )  # fmt: skip


def _unreadable_row(captured: Captured, name: tuple[str, str]) -> ActorRow:
    """Return a row that only tells where the actor's history ends: parked, or too large."""
    return ActorRow(
        *name, captured.revision, captured.offset, False, b"", _NO_FINGERPRINT, UNREADABLE, 0
    )


def _key_rows(captured: Captured) -> list[KeyRow]:
    actor = captured.actor
    return [
        KeyRow(actor.table.type, actor.id.decode(), key, bound.payload, bound.offset, bound.time_us)
        for key, bound in captured.keys.items()
    ]


def _history_rows(entries: Sequence[tuple[Actor, int, int, object]]) -> list[HistoryRow]:
    rows = []
    for actor, revision, offset, state in entries:
        try:
            fingerprint, data = actor.table.behavior.encode_state(state)
        except Exception:  # noqa: BLE001 - as above
            continue  # its row tells; the log has every revision
        rows.append(
            HistoryRow(actor.table.type, actor.id.decode(), revision, offset, data, fingerprint)
        )
    return rows


async def keep_flushing(
    flush: Callable[[], Awaitable[None]], wanted: asyncio.Event, interval_s: float
) -> None:
    """Flush every `interval_s`, or at once when `wanted` is set; go on after a dead store or log.

    The log is read for actors that are dirty and not loaded.
    """
    while True:
        try:
            async with asyncio.timeout(interval_s):
                await wanted.wait()
        except TimeoutError:
            pass
        wanted.clear()
        try:
            await flush()
        except (SnapshotError, LogError):
            await asyncio.sleep(interval_s)
