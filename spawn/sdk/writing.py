"""Avro writers, one function per shape: value to bytes.

fastavro takes five to ten times as long for an event of one to three fields, which would be a
fifth of the commit path (commit-path measurement), and it converts where this must refuse: a
value that would be read back as another one (True for an int, a list for a tuple, a local time)
would make the replayed state differ from the live one. A property test holds the bytes equal to
fastavro's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from spawn.sdk.messages import write_message
from spawn.sdk.scalars import (
    END,
    NotStorable,
    Writer,
    scalar_checker,
    scalar_writer,
    unfit,
    write_long,
)
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
    shape_text,
)

__all__ = ["checker_of", "writer_of"]


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
            return scalar_writer(kind) if deep else scalar_checker(kind)
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
        case MessageShape(type=cls):
            return _message_writer(cls, deep)
        case MapShape(key=key, value=value):
            writers = (_writer(key, records), _writer(value, records)) if deep else None
            return _map_writer(writers)


def _enum_writer(shape: EnumShape) -> Writer:
    cls = shape.type
    indices = {member.name: write_long(index) for index, member in enumerate(cls)}

    def write(value: Any) -> bytes:
        if type(value) is not cls:
            raise unfit(f"a {cls.__name__}", value)
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
            raise unfit(f"one of {shape_text(shape)}", value)
        return choice[0] + choice[1](value) if deep else choice[1](value)

    return write


def _list_writer(cls: type, item: Writer | None) -> Writer:
    unordered = cls in (frozenset, set)

    def write(value: Any) -> bytes:
        if type(value) is not cls:
            raise unfit(f"a {cls.__name__}", value)
        if item is None or not value:
            return END
        items = [*map(item, cast("Iterable[Any]", value))]
        if unordered:
            items.sort()  # Equal sets have equal bytes.
        return b"".join((write_long(len(items)), *items, END))

    return write


def _message_writer(cls: type, deep: bool) -> Writer:
    def write(value: Any) -> bytes:
        if type(value) is not cls:
            raise unfit(f"a {cls.__name__}", value)
        if not deep:
            return b""
        data = write_message(value)
        return write_long(len(data)) + data

    return write


def _tuple_writer(items: Sequence[Writer], deep: bool) -> Writer:
    def write(value: Any) -> bytes:
        if type(value) is not tuple or len(value) != len(items):
            raise unfit(f"a tuple of {len(items)}", value)
        if not deep:
            return b""
        return b"".join([item(each) for item, each in zip(items, value, strict=True)])

    return write


def _map_writer(writers: tuple[Writer, Writer] | None) -> Writer:
    def write(value: Any) -> bytes:
        if not isinstance(value, Mapping):
            raise unfit("a Mapping", value)
        if writers is None or not value:
            return END
        key, item = writers
        parts = [write_long(len(value))]
        for name, each in value.items():
            parts += (key(name), item(each))
        parts.append(END)
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
            return unfit(f"a {cls.__name__}", value)
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
