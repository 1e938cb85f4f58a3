"""One run of one action, and what `self` tells user code of it besides the state.

All of it follows from the command and from the log time of its record: the same command run again
at the same log time sees the same values, which is why the numbers of `self.random` can be
repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from spawn.core.commands import Command
from spawn.core.decision import EventData
from spawn.sdk.avro_schema import EPOCH

if TYPE_CHECKING:
    from random import Random  # noqa: TID251 - a type; it is seeded

__all__ = ["ActorLogger", "EventKind", "Run", "deadline_of", "dice_of", "logger_of", "request_of"]

EventKind = tuple[
    str, bytes, Callable[[Any], bytes], Callable[[Any, Any], Any], Callable[[Any], object]
]
"""(name, fingerprint, writer, evolve, check of the state)."""
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


class Run(msgspec.Struct):
    """One run of one action: what `self` speaks for."""

    type_name: str
    id: str
    state: Any
    revision: int
    time_us: int
    command: Command | None
    kinds: Mapping[type, EventKind]
    """Of the events that may be emitted; empty: state style."""
    closed: str = ""
    """Why nothing may be changed (any more); empty: it may."""
    events: list[EventData] = msgspec.field(default_factory=list)
    created: int = 0
    """How many of the events `on_create` emitted."""
    changed: bool = False
    """State style: the action itself has set the state."""
    deleted: bool = False
    """The action has deleted the actor."""
    dice: Any = None
    """The random source, once it was asked for."""


def deadline_of(run: Run) -> datetime:
    """Return the command's deadline in log time; without a command, the end of time."""
    command = run.command
    if command is None:
        return _NEVER
    try:
        left = timedelta(seconds=command.deadline - command.begun)
        return EPOCH + timedelta(microseconds=run.time_us) + left
    except OverflowError:
        return _NEVER


def request_of(run: Run) -> str:
    """Return the command's request id, made once for all its runs; empty without a command.

    A digest of the actor's name and what tells the command from its others: the number of
    a numbered request, else the idempotency key, else its first run and what it asks for.
    Other partitions and actors use numbers and keys again, so neither is told as it is.
    """
    command = run.command
    if command is None:
        return ""
    if not command.request_id:
        command.request_id = _digest(run, command)
    return command.request_id


def _digest(run: Run, command: Command) -> str:
    import hashlib

    told: tuple[object, ...]
    if command.request is not None:
        told = ("request", command.request.session, command.request.n)
    elif command.key_text:
        told = ("key", command.key_text)
    else:
        instant = run.revision, run.time_us, command.deadline
        told = ("run", *instant, command.action, command.payload)
    # By its repr, since ids and keys may hold whatever would stand between them.
    name = repr((run.type_name, run.id, *told)).encode()
    return hashlib.blake2b(name, digest_size=16).hexdigest()


def dice_of(run: Run) -> Random:
    """Return the run's random source, seeded with what a repetition of it has in common."""
    if run.dice is None:
        from random import Random  # noqa: TID251 - seeded: it gives the same numbers again

        run.dice = Random(f"{run.type_name}/{run.id}/{run.revision}/{run.time_us}")
    dice: Random = run.dice
    return dice


if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class ActorLogger(_Adapter):
    """Logs to `spawn.actor.<Type>`; each record has the fields actor, action and revision."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the fields to those of the call."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


def logger_of(run: Run) -> ActorLogger:
    """Return a logger that is bound to the run."""
    command = run.command
    fields: Mapping[str, object] = {
        "actor": f"{run.type_name}/{run.id}",
        "action": command.action if command is not None else "on_activate",
        "revision": run.revision,
    }
    return ActorLogger(logging.getLogger(f"spawn.actor.{run.type_name}"), fields)
