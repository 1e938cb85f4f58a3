"""Readers: what was written with an older class is read as today's."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from eventstore.errors import UnreadableBody
from schemas.compat import differences
from spawn.sdk.avro_schema import avro_schema
from spawn.sdk.reading import reader_of
from spawn.sdk.shapes import RecordShape
from spawn.sdk.values import describe_record
from spawn.sdk.writing import writer_of


class Color(enum.Enum):
    """As it was first."""

    RED = 1


class Wider(enum.Enum):
    """As it became later; both are called Color in the log."""

    BLUE = 2
    RED = 1


Wider.__name__ = "Color"


@dataclass(frozen=True)
class Place:
    """Within an event."""

    street: str


@dataclass(frozen=True)
class Old:
    """An event as it was first."""

    n: int
    gone: str
    who: UUID
    raw: str
    maybe: int | None
    either: str | Place
    color: Color
    places: tuple[Place, ...]
    counts: Mapping[str, int]
    by_day: Mapping[int, int]
    pair: tuple[int, int]
    at: datetime


@dataclass(frozen=True)
class LongerPlace:
    """The same class later."""

    street: str
    city: str = "?"


LongerPlace.__name__ = "Place"


@dataclass(frozen=True)
class New:
    """The same event later."""

    at: datetime
    n: float
    who: str
    raw: bytes
    maybe: float | str | None
    either: LongerPlace | int | str
    color: Wider
    places: tuple[LongerPlace, ...]
    counts: Mapping[str, float]
    by_day: Mapping[float, int]
    pair: tuple[float, int]
    added: int | None = 7


New.__name__ = "Old"


def convert(value: Any, reader: Any) -> Any:
    """Write a value with its class and read it with another one."""
    written = describe_record(type(value), "event")
    schema, shape = avro_schema(written), describe_record(reader, "event")
    assert differences(schema, avro_schema(shape)) == [], "compat allows what readers can do"
    return reader_of(schema, shape, "event Old of Shop")(writer_of(written)(value))


def test_an_old_event_is_read_as_todays_class() -> None:
    """Fields by name, dropped and new ones, wider types, wider unions, at every depth."""
    at = datetime(2024, 1, 1, tzinfo=UTC)
    old = Old(
        n=1,
        gone="x",
        who=UUID(int=5),
        raw="é",
        maybe=2,
        either=Place("Main St"),
        color=Color.RED,
        places=(Place("a"), Place("b")),
        counts={"x": 1},
        by_day={3: 4},
        pair=(5, 6),
        at=at,
    )
    assert convert(old, New) == New(
        at=at,
        n=1.0,
        who="00000000-0000-0000-0000-000000000005",
        raw="é".encode(),
        maybe=2.0,
        either=LongerPlace("Main St"),
        color=Wider.RED,
        places=(LongerPlace("a"), LongerPlace("b")),
        counts={"x": 1.0},
        by_day={3.0: 4},
        pair=(5.0, 6),
        added=7,
    )


def test_each_branch_of_a_union_is_read_as_what_it_was() -> None:
    """Text that looks like an enum's member stays text."""

    @dataclass(frozen=True)
    class Either:
        value: str | Color | Place | tuple[int, ...] | int | float | bool | None

    for value in ("RED", Color.RED, Place("x"), (1, 2), 5, 5.0, True, None):
        read = convert(Either(value), Either)
        assert read == Either(value)
        assert type(read.value) is type(value)


def test_a_class_that_contains_itself_is_read() -> None:
    """To any depth."""
    tree = Tree("root", (Tree("a", (Tree("b"),)),))
    assert convert(tree, Tree) == tree


@dataclass(frozen=True)
class Tree:
    """Contains itself."""

    name: str
    children: tuple["Tree", ...] = ()


@pytest.mark.parametrize("data", [b"", b"\x02", b"\x06ab", b"\x04a\xff", b"\x02ab", b"\x04ab\x00"])
def test_damaged_bytes_are_unreadable(data: bytes) -> None:
    """Cut short, no text, or more than the schema accounts for: one error for all."""
    shape = describe_record(Place, "event")
    assert isinstance(shape, RecordShape)
    read = reader_of(avro_schema(shape), shape, "event Place of Shop")
    assert read(b"\x04ab") == Place("ab")
    with pytest.raises(UnreadableBody, match=r"^event Place of Shop "):
        read(data)


def test_a_class_that_refuses_its_fields_makes_the_bytes_unreadable() -> None:
    """Its error is chained."""

    @dataclass(frozen=True)
    class Picky:
        n: int

        def __post_init__(self) -> None:
            if self.n > 5:
                raise ValueError("too large")

    shape = describe_record(Picky, "event")
    with pytest.raises(UnreadableBody, match="too large") as caught:
        reader_of(avro_schema(shape), shape, "event Picky")(b"\x0c")
    assert isinstance(caught.value.__cause__, ValueError)
