"""Writers: the bytes are fastavro's, and nothing is converted on the way."""

import enum
import io
from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import GenericAlias
from typing import Any, cast
from uuid import UUID

import fastavro
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spawn.sdk.avro_schema import avro_schema
from spawn.sdk.reading import reader_of
from spawn.sdk.scalars import NotStorable
from spawn.sdk.shapes import (
    EnumShape,
    ListShape,
    MapShape,
    RecordShape,
    ScalarShape,
    Shape,
    TupleShape,
    UnionShape,
    holds,
)
from spawn.sdk.values import describe_record
from spawn.sdk.writing import checker_of, writer_of


class Color(enum.Enum):
    """Some colours."""

    RED = 1
    BLUE = 2


@dataclass(frozen=True)
class Part:
    """A class within others."""

    name: str
    size: int | None


LONGS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(max_size=20)
LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    int: LONGS,
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    str: TEXTS,
    bytes: st.binary(max_size=20),
    datetime: st.datetimes(timezones=st.just(UTC)),
    date: st.dates(),
    UUID: st.uuids(),
    Decimal: st.decimals(allow_nan=False),
    Color: st.sampled_from(Color),
    Part: st.builds(Part, TEXTS, st.none() | LONGS),
}
Typed = tuple[Any, st.SearchStrategy[Any]]


def optional(annotation: Any) -> Typed:
    """Return a type or None."""
    return annotation | None, LEAVES[annotation] | st.none()


def many(annotation: Any) -> Typed:
    """Return a tuple of any length."""
    return GenericAlias(tuple, (annotation, ...)), st.lists(LEAVES[annotation], max_size=3).map(
        tuple
    )


def by(key: Any, annotation: Any) -> Typed:
    """Return a mapping."""
    values = st.dictionaries(LEAVES[key], LEAVES[annotation], max_size=3)
    return GenericAlias(Mapping, (key, annotation)), values


FIELDS: dict[str, list[Typed]] = {
    "plain": list(LEAVES.items()),
    "optional": [optional(annotation) for annotation in LEAVES],
    "many": [many(annotation) for annotation in LEAVES],
    "mappings": [by(str, annotation) for annotation in LEAVES],
    "keyed": [by(key, int) for key in (int, bool, bytes, datetime, date, UUID, Color)],
    "none": [],
}


def class_of(name: str) -> type:
    """Return a frozen dataclass of the fields above."""
    fields = [(f"f{index}", annotation) for index, (annotation, _) in enumerate(FIELDS[name])]
    return make_dataclass(name.title(), fields, frozen=True)


CLASSES = {name: class_of(name) for name in FIELDS}


def for_fastavro(shape: Shape, value: Any) -> Any:
    """Return a value as fastavro wants it."""
    match shape:
        case ScalarShape(kind="decimal"):
            return str(value)
        case ScalarShape():
            return value
        case EnumShape():
            return value.name
        case ListShape(item=item):
            return [for_fastavro(item, each) for each in value]
        case TupleShape(items=items):
            each = zip(items, value, strict=True)
            return {f"_{i}": for_fastavro(s, v) for i, (s, v) in enumerate(each)}
        case MapShape(key=ScalarShape(kind="string"), value=item):
            return {key: for_fastavro(item, each) for key, each in value.items()}
        case MapShape(key=key, value=item):
            return [
                {"key": for_fastavro(key, k), "value": for_fastavro(item, v)}
                for k, v in value.items()
            ]
        case UnionShape(branches=branches):
            (branch,) = (branch for branch in branches if holds(branch, value))
            return for_fastavro(branch, value)
        case RecordShape(fields=fields):
            return {f.name: for_fastavro(f.shape, getattr(value, f.name)) for f in fields}


@pytest.mark.parametrize("name", FIELDS)
@settings(max_examples=25)
@given(data=st.data())
def test_writers_write_what_fastavro_writes_and_readers_read_it_back(
    name: str, data: st.DataObject
) -> None:
    """For every type and any values: the same bytes, and the same value again."""
    event = CLASSES[name](*data.draw(st.tuples(*(values for _, values in FIELDS[name]))))
    shape = describe_record(type(event), "event")
    schema = avro_schema(shape)
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), for_fastavro(shape, event))
    written = writer_of(shape)(event)
    assert written == stream.getvalue()
    assert reader_of(schema, shape, "event")(written) == event
    checker_of(shape)(event)


@given(LONGS)
@example(-(2**63))
@example(2**63 - 1)
@example(63)
@example(64)
@example(8191)
@example(8192)
@example(2**20 - 1)
@example(2**20)
@example(2**55 - 1)
@example(2**55)
@example(-(2**55) - 1)
@example(2**27 - 1)
@example(2**27)
def test_any_int_of_64_bits_is_written_as_fastavro_writes_it(n: int) -> None:
    """Also where the number of its bytes changes."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, "long", n)
    assert writer_of(ScalarShape(int, "long"))(n) == stream.getvalue()


@given(st.frozensets(LONGS, max_size=5))
def test_equal_sets_have_equal_bytes(numbers: frozenset[int]) -> None:
    """The order in which a set came about leaves no trace."""
    cls = make_dataclass("Event", [("numbers", frozenset[int])], frozen=True)
    shape = describe_record(cls, "event")
    data = writer_of(shape)(cls(numbers))
    assert writer_of(shape)(cls(frozenset(sorted(numbers, reverse=True)))) == data
    assert reader_of(avro_schema(shape), shape, "event")(data) == cls(numbers)


NOBODY = UUID(int=0)


@dataclass(frozen=True)
class All:
    """One field of each type that a wrong value could slip into."""

    n: int = 0
    x: float = 0.0
    yes: bool = False
    text: str = ""
    raw: bytes = b""
    at: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    day: date = date(2024, 1, 1)
    who: UUID = NOBODY
    price: Decimal = Decimal(0)
    color: Color = Color.RED
    part: Part = Part("", 0)
    many: tuple[int, ...] = ()
    pair: tuple[int, str] = (0, "")
    tags: frozenset[str] = frozenset()
    counts: Mapping[str, int] | None = None
    nothing: None = None


WRONG: dict[str, Any] = {
    "n": True,
    "x": 2**53 + 1,
    "yes": 1,
    "text": b"x",
    "raw": "x",
    "at": datetime(2024, 1, 1),  # noqa: DTZ001 - that is what must be refused
    "day": datetime(2024, 1, 1, tzinfo=UTC),
    "who": "00000000-0000-0000-0000-000000000000",
    "price": 1,
    "color": 1,
    "part": "x",
    "many": [1],
    "pair": (1,),
    "tags": {"x"},
    "counts": [("x", 1)],
    "nothing": 0,
}


@pytest.mark.parametrize("name", WRONG)
def test_a_value_that_would_be_read_back_as_another_is_refused(name: str) -> None:
    """The text names class and field; the cheap check of states finds it too."""
    shape = describe_record(All, "event")
    event = replace(All(), **{name: WRONG[name]})
    for write in (writer_of(shape), checker_of(shape)):
        with pytest.raises(NotStorable, match=rf"^`All\.{name}` must be "):
            write(event)


def test_a_wrong_value_deep_inside_is_named_by_its_path() -> None:
    """Whoever made it finds the field."""
    event = All(part=Part("x", cast("int", "5")))
    with pytest.raises(NotStorable, match=r"^`All\.part\.size` must be one of int \| None"):
        writer_of(describe_record(All, "event"))(event)


def test_an_int_beyond_64_bits_and_broken_text_are_refused() -> None:
    """Avro has no place for them."""
    write = writer_of(describe_record(All, "event"))
    for n in (2**63, -(2**63) - 1):
        with pytest.raises(NotStorable, match=r"`All\.n` must be an int of at most 64 bits"):
            write(All(n=n))
    with pytest.raises(NotStorable, match=r"`All\.text` can't be stored: .*surrogates"):
        write(All(text="\ud800"))


def test_a_time_in_another_zone_is_refused_with_the_mend() -> None:
    """Its hour would be another one after a replay."""
    at = datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    with pytest.raises(NotStorable, match=r"in UTC \(write .astimezone\(UTC\)\)"):
        writer_of(describe_record(All, "event"))(All(at=at))


def test_an_int_may_stand_for_a_float_when_it_is_one() -> None:
    """As in type annotations; equal to what is read back."""
    shape = describe_record(All, "event")
    read = reader_of(avro_schema(shape), shape, "event")
    assert read(writer_of(shape)(All(x=3))) == All(x=3.0)


def test_the_check_of_a_state_does_not_walk_its_containers() -> None:
    """It runs after each command, so its cost must not grow with the state."""
    many = cast("tuple[int, ...]", ("not looked at",))
    checker_of(describe_record(All, "state"))(All(many=many))
    with pytest.raises(NotStorable):
        writer_of(describe_record(All, "state"))(All(many=many))


def test_a_class_of_another_module_with_the_same_fields_is_refused() -> None:
    """What is written is what the annotation says, not what looks like it."""

    @dataclass(frozen=True)
    class Other:
        name: str
        size: int

    with pytest.raises(NotStorable, match=r"`All\.part` must be a Part"):
        writer_of(describe_record(All, "event"))(All(part=cast("Part", Other("x", 1))))
