"""How arguments and replies cross between caller and actor.

Values of exactly an immutable plain type pass as they are. Everything else goes through JSON,
which checks it against the annotation and makes a copy: caller and actor never share an object
that one of them could change, and a call within a process means the same as one over HTTP.
"""

from __future__ import annotations

import dataclasses
import enum
import re
import typing
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, cast

import msgspec
from msgspec import inspect as msgspec_inspect

from spawn.errors import InvalidTarget
from spawn.sdk.foreign import decode_foreign, encode_foreign, is_foreign
from spawn.sdk.mismatch import describe_mismatch, value_text
from spawn.sdk.models import is_model
from spawn.sdk.shapes import type_text
from spawn.sdk.values import branches_of

__all__ = ["LONG_DIGITS", "Carrier", "StateCarrier", "Unfit", "encode_json", "too_long"]

_PASSED: Final = frozenset((type(None), bool, int, str, bytes, date, uuid.UUID, Decimal))
"""No float: NaN has no JSON. No datetime: it is brought to UTC."""


LONG_DIGITS: Final = 19
"""What 64 bits can't hold has at least so many."""
_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")


class Unfit(Exception):
    """A value does not fit its annotation; the text is for whoever made it."""


encode_json: Final = msgspec.json.Encoder(enc_hook=encode_foreign).encode


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
        self._decode = msgspec.json.Decoder(annotation, dec_hook=decode_foreign).decode
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


def too_long(value: Any, payload: bytes, path: str) -> str:
    """Return which int within a decoded value has over 64 bits; empty: none.

    JSON has longer ones, but neither events nor states keep them. `payload` is the value's JSON:
    nearly always it has no number that is long enough, and the value need not be looked at.
    """
    if len(payload) < LONG_DIGITS or _LONG_NUMBER.search(payload) is None:
        return ""
    return next(_too_long(value, path), "")


def _too_long(value: Any, path: str) -> Iterator[str]:
    if type(value) is int:
        if not -(1 << 63) <= value < 1 << 63:
            yield f"`{path}` must be an integer of at most 64 bits, got {value_text(value)}"
        return
    inner: Iterable[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        inner = [(f"{path}.{key}", each) for key, each in value.items()]
        inner = [*((f"{path} (keys)", key) for key in value), *inner]
    elif isinstance(value, list | tuple | set | frozenset):
        inner = [(f"{path}[{index}]", each) for index, each in enumerate(value)]
    elif (names := _field_names(type(value))) is not None:
        inner = [(f"{path}.{name}", getattr(value, name)) for name in names]
    for where, each in inner:
        yield from _too_long(each, where)


def _field_names(cls: type) -> Iterable[str] | None:
    if dataclasses.is_dataclass(cls):
        return [field.name for field in dataclasses.fields(cls)]
    if is_model(cls):
        return cast("Mapping[str, Any]", cls.model_fields)  # type: ignore[attr-defined]
    names: Iterable[str] | None = getattr(cls, "__struct_fields__", None)
    return names


class StateCarrier:
    """Carries a whole state, out of an actor only: immutable, so it needs no copy."""

    __slots__ = ("_carrier", "annotation", "passed")

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self.passed: frozenset[type] = frozenset(branches_of(annotation))
        try:
            self._carrier: Carrier | None = Carrier(annotation, "the state")
        except InvalidTarget:
            self._carrier = None  # e.g. a union of classes that JSON can't tell apart

    def decode(self, payload: bytes) -> Any:
        """Return the state that a JSON text stands for.

        Raises: msgspec.ValidationError, DecodeError; ValueError - JSON can't tell what it is.
        """
        if self._carrier is None:
            raise ValueError(f"a state {type_text(self.annotation)} can't be read from JSON")
        return self._carrier.decode(payload)

    def carry(self, value: Any, name: str) -> tuple[Any, bytes]:
        """Return a state and its JSON. Raises: Unfit."""
        try:
            return value, encode_json(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise Unfit(f"`{name}` has no JSON: {error}") from error


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
            if is_foreign(getattr(kind, "cls", None)):
                continue
            raise InvalidTarget(
                f"{where} has {type_text(getattr(kind, 'cls', kind))} in it, which JSON can't "
                "carry: use plain types, dataclasses, TypedDicts, msgspec.Structs, pydantic models "
                "or protobuf messages"
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
