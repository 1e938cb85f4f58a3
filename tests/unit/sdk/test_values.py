"""What may stand in events and state, and what is refused with what to write instead."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType, cast
from uuid import UUID

import pytest

from schemas.compat import differences
from spawn.errors import InvalidTarget
from spawn.sdk.avro_schema import avro_schema
from spawn.sdk.values import UnresolvedName, describe_record


class Color(enum.Enum):
    """Some colours."""

    RED = "r"
    BLUE = "b"


@dataclass(frozen=True)
class Tree:
    """A class that contains itself."""

    name: str
    children: tuple["Tree", ...] = ()


OrderId = NewType("OrderId", str)


def made(name: str, annotations: dict[str, Any]) -> Any:
    """Return a frozen dataclass."""
    return make_dataclass(name, annotations.items(), frozen=True)


def schema_of(cls: Any) -> Any:
    """Return the Avro schema of an event class."""
    return avro_schema(describe_record(cls, "event"))


def fields_of(cls: Any) -> dict[str, Any]:
    """Return the Avro types of a class's fields."""
    return {each["name"]: each["type"] for each in schema_of(cls)["fields"]}


def test_plain_types_have_the_avro_types_that_others_expect() -> None:
    """Dates, times and UUIDs carry Avro's logical types."""

    @dataclass(frozen=True)
    class Plain:
        n: int
        x: float
        yes: bool
        text: str
        raw: bytes
        at: datetime
        day: date
        who: UUID
        price: Decimal
        color: Color
        nothing: None

    assert fields_of(Plain) == {
        "n": "long",
        "x": "double",
        "yes": "boolean",
        "text": "string",
        "raw": "bytes",
        "at": {"type": "long", "logicalType": "timestamp-micros"},
        "day": {"type": "int", "logicalType": "date"},
        "who": {"type": "string", "logicalType": "uuid"},
        "price": {"type": "string", "logicalType": "decimal-text"},
        "color": {"type": "enum", "name": "Color", "symbols": ["RED", "BLUE"]},
        "nothing": "null",
    }


def test_containers_and_nested_classes_are_described() -> None:
    """Tuples, sets, mappings, unions and classes within classes, also recursive ones."""

    @dataclass(frozen=True)
    class Deep:
        many: tuple[int, ...]
        two: tuple[int, str]
        tags: frozenset[str]
        by_name: Mapping[str, int]
        by_day: Mapping[date, int]
        tree: Tree
        maybe: int | None
        mode: Literal["on", "off"]
        order: OrderId
        size: Annotated[int, "any"]

    day = {"type": "int", "logicalType": "date"}
    two = [{"name": "_0", "type": "long"}, {"name": "_1", "type": "string"}]
    entry = [{"name": "key", "type": day}, {"name": "value", "type": "long"}]
    assert fields_of(Deep) == {
        "many": {"type": "array", "items": "long"},
        "two": {"type": "record", "name": "Deep_two", "fields": two},
        "tags": {"type": "array", "items": "string"},
        "by_name": {"type": "map", "values": "long"},
        "by_day": {
            "type": "array",
            "items": {"type": "record", "name": "Deep_by_day_entry", "fields": entry},
        },
        "tree": {
            "type": "record",
            "name": "Tree",
            "doc": "A class that contains itself.",
            "fields": [
                {"name": "name", "type": "string"},
                {"name": "children", "type": {"type": "array", "items": "Tree"}, "default": []},
            ],
        },
        "maybe": ["long", "null"],
        "mode": "string",
        "order": "string",
        "size": "long",
    }


def test_defaults_stand_in_the_schema() -> None:
    """A default is kept as Avro writes it; in a union its branch comes first."""

    @dataclass(frozen=True)
    class Defaults:
        n: int = 5
        maybe: int | None = None
        raw: bytes = b"\xff"
        at: datetime = datetime(1970, 1, 2, tzinfo=UTC)
        day: date = date(1970, 1, 3)
        color: Color = Color.BLUE
        tree: Tree = Tree("root")
        pair: tuple[int, int] = (1, 2)
        counts: Mapping[str, int] = field(default_factory=dict)
        days: Mapping[date, int] = field(default_factory=dict)
        made: Tree = field(default_factory=lambda: Tree("new"))

    defaults = {each["name"]: each.get("default", "none") for each in schema_of(Defaults)["fields"]}
    assert defaults == {
        "n": 5,
        "maybe": None,
        "raw": "\xff",
        "at": 86_400_000_000,
        "day": 2,
        "color": "BLUE",
        "tree": {"name": "root", "children": []},
        "pair": {"_0": 1, "_1": 2},
        "counts": {},
        "days": [],
        "made": "none",
    }
    assert fields_of(Defaults)["maybe"] == ["null", "long"]
    assert differences(schema_of(Defaults), schema_of(Defaults)) == []


def test_what_can_be_changed_in_place_is_refused_with_the_mend() -> None:
    """A list, set or dict in a state could be changed without an event."""
    mends = {
        list[int]: "write tuple[int, ...]",
        Sequence[int]: "write tuple[int, ...]",
        set[str]: "write frozenset[str]",
        dict[str, int]: "write Mapping[str, int]",
    }
    for annotation, mend in mends.items():
        cls = made("Order", {"items": annotation})
        with pytest.raises(InvalidTarget) as caught:
            describe_record(cls, "event")
        assert str(caught.value).startswith("`Order.items` is "), annotation
        assert str(caught.value).endswith(mend), annotation


def test_a_class_that_is_not_frozen_is_refused() -> None:
    """The text says what to write above it, and `at` where; nested classes are looked at too."""

    @dataclass
    class Open:
        n: int

    @dataclass(frozen=True)
    class Outer:
        inner: Open

    with pytest.raises(InvalidTarget, match=r"event Open can be changed in place: write @data"):
        describe_record(Open, "event")
    with pytest.raises(InvalidTarget, match=r"Outer.inner Open can be changed in place") as caught:
        describe_record(Outer, "event")
    assert caught.value.at.startswith("test_values.py:")


def test_what_is_no_dataclass_is_refused() -> None:
    """An event is a class of its own."""
    for wrong in (int, "Added", list[int]):
        with pytest.raises(InvalidTarget, match="is no dataclass"):
            describe_record(wrong, "event")


def test_other_types_are_refused_by_class_and_field() -> None:
    """Anything that has no exact Avro form is named, with what is supported."""
    for annotation in (object, Any, complex, tuple, type, "int | list"):
        cls = made("Odd", {"x": annotation})
        with pytest.raises(InvalidTarget, match=r"`Odd.x` is "):
            describe_record(cls, "event")


def test_a_union_that_stored_bytes_can_not_tell_apart_is_refused() -> None:
    """Avro sees one long in int and datetime, and one string in str and UUID."""

    @dataclass(frozen=True)
    class Either:
        when: int | datetime

    with pytest.raises(InvalidTarget, match=r"`Either\.when`: a stored value can't tell int from"):
        describe_record(Either, "event")


def test_two_classes_of_one_name_in_one_event_are_refused() -> None:
    """Avro knows a class by its name."""
    first = made("Part", {"n": int})
    second = made("Part", {"n": str})
    both = made("Whole", {"a": first, "b": second})
    with pytest.raises(InvalidTarget, match="two different types are named Part"):
        describe_record(both, "event")


def test_a_default_of_another_type_is_refused() -> None:
    """It would be read back as something else than what was written."""

    @dataclass(frozen=True)
    class Wrong:
        n: int = cast("int", "5")

    with pytest.raises(InvalidTarget, match=r"`Wrong.n`: its default '5' is no int"):
        schema_of(Wrong)


def test_an_unknown_name_is_said_with_the_mend() -> None:
    """A class that is defined later, or within a function, can't be found by its name."""
    cls = made("Later", {"x": "Unknown"})
    with pytest.raises(UnresolvedName, match=r"name `Unknown`, which module .* does not define"):
        describe_record(cls, "event")
