"""The Avro schema of a shape: what the schema topic holds and readers of the log go by.

Records are named by class without a namespace, so moving a class to another module changes
nothing. Logical types: timestamp-micros and date (as Avro defines them), uuid (a string), and our
own `decimal-text` (a string; others read it as one), since Avro's decimal has a fixed scale.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from spawn.errors import InvalidTarget
from spawn.sdk.messages import message_schema
from spawn.sdk.shapes import (
    MISSING,
    EnumShape,
    FieldShape,
    ListShape,
    MapShape,
    MessageShape,
    RecordShape,
    ScalarShape,
    Shape,
    TupleShape,
    UnionShape,
    holds,
    place_of,
    shape_text,
)

__all__ = ["EPOCH", "EPOCH_DAY", "avro_schema", "schema_text"]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_MICROSECOND: Final = timedelta(microseconds=1)
_LOGICAL: Final[dict[str, dict[str, str]]] = {
    "timestamp": {"type": "long", "logicalType": "timestamp-micros"},
    "date": {"type": "int", "logicalType": "date"},
    "uuid": {"type": "string", "logicalType": "uuid"},
    "decimal": {"type": "string", "logicalType": "decimal-text"},
}


def avro_schema(shape: Shape) -> Any:
    """Return the schema as parsed JSON; the fields' constant defaults and class docs are kept.

    Raises: InvalidTarget - a default is of another type than its annotation says.
    """
    return _schema(shape, set())


def schema_text(schema: Any) -> str:
    """Return a schema as it stands in the schema topic."""
    return json.dumps(schema, separators=(",", ":"), ensure_ascii=False)


def _schema(shape: Shape, named: set[str]) -> Any:
    match shape:
        case ScalarShape(kind=kind):
            return dict(_LOGICAL[kind]) if kind in _LOGICAL else kind
        case UnionShape(branches=branches):
            return [_schema(branch, named) for branch in branches]
        case ListShape(item=item):
            return {"type": "array", "items": _schema(item, named)}
        case MapShape(key=ScalarShape(kind="string"), value=value):
            return {"type": "map", "values": _schema(value, named)}
        case MapShape(name=name, key=key, value=value):
            entry = _record(f"{name}_entry", {"key": key, "value": value}, named)
            return {"type": "array", "items": entry}
        case TupleShape(name=name, items=items):
            return _record(name, {f"_{index}": item for index, item in enumerate(items)}, named)
        case EnumShape(type=cls):
            if cls.__name__ in named:
                return cls.__name__
            named.add(cls.__name__)
            symbols = [member.name for member in cls]
            return {"type": "enum", "name": cls.__name__, "symbols": symbols}
        case RecordShape():
            return _dataclass(shape, named)
        case MessageShape(type=cls):
            if cls.__name__ in named:
                return cls.__name__
            named.add(cls.__name__)
            return message_schema(cls)


def _record(name: str, fields: dict[str, Shape], named: set[str]) -> Any:
    if name in named:
        return name
    named.add(name)
    items = [{"name": field, "type": _schema(shape, named)} for field, shape in fields.items()]
    return {"type": "record", "name": name, "fields": items}


def _dataclass(shape: RecordShape, named: set[str]) -> Any:
    name = shape.type.__name__
    if name in named:
        return name
    named.add(name)
    schema: dict[str, Any] = {"type": "record", "name": name}
    doc = shape.type.__doc__ or ""
    if doc and not doc.startswith(f"{name}("):
        schema["doc"] = doc.strip()
    schema["fields"] = [_field(shape.type, field, named) for field in shape.fields]
    return schema


def _field(owner: type, field: FieldShape, named: set[str]) -> Any:
    entry = {"name": field.name, "type": _schema(field.shape, named)}
    if field.default is not MISSING:
        try:
            entry["default"] = _default(field.shape, field.default)
        except TypeError as error:
            raise InvalidTarget(
                f"`{owner.__name__}.{field.name}`: {error}", at=place_of(owner)
            ) from error
    return entry


def _default(shape: Shape, value: Any) -> Any:
    """Return a default as JSON in Avro's way (bytes as Latin-1 text, a union's first branch)."""
    if isinstance(shape, UnionShape):
        shape = shape.branches[0]
    if not holds(shape, value):
        raise TypeError(f"its default {value!r} is no {shape_text(shape)}")
    match shape:
        case ScalarShape(kind="bytes"):
            return value.decode("latin-1")
        case ScalarShape(kind="timestamp"):
            return (value - EPOCH) // _MICROSECOND
        case ScalarShape(kind="date"):
            return value.toordinal() - EPOCH_DAY
        case ScalarShape(kind="uuid" | "decimal"):
            return str(value)
        case EnumShape():
            return value.name
        case ListShape(item=item):
            return [_default(item, each) for each in value]
        case MapShape(key=ScalarShape(kind="string"), value=each):
            return {key: _default(each, item) for key, item in value.items()}
        case MapShape(key=key, value=each):
            return [{"key": _default(key, k), "value": _default(each, v)} for k, v in value.items()]
        case TupleShape(items=items):
            return {
                f"_{index}": _default(item, each)
                for index, (item, each) in enumerate(zip(items, value, strict=True))
            }
        case RecordShape(fields=fields):
            return {
                field.name: _default(field.shape, getattr(value, field.name)) for field in fields
            }
        case _:
            return value
