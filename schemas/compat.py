"""What a reader's schema can't read of what a writer's schema wrote (pure; Avro schema resolution).

Stricter than Avro in one point: a logical type counts. An int that is read as a point in time has
the same Avro type and another meaning. Types are called as Python calls them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from schemas.messages import message_differences

__all__ = [
    "Difference",
    "differences",
    "event_differences",
    "named_types",
    "readable",
    "resolve",
]

_PROMOTIONS: Final = {
    ("int", "long"), ("int", "float"), ("int", "double"), ("long", "float"), ("long", "double"),
    ("float", "double"), ("string", "bytes"), ("bytes", "string"),
}  # fmt: skip
_WORDS: Final = {
    "null": "None", "boolean": "bool", "int": "int", "long": "int", "float": "float",
    "double": "float", "string": "str", "bytes": "bytes", "timestamp-micros": "datetime",
    "date": "date", "uuid": "UUID", "decimal-text": "Decimal", "array": "array", "map": "map",
}  # fmt: skip
_PRIMITIVES: Final = frozenset(
    ("null", "boolean", "int", "long", "float", "double", "string", "bytes")
)
_TEXT_TYPES: Final = frozenset(("uuid", "decimal-text"))
"""Logical types that are strings: read as str they keep their meaning."""


class Difference(NamedTuple):
    """One thing that can't be read: `field `n`` `was int, is str`."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where} {self.what}".strip()


def differences(writer: Any, reader: Any, *, by_value: bool = False) -> list[Difference]:
    """Return all that `reader` can't read of what `writer` wrote; empty: it reads everything.

    Both are parsed JSON of complete schemas. `by_value`: what only some values can't be read for,
    an enum's members that the reader lacks, is no difference.
    """
    walk = _Walk(named_types(writer), named_types(reader), by_value)
    return list(walk.compare(writer, reader, ""))


def event_differences(name: str, writer: Any, readers: Mapping[str, Any]) -> list[Difference]:
    """Return what today's event classes (by name) can't read of one event of the log."""
    if name not in readers:
        return [Difference(f"event {name}", "was removed or renamed")]
    return [
        Difference(f"event {name}, {where}" if where else f"event {name}", what)
        for where, what in differences(writer, readers[name])
    ]


def readable(
    writer: Any,
    reader: Any,
    written: Mapping[str, Any],
    read: Mapping[str, Any],
    *,
    by_value: bool = False,
) -> bool:
    """Tell whether a part of one schema can be read by a part of another.

    `written` and `read` are the `named_types` of the whole schemas; `by_value` as above.
    """
    return not _Walk(written, read, by_value).differ(writer, reader, "")


class _Walk:
    """One comparison: the named types of both sides, and the pairs that are being compared."""

    def __init__(self, written: Mapping[str, Any], read: Mapping[str, Any], by_value: bool) -> None:
        self.written = written
        self.read = read
        self.by_value = by_value
        self.open: set[tuple[str, str]] = set()

    def compare(self, writer: Any, reader: Any, path: str) -> Iterator[Difference]:
        writer, reader = resolve(writer, self.written), resolve(reader, self.read)
        if isinstance(writer, list):
            if any(self.differ(branch, reader, path) for branch in writer):
                yield self.changed(writer, reader, path)
        elif isinstance(reader, list):
            yield from self.compare_to_union(writer, reader, path)
        elif writer["type"] in ("record", "enum", "fixed") and writer["type"] == reader["type"]:
            yield from self.comparenamed_types(writer, reader, path)
        elif writer["type"] == reader["type"] == "array":
            yield from self.compare(writer["items"], reader["items"], f"{path}[]")
        elif writer["type"] == reader["type"] == "map":
            yield from self.compare(writer["values"], reader["values"], f"{path}[]")
        elif not _readable(writer, reader):
            yield self.changed(writer, reader, path)

    def differ(self, writer: Any, reader: Any, path: str) -> bool:
        return next(self.compare(writer, reader, path), None) is not None

    def compare_to_union(self, writer: Any, reader: list[Any], path: str) -> Iterator[Difference]:
        branches = [resolve(branch, self.read) for branch in reader]
        same = [branch for branch in branches if _name(branch) == _name(writer)]
        if len(same) == 1 and "name" in writer:
            yield from self.compare(writer, same[0], path)
        elif all(self.differ(writer, branch, path) for branch in branches):
            yield self.changed(writer, reader, path)

    def comparenamed_types(self, writer: Any, reader: Any, path: str) -> Iterator[Difference]:
        pair = (_name(writer), _name(reader))
        if pair[0] != pair[1] and pair[0] not in reader.get("aliases", ()):
            yield self.changed(writer, reader, path)
        elif writer["type"] == "enum":
            lost = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
            if lost and "default" not in reader and not self.by_value:
                yield Difference(_where(path), f"lost {', '.join(lost)} of enum {pair[1]}")
        elif writer["type"] == "fixed":
            if writer["size"] != reader["size"]:
                yield self.changed(writer, reader, path)
        elif "protobuf" in writer or "protobuf" in reader:
            yield from self.compare_messages(writer, reader, path)
        elif pair not in self.open:
            self.open.add(pair)
            yield from self.compare_fields(writer, reader, path)
            self.open.discard(pair)

    def compare_fields(self, writer: Any, reader: Any, path: str) -> Iterator[Difference]:
        written = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            inner = f"{path}.{field['name']}" if path else field["name"]
            names = [field["name"], *field.get("aliases", ())]
            found = next((written[name] for name in names if name in written), None)
            if found is not None:
                yield from self.compare(found["type"], field["type"], inner)
            elif "default" not in field:
                yield Difference(_where(inner), "is new and has no constant default")

    def compare_messages(self, writer: Any, reader: Any, path: str) -> Iterator[Difference]:
        if "protobuf" not in writer or "protobuf" not in reader:
            kinds = ["a record" if "protobuf" not in each else "a protobuf message"
                     for each in (writer, reader)]  # fmt: skip
            yield Difference(_where(path), f"was {kinds[0]}, is {kinds[1]}")
            return
        for where, what in message_differences(writer["protobuf"], reader["protobuf"]):
            yield Difference(_where(f"{path}.{where}" if path else where), what)

    def changed(self, writer: Any, reader: Any, path: str) -> Difference:
        return Difference(
            _where(path), f"was {_text(writer, self.written)}, is {_text(reader, self.read)}"
        )


def _where(path: str) -> str:
    return f"field `{path}`" if path else ""


def _readable(writer: Any, reader: Any) -> bool:
    written, read = writer.get("logicalType"), reader.get("logicalType")
    if written != read and not (read is None and written in _TEXT_TYPES):
        return False
    kinds = (writer["type"], reader["type"])
    return kinds[0] == kinds[1] or kinds in _PROMOTIONS


def resolve(schema: Any, named: Mapping[str, Any]) -> Any:
    """Return a union as a list, everything else as an object with `type`."""
    if isinstance(schema, str):
        return {"type": schema} if schema in _PRIMITIVES else named[schema.rpartition(".")[2]]
    if isinstance(schema, dict) and isinstance(schema["type"], (dict, list)):
        return resolve(schema["type"], named)
    return schema


def named_types(schema: Any) -> dict[str, Any]:
    """Return the records, enums and fixed types that a schema defines, by unqualified name."""
    found: dict[str, Any] = {}

    def walk(node: Any) -> None:
        if isinstance(node, list):
            for each in node:
                walk(each)
        elif isinstance(node, dict):
            if "name" in node and node.get("type") in ("record", "enum", "fixed"):
                found[_name(node)] = node
            for field in node.get("fields", ()):
                walk(field["type"])
            for key in ("type", "items", "values"):
                walk(node.get(key))

    walk(schema)
    return found


def _name(schema: Any) -> str:
    return str(schema.get("name", schema["type"])).rpartition(".")[2]


def _text(schema: Any, named: Mapping[str, Any]) -> str:
    schema = resolve(schema, named)
    if isinstance(schema, list):
        return " | ".join(_text(branch, named) for branch in schema)
    if "name" in schema:
        return _name(schema)
    kind = str(schema.get("logicalType", schema["type"]))
    return _WORDS.get(kind, kind)
