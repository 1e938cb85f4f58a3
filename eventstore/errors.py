"""Errors of the event store, free of client-library types.

    EventStoreError
    |- LogError
    |  |- LogUnavailable        the outcome of the call is unknown: it may take effect, now or later
    |  |- LogRefused            the log refused the call for good: it took no effect
    |  |- TopicMissing          the topic or partition does not exist
    |- SnapshotError
    |  |- SnapshotsUnavailable  the database can't be reached or timed out
    |  |- SnapshotSchemaMismatch  its tables are missing, of another version, or changed by hand
    |- CorruptRecord
       |- UnreadablePrefix      the fencing prefix can't be read: the partition stops there
       |- UnreadableBody        the body can't be decoded: its actor is parked

`spawn.errors` gives callers their own words for these; adapters chain the client library's
exception with `from`.
"""

from __future__ import annotations

__all__ = [
    "CorruptRecord",
    "EventStoreError",
    "LogError",
    "LogRefused",
    "LogUnavailable",
    "SnapshotError",
    "SnapshotSchemaMismatch",
    "SnapshotsUnavailable",
    "TopicMissing",
    "UnreadableBody",
    "UnreadablePrefix",
]


class EventStoreError(Exception):
    """Root of everything that this package raises on purpose."""


class LogError(EventStoreError):
    """A call to the event log failed."""


class LogUnavailable(LogError):
    """The log did not answer; an append may be stored all the same, now or later (protocol 5)."""


class LogRefused(LogError):
    """The log answered that it will not do this (too large, not authorised, invalid settings)."""


class TopicMissing(LogError):
    """The topic or partition does not exist; `spawn init` creates it."""


class SnapshotError(EventStoreError):
    """A call to the snapshot store failed."""


class SnapshotsUnavailable(SnapshotError):
    """The database can't be reached or did not answer in time; nothing is lost, ask again later."""


class SnapshotSchemaMismatch(SnapshotError):
    """The database's tables are missing, of a newer version of Spawn, or changed by hand."""


class CorruptRecord(EventStoreError):
    """Stored bytes that can't be read as what they should be."""


class UnreadablePrefix(CorruptRecord):
    """A record with our magic whose prefix is cut short or of an unknown version or kind."""


class UnreadableBody(CorruptRecord):
    """A record whose Avro body can't be decoded; it counts, but its actor can't be rebuilt."""
