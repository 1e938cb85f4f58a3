"""What callers saw: one line for each time that a request was sent."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

__all__ = ["NEVER", "Attempt", "Logged", "Outcome", "read_history", "write_history"]

NEVER: Final = math.inf


class Outcome(enum.StrEnum):
    """What a caller knows of an attempt."""

    DONE = "done"
    """Answered with a revision."""
    REFUSED = "refused"
    """Told that it was not executed."""
    UNKNOWN = "unknown"
    """No answer, or one that says that it may have been executed."""


class Attempt(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """One request of an operation to one node. Times are of the machine's monotonic clock, in s."""

    operation: int
    """Unique in a run; of a write also the number that it adds."""
    actor: str
    partition: int
    is_write: bool
    intended: float
    """When the load had planned the operation; a caller's wait is counted from there."""
    sent: float
    answered: float
    """`NEVER`: there was no answer. One may come long after the caller has given up."""
    node: str
    outcome: Outcome
    revision: int = 0
    """The actor's, after a write or as read."""
    digest: int = 0
    """The reply."""
    offset: int = -1
    """Of the actor's last record, where the answer told it."""
    code: str = ""
    """Of a problem, or what became of the connection."""


class Logged(NamedTuple):
    """A number in effect, as the log says; an actor's stand in the order of their revisions."""

    number: int
    offset: int


def write_history(path: Path, attempts: Sequence[Attempt]) -> None:
    """Keep a history in a file."""
    path.write_bytes(msgspec.msgpack.encode(attempts))


def read_history(paths: Iterable[Path]) -> list[Attempt]:
    """Return what was kept in files, together."""
    return [
        attempt
        for path in paths
        for attempt in msgspec.msgpack.decode(path.read_bytes(), type=list[Attempt])
    ]
