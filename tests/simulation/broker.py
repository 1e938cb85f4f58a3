"""The event log of a simulated system: one broker, and each process's way to it.

A batch that a process sent lands whether the process lives on or not. On the way it may be lost,
come late, come twice, or be stored and its acknowledgement lost (log protocol 1).
"""

from __future__ import annotations

import asyncio
import enum
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from eventstore.codec import decode_claim_body
from eventstore.errors import LogRefused, LogUnavailable
from eventstore.log import LogRecord, TopicPartition
from eventstore.records import Claim, decode_prefix

if TYPE_CHECKING:
    from tests.simulation.loop import Process
    from tests.simulation.world import World

__all__ = ["Broker", "Fate", "Kept", "NodeLog"]

_APPEND_TIMEOUT_S: Final = 2.0
_READ_TIMEOUT_S: Final = 2.0
_CHUNK: Final = 64


class Kept(NamedTuple):
    """A stored record."""

    offset: int
    key: bytes | None
    value: bytes | None
    time_ms: int


class Fate(enum.Enum):
    """What becomes of one append."""

    STORED = enum.auto()
    LOST = enum.auto()
    UNACKNOWLEDGED = enum.auto()
    LATE = enum.auto()
    TWICE = enum.auto()
    """A retry inside the client: stored twice, the second one's offset is told."""


class Broker:
    """What is stored, and what readers are shown of it."""

    def __init__(self, world: World, partitions: Sequence[TopicPartition]) -> None:
        self._world = world
        self.records: dict[TopicPartition, list[Kept]] = {at: [] for at in partitions}
        self.old_ends: dict[TopicPartition, int] = {}
        """Partitions whose end is told by a leader that was deposed: an old one."""
        self.claims: list[tuple[float, TopicPartition, bytes]] = []
        """When a claim was stored, and whose."""
        self.truncated: set[TopicPartition] = set()
        self.ways: Counter[TopicPartition] = Counter()
        """Changes of the partitions' leaders."""

    def store(self, at: TopicPartition, batch: Sequence[LogRecord], time_ms: int) -> int:
        """Append a batch whole."""
        records = self.records[at]
        base = len(records)
        for record in batch:
            records.append(Kept(len(records), record.key, record.value, time_ms))
            if record.key is None and record.value is not None:
                prefix = decode_prefix(record.value)
                if isinstance(prefix, Claim):
                    owner = decode_claim_body(record.value, prefix.body_at).owner
                    self.claims.append((self._world.loop.now, at, owner))
        self._world.note(f"stored {at} {base}+{len(batch)}")
        return base

    def truncate(self, at: TopicPartition, count: int) -> None:
        """Lose the last records: an unclean election."""
        records = self.records[at]
        del records[max(1, len(records) - count) :]
        self.truncated.add(at)
        self.ways[at] += 1
        self._world.note(f"truncated {at} to {len(records)}")

    def shown_end(self, at: TopicPartition) -> int:
        """Return the end that a reader is told."""
        end = len(self.records[at])
        return min(self.old_ends.get(at, end), end)


class NodeLog:
    """`EventLog` of one process."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process
        self._ways: dict[TopicPartition, int] = {}

    def way(self, at: TopicPartition) -> int:
        """Return the number of the leader that the last append reached."""
        return self._ways.get(at, 0)

    async def append(self, at: TopicPartition, batch: Sequence[LogRecord], time_ms: int) -> int:
        """Send a batch; wait for its offset."""
        world = self._world
        loop, broker, weather = world.loop, world.broker, world.weather
        answer: asyncio.Future[int] = loop.create_future()
        kept = list(batch)
        fate = weather.fate(self._process, at)

        def told(base: int, way: int) -> None:
            if not answer.done():
                self._ways[at] = way
                answer.set_result(base)

        def land() -> None:
            way = broker.ways[at]
            base = broker.store(at, kept, time_ms)
            if fate is Fate.TWICE:
                base = broker.store(at, kept, time_ms)
            if fate is not Fate.UNACKNOWLEDGED and fate is not Fate.LATE:
                world.later(weather.answer_delay(self._process), lambda: told(base, way))

        if fate is not Fate.LOST:
            late = weather.lateness() if fate is Fate.LATE else 0.0
            world.later(weather.delay(self._process) + weather.slowness(at) + late, land)
        try:
            async with asyncio.timeout(_APPEND_TIMEOUT_S):
                return await answer
        except TimeoutError:
            raise LogUnavailable(f"{at}: no answer; the batch may be stored") from None

    async def read(self, at: TopicPartition, start: int, end: int) -> AsyncIterator[Sequence[Kept]]:
        """Give stored records in chunks."""
        while start < end:
            await self._reach()
            records = self._world.broker.records[at]
            if start > len(records):
                raise LogRefused(f"{at}: offset {start} is above the log's end")
            chunk = records[start : min(end, start + _CHUNK)]
            if not chunk:
                raise LogUnavailable(f"{at}: nothing there yet at offset {start}")
            yield chunk
            start += len(chunk)

    async def bounds(self, at: TopicPartition) -> tuple[int, int]:
        """Return the first offset and the end as it is shown now."""
        await self._reach()
        return 0, self._world.broker.shown_end(at)

    async def partitions(self, topics: Sequence[str]) -> Mapping[str, int]:
        """Count them."""
        await self._reach()
        found = Counter(at.topic for at in self._world.broker.records)
        return {name: found[name] for name in topics if name in found}

    async def close(self) -> None:
        """Nothing is open."""

    async def _reach(self) -> None:
        weather = self._world.weather
        if weather.is_cut(self._process):
            await asyncio.sleep(_READ_TIMEOUT_S)
            raise LogUnavailable("the log does not answer")
        await asyncio.sleep(weather.delay(self._process))
