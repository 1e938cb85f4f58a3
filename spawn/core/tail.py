"""From records to an actor's state: snapshot, tail, walk back (pure; log protocol 4, design I7).

The same few functions rebuild a state at activation, for a flush, for `spawn events` and for
replay; none of them runs an action. What they lack of schemas they say by UnknownSchema; whoever
calls them may fetch it and call again.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from eventstore.codec import SHIPPED, Writers, read_effect
from eventstore.errors import UnknownSchema, UnreadableBody
from eventstore.records import NO_PREVIOUS, Commit, Flag, Outcome, UserKey, decode_prefix
from eventstore.rows import ActorRow
from spawn.core.behavior import Behavior
from spawn.core.decision import EncodedState, EventData
from spawn.core.keys import Keys

__all__ = ["WHOLE", "Base", "Step", "Tail", "apply_commit", "base_from_row", "fold_tail"]


_APPLIED: Final = int(Outcome.APPLIED)
WHOLE: Final = Flag.STATE | Flag.DELETED
"""Such a commit says the whole state: what the actor was before no longer matters."""


class Tail:
    """An actor's records behind the checkpoint, kept as bytes until somebody needs its state."""

    __slots__ = ("keys", "needs_base", "records")

    def __init__(self, previous: int) -> None:
        """`previous` is the first record's."""
        self.needs_base = previous != NO_PREVIOUS
        """Something of it stands before these records: its snapshot is needed too."""
        self.records: list[tuple[int, bytes]] = []
        """(offset, value) of its applied commits."""
        self.keys: list[tuple[UserKey, int, int]] | None = None
        """(key, offset, time) of its commits that bind a key."""

    def add(self, offset: int, value: bytes, outcome: int, flags: int) -> None:
        """Take the actor's next valid record."""
        if outcome == _APPLIED:
            if flags & WHOLE:
                self.records.clear()
            self.records.append((offset, value))

    def add_key(self, key: UserKey, offset: int, time_us: int) -> None:
        """Take the key that the record just added binds."""
        if self.keys is None:
            self.keys = []
        self.keys.append((key, offset, time_us))

    def extend(self, later: Tail) -> None:
        """Take over the records of a tail that begins where this one ends."""
        self.records += later.records
        if later.keys is not None:
            self.keys = [*(self.keys or ()), *later.keys]

    def bind_keys(self, keys: Keys | None) -> Keys | None:
        """Fold the tail's keys behind those of the snapshot."""
        for key, offset, time_us in self.keys or ():
            keys = keys or Keys()
            keys.bind(key, offset, time_us)
        return keys


class Base(NamedTuple):
    """Where a rebuild starts."""

    state: Any
    revision: int
    deleted: bool


class Step(NamedTuple):
    """The state after one applied commit."""

    offset: int
    revision: int
    state: Any
    deleted: bool


def base_from_row(behavior: Behavior, row: ActorRow | None) -> Base | None:
    """Return the state in a snapshot row; None when the row can't be used (design 5).

    It can't when the type's `snapshot_version` has moved on, the checksum is wrong or the bytes
    can't be read: the state is then refolded from the log. No row: never written.

    Raises: UnknownSchema - the schema topic may tell how to read it.
    """
    if row is None:
        return None
    if row.state is None:
        return Base(None, row.revision, True)
    if row.version != behavior.settings.snapshot_version:
        return None
    if zlib.crc32(row.state) != row.checksum:
        return None
    try:
        state = behavior.decode_state(EncodedState(row.fingerprint, row.state))
    except UnknownSchema:
        raise
    except UnreadableBody:
        return None
    return Base(state, row.revision, False)


def fold_tail(
    behavior: Behavior,
    actor_id: str,
    base: Base,
    records: Iterable[tuple[int, bytes]],
    writers: Writers = SHIPPED,
) -> Base:
    """Fold applied commits into a state. Raises: UnreadableBody, naming the offset."""
    state, revision, deleted = base
    for offset, value in records:
        before = Base(state, revision, deleted)
        step = apply_commit(behavior, actor_id, before, offset, value, writers)
        state, revision, deleted = step.state, step.revision, step.deleted
    return Base(state, revision, deleted)


def apply_commit(
    behavior: Behavior,
    actor_id: str,
    base: Base,
    offset: int,
    value: bytes,
    writers: Writers = SHIPPED,
) -> Step:
    """Return the actor after one applied commit. Raises: UnreadableBody, naming the offset."""
    commit = decode_prefix(value)
    if not isinstance(commit, Commit):
        raise UnreadableBody(f"the record at offset {offset} is no commit")
    if commit.flags & Flag.DELETED:
        return Step(offset, commit.revision, None, True)
    try:
        events, replaced = read_effect(value, commit.body_at, writers)
        if replaced is not None:
            state = behavior.decode_state(EncodedState(*replaced))
        else:
            if commit.revision != base.revision + 1:
                raise UnreadableBody(
                    f"it makes revision {commit.revision}, what is known before it is revision "
                    f"{base.revision}: a record between them is missing"
                )
            alive = base.revision > 0 and not base.deleted
            before = base.state if alive else behavior.initial(actor_id)
            state = behavior.evolve(actor_id, before, [EventData(*event) for event in events])
    except UnreadableBody as error:
        raise error.within(f"offset {offset}") from error
    return Step(offset, commit.revision, state, False)
