"""What a partition holds of each actor (pure).

An idle actor is one small object with its committed state; what a busy one needs besides (mailbox,
speculative state) hangs on it only while it is busy. So a million idle actors fit into a gigabyte.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

from eventstore.records import (
    COMMIT_HEAD,
    NO_CLAIM,
    NO_PREVIOUS,
    Commit,
    LinkNumber,
    RequestNumber,
    TimerFiring,
    UserKey,
)
from spawn.core.behavior import Behavior
from spawn.core.commands import Command
from spawn.core.decision import Decision
from spawn.core.keys import Keys
from spawn.errors import SpawnError

if TYPE_CHECKING:
    from spawn.core.tail import Tail

__all__ = ["UNLOADED", "Actor", "Dirt", "Entry", "Table", "Work"]


class _Unloaded(enum.Enum):
    """A state that is not in memory; None may be a user's state."""

    UNLOADED = "unloaded"


UNLOADED: Final = _Unloaded.UNLOADED

_RECORD_BYTES: Final = 24
"""What the log's format adds to a record at most: lengths, timestamp, number, headers."""


class Dirt(enum.IntEnum):
    """How an actor in memory differs from its snapshot."""

    CLEAN = 0
    DIRTY = 1
    """Changed since the last capture."""
    FLUSHING = 2
    """Captured; the flush is on its way."""


class Table:
    """The actors of one type in one partition."""

    __slots__ = ("actors", "behavior", "name", "record_bytes", "recorded", "type")

    def __init__(self, behavior: Behavior) -> None:
        self.behavior = behavior
        self.type = behavior.type
        self.name = behavior.type.encode()
        self.record_bytes = COMMIT_HEAD.size + len(self.name) + _RECORD_BYTES
        """Of a record in a batch, without its key, its prefix's optional sections and its body."""
        self.recorded = behavior.settings.record_commands
        self.actors: dict[bytes, Actor] = {}


class Actor:
    """One actor in memory. `state`, `revision`, `offset`, `deleted` are the committed ones."""

    __slots__ = (
        "asleep",
        "deleted",
        "dirt",
        "id",
        "keys",
        "offset",
        "parked",
        "revision",
        "state",
        "table",
        "tail",
        "touched",
        "work",
    )

    def __init__(self, table: Table, actor_id: bytes) -> None:
        self.table = table
        self.id = actor_id
        self.state: Any = UNLOADED
        self.asleep = True
        """No command or read may see it yet: it is not in memory, or its activation has not been
        told to it (a flush needs only the state)."""
        self.revision = 0
        self.offset = NO_PREVIOUS
        """Of its last valid record, of whatever outcome; NO_PREVIOUS: none is known."""
        self.deleted = False
        self.keys: Keys | None = None
        self.tail: Tail | None = None
        """Records read at take-over and not folded into a state yet."""
        self.work: Work | None = None
        self.dirt = Dirt.CLEAN
        self.touched = 0
        """Tick of the last command or read; for passivation."""
        self.parked: SpawnError | None = None
        """Why its state can't be rebuilt, for everybody who calls it; None: it can."""

    def save_key_again(self, commit: Commit) -> None:
        """The store lost this commit's row: let the next flush write its key once more."""
        if commit.key is not None and self.keys is not None:
            bound = self.keys.bound.get(commit.key.key)
            if bound is not None:
                self.keys.unsaved[commit.key.key] = bound

    @property
    def name(self) -> str:
        """`Type/id`, for people."""
        return f"{self.table.type}/{self.id.decode()}"


class Work(msgspec.Struct, eq=False):
    """What a busy actor has besides: commands waiting, and what is not committed yet.

    A Struct, since most commands find their actor idle and make one (design D7).
    """

    state: Any
    """`state`, `revision` and `deleted` are the uncommitted ones: what its next command sees."""
    revision: int
    deleted: bool
    mailbox: deque[Command] = msgspec.field(default_factory=deque)
    reads: list[Command] = []
    """Reads that wait until the actor is loaded."""
    loading: bool = False
    running: Command | None = None
    """The command whose code runs (or whose first record is read): no other may start."""
    stale: bool = False
    """What runs now builds on state that was dropped; its result is dropped too."""
    uncommitted: int = 0
    keys: set[bytes] | None = None
    """Idempotency keys of its uncommitted commands."""
    requests: dict[tuple[bytes, int], Command] | None = None
    """Its numbered requests in flight, by session and number: from arrival to commit."""
    batch: int = 0
    """Number of the append in which its last uncommitted record was cut, ..."""
    index: int = 0
    """... and where in it."""

    def reset(self, actor: Actor) -> None:
        """Drop speculation: go on from the committed state."""
        self.state = actor.state
        self.revision = actor.revision
        self.deleted = actor.deleted
        self.uncommitted = 0
        self.keys = None
        self.batch = 0

    def request_in_flight(self, request: RequestNumber) -> Command | None:
        """Return the command that another copy of the request made, if it has no outcome yet."""
        return None if self.requests is None else self.requests.get((request.session, request.n))

    def track(self, command: Command, request: RequestNumber) -> None:
        """Note a numbered request as in flight."""
        if self.requests is None:
            self.requests = {}
        self.requests[request.session, request.n] = command

    def untrack(self, command: Command) -> None:
        """The command has its outcome, or never gets one here."""
        if self.requests is not None and (request := command.request) is not None:
            self.requests.pop((request.session, request.n), None)

    @property
    def idle(self) -> bool:
        """Tell whether nothing needs this object any more."""
        return not (
            self.uncommitted
            or self.running is not None
            or self.mailbox
            or self.loading
            or self.reads
        )


class Entry(msgspec.Struct, eq=False):
    """One command's decision on its way into the log, and its record's prefix.

    It has the fields of a `Commit`, so that it is encoded and folded without making one.
    """

    command: Command
    actor: Actor
    decision: Decision
    body: bytes
    revision: int
    time_us: int
    outcome: int
    cause: int
    flags: int
    type: bytes
    request: RequestNumber | None = None
    key: UserKey | None = None
    """The key that this record binds: a repetition and a failure bind none."""
    repeats: int = 0
    """Offset of the first record, for a repetition under the same key."""
    first_revision: int = 0
    """Revision that the first record left behind, for the repetition's answer."""
    claim: bytes = NO_CLAIM
    """This and the next three are known once it is cut."""
    epoch: int = 0
    sequence: int = 0
    previous: int = NO_PREVIOUS
    link: LinkNumber | None = None
    timer: TimerFiring | None = None
    offset: int = 0
    """As committed."""
    size: int = 0
    """Bytes of the whole record in a batch: body, prefix, key, and what the log's format adds."""
    bare: bool = False
    """It says that the log refused a record as too large, and holds nothing that may be large."""
