"""What user code decided, before it is in the log (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from eventstore.records import Outcome

__all__ = ["Decision", "EncodedState", "EventData", "Refusal"]


class EventData(NamedTuple):
    """One event, encoded with the Avro schema of that fingerprint."""

    name: str
    fingerprint: bytes
    data: bytes


class EncodedState(NamedTuple):
    """An actor's whole state, encoded with the Avro schema of that fingerprint."""

    fingerprint: bytes
    data: bytes


class Refusal(NamedTuple):
    """Why a command was rejected or failed; told to the caller and kept in the record."""

    code: str
    message: str


class Decision(msgspec.Struct):
    """The outcome of one run of one command; nothing of it is true before its commit is.

    `state` is what the actor's next command sees: an immutable object that only the type's
    behavior understands. `applied` comes with at least one event, a `replaced` state or
    `deleted`; all other outcomes come with none of them and with the state as it was.
    """

    outcome: Outcome
    state: Any
    reply: Any = None
    reply_json: bytes = b"null"
    events: Sequence[EventData] = ()
    replaced: EncodedState | None = None
    """State style: the whole new state is the event."""
    deleted: bool = False
    refusal: Refusal | None = None
