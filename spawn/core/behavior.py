"""The port between the platform and an actor type's code (pure).

Core and runtime know an actor type only through its `Behavior`: state, arguments and replies are
opaque objects at this edge, and encoded bytes in the log. `spawn.sdk` makes one from a Python
class; the sidecar proxy makes one that calls a host process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from spawn.core.commands import Command
from spawn.core.decision import Decision, EncodedState, EventData

__all__ = [
    "ActionDescription",
    "ActionInfo",
    "Behavior",
    "JsonSchema",
    "SchemaUse",
    "TypeDescription",
    "TypeSettings",
]

JsonSchema = dict[str, Any]
"""JSON Schema 2020-12; empty: nothing is known, so anything may be valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeSettings:
    """Settings of one actor type."""

    partitions: int | None = None
    """Of its topic; None: the system's default (16). Fixed once the topic exists."""
    topic: str = ""
    """Name of a topic shared with other types; empty: the type's own."""
    named_id: str = ""
    """Kind `named`: the only id. Empty: kind `unnamed`, any id. A named type has one partition."""
    idle_timeout_s: float = 600.0
    """An actor without a command for that long leaves memory; its state is in snapshot and log."""
    mailbox_size_max: int = 1_000
    """Commands of one actor waiting or uncommitted; one more is refused (mailbox-full)."""
    history_interval: int = 64
    """Every that many revisions the state is kept for time travel; 0: never."""
    snapshot_version: int = 1
    """Raise it when `evolve` changes its meaning: older snapshots are ignored and refolded."""
    strict_reads: bool = False
    """Read mode: strict instead of lease (protocol 6)."""
    record_commands: bool = True
    """Keep a command's input and metadata in its record; without, events, state and reply alone.
    Caller and idempotency keys are kept either way."""


class ActionInfo(NamedTuple):
    """What the platform must know of one action."""

    name: str
    read_only: bool
    is_async: bool
    signature: str
    """For people, e.g. `add(n: int) -> int`."""
    blocking: bool = False
    """Plain, but it waits or computes for long: `run` and `read` are called in a thread."""
    place: str = ""
    """Where its code stands, for people: `counter.py:12`."""


class SchemaUse(NamedTuple):
    """One Avro schema that a type writes; it stands in the schema topic before the first record."""

    type: str
    role: Literal["event", "state"]
    name: str
    fingerprint: bytes
    schema: str
    """Avro schema as JSON, complete (documentation and defaults too)."""


class ActionDescription(NamedTuple):
    """An action for programs that call it, and for the people who write them."""

    doc: str
    input: JsonSchema
    """Of the whole body."""
    reply: JsonSchema


class TypeDescription(NamedTuple):
    """An actor type for programs and people outside; `#/$defs/NAME` stands in `definitions`."""

    doc: str
    actions: Mapping[str, ActionDescription]
    events: Mapping[str, JsonSchema]
    state: JsonSchema
    definitions: Mapping[str, JsonSchema]


class Behavior(Protocol):
    """An actor type. Methods without `async` never block and may be called for every command.

    But for `run` and `read` of an action that is `blocking`, or proved to block: they are called in
    a thread of their own, several at once, one per actor.
    """

    @property
    def type(self) -> str: ...
    @property
    def settings(self) -> TypeSettings: ...
    @property
    def actions(self) -> Mapping[str, ActionInfo]: ...
    @property
    def schemas(self) -> Sequence[SchemaUse]:
        """All schemas that this type may write from now on."""
        ...

    @property
    def has_on_activate(self) -> bool: ...

    def learn(self, known: Sequence[SchemaUse]) -> None:
        """Take over the schemas that the topic was written with so far (this type's only).

        Raises: SchemaIncompatible - the code can't read one of them; the difference is named.
        """
        ...

    def meet(self, newer: Sequence[SchemaUse]) -> Sequence[str]:
        """Take over schemas that newer code of this type writes, as far as this code can read them.

        What is known already is passed over. Where only some values can't be read, or would be read
        with a loss, reading them raises WrittenByNewerCode; so does reading anything of a schema
        that this code can't read at all. Returns those, each as a text for people.
        """
        ...

    def initial(self, actor_id: str) -> Any:
        """Return the state of an actor that was never written (or was deleted)."""
        ...

    def decode_arguments(self, action: str, payload: bytes) -> Any:
        """Check and decode an action's JSON input. Raises: InvalidJson, BodyMismatch."""
        ...

    def run(
        self, action: str, actor_id: str, state: Any, revision: int, time_us: int, command: Command
    ) -> Decision | Awaitable[Decision]:
        """Run an action that may write; awaitable iff its `is_async`.

        `revision` is the actor's last applied one (with what is uncommitted), 0 means never
        written; `state` is never changed in place. User code's exceptions end up in the decision
        (rejected, failed), only cancellation gets out. May be called again for the same command;
        one run counts (protocol 5).
        """
        ...

    def read(
        self, action: str, actor_id: str, state: Any, revision: int, time_us: int, command: Command
    ) -> Any | Awaitable[Any]:
        """Run a read-only action; return its reply object. Raises: Rejected, ActionFailed."""
        ...

    def encode_reply(self, action: str, reply: Any) -> bytes:
        """Return a reply object as JSON."""
        ...

    def decode_reply(self, action: str, reply: bytes) -> Any:
        """Return the reply object that a record's JSON stands for."""
        ...

    async def on_activate(self, actor_id: str, state: Any, revision: int) -> None:
        """Tell the actor that it is in memory now. It changes nothing; errors are logged."""
        ...

    def evolve(self, actor_id: str, state: Any, events: Sequence[EventData]) -> Any:
        """Fold stored events into a state; pure (design I7).

        Raises: UnreadableBody - an event's bytes or schema can't be read, or `evolve` raised.
        """
        ...

    def decode_state(self, encoded: EncodedState) -> Any:
        """Return a stored state. Raises: UnreadableBody."""
        ...

    def encode_state(self, state: Any) -> EncodedState:
        """Encode a state for snapshot or record, with the schema that `schemas` names."""
        ...

    def state_json(self, state: Any) -> bytes:
        """Return a state as JSON for people and HTTP."""
        ...

    def event_json(self, event: EventData) -> bytes:
        """Return a stored event's fields as JSON for people and HTTP. Raises: UnreadableBody."""
        ...

    def describe(self) -> TypeDescription:
        """Say what the type takes, gives and stores."""
        ...
