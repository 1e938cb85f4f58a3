"""An actor type's schemas, and its way between stored bytes and events or states.

Bytes are read with the schema that they were written with, found by fingerprint among the type's
own schemas, those that `learn` was told of (what older code wrote), and those that `meet` was told
of (what newer code writes meanwhile, on other nodes).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from eventstore.errors import UnknownSchema, UnreadableBody, WrittenByNewerCode
from spawn.core.behavior import SchemaUse
from spawn.core.decision import EncodedState, EventData
from spawn.errors import SchemaIncompatible
from spawn.sdk.avro_schema import avro_schema, schema_text
from spawn.sdk.carrying import encode_json
from spawn.sdk.causes import cause
from spawn.sdk.definition import ActorDefinition
from spawn.sdk.reading import Reader, reader_of
from spawn.sdk.run import EventKind
from spawn.sdk.shapes import MessageShape, RecordShape, Shape, UnionShape, place_of
from spawn.sdk.writing import writer_of

__all__ = ["History"]

_HINTS: Final = (
    ("removed", "keep the class, and its case in evolve, as long as its events are in the log"),
    ("new", "give the new field a default: what was written before has no value for it"),
    ("lost", "keep the member: what was written before may hold it"),
)
_HINT: Final = "keep the old field as it was and add another one with a default beside it"


class _Stored(NamedTuple):
    """One class that is stored: how today's code writes it."""

    use: SchemaUse
    schema: Any
    shape: Shape


class History:
    """Reads and writes what one actor type stores."""

    def __init__(self, type_name: str, definition: ActorDefinition) -> None:
        self._type = type_name
        self._definition = definition
        self._events = {
            name: _stored(type_name, "event", name, shape)
            for name, shape in definition.event_shapes.items()
        }
        self._state = _stored(
            type_name, "state", _state_name(definition.state_shape), definition.state_shape
        )
        self.schemas: Sequence[SchemaUse] = [
            stored.use for stored in (*self._events.values(), self._state)
        ]
        self.kinds: Mapping[type, EventKind] = {
            shape.type: (
                name,
                self._events[name].use.fingerprint,
                writer_of(shape),
                definition.evolve,
                definition.check_state,
            )
            for name, shape in definition.event_shapes.items()
        }
        self._event_readers: dict[bytes, Reader] = {}
        self._state_readers: dict[bytes, Reader] = {}
        self._beyond: dict[bytes, str] = {}
        """Fingerprint of a newer schema that this code can't read at all -> why."""
        self._given_up: set[bytes] = set()
        """Fingerprints of states of older code, whose snapshots are made again from the events."""
        for stored in (*self._events.values(), self._state):
            self._add_reader(stored.use, stored.schema, stored.shape)

    def learn(self, known: Sequence[SchemaUse]) -> None:
        """See `Behavior.learn`. A snapshot of an event-sourced type need not be readable."""
        found: list[str] = []
        places: list[Any] = []
        for use in known:
            schema = json.loads(use.schema)
            if differences := self._differences(use, schema):
                if use.role == "event" or not self._events:
                    found += differences
                    stored_now = self._events.get(use.name) if use.role == "event" else self._state
                    places.append(getattr(stored_now and stored_now.shape, "type", None))
                else:
                    self._state_readers.pop(use.fingerprint, None)
                    self._given_up.add(use.fingerprint)
            else:
                stored = self._events[use.name] if use.role == "event" else self._state
                self._add_reader(use, schema, stored.shape)
        if found:
            texts = list(dict.fromkeys(found))
            raise SchemaIncompatible(
                f"{self._type} can't read its history: {'; '.join(texts)}",
                at=place_of(places[0] or self._definition.cls),
                hint=next((hint for word, hint in _HINTS if word in texts[0].split()), _HINT),
            )

    def meet(self, newer: Sequence[SchemaUse]) -> Sequence[str]:
        """See `Behavior.meet`."""
        found: list[str] = []
        for use in newer:
            readers = self._event_readers if use.role == "event" else self._state_readers
            known = use.fingerprint in readers or use.fingerprint in self._given_up
            if known or use.fingerprint in self._beyond:
                continue
            try:
                text = self._meet(use)
            except Exception as error:  # noqa: BLE001 - a schema that another program has written
                text = f"the schema of {use.role} {use.name} can't be used: {error!r}"
            if text:
                self._beyond[use.fingerprint] = text
                found.append(text)
        return found

    def _meet(self, use: SchemaUse) -> str:
        """Add the reader of a newer schema, or return why there can be none."""
        if use.role == "event" and use.name not in self._events:
            return f"this code has no event {use.name}"
        schema = json.loads(use.schema)
        if found := self._differences(use, schema, by_value=True):
            return f"this code can't read it: {'; '.join(found)}"
        stored = self._events[use.name] if use.role == "event" else self._state
        self._add_reader(use, schema, stored.shape, newer=True)
        return ""

    def fold(self, actor_id: str, state: Any, events: Sequence[EventData]) -> Any:
        """Fold stored events into a state. Raises: UnreadableBody."""
        evolve, copy = self._definition.evolve, self._definition.copy
        if copy is not None:
            try:
                state = copy(state)  # whoever keeps it must not see what evolve does to it
            except Exception as error:
                raise UnreadableBody(
                    f"the state of {self._type}/{actor_id} can't be copied: {cause(error)}"
                ) from error
        for name, fingerprint, data in events:
            event = self._reader(self._event_readers, fingerprint, f"event {name}")(data)
            try:
                state = evolve(state, event)
            except Exception as error:
                raise UnreadableBody(
                    f"evolve of {self._type}/{actor_id} raised {type(error).__name__} on "
                    f"{event!r}: {error}"
                ) from error
        if type(state) not in self._definition.state_types:
            raise UnreadableBody(
                f"evolve of {self._type}/{actor_id} returned {type(state).__name__}, no state"
            )
        return state

    def event_json(self, event: EventData) -> bytes:
        """Return a stored event as JSON. Raises: UnreadableBody."""
        name, fingerprint, data = event
        return encode_json(self._reader(self._event_readers, fingerprint, f"event {name}")(data))

    def decode_state(self, encoded: EncodedState) -> Any:
        """Return a stored state. Raises: UnreadableBody."""
        fingerprint, data = encoded
        return self._reader(self._state_readers, fingerprint, "state")(data)

    def encode_state(self, state: Any) -> EncodedState:
        """Raises: NotStorable."""
        return EncodedState(self._state.use.fingerprint, self._definition.write_state(state))

    def _reader(self, readers: Mapping[bytes, Reader], fingerprint: bytes, what: str) -> Reader:
        reader = readers.get(fingerprint)
        if reader is not None:
            return reader
        if fingerprint in self._beyond:
            raise WrittenByNewerCode(
                f"{what} of {self._type} was written by newer code: {self._beyond[fingerprint]}"
            )
        if fingerprint in self._given_up:
            raise UnreadableBody(
                f"{what} of {self._type} was written with schema {fingerprint.hex()}, which "
                "today's code can't read"
            )
        raise UnknownSchema(
            f"{what} of {self._type} was written with schema {fingerprint.hex()}, which "
            "neither the code nor the schema topic has",
            fingerprint,
        )

    def _add_reader(
        self, use: SchemaUse, schema: Any, shape: Shape, *, newer: bool = False
    ) -> None:
        readers = self._event_readers if use.role == "event" else self._state_readers
        what = f"{use.role} {use.name} of {use.type}"
        if newer:
            what += ", which newer code wrote,"
        readers[use.fingerprint] = reader_of(schema, shape, what, newer=newer)

    def _differences(self, use: SchemaUse, schema: Any, *, by_value: bool = False) -> list[str]:
        from schemas import compat

        if by_value:
            stored = self._events[use.name] if use.role == "event" else self._state
            found = compat.differences(schema, stored.schema, by_value=True)
            return [f"{use.role} {use.name}, {each}" for each in found]
        if use.role == "event":
            readers = {name: stored.schema for name, stored in self._events.items()}
            return [str(each) for each in compat.event_differences(use.name, schema, readers)]
        return [
            f"state {use.name}{',' if each.where else ''} {each}"
            for each in compat.differences(schema, self._state.schema)
        ]


def _stored(type_name: str, role: Any, name: str, shape: Shape) -> _Stored:
    from schemas.registry import schema_fingerprint

    schema = avro_schema(shape)
    fingerprint = schema_fingerprint(schema)
    return _Stored(
        SchemaUse(type_name, role, name, fingerprint, schema_text(schema)), schema, shape
    )


def _state_name(shape: Shape) -> str:
    if isinstance(shape, UnionShape):
        return "|".join(map(_state_name, shape.branches))
    assert isinstance(shape, RecordShape | MessageShape), "a state is a class or a union of them"
    return shape.type.__name__
