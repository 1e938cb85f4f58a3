"""Avro writers, one function per shape: value to bytes.

fastavro takes five to ten times as long for an event of one to three fields, which would be a
fifth of the commit path (commit-path measurement), and it converts where this must refuse: a
value that would be read back as another one (True for an int, a list for a tuple, a local time)
would make the replayed state differ from the live one. A property test holds the bytes equal to
fastavro's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, cast
from uuid import UUID

from spawn.sdk.avro_schema import EPOCH, EPOCH_DAY, MICROSECOND
from spawn.sdk.shapes import (
    EnumShape,
    ListShape,
    MapShape,
    RecordShape,
    ScalarShape,
    Shape,
    TupleShape,
    UnionShape,
    shape_text,
)

__all__ = ["NotStorable", "Writer", "checker_of", "writer_of"]


class NotStorable(TypeError):
    """A value differs from its annotation, so it would be read back as another one."""

    def __init__(self, text: str, path: str = "") -> None:
        super().__init__(f"`{path}` {text}" if path else text)
        self.text = text
        self.path = path


Writer = Callable[[Any], bytes]
"""Raises: NotStorable - the value has not the shape; UnicodeEncodeError for a text that is none."""

_LONG_MIN: Final = -(1 << 63)
_LONG_MAX: Final = (1 << 63) - 1
_DOUBLE: Final = struct.Struct("<d").pack


def _varint(zigzag: int) -> bytes:
    """Return seven bits a byte, lowest first, the high bit set in all but the last.

    Up to 56 bits by spreading: halves of 28 bits into 32, quarters of 14 into 16, then 7 into 8.
    """
    if zigzag < 1 << 7:
        return zigzag.to_bytes(1, "little")
    if zigzag < 1 << 14:
        return (zigzag & 127 | 128 | zigzag >> 7 << 8).to_bytes(2, "little")
    size = (zigzag.bit_length() + 6) // 7
    if size <= 8:
        spread = zigzag & 0xFFFFFFF | (zigzag & 0xFFFFFFF0000000) << 4
        spread = spread & 0x3FFF00003FFF | (spread & 0xFFFC0000FFFC000) << 2
        spread = spread & 0x7F007F007F007F | (spread & 0x3F803F803F803F80) << 1
        return (spread | 0x80808080808080 & (1 << 8 * size - 8) - 1).to_bytes(size, "little")
    encoded = bytearray()
    while zigzag > 127:
        encoded.append(zigzag & 127 | 128)
        zigzag >>= 7
    encoded.append(zigzag)
    return bytes(encoded)


_SHORT: Final = tuple(map(_varint, range(1 << 12)))
"""Numbers of up to 2,047 (positive or negative) are looked up: most lengths, many values."""
_SHORT_END: Final = len(_SHORT)
_END: Final = _SHORT[0]
"""Ends the blocks of an array or map; alone: an empty one."""


def writer_of(shape: Shape) -> Writer:
    """Return the writer of a shape."""
    return _writer(shape, {})


def checker_of(shape: Shape) -> Writer:
    """Return a function that raises as the writer would, for all but the insides of containers.

    What it returns is of no use. It costs the same for a state of a million items as for one of
    none, so it can run after each command.
    """
    return _writer(shape, {}, deep=False)


def _writer(shape: Shape, records: dict[type, Writer], *, deep: bool = True) -> Writer:
    """Return a writer, or with `deep` False a checker, whose result is of no use."""
    match shape:
        case ScalarShape(kind=kind):
            return (_SCALARS if deep else _CHECKERS)[kind]
        case EnumShape():
            return _enum_writer(shape)
        case UnionShape():
            return _union_writer(shape, records, deep)
        case RecordShape():
            return _record_writer(shape, records, deep)
        case ListShape(type=cls, item=item):
            return _list_writer(cls, _writer(item, records) if deep else None)
        case TupleShape(items=items):
            return _tuple_writer([_writer(item, records) for item in items], deep)
        case MapShape(key=key, value=value):
            writers = (_writer(key, records), _writer(value, records)) if deep else None
            return _map_writer(writers)


def write_long(value: Any) -> bytes:
    if type(value) is not int:
        raise _unfit("an int", value)
    zigzag = value << 1 if value >= 0 else ~(value << 1)
    if zigzag < _SHORT_END:
        return _SHORT[zigzag]
    if zigzag >> 64:
        raise _unfit("an int of at most 64 bits", value)
    return _varint(zigzag)


def write_string(value: Any) -> bytes:
    if type(value) is not str:
        raise _unfit("a str", value)
    encoded = value.encode()
    size = len(encoded) << 1
    return (_SHORT[size] if size < _SHORT_END else _varint(size)) + encoded


def _write_bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise _unfit("bytes", value)
    return write_long(len(value)) + value


def _write_boolean(value: Any) -> bytes:
    if value is True:
        return b"\x01"
    if value is False:
        return b"\x00"
    raise _unfit("a bool", value)


def _write_null(value: Any) -> bytes:
    if value is not None:
        raise _unfit("None", value)
    return b""


def _write_double(value: Any) -> bytes:
    if type(value) is not float:
        if type(value) is not int or int(float(value)) != value:
            raise _unfit("a float", value)
        value = float(value)
    return _DOUBLE(value)


def _check_timestamp(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise _unfit("a datetime", value)
    zone = value.tzinfo
    if zone is not UTC and str(zone) != "UTC":
        raise _unfit("a datetime in UTC (write .astimezone(UTC))", value)
    return value


def _write_timestamp(value: Any) -> bytes:
    return write_long((_check_timestamp(value) - EPOCH) // MICROSECOND)


def _write_date(value: Any) -> bytes:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise _unfit("a date", value)
    return write_long(value.toordinal() - EPOCH_DAY)


def _check_long(value: Any) -> bytes:
    if type(value) is not int or not _LONG_MIN <= value <= _LONG_MAX:
        write_long(value)
    return b""


def _text_writer(kind: type, name: str) -> Writer:
    def write(value: Any) -> bytes:
        if type(value) is not kind:
            raise _unfit(name, value)
        return write_string(str(value))

    return write


_SCALARS: Final[dict[str, Writer]] = {
    "null": _write_null,
    "boolean": _write_boolean,
    "long": write_long,
    "double": _write_double,
    "string": write_string,
    "bytes": _write_bytes,
    "timestamp": _write_timestamp,
    "date": _write_date,
    "decimal": _text_writer(Decimal, "a Decimal"),
    "uuid": _text_writer(UUID, "a UUID"),
}


_CHECKERS: Final[dict[str, Callable[[Any], Any]]] = {
    **_SCALARS,
    "long": _check_long,
    "timestamp": _check_timestamp,
}


def _enum_writer(shape: EnumShape) -> Writer:
    cls = shape.type
    indices = {member.name: write_long(index) for index, member in enumerate(cls)}

    def write(value: Any) -> bytes:
        if type(value) is not cls:
            raise _unfit(f"a {cls.__name__}", value)
        return indices[value.name]

    return write


def _union_writer(shape: UnionShape, records: dict[type, Writer], deep: bool) -> Writer:
    choices: dict[type, tuple[bytes, Writer]] = {}
    for index, branch in enumerate(shape.branches):
        choice = (write_long(index), _writer(branch, records, deep=deep))
        match branch:
            case MapShape():
                choices[dict] = choice
            case TupleShape():
                choices[tuple] = choice
            case UnionShape():
                raise AssertionError("unions are flat")
            case _:
                choices[branch.type] = choice
    if float in choices:
        choices.setdefault(int, choices[float])

    def write(value: Any) -> bytes:
        choice = choices.get(type(value))
        if choice is None:
            raise _unfit(f"one of {shape_text(shape)}", value)
        return choice[0] + choice[1](value) if deep else choice[1](value)

    return write


def _list_writer(cls: type, item: Writer | None) -> Writer:
    unordered = cls is frozenset

    def write(value: Any) -> bytes:
        if type(value) is not cls:
            raise _unfit(f"a {cls.__name__}", value)
        if item is None or not value:
            return _END
        items = [*map(item, cast("Iterable[Any]", value))]
        if unordered:
            items.sort()  # Equal sets have equal bytes.
        return b"".join((write_long(len(items)), *items, _END))

    return write


def _tuple_writer(items: Sequence[Writer], deep: bool) -> Writer:
    def write(value: Any) -> bytes:
        if type(value) is not tuple or len(value) != len(items):
            raise _unfit(f"a tuple of {len(items)}", value)
        if not deep:
            return b""
        return b"".join([item(each) for item, each in zip(items, value, strict=True)])

    return write


def _map_writer(writers: tuple[Writer, Writer] | None) -> Writer:
    def write(value: Any) -> bytes:
        if not isinstance(value, Mapping):
            raise _unfit("a Mapping", value)
        if writers is None or not value:
            return _END
        key, item = writers
        parts = [write_long(len(value))]
        for name, each in value.items():
            parts += (key(name), item(each))
        parts.append(_END)
        return b"".join(parts)

    return write


def _record_writer(shape: RecordShape, records: dict[type, Writer], deep: bool) -> Writer:
    """Return a writer made like a dataclass's `__init__`: from a line of source per class.

    One call per field and one join; a loop over fields takes twice as long.
    """
    cls = shape.type
    if found := records.get(cls):
        return found
    made: list[Writer] = []

    def write_inner(value: Any) -> bytes:
        return made[0](value)

    records[cls] = write_inner  # For a class that contains itself.
    writers = {field.name: _writer(field.shape, records, deep=deep) for field in shape.fields}

    def explain(value: Any, error: Exception | None) -> Exception:
        if type(value) is not cls:
            return _unfit(f"a {cls.__name__}", value)
        for name, write in writers.items():
            try:
                write(getattr(value, name))
            except NotStorable as found:
                inner = found.path.partition(".")[2]
                path = f"{cls.__name__}.{name}" + (f".{inner}" if inner else "")
                return NotStorable(found.text, path)
            except Exception as found:  # noqa: BLE001 - e.g. text that is no UTF-8
                return NotStorable(f"can't be stored: {found}", f"{cls.__name__}.{name}")
        return error or AssertionError(value)

    calls = [f"write_{name}(value.{name})" for name in writers]
    joined = calls[0] if len(calls) == 1 else f"join(({', '.join(calls)}))"
    body = f"return {joined}" if deep else "; ".join([*calls, "return b''"])
    source = (
        "def write(value):\n"
        "    try:\n"
        "        if type(value) is cls:\n"
        f"            {body}\n"
        "    except Exception as error:\n"
        "        raise explain(value, error) from None\n"
        "    raise explain(value, None)\n"
    )
    scope: dict[str, Any] = {f"write_{name}": write for name, write in writers.items()}
    scope |= {"cls": cls, "join": b"".join, "explain": explain}
    exec(source, scope)  # noqa: S102 - names only: each is an identifier of a dataclass
    write: Writer = scope["write"]
    made.append(write)
    return write


def _unfit(wanted: str, value: Any) -> NotStorable:
    text = repr(value)
    return NotStorable(f"must be {wanted}, got {text if len(text) <= 60 else text[:57] + '...'}")
