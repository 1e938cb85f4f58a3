"""Protobuf messages as events, states, parameters and replies.

Protobuf is the user's: nothing here imports it before a class of the user's is a message. A message
is stored as its own bytes, in an Avro record that carries what its descriptor says of the fields,
so that `schemas.compat` can judge what today's class makes of them.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any, Final

__all__ = ["describe_message", "is_message", "message_schema", "read_message", "write_message"]

_KINDS: Final = {
    1: "double", 2: "float", 3: "int64", 4: "uint64", 5: "int32", 6: "fixed64", 7: "fixed32",
    8: "bool", 9: "string", 10: "group", 11: "message", 12: "bytes", 13: "uint32", 14: "enum",
    15: "sfixed32", 16: "sfixed64", 17: "sint32", 18: "sint64",
}  # fmt: skip
"""Names of descriptor.proto's FieldDescriptorProto.Type."""


def is_message(cls: object) -> bool:
    """Tell whether something is a class of protobuf messages, without loading protobuf."""
    module = sys.modules.get("google.protobuf.message")
    base = getattr(module, "Message", None) if module is not None else None
    return (
        base is not None
        and isinstance(cls, type)
        and issubclass(cls, base)
        and hasattr(cls, "DESCRIPTOR")
    )


def message_schema(cls: Any) -> dict[str, Any]:
    """Return the Avro schema of a message: its bytes, and its descriptor as an attribute.

    Avro's fingerprint passes attributes over, but not fields: a field of type null, which takes no
    bytes, is named after a digest of the descriptor.
    """
    described = describe_message(cls.DESCRIPTOR)
    text = json.dumps(described, sort_keys=True, separators=(",", ":"))
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return {
        "type": "record",
        "name": cls.__name__,
        "protobuf": described,
        "fields": [
            {"name": "message", "type": "bytes"},
            {"name": f"descriptor_{digest}", "type": "null"},
        ],
    }


def describe_message(descriptor: Any) -> dict[str, Any]:
    """Return what readers of a message's bytes go by, of it and of all that it contains.

    `{"message": full name, "messages": {full name: {number: {"name", "type"}}}, "enums": {full
    name: {number: name}}}`; a type is `int64`, `repeated string`, `shop.Item`.
    """
    messages: dict[str, Any] = {}
    enums: dict[str, Any] = {}
    found = [descriptor]
    while found:
        each = found.pop()
        if each.full_name in messages:
            continue
        fields = messages[each.full_name] = {}
        for field in each.fields:
            kind = _KINDS[field.type]
            if field.message_type is not None:
                kind = field.message_type.full_name
                found.append(field.message_type)
            elif field.enum_type is not None:
                kind = field.enum_type.full_name
                enums[kind] = {str(value.number): value.name for value in field.enum_type.values}
            label = "repeated " if _is_repeated(field) else ""
            fields[str(field.number)] = {"name": field.name, "type": f"{label}{kind}"}
    return {"message": descriptor.full_name, "messages": messages, "enums": enums}


def _is_repeated(field: Any) -> bool:
    # `label` is deprecated in new releases, `is_repeated` is not there in old ones.
    repeated = getattr(field, "is_repeated", None)
    return bool(repeated) if repeated is not None else field.label == field.LABEL_REPEATED


def write_message(message: Any) -> bytes:
    """Return a message's bytes; equal ones for equal messages (maps are sorted)."""
    written: bytes = message.SerializeToString(deterministic=True)
    return written


def read_message(cls: Any, data: bytes) -> Any:
    """Return the message that bytes stand for. Raises: DecodeError."""
    return cls.FromString(data)


def unknown_numbers(message: Any) -> list[int]:
    """Return the numbers of fields in a message, or in what it contains, that its class lacks."""
    from google.protobuf.unknown_fields import UnknownFieldSet

    unknown: Any = UnknownFieldSet(message)
    numbers = [field.field_number for field in unknown]
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if not _is_repeated(field):
            parts = [value]
        elif not field.message_type.GetOptions().map_entry:
            parts = list(value)
        elif field.message_type.fields_by_name["value"].message_type is not None:
            parts = list(value.values())
        else:
            parts = []
        for part in parts:
            numbers += unknown_numbers(part)
    return numbers
