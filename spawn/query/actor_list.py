"""All actors of a system by id, a page at a time, without waking any.

The database has every actor as of the last flush, the log's tail those written since; both come in
the order of ids, so a page costs what it shows, however many actors there are. Without a database
the whole log is the tail: the names in it are then held in memory.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from eventstore.errors import CorruptRecord, LogRefused
from eventstore.log import EventLog, TopicPartition
from eventstore.records import Commit, Flag, Outcome, decode_prefix
from eventstore.rows import ActorListing, ActorName
from eventstore.snapshots import SnapshotStore
from spawn.core.fold import LossDetected
from spawn.query.starts import find_start, step_through

__all__ = ["ActorLine", "ActorList"]

_AT_ONCE: Final = 8
_PAGE_MAX: Final = 1000
_GAP_MAX: Final = 512
"""Records further apart than this are fetched one by one (as in `eventstore.history`)."""
_Key = tuple[bytes, str]
"""What actors are sorted by: the id's bytes, then the type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorLine:
    """One actor."""

    type: str
    id: str
    revision: int
    deleted: bool
    at: TopicPartition
    offset: int
    """Of its last record."""
    time_us: int | None = None
    """Of its last record, microseconds since 1970 UTC; None: not looked up, or no longer kept."""


class _Change(NamedTuple):
    """What the tail says of an actor."""

    revision: int
    offset: int
    time_us: int
    deleted: bool | None
    """None: no record of the tail says."""


_Tail = dict[ActorName, _Change]


class ActorList:
    """Pages through the actors of some topics."""

    def __init__(
        self,
        log: EventLog,
        store: SnapshotStore | None,
        topics: Mapping[str, int],
        actor_type: str | None,
    ) -> None:
        """`actor_type` None: of every type in these topics."""
        self._log = log
        self._store = store
        self._type = actor_type
        self._places = [
            TopicPartition(topic, n) for topic, count in topics.items() for n in range(count)
        ]
        self.problems: list[str] = []
        """What could not be used or read to its end, after the first page."""

    async def pages(
        self, *, after: ActorName | None, limit: int | None, times: bool
    ) -> AsyncIterator[Sequence[ActorLine]]:
        """Yield the actors behind `after` by id then type, at most `limit` of them.

        `times` looks up when each was last written, which costs a fetch for those of long ago.
        Raises: LogUnavailable, SnapshotsUnavailable.
        """
        size = min(_PAGE_MAX, limit or _PAGE_MAX)
        page: list[ActorLine] = []
        given = 0
        async for line in self._merged(after, size):
            page.append(line)
            given += 1
            if len(page) == size or given == limit:
                yield await self._with_times(page) if times else page
                page = []
            if given == limit:
                return
        if page:
            yield await self._with_times(page) if times else page

    async def _merged(self, after: ActorName | None, size: int) -> AsyncIterator[ActorLine]:
        """Merge the partitions; each has its next actor in the heap."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def begin(at: TopicPartition) -> AsyncIterator[ActorLine]:
            async with turns:
                tail, has_store = await self._tail(at)
            return self._partition(at, tail, after, size, has_store=has_store)

        async with asyncio.TaskGroup() as tasks:
            begun = [tasks.create_task(begin(at)) for at in self._places]
        streams = [each.result() for each in begun]
        heap: list[tuple[_Key, int, ActorLine]] = []
        for number, stream in enumerate(streams):
            await _push_next(heap, number, stream)
        while heap:
            _, number, line = heapq.heappop(heap)
            yield line
            await _push_next(heap, number, streams[number])

    async def _tail(self, at: TopicPartition) -> tuple[_Tail, bool]:
        """Return what stands behind the checkpoint, and whether the store's rows count."""
        start = await find_start(self._log, self._store, at)
        if start.problem:
            self.problems.append(start.problem)
        tail: _Tail = {}
        try:
            async for stored, commit in step_through(self._log, at, start.fold, start.end):
                actor_type = commit.type.decode()
                if stored.key is not None and self._type in (None, actor_type):
                    name = (actor_type, stored.key.decode(errors="replace"))
                    tail[name] = _change(tail.get(name), commit, stored.offset)
        except (CorruptRecord, LossDetected) as error:
            self.problems.append(f"{at} is shown up to offset {start.fold.position}: {error}")
        return tail, start.checkpoint is not None

    async def _partition(
        self,
        at: TopicPartition,
        tail: _Tail,
        after: ActorName | None,
        size: int,
        *,
        has_store: bool,
    ) -> AsyncIterator[ActorLine]:
        """Yield one partition's actors in order: the store's, overtaken by the tail's."""
        behind = _key(*after) if after else (b"", "")
        changed = sorted(
            (name for name in tail if _key(*name) > behind), key=lambda name: _key(*name)
        )
        waiting = iter(changed)
        name = next(waiting, None)
        async for row in self._rows(at, after, size) if has_store else _none():
            while name is not None and _key(*name) < _key(row.type, row.id):
                yield _line(at, name, tail[name], None)
                name = next(waiting, None)
            if name == (row.type, row.id):
                yield _line(at, name, tail[name], row)
                name = next(waiting, None)
            else:
                yield _line(at, (row.type, row.id), None, row)
        while name is not None:
            yield _line(at, name, tail[name], None)
            name = next(waiting, None)

    async def _rows(
        self, at: TopicPartition, after: ActorName | None, size: int
    ) -> AsyncIterator[ActorListing]:
        assert self._store is not None
        # The first page is small where there are many partitions: most of it may not be needed.
        limit = max(16, 2 * size // len(self._places))
        while True:
            rows = await self._store.actors(at, actor_type=self._type, after=after, limit=limit)
            for row in rows:
                yield row
            if len(rows) < limit:
                return
            after, limit = (rows[-1].type, rows[-1].id), _PAGE_MAX

    async def _with_times(self, page: Sequence[ActorLine]) -> Sequence[ActorLine]:
        """Look up the times that the tail did not tell, by reading the records."""
        wanted: dict[TopicPartition, list[int]] = {}
        for line in page:
            if line.time_us is None:
                wanted.setdefault(line.at, []).append(line.offset)
        pieces = [
            (at, piece) for at, offsets in wanted.items() for piece in _pieces(sorted(offsets))
        ]
        turns = asyncio.Semaphore(_AT_ONCE)
        times: dict[tuple[TopicPartition, int], int] = {}

        async def read(at: TopicPartition, piece: Sequence[int]) -> None:
            async with turns:
                try:
                    # A database may name records that the log has no longer, or not (any more).
                    first, end = await self._log.bounds(at)
                    stop = min(end, piece[-1] + 1)
                    async for chunk in self._log.read(at, min(max(first, piece[0]), stop), stop):
                        for stored in chunk:
                            if stored.offset in piece:
                                prefix = decode_prefix(stored.value)
                                if isinstance(prefix, Commit):
                                    times[at, stored.offset] = prefix.time_us
                except (LogRefused, CorruptRecord):
                    return  # no longer kept, or unreadable: the time stays unknown

        async with asyncio.TaskGroup() as tasks:
            for at, piece in pieces:
                tasks.create_task(read(at, piece))
        return [
            line
            if line.time_us is not None
            else replace(line, time_us=times.get((line.at, line.offset)))
            for line in page
        ]


async def _push_next(
    heap: list[tuple[_Key, int, ActorLine]], number: int, stream: AsyncIterator[ActorLine]
) -> None:
    line = await anext(stream, None)
    if line is not None:
        heapq.heappush(heap, (_key(line.type, line.id), number, line))


async def _none() -> AsyncIterator[ActorListing]:
    rows: Sequence[ActorListing] = ()
    for row in rows:
        yield row


def _key(actor_type: str, actor_id: str) -> _Key:
    return actor_id.encode(), actor_type


def _change(before: _Change | None, commit: Commit, offset: int) -> _Change:
    deleted = before.deleted if before is not None else None
    if commit.outcome == Outcome.APPLIED:
        deleted = bool(commit.flags & Flag.DELETED)
    return _Change(commit.revision, offset, commit.time_us, deleted)


def _line(
    at: TopicPartition, name: ActorName, change: _Change | None, row: ActorListing | None
) -> ActorLine:
    """Put together what tail and store say; a row may be newer than the tail that was read."""
    if change is None or (row is not None and row.offset > change.offset):
        assert row is not None
        return ActorLine(
            type=name[0],
            id=name[1],
            revision=row.revision,
            deleted=row.deleted,
            at=at,
            offset=row.offset,
        )
    deleted = change.deleted
    if deleted is None:
        deleted = row.deleted if row is not None else False
    return ActorLine(
        type=name[0],
        id=name[1],
        revision=change.revision,
        deleted=deleted,
        at=at,
        offset=change.offset,
        time_us=change.time_us,
    )


def _pieces(offsets: Iterable[int]) -> Sequence[Sequence[int]]:
    """Part offsets where the gap between two is large."""
    pieces: list[list[int]] = []
    for offset in offsets:
        if pieces and offset - pieces[-1][-1] <= _GAP_MAX:
            pieces[-1].append(offset)
        else:
            pieces.append([offset])
    return pieces
