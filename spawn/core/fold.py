"""The fold of a partition: what its valid records say (pure; log protocol 4).

One function for own commits, for the tail at take-over and for replay. This is the partition's
part; what a record does to its actor is folded by whoever holds the actor (`actors`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from eventstore.errors import UnreadablePrefix
from eventstore.fencing import Fence, Verdict, skipped_by
from eventstore.records import (
    Barrier,
    Cause,
    Claim,
    Commit,
    CommitFields,
    Prefix,
    Release,
    StoredRecord,
    decode_prefix,
)
from spawn.core.sessions import HORIZON_US, Sessions

__all__ = ["Fold", "LossDetected", "Mark", "read_mark"]

Mark = tuple[bytes, int]
"""What identifies a record when it is read again: its claim and sequence (a Claim: -1, a Barrier:
-2; a record that is not ours or can't be read: no claim, -3)."""

_FOREIGN: Final[Mark] = (b"", -3)


class LossDetected(Exception):
    """The log gives back less than it acknowledged (log protocol 11)."""


def mark_of(record: Prefix | None) -> Mark:
    """Return the mark of a record's prefix."""
    match record:
        case Commit() | Release():
            return record.claim, record.sequence
        case Claim():
            return record.claim, -1
        case Barrier():
            return record.claim, -2
        case None:
            return _FOREIGN


def read_mark(stored: StoredRecord) -> Mark:
    """Return the mark of a record as it stands in the log."""
    try:
        return mark_of(decode_prefix(stored.value))
    except UnreadablePrefix:
        return _FOREIGN


class Fold:
    """A partition's fence, time, sessions, and how far the log was read."""

    __slots__ = ("anchor", "fence", "foreign", "position", "sessions", "time_us")

    def __init__(self, position: int = 0) -> None:
        self.fence = Fence()
        self.position = position
        """Offset of the next record: all below it is folded."""
        self.anchor: Mark = _FOREIGN
        """Of the record at `position - 1`."""
        self.time_us = 0
        """T: the time of the last valid commit."""
        self.sessions = Sessions()
        self.foreign = 0
        """Records without our prefix that were met and passed over."""

    def step(
        self, stored: StoredRecord, chunk: Sequence[StoredRecord] = (), index: int = 0
    ) -> Commit | None:
        """Fold the partition's next record; return it if it is a valid commit.

        It is `chunk[index]`; what stands behind it there is looked at only if it can't be read.

        Raises:
            LossDetected: the record is evidence that acknowledged ones before it are gone.
            UnreadablePrefix: nobody may pass over it, unless an operator declared it void.
        """
        offset = stored.offset
        try:
            record = decode_prefix(stored.value)
        except UnreadablePrefix as error:
            if not skipped_by(self.fence.claim, offset, chunk[index + 1 :]):
                raise UnreadablePrefix(f"offset {offset}: {error}") from error
            record = None
        self.position = offset + 1
        self.anchor = mark_of(record)
        if record is None:
            self.foreign += 1
            return None
        verdict = self.fence.step(record)
        if verdict is Verdict.VALID and isinstance(record, Commit):
            self.commit(record, offset)
            return record
        if verdict is Verdict.LOSS:
            raise LossDetected(
                f"the record at offset {offset} (claim {record.claim.hex()}, epoch "
                f"{record.epoch}) follows records that are not there: read was claim "
                f"{self.fence.claim.hex()}, epoch {self.fence.epoch}, next {self.fence.next}"
            )
        return None

    def commit(self, commit: CommitFields, offset: int) -> None:
        """Fold a valid commit's part in the partition: time, horizon, sessions.

        The order is the protocol's (7, Fold): the time first, then the request, then forgetting.
        """
        self.time_us = commit.time_us
        if commit.request is not None and commit.cause == Cause.REQUEST:
            self.sessions.fold(commit.request, commit.flags, offset)
        self.sessions.forget(commit.time_us - HORIZON_US)

    @property
    def horizon_us(self) -> int:
        """H: requests issued before it are too old."""
        return self.time_us - HORIZON_US
