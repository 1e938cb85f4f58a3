"""How arguments and replies cross between caller and actor.

Values of exactly an immutable plain type pass as they are. Everything else goes through JSON,
which checks it against the annotation and makes a copy: caller and actor never share an object
that one of them could change, and a call within a process means the same as one over HTTP.
"""

from __future__ import annotations

import dataclasses
import enum
import typing
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import inspect as msgspec_inspect

from spawn.errors import InvalidTarget
from spawn.sdk.mismatch import describe_mismatch, value_text
from spawn.sdk.shapes import type_text
from spawn.sdk.values import branches_of

__all__ = ["Carrier", "Unfit", "encode_json"]

_PASSED: Final = frozenset((type(None), bool, int, str, bytes, date, uuid.UUID, Decimal))
"""No float: NaN has no JSON. No datetime: it is brought to UTC."""


class Unfit(Exception):
    """A value does not fit its annotation; the text is for whoever made it."""


def _encode_rest(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON")


encode_json: Final = msgspec.json.Encoder(enc_hook=_encode_rest).encode


class Carrier:
    """Carries values of one annotation."""

    __slots__ = ("_decode", "_timed", "annotation", "passed")

    _timed: Mapping[type, Sequence[str]] | None
    """If there are datetimes in it: the fields of classes that hold them; else None."""

    def __init__(self, annotation: Any, where: str) -> None:
        """Raises: InvalidTarget - JSON can't carry the annotation; `where` names it in the text."""
        self.annotation = annotation
        kinds = list(_kinds(annotation, where))
        self._timed = _timed_fields(kinds) if any(map(_is_time, kinds)) else None
        self._decode = msgspec.json.Decoder(annotation).decode
        self.passed: frozenset[type] = frozenset(
            branch
            for branch in map(_unnamed, branches_of(annotation))
            if branch in _PASSED or (isinstance(branch, type) and issubclass(branch, enum.Enum))
        )
        """Values of exactly these types cross as they are."""

    def decode(self, payload: bytes) -> Any:
        """Return what a JSON text stands for. Raises: msgspec.ValidationError, DecodeError."""
        value = self._decode(payload)
        return value if self._timed is None else _to_utc(value, self._timed)

    def carry(self, value: Any, name: str) -> tuple[Any, bytes]:
        """Return a value as the other side gets it, and as JSON. Raises: Unfit."""
        try:
            encoded = encode_json(value)
            if type(value) in self.passed:
                return value, encoded
        except (TypeError, ValueError, RecursionError) as error:
            raise Unfit(f"`{name}` has no JSON: {error}") from error
        try:
            return self.decode(encoded), encoded
        except msgspec.ValidationError as error:
            if isinstance(value, float):
                text = f"`{name}` must be {type_text(self.annotation)}, got {value}"
            else:
                text = describe_mismatch(str(error), encoded, name)
            raise Unfit(text) from error
        except Exception as error:
            raise Unfit(f"`{name}` can't be {value_text(value)}: {error}") from error


def _kinds(annotation: Any, where: str) -> Iterator[msgspec_inspect.Type]:
    """Yield all types within an annotation. Raises: InvalidTarget - one has no JSON form."""
    try:
        found = [msgspec_inspect.type_info(annotation)]
        msgspec.json.Decoder(annotation)
    except TypeError as error:
        raise InvalidTarget(
            f"{where} is {type_text(annotation)}, which JSON can't carry: {error}"
        ) from error
    seen: set[Any] = set()
    while found:
        kind = found.pop()
        if isinstance(kind, msgspec_inspect.CustomType | msgspec_inspect.ExtType):
            raise InvalidTarget(
                f"{where} has {type_text(getattr(kind, 'cls', kind))} in it, which JSON can't "
                "carry: use plain types, dataclasses, TypedDicts or msgspec.Structs"
            )
        if (cls := getattr(kind, "cls", None)) is not None:
            if cls in seen:
                continue
            seen.add(cls)
        yield kind
        found += _parts(kind)


def _parts(kind: msgspec_inspect.Type) -> Iterator[msgspec_inspect.Type]:
    for name in kind.__struct_fields__:
        value = getattr(kind, name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, msgspec_inspect.Field):
                yield part.type
            elif isinstance(part, msgspec_inspect.Type):
                yield part


def _unnamed(annotation: Any) -> Any:
    """Strip NewType: at run time it is the type below."""
    while isinstance(annotation, typing.NewType):
        annotation = annotation.__supertype__
    return annotation


def _is_time(kind: msgspec_inspect.Type) -> bool:
    return isinstance(kind, msgspec_inspect.DateTimeType)


def _timed_fields(kinds: Sequence[msgspec_inspect.Type]) -> dict[type, Sequence[str]]:
    """Return the fields that may hold datetimes, by class."""
    found: dict[type, Sequence[str]] = {}
    for kind in kinds:
        if isinstance(kind, msgspec_inspect.DataclassType | msgspec_inspect.StructType):
            found[kind.cls] = [
                field.name for field in kind.fields if _may_hold_time(field.type, {kind.cls})
            ]
    return found


def _may_hold_time(kind: msgspec_inspect.Type, seen: set[type]) -> bool:
    cls = getattr(kind, "cls", None)
    if cls in seen:
        return True  # A class that contains itself: what is in it is looked at each time.
    inner = seen | {cls} if cls is not None else seen
    return _is_time(kind) or any(_may_hold_time(part, inner) for part in _parts(kind))


def _to_utc(value: Any, timed: Mapping[type, Sequence[str]]) -> Any:
    """Bring every datetime within a decoded value to UTC, in which events keep them."""
    if isinstance(value, datetime):
        if value.tzinfo is UTC:
            return value
        if value.tzinfo is None:
            raise msgspec.ValidationError(
                f"{value.isoformat()} has no time zone: write a Z or an offset behind it"
            )
        return value.astimezone(UTC)
    names = timed.get(type(value))
    if names is not None:
        before = {name: getattr(value, name) for name in names}
        after = {name: _to_utc(held, timed) for name, held in before.items()}
        if all(after[name] is held for name, held in before.items()):
            return value
        if dataclasses.is_dataclass(value):
            return dataclasses.replace(value, **after)  # type: ignore[type-var]
        return msgspec.structs.replace(value, **after)
    if isinstance(value, list | tuple | set | frozenset):
        items = [_to_utc(item, timed) for item in value]
        if hasattr(value, "_fields"):
            return type(value)(*items)
        return type(value)(items)
    if isinstance(value, dict):
        return {_to_utc(key, timed): _to_utc(item, timed) for key, item in value.items()}
    return value
