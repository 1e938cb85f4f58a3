"""An actor's records, newest first, by walking back its `previous` pointers (design 3.1).

Needs no index and no node. Each fetch takes a window of records before the one wanted and follows
the pointers inside it for nothing; the window grows while that pays and shrinks when it does not,
so that both a dense and a sparse history cost few fetches.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from eventstore.errors import CorruptRecord
from eventstore.log import EventLog, TopicPartition
from eventstore.records import NO_PREVIOUS, Commit, StoredRecord, decode_prefix

__all__ = ["HistoryRecord", "read_one", "walk_back"]

_WINDOW_FIRST: Final = 64
_WINDOW_MIN: Final = 16
_WINDOW_MAX: Final = 65_536
"""Records a fetch: some 10 MB of small ones, so that a dense history is one bounded scan. That
matters on the embedded broker, where finding an offset costs up to 100 ms."""
_WINDOW_FACTOR: Final = 4


class HistoryRecord(NamedTuple):
    """One record of one actor."""

    offset: int
    commit: Commit
    value: bytes


async def walk_back(
    log: EventLog, at: TopicPartition, key: bytes, offset: int
) -> AsyncIterator[HistoryRecord]:
    """Yield the actor's records from the one at `offset` back to its first.

    `offset` must be that of a valid record of the actor; the pointers then name valid ones only.

    Raises:
        CorruptRecord: a pointer leads to a record that is not this actor's (position named).
        LogRefused: the history goes back further than the log is kept.
        LogUnavailable: the log does not answer.
    """
    window = _WINDOW_FIRST
    chunk: dict[int, StoredRecord] = {}
    hops = 0
    first, _ = await log.bounds(at) if offset != NO_PREVIOUS else (0, 0)
    while offset != NO_PREVIOUS:
        if offset not in chunk:
            window = _next_window(window, hops)
            chunk = await _fetch(log, at, max(first, offset - window + 1), offset)
            hops = 0
        record = _own(at, key, offset, chunk.get(offset))
        hops += 1
        yield record
        previous = record.commit.previous
        offset = offset + previous if previous < 0 else previous


async def read_one(log: EventLog, at: TopicPartition, key: bytes, offset: int) -> HistoryRecord:
    """Return the actor's record at `offset`. Raises: as `walk_back`."""
    chunk = await _fetch(log, at, offset, offset)
    return _own(at, key, offset, chunk.get(offset))


def _next_window(window: int, hops: int) -> int:
    if hops == 0:
        return window
    if hops > 1:
        return min(window * _WINDOW_FACTOR, _WINDOW_MAX)
    return max(window // _WINDOW_FACTOR, _WINDOW_MIN)


async def _fetch(
    log: EventLog, at: TopicPartition, start: int, last: int
) -> dict[int, StoredRecord]:
    """Return the records from `start` to `last` by offset; one below the log's start is refused."""
    return {
        stored.offset: stored
        async for records in log.read(at, min(start, last), last + 1)
        for stored in records
    }


def _own(at: TopicPartition, key: bytes, offset: int, stored: StoredRecord | None) -> HistoryRecord:
    if stored is None or stored.key != key or stored.value is None:
        raise CorruptRecord(f"{at}@{offset} is no record of actor {key.decode(errors='replace')}")
    commit = decode_prefix(stored.value)
    if not isinstance(commit, Commit):
        raise CorruptRecord(f"{at}@{offset} is no commit")
    return HistoryRecord(offset, commit, stored.value)
