"""Errors of the event store, free of client-library types.

    EventStoreError
    |- LogError
    |  |- LogUnavailable        the outcome of the call is unknown: it may take effect, now or later
    |  |  |- LogNotAdmitted     login or TLS: somebody has to mend a setting
    |  |  |- LogForbidden       want of rights: it took no effect, and may once they are granted
    |  |- LogRefused            the log refused the call for good: it took no effect
    |  |  |- LogTooLarge        the batch is larger than the log takes
    |  |  |- OffsetGone         the offset is below those that the log still keeps
    |  |- TopicMissing          the topic or partition does not exist
    |- SnapshotError
    |  |- SnapshotsUnavailable  the database can't be reached or timed out
    |  |  |- SnapshotsNotAdmitted  login or TLS: somebody has to mend a setting
    |  |- SnapshotSchemaMismatch  its tables are missing, of another version, or changed by hand
    |- CorruptRecord
       |- UnreadablePrefix      the fencing prefix can't be read: the partition stops there
       |- UnreadableBody        the body can't be decoded: its actor is parked
          |- UnknownSchema      it is of a schema that this process does not know (yet)
          |- WrittenByNewerCode this code can't read it without a loss; newer code can

`spawn.errors` gives callers their own words for these; adapters chain the client library's
exception with `from`.
"""

from __future__ import annotations

from typing import Literal, Self

__all__ = [
    "Admission",
    "CorruptRecord",
    "EventStoreError",
    "GroupRefused",
    "LogError",
    "LogForbidden",
    "LogNotAdmitted",
    "LogRefused",
    "LogTooLarge",
    "LogUnavailable",
    "OffsetGone",
    "SnapshotError",
    "SnapshotSchemaMismatch",
    "SnapshotsNotAdmitted",
    "SnapshotsUnavailable",
    "TopicMissing",
    "UnknownSchema",
    "UnreadableBody",
    "UnreadablePrefix",
    "WrittenByNewerCode",
]


class EventStoreError(Exception):
    """Root of everything that this package raises on purpose."""


class LogError(EventStoreError):
    """A call to the event log failed."""


class LogUnavailable(LogError):
    """The log did not answer; an append may be stored all the same, now or later (protocol 5)."""


Admission = Literal["login", "protocol", "trust", "host", "client-certificate"]
"""What keeps a client and a server apart: user or password (or token), TLS or login on one side
only, a certificate that nobody trusts or that has run out, one for another host, or the client's
own certificate."""


class LogNotAdmitted(LogUnavailable):
    """Broker and client do not come together as they are set up; asking again does not help.

    A kind of being unavailable all the same: a node that runs already waits until somebody has
    mended it, as it waits for a broker that is down.
    """

    def __init__(self, message: str, concerns: Admission) -> None:
        super().__init__(message)
        self.concerns: Admission = concerns

    def again(self) -> Self:
        """Return the same error to be raised another time."""
        return type(self)(str(self), self.concerns)


class LogForbidden(LogUnavailable):
    """The log does not let this user do that; nothing was done, and an append is not stored.

    A kind of being unavailable all the same: rights are taken and granted while nodes run.
    """


class LogRefused(LogError):
    """The log answered that it will not do this, now or later (too large, invalid settings)."""


class LogTooLarge(LogRefused):
    """The batch is larger than the log takes; nothing of it was stored, smaller ones may be."""


class OffsetGone(LogRefused):
    """The offset is below the first one that the log still keeps: retention took its record."""


class GroupRefused(LogRefused):
    """The broker does not let us into the consumer group, and would not if asked again."""


class TopicMissing(LogError):
    """The topic or partition does not exist; `spawn init` creates it."""


class SnapshotError(EventStoreError):
    """A call to the snapshot store failed."""


class SnapshotsUnavailable(SnapshotError):
    """The database can't be reached or did not answer in time; nothing is lost, ask again later."""


class SnapshotsNotAdmitted(SnapshotsUnavailable):
    """As `LogNotAdmitted`, of the database."""

    def __init__(self, message: str, concerns: Admission) -> None:
        super().__init__(message)
        self.concerns: Admission = concerns

    def again(self) -> Self:
        """Return the same error to be raised another time."""
        return type(self)(str(self), self.concerns)


class SnapshotSchemaMismatch(SnapshotError):
    """The database's tables are missing, of a newer version of Spawn, or changed by hand."""


class CorruptRecord(EventStoreError):
    """Stored bytes that can't be read as what they should be."""


class UnreadablePrefix(CorruptRecord):
    """A record with our magic whose prefix is cut short or of an unknown version or kind."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        """`offset` is where it stands; None: not known here."""
        super().__init__(message)
        self.offset = offset


class UnreadableBody(CorruptRecord):
    """A record whose Avro body can't be decoded; it counts, but its actor can't be rebuilt."""

    def within(self, where: str) -> Self:
        """Return the same error with the place in front of its text."""
        return type(self)(f"{where}: {self}")


class UnknownSchema(UnreadableBody):
    """It was written with a schema that this process does not know.

    Whoever wrote it has put the schema into the schema topic before: read that again, then try once
    more.
    """

    def __init__(self, message: str, fingerprint: bytes) -> None:
        super().__init__(message)
        self.fingerprint = fingerprint

    def within(self, where: str) -> Self:
        return type(self)(f"{where}: {self}", self.fingerprint)


class WrittenByNewerCode(UnreadableBody):
    """Newer code of an actor type wrote it, and this code would lose something of it."""
