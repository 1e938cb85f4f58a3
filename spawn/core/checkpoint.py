"""The partition's part of a checkpoint, to bytes and back (pure; log protocol 4).

Field by field: fence (claim, epoch, next, released, log id), the anchor of record X - 1, the log
time T, and the sessions with low, done and newest. The actors' part are rows of their own.

A release that adds what its owner may not lose raises `_VERSION`, since one that does not know the
field would write checkpoints without it: that one then reads the log from its start instead, where
a flag stops it (`eventstore.records.Flag.MUST_KNOW`). A field that may be lost needs no new one.
"""

from __future__ import annotations

import msgspec

from eventstore.fencing import Fence
from eventstore.rows import Checkpoint
from spawn.core.fold import Fold
from spawn.core.sessions import Session, Sessions

__all__ = ["CheckpointUnreadable", "capture_fold", "restore_fold"]


class CheckpointUnreadable(ValueError):
    """A stored checkpoint that this release can't read; the log is read from its start instead."""


class _Stored(msgspec.Struct, tag="fold", tag_field="kind"):
    """The layout behind `Checkpoint.fold` (MessagePack)."""

    version: int
    next: int
    released: bool
    anchor: tuple[bytes, int]
    time_us: int
    sessions: list[tuple[bytes, int, int, bool, list[tuple[int, int]]]]


_VERSION = 1


def capture_fold(fold: Fold) -> Checkpoint:
    """Return the checkpoint at the fold's position."""
    stored = _Stored(
        version=_VERSION,
        next=fold.fence.next,
        released=fold.fence.released,
        anchor=fold.anchor,
        time_us=fold.time_us,
        sessions=[
            (name, s.low, s.newest_us, s.durable, list(s.done.items()))
            for name, s in fold.sessions.by_id.items()
        ],
    )
    return Checkpoint(
        offset=fold.position,
        claim=fold.fence.claim,
        epoch=fold.fence.epoch,
        log_id=fold.fence.log_id,
        fold=msgspec.msgpack.encode(stored),
    )


def restore_fold(checkpoint: Checkpoint) -> Fold:
    """Return the fold that `checkpoint` was captured from. Raises: CheckpointUnreadable."""
    try:
        stored = msgspec.msgpack.decode(checkpoint.fold, type=_Stored)
    except msgspec.MsgspecError as error:
        raise CheckpointUnreadable(f"checkpoint at {checkpoint.offset}: {error}") from error
    if stored.version != _VERSION:
        raise CheckpointUnreadable(
            f"checkpoint at {checkpoint.offset} has version {stored.version}, not {_VERSION}"
        )
    fold = Fold(checkpoint.offset)
    fold.fence = Fence(
        checkpoint.claim, checkpoint.epoch, checkpoint.log_id, stored.next, stored.released
    )
    fold.anchor = stored.anchor
    fold.time_us = stored.time_us
    fold.sessions = Sessions({
        name: Session(low, newest_us, durable, dict(done))
        for name, low, newest_us, durable, done in stored.sessions
    })  # fmt: skip
    return fold
