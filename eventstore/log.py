"""Ports of the event log: what the platform asks of a Kafka-compatible log, and nothing more.

`EventLog` moves records, `LogAdmin` makes and describes topics. Both are free of client-library
types; `kafka_log` and `memory_log` implement them, and one contract suite holds them equal. What
the log must guarantee stands in log protocol 1.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from eventstore.records import StoredRecord

__all__ = ["EventLog", "LogAdmin", "LogRecord", "TopicPartition", "TopicSettings", "TopicState"]


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class LogRecord(NamedTuple):
    """A record to append."""

    key: bytes | None
    value: bytes | None
    """None, in a compacted topic: forget what was said under this key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSettings:
    """How a topic is to be made."""

    partitions: int
    replication: int | None = None
    """Copies of each record; None: min(3, brokers)."""
    compacted: bool = False
    """Keep the newest record of each key (our schema and node topics) instead of all."""
    max_message_bytes: int = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicState:
    """What the log says of an existing topic."""

    name: str
    partitions: int
    replication: int
    settings: Mapping[str, str] = field(default_factory=dict)
    """The broker's settings of the topic that it tells (empty where it tells none)."""


class EventLog(Protocol):
    """Appends to and reads from partitions. One object serves a whole process."""

    async def append(self, at: TopicPartition, batch: Sequence[LogRecord], time_ms: int) -> int:
        """Append one batch; return the offset that the log gave to its first record.

        The batch (at least one record, encoded below the topic's max.message.bytes) is stored
        whole or not at all, in order, at contiguous offsets. Returns once every in-sync replica
        has it. `time_ms` becomes the records' timestamp, for other tools; nothing of ours reads
        it. The owner judges the returned offset (protocol 5). Cancelling does not take the append
        back: its outcome is then unknown.

        After `LogUnavailable` the next append to this partition never queues behind the lost batch.

        Raises:
            LogUnavailable: the outcome is unknown, it may be stored now or later.
            LogForbidden: want of rights; the log stored nothing.
            LogTooLarge: the log stored nothing; it may take the records in smaller batches.
            LogRefused: the log stored nothing and never will.
            TopicMissing: there is no such partition.
        """
        ...

    def way(self, at: TopicPartition) -> int:
        """Return a number that is another one after appends to the partition went another way.

        That is: by a new connection, to another leader, or after "I do not lead". Between two such
        appends the log may have lost records and given their offsets again, without either of them
        showing it; so the owner verifies its last record before the later one counts (log protocol
        11.2). Never raises and never waits; it changes within `append` alone.
        """
        ...

    def read(
        self, at: TopicPartition, start: int, end: int
    ) -> AsyncIterator[Sequence[StoredRecord]]:
        """Yield the records with start <= offset < end, in order, in chunks of any size.

        `end` must not lie beyond the log's end when called (use `bounds`). Offsets may have holes
        (compaction); every record still stored in the range is given, then it ends. A start below
        the log's first offset raises OffsetGone, it never skips ahead silently.

        Raises:
            LogUnavailable: no answer within the client's time-out.
            OffsetGone: the range is not any more in the log.
            LogRefused: it never was.
            TopicMissing: there is no such partition.
        """
        ...

    async def bounds(self, at: TopicPartition) -> tuple[int, int]:
        """Return (first stored offset, offset that the next record will get).

        The second is a snapshot, and never proves that nothing newer was acknowledged elsewhere
        (protocol 6, last rule).

        Raises: LogUnavailable, TopicMissing.
        """
        ...

    async def partitions(self, topics: Sequence[str]) -> Mapping[str, int]:
        """Return how many partitions these topics have now; one that is not there is left out.

        Raises: LogUnavailable.
        """
        ...

    async def close(self) -> None:
        """Let go of all clients; appends in flight have an unknown outcome."""
        ...


class LogAdmin(Protocol):
    """Makes, lists, describes and deletes topics; no append or read waits for it."""

    async def brokers(self) -> int:
        """Return how many brokers the cluster has. Raises: LogUnavailable."""
        ...

    async def topics(self, prefix: str) -> Sequence[str]:
        """Return the names of the topics that begin so, sorted. Raises: LogUnavailable."""
        ...

    async def describe(self, topics: Sequence[str]) -> Mapping[str, TopicState]:
        """Return the state of those of `topics` that exist. Raises: LogUnavailable."""
        ...

    async def create(self, topics: Mapping[str, TopicSettings]) -> None:
        """Create topics that don't exist; one that exists already is left as it is.

        Raises:
            LogUnavailable: no answer; some may have been made, so call it again.
            LogRefused: the log refused one (named in the text).
        """
        ...

    async def delete(self, topics: Sequence[str]) -> None:
        """Delete topics with all that is in them; one that is not there is passed over.

        Returns when the log shows none of them any more.

        Raises:
            LogUnavailable: no answer; some may have gone, so call it again.
            LogForbidden: want of rights.
            LogRefused: the log refused one (named in the text).
        """
        ...

    async def group_members(self, group: str) -> Sequence[str] | None:
        """Return who is in a consumer group now, as `client at host`; nobody: it is empty or gone.

        None: this log can't tell. Raises: LogUnavailable, LogForbidden.
        """
        ...

    async def group_kind(self, group: str) -> str:
        """Return the protocol type of a group's members; empty: none, or this log can't tell.

        Raises: LogUnavailable, LogForbidden.
        """
        ...

    async def delete_group(self, group: str) -> None:
        """Delete an empty consumer group; one that is not there (or was never kept) is well.

        Raises: LogUnavailable, LogForbidden, LogRefused (it has members).
        """
        ...
