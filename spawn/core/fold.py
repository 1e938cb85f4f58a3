"""The fold of a partition: what its valid records say (pure; log protocol 4).

One function for own commits, for the tail at take-over and for replay. This is the partition's
part; what a record does to its actor is folded by whoever holds the actor (`actors`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from eventstore.errors import UnreadablePrefix
from eventstore.fencing import Fence, Verdict, declaration
from eventstore.records import (
    COMMIT_HEAD,
    FINGERPRINT_BYTES,
    SECTION_CAUSES,
    SECTION_FLAGS,
    Barrier,
    Cause,
    Claim,
    Commit,
    CommitFields,
    Flag,
    Prefix,
    Release,
    StoredRecord,
    UserKey,
    commit_start,
    decode_prefix,
    decode_sections,
)
from spawn.core.sessions import HORIZON_US, Sessions

__all__ = ["Fold", "LossDetected", "Mark", "TailRecord", "read_mark"]

_T = TypeVar("_T")

Mark = tuple[bytes, int]
"""What identifies a record when it is read again: its claim and sequence (a Claim: -1, a Barrier:
-2; a record that is not ours or can't be read: no claim, -3)."""

TailRecord = tuple[_T, bytes | None, int, bytes, int, int, int, int, int, UserKey | None]
"""What a valid commit says of its actor, as `Fold.run` returns it: its type's table, its record's
key, offset and value; revision, previous, time, outcome, flags, the key that it binds."""

_FOREIGN: Final[Mark] = (b"", -3)
_UNKNOWN_FLAGS: Final = Flag.UNKNOWN
_RARE_FLAGS: Final = SECTION_FLAGS | _UNKNOWN_FLAGS
"""One test in the loop of `Fold.run` for all that most commits have none of."""


class LossDetected(Exception):
    """The log gives back less than it acknowledged (log protocol 11)."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        """`offset` is that of the record which is evidence; None: it is none of a record."""
        super().__init__(message)
        self.offset = offset


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

    __slots__ = (
        "anchor",
        "declared",
        "fence",
        "foreign",
        "position",
        "sessions",
        "time_us",
        "void_below",
    )

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
        self.declared: dict[int, int] = {}
        """Offsets that a Claim further on, on the current claim, declares void, and where that
        Claim stands."""
        self.void_below = 0
        """A loss was accepted by the Claim that stands here: all before it, from the first record
        that is evidence on, is void."""

    def step(
        self, stored: StoredRecord, chunk: Sequence[StoredRecord] = (), index: int = 0
    ) -> Commit | None:
        """Fold the partition's next record; return it if it is a valid commit.

        It is `chunk[index]`; what stands behind it there is looked at only if it can't be passed.
        Where it raises with an offset nothing has changed: a reader that finds the Claim which
        declares that offset void, further on, goes on after `declare`.

        Raises:
            LossDetected: the record is evidence that acknowledged ones before it are gone.
            UnreadablePrefix: nobody may pass over it, unless an operator declared it void. So it is
                for a valid commit with a flag of a later release, which has more effects than this
                one could fold.
        """
        offset = stored.offset
        if offset < self.void_below:
            self.position, self.anchor = offset + 1, read_mark(stored)
            return None
        try:
            record = decode_prefix(stored.value)
            if isinstance(record, Commit) and record.flags & _UNKNOWN_FLAGS:
                self._refuse_newer(record)
        except UnreadablePrefix as error:
            if not self._is_declared(offset, chunk, index):
                raise UnreadablePrefix(f"offset {offset}: {error}", offset) from error
            record = None
            self.fence.skip()
        if record is None:
            self.position, self.anchor = offset + 1, _FOREIGN
            self.foreign += 1
            return None
        verdict = self.fence.step(record)
        if verdict is Verdict.LOSS:
            if self._is_declared(offset, chunk, index):
                self.void_below = self.declared[offset]
                return self.step(stored)
            raise LossDetected(
                f"the record at offset {offset} (claim {record.claim.hex()}, epoch "
                f"{record.epoch}) follows records that are not there: read was claim "
                f"{self.fence.claim.hex()}, epoch {self.fence.epoch}, next {self.fence.next}",
                offset,
            )
        self.position, self.anchor = offset + 1, mark_of(record)
        if verdict is Verdict.VALID:
            if isinstance(record, Commit):
                self.commit(record, offset)
                return record
            if isinstance(record, Claim) and self.declared:
                self.declared = {}
        return None

    def _refuse_newer(self, commit: Commit) -> None:
        if self.fence.copy().step(commit) is Verdict.VALID:
            raise UnreadablePrefix(
                f"the commit has flags {commit.flags & _UNKNOWN_FLAGS:#x}, which this release of "
                "Spawn does not know: a later one wrote it, and only that can go on from here"
            )

    def declare(self, claim: Claim, offset: int) -> None:
        """Take note of a Claim at `offset`, on the current one, that declares records void."""
        self.declared |= dict.fromkeys(claim.skips, offset)

    def _is_declared(self, offset: int, chunk: Sequence[StoredRecord], index: int) -> bool:
        if offset not in self.declared:
            found = declaration(self.fence.claim, offset, chunk[index + 1 :])
            if found is not None:
                self.declare(*found)
        return offset in self.declared

    def run(
        self, chunk: Sequence[StoredRecord], first: int, tables: Mapping[bytes, _T]
    ) -> Sequence[TailRecord[_T]]:
        """Fold as many records from `chunk[first]` on as are valid commits in a row; return them.

        A shortcut through a long tail, at a third of what `step` costs, and nothing more: for each
        of these records `step` would return a commit that says the same, and leave the same fold.
        It ends before the first one that it does not understand completely: not the next one of
        the current claim, of a type that is not in `tables`, read before, cut short, of a later
        release, or older than the one before it. That one is for `step` to judge.
        """
        fence, sessions = self.fence, self.sessions
        if fence.released or self.position < self.void_below:
            return ()
        begins = commit_start(fence.claim, fence.epoch)
        following, position, time_us = fence.next, self.position, self.time_us
        take_apart, name_at = COMMIT_HEAD.unpack_from, COMMIT_HEAD.size
        shortest = name_at + FINGERPRINT_BYTES
        run: list[TailRecord[_T]] = []
        for index in range(first, len(chunk)):
            stored = chunk[index]
            offset, value = stored.offset, stored.value
            if value is None or len(value) < shortest or offset < position:
                break
            start, sequence, revision, at_us, previous, outcome, cause, flags, size = take_apart(
                value
            )
            name_end = name_at + size
            table = tables.get(value[name_at:name_end])
            if (
                start != begins
                or sequence != following
                or at_us < time_us
                or table is None
                or len(value) < shortest + size
            ):
                break
            bound = None
            if flags & _RARE_FLAGS or cause in SECTION_CAUSES:
                if flags & _UNKNOWN_FLAGS:
                    break
                try:
                    request, _, _, bound, _, _ = decode_sections(value, name_end, cause, flags)
                except UnreadablePrefix:
                    break
                if request is not None and cause == Cause.REQUEST:
                    sessions.forget(time_us - HORIZON_US)
                    sessions.fold(request, flags, offset)
            following, position, time_us = sequence + 1, offset + 1, at_us
            run.append(
                (table, stored.key, offset, value, revision, previous, at_us, outcome, flags, bound)
            )
        if run:
            fence.next, self.position, self.time_us = following, position, time_us
            self.anchor = fence.claim, following - 1
            # Not after each: a horizon includes those before, and until a request comes nothing
            # is there to be forgotten that was not there before.
            sessions.forget(time_us - HORIZON_US)
        return run

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
