"""The shapes that values of an actor's events and state can have.

`values` makes them from annotations. Every shape has exactly one Avro form (`avro_schema`), one
writer (`writing`) and one reader (`reading`).
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import re
import typing
from dataclasses import dataclass
from typing import Any, Final

__all__ = [
    "MISSING",
    "EnumShape",
    "FieldShape",
    "ListShape",
    "MapShape",
    "MessageShape",
    "RecordShape",
    "ScalarShape",
    "Shape",
    "TupleShape",
    "UnionShape",
    "avro_type",
    "holds",
    "is_mutable",
    "place_of",
    "shape_text",
    "type_text",
]

MISSING: Final = dataclasses.MISSING


@dataclass(frozen=True, slots=True, eq=False)
class ScalarShape:
    """One of the plain types."""

    type: type
    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class EnumShape:
    """An `enum.Enum`, stored by its members' names."""

    type: type[enum.Enum]


@dataclass(frozen=True, slots=True, eq=False)
class ListShape:
    """`tuple[item, ...]` or `frozenset[item]`; in pydantic models also `list` and `set`."""

    type: type
    item: Shape


@dataclass(frozen=True, slots=True, eq=False)
class TupleShape:
    """`tuple[a, b, c]`: a record with fields `_0`, `_1`, ... in Avro."""

    name: str
    items: tuple[Shape, ...]


@dataclass(frozen=True, slots=True, eq=False)
class MapShape:
    """`Mapping[key, value]`; in Avro a map, or with other keys than str an array of entries.

    In pydantic models also `dict`, which is mutable.
    """

    name: str
    key: Shape
    value: Shape
    mutable: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class UnionShape:
    """One of several, told apart by their Python types."""

    branches: tuple[Shape, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FieldShape:
    """A field of a dataclass or pydantic model."""

    name: str
    shape: Shape
    default: Any
    """A constant, or MISSING (also with a factory: what it gives may differ each time)."""
    parameter: str = ""
    """What the class's constructor calls it; empty: by its name."""


@dataclass(slots=True, eq=False)
class RecordShape:
    """A frozen dataclass or pydantic model.

    It may contain itself, hence its fields are filled in last.
    """

    type: type
    fields: tuple[FieldShape, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class MessageShape:
    """A protobuf message: its own bytes, in a record that says of which message they are."""

    type: type


Shape = (
    ScalarShape | EnumShape | ListShape | TupleShape | MapShape | UnionShape | RecordShape
    | MessageShape
)  # fmt: skip


def type_text(annotation: Any) -> str:
    """Return an annotation as its author wrote it, without modules."""
    if annotation is type(None):
        return "None"
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        return annotation.__name__
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", inspect.formatannotation(annotation))


def place_of(target: Any) -> str:
    """Return `file.py:12` for a class or function, or its module where there is no source."""
    try:
        file = inspect.getsourcefile(target) or ""
        line = inspect.getsourcelines(target)[1]
    except (OSError, TypeError):
        module = str(getattr(target, "__module__", ""))
        return "" if module == "builtins" else module
    return f"{file.rpartition('/')[2]}:{line}"


def avro_type(shape: Shape) -> str:
    """Return the Avro type or name that tells the shape from others in a union."""
    match shape:
        case ScalarShape(kind="timestamp"):
            return "long"
        case ScalarShape(kind="decimal" | "uuid"):
            return "string"
        case ScalarShape(kind=kind):
            return kind
        case EnumShape(type=cls) | RecordShape(type=cls) | MessageShape(type=cls):
            return cls.__name__
        case TupleShape(name=name):
            return name
        case ListShape():
            return "array"
        case MapShape(key=ScalarShape(kind="string")):
            return "map"
        case MapShape():
            return "array"
        case UnionShape():
            return "union"


def shape_text(shape: Shape) -> str:
    """Return the shape as one would say it to the author of the type."""
    match shape:
        case TupleShape():
            return "tuple"
        case MapShape():
            return "Mapping"
        case UnionShape(branches=branches):
            return " | ".join(map(shape_text, branches))
        case _:
            return type_text(shape.type)


def holds(shape: Shape, value: Any) -> bool:
    """Tell by its Python type whether a value (a default) has this shape."""
    match shape:
        case TupleShape():
            return type(value) is tuple
        case MapShape():
            return isinstance(value, collections.abc.Mapping)
        case UnionShape(branches=branches):
            return any(holds(branch, value) for branch in branches)
        case ScalarShape(kind="double"):
            return type(value) in (int, float)
        case _:
            return type(value) is shape.type


def is_mutable(shape: Shape) -> bool:
    """Tell whether something within a value of this shape can be changed in place."""
    return _is_mutable(shape, set())


def _is_mutable(shape: Shape, seen: set[type]) -> bool:
    match shape:
        case MessageShape() | MapShape(mutable=True):
            return True
        case ListShape(type=cls, item=item):
            return cls in (list, set) or _is_mutable(item, seen)
        case TupleShape(items=parts) | UnionShape(branches=parts):
            return any(_is_mutable(part, seen) for part in parts)
        case MapShape(key=key, value=value):
            return _is_mutable(key, seen) or _is_mutable(value, seen)
        case RecordShape(type=cls, fields=fields):
            if cls in seen:
                return False
            seen.add(cls)
            return any(_is_mutable(field.shape, seen) for field in fields)
        case _:
            return False
