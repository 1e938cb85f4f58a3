"""What a newer schema can't read of an older one, field by field."""

from typing import Any

import pytest

from schemas.compat import differences, event_differences


def record(name: str = "Added", /, **fields: Any) -> Any:
    """Return a record schema; a tuple is (type, default)."""
    return {
        "type": "record",
        "name": name,
        "fields": [
            {"name": key, "type": value[0], "default": value[1]}
            if isinstance(value, tuple)
            else {"name": key, "type": value}
            for key, value in fields.items()
        ],
    }


def texts(writer: Any, reader: Any) -> list[str]:
    """Return the differences as a user reads them."""
    return [str(difference) for difference in differences(writer, reader)]


TIME = {"type": "long", "logicalType": "timestamp-micros"}
UUID = {"type": "string", "logicalType": "uuid"}
RED = {"type": "enum", "name": "Color", "symbols": ["RED", "BLUE"]}
BLUE = {"type": "enum", "name": "Color", "symbols": ["BLUE"]}


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        (record(n="long"), record(n="long")),
        (record(n="long"), record()),
        (record(n="long"), record(n="long", by=("string", ""))),
        (record(n="long", by="string"), record(by="string", n="long")),
        (record(n="int"), record(n="long")),
        (record(n="long"), record(n="double")),
        (record(n="long"), record(n=["null", "long"])),
        (record(n=["long", "null"]), record(n=["null", "double"])),
        (record(n="string"), record(n="bytes")),
        (record(n=UUID), record(n="string")),
        (record(n=BLUE), record(n=RED)),
        (record(n={"type": "array", "items": "int"}), record(n={"type": "array", "items": "long"})),
        (record(n={"type": "map", "values": "int"}), record(n={"type": "map", "values": "double"})),
        (record(n=record("In", a="int")), record(n=record("In", a="long", b=("int", 0)))),
        (record(n=record("In", a="int")), record(n=["null", record("In", a="long")])),
        (record(n={"type": "long"}), record(n={"type": {"type": "long"}})),
        (record("ns.Added", n="long"), record("Added", n="long")),
    ],
)
def test_what_avro_can_resolve_is_no_difference(writer: Any, reader: Any) -> None:
    """New fields with defaults, dropped fields, wider numbers, unions that take in the old type."""
    assert texts(writer, reader) == []


@pytest.mark.parametrize(
    ("writer", "reader", "text"),
    [
        (record(n="long"), record(n="string"), "field `n` was int, is str"),
        (record(n="double"), record(n="long"), "field `n` was float, is int"),
        (record(n="long"), record(n="long", by="string"), "field `by` is new and has no constant"),
        (record(n=["null", "long"]), record(n="long"), "field `n` was None | int, is int"),
        (record(n="string"), record(n=["null", "long"]), "field `n` was str, is None | int"),
        (record(n="long"), record(n=TIME), "field `n` was int, is datetime"),
        (record(n=TIME), record(n="long"), "field `n` was datetime, is int"),
        (record(n="string"), record(n=UUID), "field `n` was str, is UUID"),
        (record(n=RED), record(n=BLUE), "field `n` lost RED of enum Color"),
        (record("Added"), record("Put"), "was Added, is Put"),
        (
            record(n={"type": "array", "items": "long"}),
            record(n={"type": "array", "items": "string"}),
            "field `n[]` was int, is str",
        ),
        (
            record(n=record("In", a="long")),
            record(n=["null", record("In", a="string")]),
            "field `n.a` was int, is str",
        ),
        (
            record(n={"type": "fixed", "name": "F", "size": 2}),
            record(n={"type": "fixed", "name": "F", "size": 4}),
            "field `n` was F, is F",
        ),
    ],
)
def test_each_difference_is_named_with_field_and_types(writer: Any, reader: Any, text: str) -> None:
    """As the author of the class would say it."""
    (found,) = texts(writer, reader)
    assert found.startswith(text)


def test_all_differences_are_found_at_once() -> None:
    """Nobody mends one only to meet the next."""
    assert len(texts(record(a="long", b="long"), record(a="string", b="string", c="int"))) == 3


def test_a_schema_that_contains_itself_is_compared() -> None:
    """Each pair of types once."""
    old = record("Tree", name="string", children={"type": "array", "items": "Tree"})
    new = record("Tree", name="long", children={"type": "array", "items": "Tree"})
    assert texts(old, old) == []
    assert texts(old, new) == ["field `name` was str, is int"]


def test_an_event_class_that_is_gone_is_a_difference() -> None:
    """Its records are still in the log."""
    (gone,) = event_differences("Reset", record("Reset"), {"Added": record("Added")})
    assert str(gone) == "event Reset was removed or renamed"


def test_a_difference_within_an_event_names_the_event() -> None:
    """The text of the start that is refused is made of it."""
    (found,) = event_differences("Added", record(n="long"), {"Added": record(n="string")})
    assert str(found) == "event Added, field `n` was int, is str"
