"""What today's protobuf message can't read of what an earlier version of it wrote (pure).

Both are described as `spawn.sdk.messages` does: by message, the name and type of each number. The
wire goes by number and type, JSON and people by name: all three stay as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["message_differences"]

_WIDENED: Final = {
    ("int32", "int64"), ("uint32", "uint64"), ("sint32", "sint64"), ("string", "bytes"),
}  # fmt: skip
"""Same bytes, and every value means the same."""


def message_differences(
    writer: Mapping[str, Any], reader: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Yield (path of the field, what changed); nothing: all that was written can be read.

    A field that is new or gone is no difference: protobuf has a default for the one, and passes
    over the other.
    """
    yield from _Walk(writer, reader).compare(writer["message"], reader["message"], "")


class _Walk:
    """One comparison, and the pairs of messages that were compared already."""

    def __init__(self, writer: Mapping[str, Any], reader: Mapping[str, Any]) -> None:
        self.writer = writer
        self.reader = reader
        self.done: set[tuple[str, str]] = set()

    def compare(self, writer: str, reader: str, path: str) -> Iterator[tuple[str, str]]:
        if (writer, reader) in self.done:
            return
        self.done.add((writer, reader))
        written, read = self.writer["messages"][writer], self.reader["messages"][reader]
        numbers = {field["name"]: number for number, field in read.items()}
        for number, before in written.items():
            name = before["name"]
            where = f"{path}.{name}" if path else name
            if name in numbers and numbers[name] != number:
                yield where, f"was number {number}, is number {numbers[name]}"
            elif (after := read.get(number)) is None:
                continue
            elif after["name"] != name:
                yield where, f"had number {number}, which is `{after['name']}` now"
            else:
                yield from self.compare_types(before["type"], after["type"], where)

    def compare_types(self, writer: str, reader: str, where: str) -> Iterator[tuple[str, str]]:
        kinds = (writer.removeprefix("repeated "), reader.removeprefix("repeated "))
        if writer.startswith("repeated ") == reader.startswith("repeated "):
            if kinds[0] in self.writer["messages"] and kinds[1] in self.reader["messages"]:
                yield from self.compare(*kinds, where)
                return
            if kinds[0] in self.writer["enums"] and kinds[1] in self.reader["enums"]:
                yield from self.compare_enums(*kinds, where)
                return
            if kinds[0] == kinds[1] or kinds in _WIDENED:
                return
        yield where, f"was {writer}, is {reader}"

    def compare_enums(self, writer: str, reader: str, where: str) -> Iterator[tuple[str, str]]:
        written, read = self.writer["enums"][writer], self.reader["enums"][reader]
        for number, name in written.items():
            if number not in read:
                yield where, f"lost {name} of enum {reader}"
            elif read[number] != name:
                yield where, f"{name} of enum {reader} is {read[number]} now"
