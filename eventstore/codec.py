"""Bodies of records: Avro with a fingerprint in front (pure; log protocol 2, design 3.1).

A body is the 8-byte CRC-64-AVRO fingerprint of its schema, then the Avro bytes. fastavro reads
them whole and writes the rare ones. The commit body is written once per command, and fastavro
would take most of the commit path's budget for it (commit-path measurement: 5.6 of 16 us), so it
is written here by hand; a property test holds it equal to fastavro. Likewise `read_effect` walks
to the events without decoding the rest, since activation and replay need nothing else.

A body is read with the schema that wrote it, found by its fingerprint among `Writers`: what this
release writes, what earlier ones wrote (`SHIPPED`), and what later ones have put into the schema
topic (`eventstore.schema_topic.body_writers`). Avro's schema resolution leaves out what this
release does not know and puts in defaults. So a release may add fields with defaults to a body;
what must not be passed over has to show in the prefix (`records.Flag`).
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import fastavro
import msgspec

from eventstore.errors import UnknownSchema, UnreadableBody
from eventstore.records import FINGERPRINT_BYTES
from schemas.registry import PlatformSchema, platform_schema, platform_schemas

__all__ = [
    "SHIPPED",
    "ClaimBody",
    "CommitBody",
    "Effect",
    "EventBytes",
    "SchemaEntry",
    "SchemaRole",
    "Writers",
    "decode_claim_body",
    "decode_commit_body",
    "decode_schema_entry",
    "encode_claim_body",
    "encode_commit_body",
    "encode_schema_entry",
    "read_effect",
]

EventBytes = tuple[str, bytes, bytes]
"""(name, schema fingerprint, Avro bytes) of one event."""
StateBytes = tuple[bytes, bytes]
"""(schema fingerprint, Avro bytes) of a state."""

Writers = Mapping[bytes, PlatformSchema]
"""By fingerprint: the schemas that bodies of records were written with."""
SHIPPED: Final[Writers] = platform_schemas()
"""Those that come with this release: its own, and those of earlier ones."""
SchemaRole = Literal["event", "state", "body", "code", "other"]
"""What an entry of the schema topic is of; see schema_entry.avsc."""

_COMMIT: Final = platform_schema("commit_body")
_CLAIM: Final = platform_schema("claim_body")
_ENTRY: Final = platform_schema("schema_entry")


class CommitBody(msgspec.Struct, frozen=True):
    """A decoded commit body; field by field as in commit_body.avsc."""

    action: str
    payload: bytes
    payload_type: str
    events: Sequence[EventBytes]
    state: StateBytes | None
    reply: bytes
    reply_type: str
    refusal: tuple[str, str] | None
    key: str
    caller: str
    metadata: Mapping[str, str]
    trace: str


class Effect(NamedTuple):
    """What a commit did to its actor's state."""

    events: Sequence[EventBytes]
    state: StateBytes | None


class ClaimBody(msgspec.Struct, frozen=True):
    """A decoded claim body; field by field as in claim_body.avsc."""

    system: str
    owner: bytes
    endpoint: str
    reason: str


class SchemaEntry(msgspec.Struct, frozen=True):
    """An entry of the schema topic; field by field as in schema_entry.avsc."""

    type: str
    role: SchemaRole
    name: str
    fingerprint: bytes
    schema: str


def _varint(number: int) -> bytes:
    """Return a non-negative Avro long: zigzag, seven bits a byte, lowest first."""
    number <<= 1
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_SHORT: Final = tuple(_varint(n) for n in range(1024))
"""Lengths below 1,024 are looked up: nearly every string and payload."""
_END: Final = b"\x00"
_ONE_EVENT_NO_STATE: Final = _END + _END
"""The end of the array of events, and the null of the state."""
_ONE: Final = _varint(1)


def _length(size: int) -> bytes:
    return _SHORT[size] if size < 1024 else _varint(size)


@functools.lru_cache(maxsize=4096)
def _name(text: str) -> bytes:
    """Return an Avro string; cached, for names of actions, events and callers."""
    encoded = text.encode()
    return _varint(len(encoded)) + encoded


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _length(len(encoded)) + encoded


def encode_commit_body(
    action: str,
    payload: bytes,
    events: Sequence[EventBytes],
    state: StateBytes | None,
    reply: bytes,
    refusal: tuple[str, str] | None,
    key: str,
    caller: str,
    metadata: Mapping[str, str] | None,
) -> bytes:
    """Return fingerprint and Avro bytes of a commit body whose payload and reply are JSON."""
    if len(events) == 1 and state is None:
        ((name, fingerprint, data),) = events
        size = len(data)
        effect = (_event_head(name, fingerprint), _SHORT[size] if size < 1024 else _varint(size))
        after = _ONE_EVENT_NO_STATE
    else:
        effect = (_encode_events(events), b"")
        data = b""
        after = _END if state is None else _encode_state(state)
    if refusal is None and not key and not metadata:
        rest = _plain_rest(caller)
    else:
        rest = _encode_rest(refusal, key, caller, metadata)
    sent, said = len(payload), len(reply)
    return b"".join((
        _head(action),
        _SHORT[sent] if sent < 1024 else _varint(sent), payload, _END,
        *effect, data, after,
        _SHORT[said] if said < 1024 else _varint(said), reply, rest,
    ))  # fmt: skip


@functools.lru_cache(maxsize=4096)
def _head(action: str) -> bytes:
    """Return the start of each body of an action: the schema's fingerprint, the action."""
    return _COMMIT.fingerprint + _name(action)


@functools.lru_cache(maxsize=4096)
def _event_head(name: str, fingerprint: bytes) -> bytes:
    """Return the start of an array with one event, up to the length of its data."""
    return _ONE + _name(name) + fingerprint


@functools.lru_cache(maxsize=4096)
def _plain_rest(caller: str) -> bytes:
    """Return what follows the reply in a body without refusal, key and metadata."""
    return _encode_rest(None, "", caller, None)


def _encode_rest(
    refusal: tuple[str, str] | None, key: str, caller: str, metadata: Mapping[str, str] | None
) -> bytes:
    """Return all that follows the reply: its type, refusal, key, caller, metadata, trace."""
    return b"".join((
        _END,
        _END if refusal is None else _ONE + _text(refusal[0]) + _text(refusal[1]),
        _text(key) if key else _END,
        _name(caller),
        _encode_map(metadata) if metadata else _END,
        _END,
    ))  # fmt: skip


def _encode_state(state: StateBytes) -> bytes:
    fingerprint, data = state
    return b"".join((_ONE, fingerprint, _length(len(data)), data))


def _encode_events(events: Sequence[EventBytes]) -> bytes:
    if not events:
        return _END
    parts = [_length(len(events))]
    for name, fingerprint, data in events:
        parts += (_name(name), fingerprint, _length(len(data)), data)
    parts.append(_END)
    return b"".join(parts)


def _encode_map(entries: Mapping[str, str]) -> bytes:
    parts = [_length(len(entries))]
    for key, value in entries.items():
        parts += (_text(key), _text(value))
    parts.append(_END)
    return b"".join(parts)


def decode_commit_body(value: bytes, at: int, writers: Writers = SHIPPED) -> CommitBody:
    """Decode the commit body that starts (with its fingerprint) at `at`.

    Raises: UnreadableBody; UnknownSchema, which is one.
    """
    body = _decode(_COMMIT, value, at, writers)
    state, refusal = body["state"], body["refusal"]
    try:
        return CommitBody(
            action=body["action"],
            payload=body["payload"],
            payload_type=body["payload_type"],
            events=[(e["name"], e["schema"], e["data"]) for e in body["events"]],
            state=None if state is None else (state["schema"], state["data"]),
            reply=body["reply"],
            reply_type=body["reply_type"],
            refusal=None if refusal is None else (refusal["code"], refusal["message"]),
            key=body["key"],
            caller=body["caller"],
            metadata=body["metadata"],
            trace=body["trace"],
        )
    except (KeyError, TypeError) as error:
        raise UnreadableBody(f"the commit's body lacks {error}") from error


def read_effect(value: bytes, at: int, writers: Writers = SHIPPED) -> Effect:
    """Return the events and the state of the commit body at `at`; equal to decoding all of it.

    Raises: UnreadableBody; UnknownSchema, which is one.
    """
    if value[at : at + FINGERPRINT_BYTES] != _COMMIT.fingerprint:
        body = decode_commit_body(value, at, writers)
        return Effect(body.events, body.state)
    try:
        at = _skip(value, at + FINGERPRINT_BYTES)
        at = _skip(value, _skip(value, at))
        events: list[EventBytes] = []
        count, at = _read_long(value, at)
        while count:
            if count < 0:
                count = -count
                _, at = _read_long(value, at)
            for _ in range(count):
                name, at = _read_bytes(value, at)
                fingerprint = value[at : at + FINGERPRINT_BYTES]
                data, at = _read_bytes(value, at + FINGERPRINT_BYTES)
                events.append((name.decode(), fingerprint, data))
            count, at = _read_long(value, at)
        if value[at] == 0:
            return Effect(events, None)
        fingerprint = value[at + 1 : at + 1 + FINGERPRINT_BYTES]
        data, _ = _read_bytes(value, at + 1 + FINGERPRINT_BYTES)
    except (IndexError, UnicodeDecodeError) as error:
        raise UnreadableBody("the commit's body is cut short or garbled") from error
    return Effect(events, (fingerprint, data))


def _read_long(value: bytes, at: int) -> tuple[int, int]:
    byte = value[at]
    at += 1
    number = byte & 0x7F
    shift = 7
    while byte & 0x80:
        if shift > 63:
            raise IndexError(at)
        byte = value[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
    return (number >> 1) ^ -(number & 1), at


def _read_bytes(value: bytes, at: int) -> tuple[bytes, int]:
    size, at = _read_long(value, at)
    end = at + size
    if size < 0 or end > len(value):
        raise IndexError(end)
    return value[at:end], end


def _skip(value: bytes, at: int) -> int:
    size, at = _read_long(value, at)
    if size < 0 or at + size > len(value):
        raise IndexError(at)
    return at + size


def encode_claim_body(body: ClaimBody) -> bytes:
    """Return fingerprint and Avro bytes of a claim body."""
    return _encode(_CLAIM, msgspec.structs.asdict(body))


def decode_claim_body(value: bytes, at: int, writers: Writers = SHIPPED) -> ClaimBody:
    """Decode the claim body that starts at `at`. Raises: as `decode_commit_body`."""
    body = _decode(_CLAIM, value, at, writers)
    return ClaimBody(body["system"], body["owner"], body["endpoint"], body["reason"])


def encode_schema_entry(entry: SchemaEntry) -> bytes:
    """Return fingerprint and Avro bytes of an entry of the schema topic."""
    return _encode(_ENTRY, msgspec.structs.asdict(entry))


def decode_schema_entry(value: bytes, writers: Writers = SHIPPED) -> SchemaEntry:
    """Decode the value of a record of the schema topic. Raises: as `decode_commit_body`."""
    body = _decode(_ENTRY, value, 0, writers)
    return SchemaEntry(
        body["type"], body["role"], body["name"], body["fingerprint"], body["schema"]
    )


def _encode(schema: PlatformSchema, body: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    buffer.write(schema.fingerprint)
    fastavro.schemaless_writer(buffer, schema.parsed, body)
    return buffer.getvalue()


def _decode(schema: PlatformSchema, value: bytes, at: int, writers: Writers) -> dict[str, Any]:
    fingerprint = value[at : at + FINGERPRINT_BYTES]
    writer, reader = schema, None
    if fingerprint != schema.fingerprint:
        found = writers.get(fingerprint)
        if found is None:
            raise UnknownSchema(
                f"the {schema.name} was written with schema {fingerprint.hex()}, which neither "
                "this release of Spawn nor the schema topic has",
                fingerprint,
            )
        if found.name != schema.name:
            raise UnreadableBody(f"it is a {found.name}, where a {schema.name} belongs")
        writer, reader = found, schema.parsed
    try:
        decoded = fastavro.schemaless_reader(
            io.BytesIO(value[at + FINGERPRINT_BYTES :]), writer.parsed, reader
        )
    except Exception as error:  # fastavro raises whatever the garbled bytes lead to
        raise UnreadableBody(f"the {schema.name} can't be decoded: {error!r}") from error
    if not isinstance(decoded, dict):
        raise UnreadableBody(f"the {schema.name} is no record")
    return decoded
