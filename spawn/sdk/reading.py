"""Avro readers: stored bytes to values of today's classes.

fastavro reads with the schema of the writer; what it gives is then converted to the shape, which
is where Avro's schema resolution happens: fields by name, fields that the writer lacked from the
class's defaults, numbers promoted. `schemas.compat` says beforehand whether that can work.

Fields that the class lacks are passed over; of *newer* code's schemas (`newer`) only while they
hold their default: this code would act, and take a snapshot, as if something else were written.
"""

from __future__ import annotations

import datetime as dt
import io
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from eventstore.errors import UnreadableBody, WrittenByNewerCode
from spawn.sdk.avro_schema import EPOCH, EPOCH_DAY, avro_schema
from spawn.sdk.messages import read_message, unknown_numbers
from spawn.sdk.shapes import (
    EnumShape,
    ListShape,
    MapShape,
    MessageShape,
    RecordShape,
    ScalarShape,
    Shape,
    TupleShape,
    UnionShape,
    avro_type,
)

__all__ = ["Reader", "reader_of"]

Reader = Callable[[bytes], Any]
"""Raises: UnreadableBody - the bytes are not what their schema says, or the class refuses them."""
_Conversion = Callable[[Any], Any] | None
"""From what fastavro gives; None: it is right as it is."""

_RAW_TYPES: Final[dict[str, type]] = {
    "null": type(None),
    "boolean": bool,
    "int": int,
    "long": int,
    "float": float,
    "double": float,
    "string": str,
    "bytes": bytes,
    "array": list,
    "map": dict,
    "timestamp-micros": dt.datetime,
    "date": dt.date,
    "uuid": uuid.UUID,
}
"""What fastavro makes of an Avro type or logical type."""
_NO_DEFAULT: Final = object()
"""Equals nothing that is read."""


def reader_of(writer: Any, shape: Shape, what: str, *, newer: bool = False) -> Reader:
    """Return the reader of bytes written with schema `writer` (parsed JSON).

    The shape must be able to read it (`schemas.compat`; of newer code by value). `what` names the
    thing in errors.
    """
    import fastavro

    parsed = fastavro.parse_schema(writer)
    convert = _Converter(writer, shape, newer).conversion(writer, shape)
    unreadable = WrittenByNewerCode if newer else UnreadableBody
    read_raw = fastavro.schemaless_reader

    def read(data: bytes) -> Any:
        stream = io.BytesIO(data)
        try:
            raw: Any = read_raw(
                stream, parsed, None, return_named_type=True, return_record_name=True
            )
            value = raw if convert is None else convert(raw)
        except Exception as error:
            raise unreadable(f"{what} can't be read ({len(data)} bytes): {error}") from error
        if stream.tell() != len(data):
            raise UnreadableBody(
                f"{what} has {len(data)} bytes, its schema accounts for {stream.tell()}"
            )
        return value

    return read


class _Converter:
    """Makes the conversions of one pair of writer's schema and reader's shape."""

    def __init__(self, writer: Any, shape: Shape, newer: bool) -> None:
        from schemas import compat

        self.compat = compat
        self.newer = newer
        self.written: Mapping[str, Any] = compat.named_types(writer)
        self.read: Mapping[str, Any] = compat.named_types(avro_schema(shape))
        self.records: dict[tuple[str, type], Callable[[Any], Any]] = {}

    def conversion(self, writer: Any, shape: Shape) -> _Conversion:
        writer = self.compat.resolve(writer, self.written)
        if isinstance(writer, list):
            return self.from_union(writer, shape)
        match shape:
            case UnionShape():
                return self.conversion(writer, self.choose(writer, shape))
            case ScalarShape(kind=kind):
                return _scalar(writer, kind)
            case EnumShape(type=enum):
                return lambda raw: _member(enum, raw)
            case ListShape(type=cls, item=item):
                convert = self.conversion(writer["items"], item)
                return cls if convert is None else _each(cls, convert)
            case MapShape(key=ScalarShape(kind="string"), value=value):
                convert = self.conversion(writer["values"], value)
                if convert is None:
                    return None
                return lambda raw: {key: convert(each) for key, each in raw.items()}
            case MapShape():
                return self.entries(writer, shape)
            case TupleShape(items=items):
                read = self.fields(writer, {f"_{index}": each for index, each in enumerate(items)})
                return lambda raw: tuple(read(raw).values())
            case RecordShape():
                return self.record(writer, shape)
            case MessageShape(type=message) if self.newer:
                return lambda raw: _whole(read_message(message, raw["message"]))
            case MessageShape(type=message):
                return lambda raw: read_message(message, raw["message"])

    def choose(self, writer: Any, shape: UnionShape) -> Shape:
        """Return the branch that reads the writer's type: one of its own name rather than first."""
        fitting = [
            branch
            for branch in shape.branches
            if self.compat.readable(
                writer, avro_schema(branch), self.written, self.read, by_value=self.newer
            )
        ]
        name = writer.get("name")
        return next((branch for branch in fitting if avro_type(branch) == name), fitting[0])

    def from_union(self, writer: list[Any], shape: Shape) -> _Conversion:
        """Tell the branches apart by what fastavro gives: (name, value) for named types."""
        named: dict[str, _Conversion] = {}
        plain: dict[type, _Conversion] = {}
        for branch in writer:
            resolved = self.compat.resolve(branch, self.written)
            if "name" in resolved:
                named[resolved["name"]] = self.conversion(resolved, shape)
            else:
                kind = resolved.get("logicalType", resolved["type"])
                raw_type = _RAW_TYPES.get(kind, _RAW_TYPES.get(resolved["type"], object))
                plain[raw_type] = self.conversion(resolved, shape)

        def convert(raw: Any) -> Any:
            if type(raw) is tuple:
                name, raw = raw
                conversion = named[name]
            else:
                conversion = plain[type(raw)]
            return raw if conversion is None else conversion(raw)

        return convert

    def entries(self, writer: Any, shape: MapShape) -> _Conversion:
        entry = self.compat.resolve(writer["items"], self.written)
        read = self.fields(entry, {"key": shape.key, "value": shape.value})

        def convert(raw: Any) -> dict[Any, Any]:
            return dict(tuple(read(each).values()) for each in raw)

        return convert

    def record(self, writer: Any, shape: RecordShape) -> Callable[[Any], Any]:
        key = (str(writer["name"]), shape.type)
        if found := self.records.get(key):
            return found
        made: list[Callable[[Any], Any]] = []
        self.records[key] = lambda raw: cls(**made[0](raw))  # For a class that contains itself.
        cls = shape.type
        read = self.fields(writer, {field.name: field.shape for field in shape.fields})
        parameters = {field.name: field.parameter for field in shape.fields if field.parameter}
        if parameters:
            by_name = read
            read = lambda raw: {  # noqa: E731 - one of two
                parameters.get(name, name): value for name, value in by_name(raw).items()
            }
        made.append(read)
        return self.records[key]

    def fields(self, writer: Any, shapes: Mapping[str, Shape]) -> Callable[[Any], dict[str, Any]]:
        """Return a function from fastavro's record to the values of fields that both sides have.

        In the order of `shapes`.
        """
        written = {field["name"]: field["type"] for field in writer["fields"]}
        conversions = [
            (name, self.conversion(written[name], shape))
            for name, shape in shapes.items()
            if name in written
        ]
        if [*written] == [*shapes] and not any(each for _, each in conversions):
            return lambda raw: raw

        def read(raw: Any) -> dict[str, Any]:
            return {
                name: raw[name] if convert is None else convert(raw[name])
                for name, convert in conversions
            }

        if not self.newer:
            return read
        defaults = {
            field["name"]: self.decoded(field["type"], field["default"])
            if "default" in field
            else _NO_DEFAULT
            for field in writer["fields"]
            if field["name"] not in shapes
        }

        def read_if_whole(raw: Any) -> dict[str, Any]:
            for name, default in defaults.items():
                if raw[name] != default:
                    raise ValueError(f"field `{name}` is not known to this code")
            return read(raw)

        return read_if_whole

    def decoded(self, writer: Any, default: Any) -> Any:
        """Return a default of the writer's schema as fastavro would give it when it is written."""
        writer = self.compat.resolve(writer, self.written)
        if isinstance(writer, list):
            first = self.compat.resolve(writer[0], self.written)
            value = self.decoded(first, default)
            return (first["name"], value) if "name" in first else value
        match writer.get("logicalType", writer["type"]):
            case "bytes" | "fixed":
                return default.encode("latin-1")
            case "timestamp-micros":
                return EPOCH + dt.timedelta(microseconds=default)
            case "date":
                return dt.date.fromordinal(EPOCH_DAY + default)
            case "uuid":
                return uuid.UUID(default)
            case "array":
                return [self.decoded(writer["items"], each) for each in default]
            case "map":
                return {k: self.decoded(writer["values"], each) for k, each in default.items()}
            case "record":
                types = {field["name"]: field["type"] for field in writer["fields"]}
                return {name: self.decoded(types[name], each) for name, each in default.items()}
            case _:
                return default


def _member(enum: Any, name: str) -> Any:
    try:
        return enum[name]
    except KeyError:
        raise ValueError(f"{enum.__name__} has no member {name} in this code") from None


def _whole(message: Any) -> Any:
    if numbers := unknown_numbers(message):
        text = ", ".join(map(str, numbers))
        raise ValueError(
            f"{type(message).__name__} has fields that this code does not know: {text}"
        )
    return message


def _each(cls: type, convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda raw: cls(map(convert, raw))


def _scalar(writer: Any, kind: str) -> _Conversion:
    if kind == "double":
        return float if writer["type"] in ("int", "long") else None
    if kind == "decimal":
        return Decimal
    if kind == "string":
        if writer["type"] == "bytes":
            return lambda raw: raw.decode()
        return str if writer.get("logicalType") == "uuid" else None
    if kind == "bytes" and writer["type"] == "string":
        return lambda raw: raw.encode()
    return None
