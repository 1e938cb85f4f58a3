"""What may stand in an actor's events and state: annotations checked and made into shapes.

Dataclasses are immutable in every part: a state is shared between committed and speculative
commands, so a change in place would escape the log. Pydantic models may have lists, sets and dicts
in them, and protobuf messages are mutable: user code is given copies of those, which costs time.
What can't be stored is refused where it is defined, with what to write instead.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import re
import sys
import types
import typing
import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal, NoReturn

from spawn.errors import InvalidTarget
from spawn.sdk.messages import is_message
from spawn.sdk.models import ModelField, is_complete, is_model, model_fields, why_not_storable
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
    avro_type,
    holds,
    place_of,
    shape_text,
    type_text,
)

__all__ = ["UnresolvedName", "branches_of", "describe_record"]

_AVRO_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SCALARS: Final[dict[Any, str]] = {
    type(None): "null",
    bool: "boolean",
    int: "long",
    float: "double",
    str: "string",
    bytes: "bytes",
    datetime: "timestamp",
    date: "date",
    Decimal: "decimal",
    uuid.UUID: "uuid",
}
_MUTABLE: Final[dict[Any, str]] = {
    list: "tuple[{0}, ...]",
    collections.abc.Sequence: "tuple[{0}, ...]",
    set: "frozenset[{0}]",
    collections.abc.Set: "frozenset[{0}]",
    dict: "Mapping[{0}, {1}]",
    collections.abc.MutableMapping: "Mapping[{0}, {1}]",
}
"""What to write instead of a type that can be changed in place."""
_CONSTANT_FACTORIES: Final = (tuple, frozenset, dict, list, set)


class UnresolvedName(NameError):
    """An annotation names something that its module does not define (yet)."""


def describe_record(cls: Any, role: str) -> RecordShape | MessageShape | UnionShape:
    """Return the shape of an event or state type.

    That is a frozen dataclass or pydantic model, a protobuf message, or a union of such classes.
    Raises: InvalidTarget - something in it can't be stored; UnresolvedName - ask again later.
    """
    walk = _Walk(role)
    branches = [walk.record(branch, role) for branch in branches_of(cls)]
    return branches[0] if len(branches) == 1 else UnionShape(tuple(branches))


def branches_of(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union; of anything else, that alone."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(typing.get_args(annotation))
    return (annotation,)


class _Walk:
    """One walk from a root type; remembers the classes met, which may refer to each other."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.names: dict[str, Any] = {}
        self.records: dict[type, RecordShape] = {}
        self.in_model = False
        """What is looked at stands in a pydantic model: it may be mutable."""

    def record(self, cls: Any, where: str) -> RecordShape | MessageShape:
        if found := self.records.get(cls):
            return found
        if is_message(cls):
            self.claim(cls.__name__, cls, cls)
            return MessageShape(cls)
        outer, self.in_model = self.in_model, is_model(cls)
        try:
            return self.model(cls, where) if self.in_model else self.dataclass(cls, where)
        finally:
            self.in_model = outer

    def model(self, cls: Any, where: str) -> RecordShape:
        if not is_complete(cls):
            raise UnresolvedName(
                f"{where} {cls.__name__}: its annotations name something that module "
                f"{cls.__module__} does not define: define or import it at the module's top level"
            )
        if reason := why_not_storable(cls):
            _refuse(cls, f"{where} {cls.__name__} {reason}")
        self.claim(cls.__name__, cls, cls)
        shape = self.records[cls] = RecordShape(cls)
        try:
            shape.fields = tuple(self.model_field(cls, field) for field in model_fields(cls))
        except TypeError as error:
            _refuse(cls, f"{where} {error}")
        except InvalidTarget as error:
            error.at = error.at or place_of(cls)
            raise
        return shape

    def model_field(self, cls: type, field: ModelField) -> FieldShape:
        where = f"{cls.__name__}.{field.name}"
        if not _AVRO_NAME.fullmatch(field.name):
            _refuse(cls, f"`{where}` is no name in Avro: use letters, digits and _ of ASCII")
        default = field.default
        if field.factory in _CONSTANT_FACTORIES:
            default = field.factory()
        shape = self.shape(field.annotation, where, f"{cls.__name__}_{field.name}", default)
        return FieldShape(field.name, shape, default, field.parameter)

    def dataclass(self, cls: Any, where: str) -> RecordShape:
        _check_dataclass(cls, where)
        self.claim(cls.__name__, cls, cls)
        shape = self.records[cls] = RecordShape(cls)
        hints = _hints(cls, where)
        try:
            shape.fields = tuple(
                self.field(cls, field, hints[field.name]) for field in dataclasses.fields(cls)
            )
        except InvalidTarget as error:
            error.at = error.at or place_of(cls)
            raise
        return shape

    def field(self, cls: type, field: dataclasses.Field[Any], annotation: Any) -> FieldShape:
        where = f"{cls.__name__}.{field.name}"
        if not field.init:
            _refuse(cls, f"`{where}` is left out of __init__: make it a property")
        if not _AVRO_NAME.fullmatch(field.name):
            _refuse(cls, f"`{where}` is no name in Avro: use letters, digits and _ of ASCII")
        default = field.default
        if field.default_factory in _CONSTANT_FACTORIES:
            default = typing.cast("Any", field.default_factory)()
        name = f"{cls.__name__}_{field.name}"
        return FieldShape(field.name, self.shape(annotation, where, name, default), default)

    def claim(self, name: str, owner: Any, place: Any) -> None:
        if not _AVRO_NAME.fullmatch(name):
            _refuse(place, f"`{name}` is no name in Avro: use letters, digits and _ of ASCII")
        if self.names.setdefault(name, owner) is not owner:
            _refuse(place, f"{self.root}: two different types are named {name}: rename one of them")

    def shape(self, annotation: Any, where: str, name: str, default: Any) -> Shape:
        """Return the shape; `where` is for messages, `name` for types that have none."""
        annotation = _plain(annotation)
        if kind := _SCALARS.get(annotation):
            return ScalarShape(annotation, kind)
        origin = typing.get_origin(annotation) or annotation
        arguments = typing.get_args(annotation)
        if origin in (typing.Union, types.UnionType):
            return self.union(arguments, where, name, default)
        if origin is Literal:
            return self.literal(arguments, where, name)
        if origin is tuple and arguments:
            if len(arguments) == 2 and arguments[1] is Ellipsis:
                return ListShape(tuple, self.shape(arguments[0], where, name, MISSING))
            items = (
                self.shape(item, where, f"{name}_{index}", MISSING)
                for index, item in enumerate(arguments)
            )
            self.claim(name, (annotation, where), None)
            return TupleShape(name, tuple(items))
        if arguments and (origin is frozenset or (self.in_model and origin in (list, set))):
            return ListShape(origin, self.shape(arguments[0], where, name, MISSING))
        is_dict = origin is dict and self.in_model
        if (origin is collections.abc.Mapping or is_dict) and arguments:
            key, value = arguments
            self.claim(name, (annotation, where), None)
            return MapShape(
                name,
                self.shape(key, f"{where} (keys)", f"{name}_key", MISSING),
                self.shape(value, where, f"{name}_value", MISSING),
                is_dict,
            )
        if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
            return self.enumeration(annotation, where)
        if isinstance(annotation, type) and (
            dataclasses.is_dataclass(annotation) or is_model(annotation) or is_message(annotation)
        ):
            return self.record(annotation, where)
        return _refuse_type(annotation, origin, arguments, where)

    def union(self, arguments: tuple[Any, ...], where: str, name: str, default: Any) -> UnionShape:
        branches = [
            self.shape(argument, where, f"{name}_{index}" if index else name, MISSING)
            for index, argument in enumerate(arguments)
        ]
        branches = [
            leaf
            for branch in branches
            for leaf in (branch.branches if isinstance(branch, UnionShape) else (branch,))
        ]
        seen: dict[str, Shape] = {}
        for branch in branches:
            if (other := seen.setdefault(avro_type(branch), branch)) is not branch:
                _refuse(
                    None,
                    f"`{where}`: a stored value can't tell {shape_text(other)} from "
                    f"{shape_text(branch)}: use two fields, or two dataclasses",
                )
        # In Avro a default belongs to the first branch.
        branches.sort(key=lambda branch: default is MISSING or not holds(branch, default))
        return UnionShape(tuple(branches))

    def literal(self, values: tuple[Any, ...], where: str, name: str) -> Shape:
        (kind, *more) = {type(value) for value in values}
        if more:
            _refuse(None, f"`{where}`: the values of a Literal must be of one type")
        return self.shape(kind, where, name, MISSING)

    def enumeration(self, cls: type[enum.Enum], where: str) -> EnumShape:
        if issubclass(cls, enum.Flag):
            _refuse(cls, f"`{where}` is a Flag: write a frozenset of an Enum")
        self.claim(cls.__name__, cls, cls)
        for member in cls:
            if not _AVRO_NAME.fullmatch(member.name):
                _refuse(cls, f"`{cls.__name__}.{member.name}` is no name in Avro: use ASCII")
        return EnumShape(cls)


def _check_dataclass(cls: Any, where: str) -> None:
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        _refuse(
            cls,
            f"{where} {type_text(cls)} is no dataclass: write @dataclass(frozen=True) above a "
            "class with annotated fields (pydantic models and protobuf messages are fine too)",
        )
    params: Any = getattr(cls, "__dataclass_params__", None)
    if not params.frozen:
        _refuse(
            cls,
            f"{where} {cls.__name__} can be changed in place: write @dataclass(frozen=True) "
            "above it",
        )
    if getattr(cls, "__parameters__", ()):
        _refuse(cls, f"{where} {cls.__name__} is generic: write a class without type parameters")


def _hints(cls: type, where: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise UnresolvedName(
            f"{where} {cls.__name__}: its annotations name `{error.name}`, which module "
            f"{cls.__module__} does not define: define or import it at the module's top level",
            name=error.name,
        ) from error


def _plain(annotation: Any) -> Any:
    """Strip Annotated, NewType and `type` aliases."""
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif sys.version_info >= (3, 12) and isinstance(annotation, typing.TypeAliasType):
            annotation = annotation.__value__
        elif annotation is None:
            return type(None)
        else:
            return annotation


def _refuse_type(annotation: Any, origin: Any, arguments: tuple[Any, ...], where: str) -> NoReturn:
    text = type_text(annotation)
    mend = (
        "supported are bool, int, float, str, bytes, datetime, date, Decimal, UUID, Enum, "
        "frozen dataclasses or pydantic models, protobuf messages, unions of these, tuple, "
        "frozenset and Mapping"
    )
    if origin in _MUTABLE:
        names = [type_text(argument) for argument in arguments] or ["X", "Y"]
        _refuse(
            None,
            f"`{where}` is {text}, which could be changed without an event: write "
            + _MUTABLE[origin].format(*names),
        )
    if origin in (tuple, frozenset, collections.abc.Mapping):
        _refuse(None, f"`{where}` is {text} of what? Write its items' types in brackets")
    _refuse(annotation, f"`{where}` is {text}, which can't be stored: {mend}")


def _refuse(place: Any, message: str) -> NoReturn:
    raise InvalidTarget(message, at=place_of(place) if place is not None else "")
