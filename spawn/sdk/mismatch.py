"""What a JSON decoder says of a value that does not fit, in words for whoever sent it (pure)."""

from __future__ import annotations

import re
import types
import typing
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

import msgspec

__all__ = ["describe_mismatch", "json_text", "value_text"]

_VALUE_LENGTH_MAX: Final = 60
_EXPECTED: Final = re.compile(r"Expected `(?P<types>[^`]+)`(?P<more>.*?)(?:, got (?P<got>\S+))?")
_PLACE: Final = re.compile(r" - at `(?:key` in `)?(?P<path>[^`]*)`$")
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_NOUNS: Final = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "null": "null",
    "array": "an array",
    "object": "an object",
    "bytes": "base64 text",
    "datetime": "a date and time (RFC 3339)",
    "date": "a date (YYYY-MM-DD)",
    "uuid": "a UUID",
    "decimal": "a decimal number",
}
_INVALID: Final = {
    "Invalid UUID": "a UUID",
    "Invalid decimal string": "a decimal number",
    "Invalid base64 encoded string": "base64 text",
    "Invalid RFC3339 encoded datetime": "a date and time (RFC 3339)",
    "Invalid RFC3339 encoded date": "a date (YYYY-MM-DD)",
    "Integer value out of range": "an integer that is not as long",
    "Number out of range": "a number within the range of a float",
}


def describe_mismatch(text: str, payload: bytes, root: str) -> str:
    """Return e.g. "`n` must be an integer, got "five"" for msgspec's text about a JSON payload.

    `root` is the parameter whose JSON the payload is; empty: an object of all parameters by name.
    """
    place = _PLACE.search(text)
    steps = _STEP.findall(place["path"]) if place else []
    text = text[: place.start()] if place else text
    name = _path_text(root, steps)
    if match := re.fullmatch(r"Object missing required field `(.*)`", text):
        return f"{name} lacks the field `{match[1]}`" if name else f"`{match[1]}` is missing"
    if match := re.fullmatch(r"Object contains unknown field `(.*)`", text):
        if name:
            return f"{name} has no field `{match[1]}`"
        return f"there is no parameter `{match[1]}`"
    subject = name or "the body"
    got = _value_at(payload, steps)
    if text.startswith("Invalid enum value"):
        return f"{subject} can't be {got}" if got else f"{subject} is none of its values"
    if match := _EXPECTED.fullmatch(text):
        nouns = [_NOUNS.get(kind, kind) for kind in match["types"].split(" | ")]
        wanted = f"{' or '.join(nouns)}{match['more']}"
        return f"{subject} must be {wanted}, got {got or match['got'] or 'something else'}"
    if wanted := _INVALID.get(text, ""):
        return f"{subject} must be {wanted}" + (f", got {got}" if got else "")
    return f"{subject}: {text[:1].lower()}{text[1:]}"


_JSON_OF: Final[dict[Any, str]] = {
    int: "integer", float: "number", str: "string", bool: "true or false", type(None): "null",
    bytes: "base64 text", datetime: "date and time", date: "date", UUID: "UUID", Decimal: "decimal",
}  # fmt: skip


def json_text(annotation: Any) -> str:
    """Return what JSON an annotation is, in short: `integer`, `array of string`, `object`."""
    if text := _JSON_OF.get(annotation):
        return text
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(value_text(member.value) for member in annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(json_text(each) for each in arguments)
    if origin is typing.Literal:
        return " or ".join(value_text(each) for each in arguments)
    if origin is typing.Annotated:
        return json_text(arguments[0])
    kind = origin or annotation
    if isinstance(kind, type) and issubclass(kind, list | tuple | set | frozenset):
        return f"array of {json_text(arguments[0])}" if arguments else "array"
    return "object"


def value_text(value: Any) -> str:
    """Return a value as JSON (or as Python shows it), shortened."""
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= _VALUE_LENGTH_MAX else text[: _VALUE_LENGTH_MAX - 3] + "..."


def _path_text(root: str, steps: list[tuple[str, str]]) -> str:
    path = root + "".join(f".{field}" if field else f"[{index}]" for field, index in steps)
    return f"`{path.lstrip('.')}`" if path else ""


def _value_at(payload: bytes, steps: list[tuple[str, str]]) -> str:
    """Return the value that was wrong; empty when the path does not lead to one value."""
    try:
        value: Any = msgspec.json.decode(payload)
    except msgspec.ValidationError:  # A number beyond what Python takes.
        return ""
    for field, index in steps:
        if field and isinstance(value, dict) and field in value:
            value = value[field]
        elif index.isdigit() and isinstance(value, list) and int(index) < len(value):
            value = value[int(index)]
        else:
            return ""
    return value_text(value)
