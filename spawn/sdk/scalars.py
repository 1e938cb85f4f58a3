"""Avro writers of plain values, and the checks that they make.

A writer takes no value for another one: True is no int, a local time is no time. Numbers are
written by looking up what is short and by joining pairs of bytes for what is long.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from spawn.sdk.avro_schema import EPOCH, EPOCH_DAY

__all__ = ["END", "NotStorable", "Writer", "scalar_checker", "scalar_writer", "unfit", "write_long"]


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
    """Return seven bits a byte, lowest first, the high bit set in all but the last."""
    if zigzag < 1 << 7:
        return zigzag.to_bytes(1, "little")
    if zigzag < 1 << 14:
        return (zigzag & 127 | 128 | zigzag >> 7 << 8).to_bytes(2, "little")
    pairs = bytearray()
    while zigzag >= 1 << 14:
        pairs += (zigzag & 127 | 0x8080 | (zigzag & 0x3F80) << 1).to_bytes(2, "little")
        zigzag >>= 14
    return bytes(pairs) + _varint(zigzag)


@functools.cache
def _pairs() -> Sequence[bytes]:
    """Return for each 14 bits the two bytes that stand for them when more bytes follow."""
    return [(n & 127 | 0x8080 | (n & 0x3F80) << 1).to_bytes(2, "little") for n in range(1 << 14)]


_SHORT: Final = tuple(map(_varint, range(1 << 12)))
"""Numbers of up to 2,047 (positive or negative) are looked up: most lengths, many values."""
_SHORT_END: Final = len(_SHORT)
END: Final = _SHORT[0]
"""Ends the blocks of an array or map; alone: an empty one."""


def write_long(value: Any) -> bytes:
    """Write an int, or a length. Raises: NotStorable."""
    if type(value) is not int:
        raise unfit("an int", value)
    zigzag = value << 1 if value >= 0 else ~(value << 1)
    if zigzag < _SHORT_END:
        return _SHORT[zigzag]
    if zigzag >> 64:
        raise unfit("an int of at most 64 bits", value)
    return _varint(zigzag)


def _write_string(value: Any) -> bytes:
    if type(value) is not str:
        raise unfit("a str", value)
    encoded = value.encode()
    size = len(encoded) << 1
    return (_SHORT[size] if size < _SHORT_END else _varint(size)) + encoded


def _write_bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise unfit("bytes", value)
    return write_long(len(value)) + value


def _write_boolean(value: Any) -> bytes:
    if value is True:
        return b"\x01"
    if value is False:
        return b"\x00"
    raise unfit("a bool", value)


def _write_null(value: Any) -> bytes:
    if value is not None:
        raise unfit("None", value)
    return b""


def _write_double(value: Any) -> bytes:
    if type(value) is not float:
        if type(value) is not int or int(float(value)) != value:
            raise unfit("a float", value)
        value = float(value)
    return _DOUBLE(value)


def _check_timestamp(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise unfit("a datetime", value)
    zone = value.tzinfo
    if zone is not UTC and str(zone) != "UTC":
        raise unfit("a datetime in UTC (write .astimezone(UTC))", value)
    return value


@functools.cache
def _timestamp_writer() -> Writer:
    """Return the writer of datetimes; the numbers are so long that it takes 14 bits at a time."""
    pairs = _pairs()

    def write(value: Any) -> bytes:
        since = _check_timestamp(value) - EPOCH
        micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        zigzag = micros << 1
        if not 1 << 42 <= zigzag < 1 << 56:
            return write_long(micros)
        low, middle = zigzag & 0xFFFFFFF, zigzag >> 28
        return b"".join((
            pairs[low & 0x3FFF], pairs[low >> 14], pairs[middle & 0x3FFF], _varint(middle >> 14)
        ))  # fmt: skip

    return write


def _write_date(value: Any) -> bytes:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise unfit("a date", value)
    return write_long(value.toordinal() - EPOCH_DAY)


def _check_long(value: Any) -> bytes:
    if type(value) is not int or not _LONG_MIN <= value <= _LONG_MAX:
        write_long(value)
    return b""


def _text_writer(kind: type, name: str) -> Writer:
    def write(value: Any) -> bytes:
        if type(value) is not kind:
            raise unfit(name, value)
        return _write_string(str(value))

    return write


_WRITERS: Final[dict[str, Writer]] = {
    "null": _write_null,
    "boolean": _write_boolean,
    "long": write_long,
    "double": _write_double,
    "string": _write_string,
    "bytes": _write_bytes,
    "date": _write_date,
    "decimal": _text_writer(Decimal, "a Decimal"),
    "uuid": _text_writer(UUID, "a UUID"),
}


_CHECKERS: Final[dict[str, Callable[[Any], Any]]] = {
    **_WRITERS,
    "long": _check_long,
    "timestamp": _check_timestamp,
}


def unfit(wanted: str, value: Any) -> NotStorable:
    """Return the error that says what a value should have been."""
    text = repr(value)
    return NotStorable(f"must be {wanted}, got {text if len(text) <= 60 else text[:57] + '...'}")


def scalar_writer(kind: str) -> Writer:
    """Return the writer of a kind of `ScalarShape`."""
    return _timestamp_writer() if kind == "timestamp" else _WRITERS[kind]


def scalar_checker(kind: str) -> Callable[[Any], Any]:
    """Return a function that raises as the writer would; mostly it is the writer."""
    return _CHECKERS[kind]
