"""What arrives at a partition: commands, and what a caller is told (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from eventstore.records import Cause, RequestNumber, UserKey
from spawn.core.ids import Position

__all__ = ["DELETE", "UNDECODED", "Answer", "Command", "Waiter"]

DELETE: Final = "$delete"
"""The action of a command that deletes its actor, whatever the type; it is the name in the record.
No action of a type can be named so: the names of methods have no `$`."""


UNDECODED: Final = object()
"""The arguments of a command that goes to another node, or came from one: whoever runs it decodes
its payload."""


class Waiter(Protocol):
    """Who waits for a command's outcome; an `asyncio.Future` is one.

    A plain waiter gets the reply object, one of a command with `wants_answer` an `Answer`.
    """

    def done(self) -> bool: ...
    def set_result(self, result: Any, /) -> None: ...
    def set_exception(self, exception: Any, /) -> None: ...


class Command(msgspec.Struct, eq=False):
    """One command to one actor.

    Mutable only in what a repetition fills in; made once at the edge and handed through. A Struct,
    since it is made and dropped for every call (design D7).
    """

    type: str
    id: bytes
    """The actor id in UTF-8: the record's key."""
    action: str
    payload: bytes
    """The action's input as JSON; what the record keeps."""
    arguments: Any
    """The decoded input, as the type's behavior made it; opaque to core and runtime."""
    deadline: float
    """On the runtime's monotonic clock, in seconds."""
    waiter: Waiter | None = None
    wants_answer: bool = False
    key: UserKey | None = None
    key_text: str = ""
    request: RequestNumber | None = None
    cause: int = int(Cause.REQUEST)
    caller: str = ""
    metadata: Mapping[str, str] | None = None
    strict: bool = False
    """A read that rests on no lease (protocol 6); set by the runtime from the type's settings."""
    started: bool = False
    """User code was started with it at least once: its outcome may be unknown later."""
    arrived: float = 0.0
    """When the node took it, on the clock of `deadline`; 0: it was begun at once."""
    begun: float = 0.0
    """When it was started last, on the clock of `deadline`; for what user code is told."""
    request_id: str = ""
    """As user code is told; filled in when it first asks, and the same in all runs."""
    joined: list[Command] | None = None
    """Later copies of the same numbered request: they get this one's outcome (protocol 7)."""

    def is_awaited(self, now: float) -> bool:
        """Tell whether anybody still waits for the outcome."""
        if now < self.deadline and (self.waiter is None or not self.waiter.done()):
            return True
        return self.joined is not None and any(copy.is_awaited(now) for copy in self.joined)

    def join(self, copy: Command) -> None:
        """Let a later copy of this request wait for its outcome."""
        # What a copy is told at its deadline must hold for the request.
        copy.started = True
        if self.joined is None:
            self.joined = []
        self.joined.append(copy)


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a caller over HTTP is told of a command or a read."""

    reply: bytes
    """JSON."""
    revision: int
    """Of the actor: after the command, or the one read. A repetition: after the first record."""
    position: Position | None
    """Of the command's record (a repetition: of the first), or of the actor's last record when
    read; None at revision 0."""
