"""The rows of a snapshot store: what a flush writes and a load reads (pure; log protocol 4).

A partition's **checkpoint at X** is the fold of its valid records below offset X; it and the rows
of all actors changed since the checkpoint before are written in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

__all__ = [
    "NO_STATE",
    "ActorListing",
    "ActorName",
    "ActorRow",
    "Checkpoint",
    "FlushSlice",
    "HistoryRow",
    "KeyRow",
    "Loaded",
    "flush_applies",
    "flush_stands",
]

NO_STATE: Final = -1
"""The `version` of a row without a usable state: its actor is refolded from the log."""
ActorName = tuple[str, str]
"""(type, id) of an actor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The partition's part of a checkpoint."""

    offset: int
    """X: everything below it is in the checkpoint."""
    claim: bytes
    epoch: int
    log_id: bytes
    """Tells logs apart: a checkpoint of another log never counts for this one."""
    fold: bytes
    """The rest of the partition's fold, encoded by `spawn.core.checkpoint`."""


class ActorRow(NamedTuple):
    """One actor's snapshot. A tuple, since flushes move tens of thousands a second."""

    type: str
    id: str
    revision: int
    offset: int
    """Of the actor's last record below the checkpoint's X."""
    deleted: bool
    state: bytes | None
    """Encoded state; None where there is none (deleted, or never written)."""
    fingerprint: bytes
    """CRC-64-AVRO of the schema that wrote `state`; 8 bytes."""
    version: int
    """The type's `snapshot_version` when it was written."""
    checksum: int
    """CRC-32 of `state`; 0 where there is none."""


class ActorListing(NamedTuple):
    """What a list of actors needs of a row."""

    type: str
    id: str
    revision: int
    offset: int
    deleted: bool


class HistoryRow(NamedTuple):
    """The state at one revision, kept for time travel (design 5)."""

    type: str
    id: str
    revision: int
    offset: int
    state: bytes | None
    fingerprint: bytes


class KeyRow(NamedTuple):
    """One idempotency key of one actor (log protocol 7, Keys)."""

    type: str
    id: str
    key: bytes
    """16-byte digest of the key."""
    payload: bytes
    """16-byte digest of action and payload."""
    offset: int
    """Of the record that the key belongs to."""
    time_us: int


class FlushSlice(NamedTuple):
    """A piece of a flush; a flush is a stream of them, so that no step encodes too much at once.

    Which slice a row stands in is without meaning: the flush first drops all dropped keys, then
    writes all rows, and of several rows of one actor, revision or key that of the highest offset.
    """

    actors: Sequence[ActorRow]
    history: Sequence[HistoryRow] = ()
    keys: Sequence[KeyRow] = ()
    dropped_keys: Sequence[tuple[str, str, bytes]] = ()
    """(type, id, key digest) of keys that fell out of their actor's window."""


class Loaded(NamedTuple):
    """Actors read in one statement together with the checkpoint that they belong to."""

    checkpoint: int
    """The stored X at that instant; 0 where the partition has no checkpoint. Lower than what the
    owner relies on: the database went back (protocol 4)."""
    actors: Mapping[ActorName, ActorRow]
    """Rows of those asked for that exist."""
    keys: Mapping[ActorName, Sequence[KeyRow]]
    """Of those asked for that have keys, lowest offset first."""


def flush_applies(
    checkpoint: Checkpoint, base: int, stored: int | None, stored_log: bytes | None
) -> bool:
    """Whether a flush applies on a stored checkpoint at `stored` of log `stored_log` (protocol 4).

    None for both: nothing is stored, which counts as X = 0 of the same log.
    """
    if stored is None:
        return base <= 0 < checkpoint.offset
    return stored_log == checkpoint.log_id and base <= stored < checkpoint.offset


def flush_stands(
    checkpoint: Checkpoint, stored: int | None, stored_log: bytes | None, stored_claim: bytes | None
) -> bool:
    """Whether a flush that does not apply stands already: its answer was lost, so it comes again.

    Checkpoints of one log, claim and X are folds of the same records, and so are their rows.
    """
    return (
        stored == checkpoint.offset
        and stored_log == checkpoint.log_id
        and stored_claim == checkpoint.claim
    )
