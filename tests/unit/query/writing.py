"""Logs and snapshots in memory, written record by record as nodes write them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

from eventstore.codec import ClaimBody, encode_claim_body, encode_commit_body
from eventstore.log import LogRecord, TopicPartition, TopicSettings
from eventstore.memory_log import MemoryLog
from eventstore.memory_snapshots import MemorySnapshots
from eventstore.records import (
    NO_CLAIM,
    Barrier,
    Cause,
    Claim,
    Commit,
    Flag,
    Outcome,
    Release,
    encode_barrier,
    encode_claim,
    encode_commit,
    encode_release,
)
from eventstore.rows import ActorRow, FlushSlice
from spawn.core.checkpoint import capture_fold
from spawn.core.fold import Fold

__all__ = ["TOPIC", "Writer"]

TOPIC = "spawn.shop.Counter"
_claims = itertools.count(1)
_LOG_ID = b"log............1"


class Writer:
    """Owns one partition and writes into it."""

    def __init__(self, log: MemoryLog, store: MemorySnapshots, at: TopicPartition) -> None:
        self.log = log
        self.store = store
        self.at = at
        self.claim = NO_CLAIM
        self.epoch = 0
        self.sequence = 0
        self.last: dict[tuple[str, str], tuple[int, int, bool]] = {}
        """(revision, offset, deleted) of each actor."""
        self.time_us = 1_000_000

    @classmethod
    async def open(cls, partitions: int = 1) -> list[Writer]:
        """Make the topic; return a writer for each partition, which share log and store."""
        log, store = MemoryLog(), MemorySnapshots()
        await log.create({TOPIC: TopicSettings(partitions=partitions)})
        return [cls(log, store, TopicPartition(TOPIC, n)) for n in range(partitions)]

    def take(self, endpoint: str = "http://a:1") -> None:
        """Claim the partition."""
        before, self.epoch = self.claim, self.epoch + 1
        self.claim = b"claim %10d" % next(_claims)
        self.sequence = 0
        body = encode_claim_body(ClaimBody("shop", b"o" * 16, endpoint, "start"))
        claim = Claim(self.claim, self.epoch, before, _LOG_ID)
        self.log.put(self.at, LogRecord(None, encode_claim(claim, body)))

    def commit(
        self,
        actor_id: str,
        *,
        actor_type: str = "Counter",
        outcome: Outcome = Outcome.APPLIED,
        deletes: bool = False,
    ) -> int:
        """Write one valid commit without events; return its offset."""
        revision, previous, deleted = self.last.get((actor_type, actor_id), (0, 0, False))
        if outcome is Outcome.APPLIED:
            revision, deleted = revision + 1, deletes
        self.time_us += 1_000_000
        record = Commit(
            self.claim, self.epoch, self.sequence, revision, self.time_us, previous, outcome,
            Cause.REQUEST, Flag.DELETED if deletes else 0, actor_type.encode(),
        )  # fmt: skip
        body = encode_commit_body("add", b"5", (), None, b"5", None, "", "test", None)
        offset = self.log.put(self.at, LogRecord(actor_id.encode(), encode_commit(record, body)))
        self.sequence += 1
        self.last[actor_type, actor_id] = revision, offset, deleted
        return offset

    def void(self, count: int = 1) -> None:
        """Write commits of a claim that is not the current one."""
        body = encode_commit_body("add", b"5", (), None, b"5", None, "", "test", None)
        for _ in range(count):
            record = Commit(
                b"nobody's claim..", self.epoch - 1, 0, 9, 0, 0, Outcome.APPLIED, Cause.REQUEST, 0,
                b"Counter",
            )  # fmt: skip
            self.log.put(self.at, LogRecord(b"void", encode_commit(record, body)))

    def barrier(self) -> None:
        """Write a barrier, which takes no sequence number."""
        self.log.put(self.at, LogRecord(None, encode_barrier(Barrier(self.claim, self.epoch))))

    def release(self) -> None:
        """Give the partition up."""
        record = encode_release(Release(self.claim, self.epoch, self.sequence))
        self.log.put(self.at, LogRecord(None, record))

    async def flush(self) -> int:
        """Write the checkpoint at the log's end with all actors; return it."""
        _, end = await self.log.bounds(self.at)
        fold = Fold()
        async for chunk in self.log.read(self.at, 0, end):
            for index, stored in enumerate(chunk):
                fold.step(stored, chunk, index)
        before = await self.store.checkpoint(self.at)
        rows = [
            ActorRow(*name, revision, offset, deleted, None if deleted else b"s", b"f" * 8, 1, 0)
            for name, (revision, offset, deleted) in self.last.items()
        ]

        async def slices() -> AsyncIterator[FlushSlice]:
            yield FlushSlice(rows)

        base = before.offset if before else 0
        assert await self.store.flush(self.at, capture_fold(fold), base, slices())
        return end
