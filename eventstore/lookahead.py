"""Looking ahead for a Claim that declares a record void (log protocol 3, rule 4; 11).

A reader that meets a record which nobody may pass over looks for an operator's word on it. That may
stand far behind: it is looked for to the log's end, a chunk at a time, and nothing is kept.
"""

from __future__ import annotations

from typing import Protocol

from eventstore.fencing import Fence, declaration
from eventstore.log import EventLog, TopicPartition
from eventstore.records import Claim

__all__ = ["Reader", "look_ahead"]


class Reader(Protocol):
    """Whoever folds a partition's records and has stopped at one of them."""

    @property
    def fence(self) -> Fence: ...

    def declare(self, claim: Claim, offset: int) -> None:
        """Take note of a Claim at `offset`, on the current one, that declares records void."""
        ...


async def look_ahead(log: EventLog, at: TopicPartition, reader: Reader, offset: int | None) -> bool:
    """Find the Claim that declares the record at `offset` void, and show it to the reader.

    Returns whether there is one: the reader then goes on with that very record. Raises:
    LogUnavailable, LogRefused, TopicMissing.
    """
    if offset is None:
        return False
    first, end = await log.bounds(at)
    start = max(first, offset + 1)
    if start >= end:
        return False
    async for chunk in log.read(at, start, end):
        found = declaration(reader.fence.claim, offset, chunk)
        if found is not None:
            reader.declare(*found)
            return True
    return False
