"""Which records count: the whole of fencing (pure; log protocol 3).

A reader steps a `Fence` over a partition's records in order of their offsets; the verdict on each
is the same for every reader, so owner, replay, projections and CLI agree on what happened. Nothing
but the log's order decides: no clock, no lease, no membership.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING

from eventstore.errors import UnreadablePrefix
from eventstore.records import (
    CLAIM_START,
    NO_CLAIM,
    Barrier,
    Claim,
    Commit,
    Prefix,
    Release,
    StoredRecord,
    decode_prefix,
)

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Fence", "Verdict", "declaration"]


class Verdict(enum.Enum):
    """What a record is worth to every reader."""

    VALID = "valid"
    VOID = "void"
    """Written by a process that had lost the partition, a repetition, or a Barrier."""
    LOSS = "loss"
    """Evidence that the log lost records it had acknowledged (protocol 11)."""


class Fence:
    """Who may write at this point of the partition.

    `claim` is the current claim's id (`NO_CLAIM` before the first), `next` the sequence number
    that its next Commit or Release must carry, `released` whether it has released the partition.
    `skipped` counts the records passed over under it that an operator declared void.
    """

    __slots__ = ("claim", "epoch", "log_id", "next", "released", "skipped")

    def __init__(
        self,
        claim: bytes = NO_CLAIM,
        epoch: int = 0,
        log_id: bytes = NO_CLAIM,
        next: int = 0,  # noqa: A002 - the protocol's word
        released: bool = False,
    ) -> None:
        self.claim = claim
        self.epoch = epoch
        self.log_id = log_id
        self.next = next
        self.released = released
        self.skipped = 0
        """Not in a checkpoint: who owns the partition has claimed it behind all of them."""

    def copy(self) -> Self:
        """Return an independent fence at the same point."""
        copy = type(self)(self.claim, self.epoch, self.log_id, self.next, self.released)
        copy.skipped = self.skipped
        return copy

    def step(self, record: Prefix) -> Verdict:
        """Judge the next record of the partition and move past it."""
        match record:
            case Commit():
                return self._sequenced(record)
            case Claim():
                if record.based_on != self.claim:
                    return Verdict.VOID
                self.claim = record.claim
                self.epoch = record.epoch
                self.log_id = record.log_id
                self.next = 0
                self.released = False
                self.skipped = 0
                return Verdict.VALID
            case Release():
                verdict = self._sequenced(record)
                if verdict is Verdict.VALID:
                    self.released = True
                return verdict
            case Barrier():
                return Verdict.LOSS if self._ahead(record) else Verdict.VOID

    def skip(self) -> None:
        """Pass over an unreadable record that an operator declared void.

        It may have had a sequence number: the records of the claim behind it go on counting.
        """
        self.skipped += 1

    def _sequenced(self, record: Commit | Release) -> Verdict:
        if record.claim == self.claim and not self.released:
            if record.sequence == self.next:
                self.next += 1
                return Verdict.VALID
            missing = record.sequence - self.next
            if missing < 0:
                return Verdict.VOID
            if missing > self.skipped:
                return Verdict.LOSS
            self.skipped -= missing
            self.next = record.sequence + 1
            return Verdict.VALID
        return Verdict.LOSS if self._ahead(record) else Verdict.VOID

    def _ahead(self, record: Commit | Release | Barrier) -> bool:
        """Tell whether the record's claim was never read though it must have come before."""
        if record.epoch > self.epoch:
            return True
        return record.epoch == self.epoch and record.claim != self.claim


def declaration(
    claim: bytes, offset: int, later: Iterable[StoredRecord]
) -> tuple[Claim, int] | None:
    """Return the later Claim on `claim` that names `offset` in its `skips`, and where it stands.

    `later` are the records behind that offset, or some of them; unreadable ones are passed over,
    each is judged in its turn. Source: log protocol 3, rule 4.
    """
    for stored in later:
        value = stored.value
        if value is None or value[:4] != CLAIM_START:
            continue
        try:
            record = decode_prefix(value)
        except UnreadablePrefix:
            continue
        if isinstance(record, Claim) and record.based_on == claim and offset in record.skips:
            return record, stored.offset
    return None
