"""JSON input to arguments: what fits, and what is said of what does not."""

import enum
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from examples.counter import Counter
from spawn.errors import BodyMismatch, CallError, InvalidJson
from spawn.sdk.actions import action
from spawn.sdk.actor import Actor
from spawn.sdk.behavior import ClassBehavior


@dataclass(frozen=True)
class Empty:
    """A state."""


class Color(enum.Enum):
    """A choice."""

    RED = "red"


@dataclass
class Flight:
    """A parameter with fields."""

    number: str
    at: datetime
    stops: list[int]
    delay: int | None = None

    def __post_init__(self) -> None:
        if self.number == "":
            raise ValueError("a flight has a number")
        if self.number == "boom":
            raise KeyError("boom")


class Shop(Actor[Empty]):
    """Actions of all kinds of parameters."""

    @action
    def none(self) -> None: ...
    @action
    def fly(self, flight: Flight) -> None: ...
    @action
    def two(self, a: int, b: str = "x") -> None: ...
    @action
    def all_default(self, a: int = 1, tags: list[str] = ["x"]) -> None: ...  # noqa: B006
    @action
    def maybe(self, n: int | None = 5) -> None: ...
    @action
    def some(self, n: int = 5) -> None: ...
    @action
    def odd(self, who: UUID, color: Color, pair: tuple[int, int], x: float) -> None: ...


SHOP = ClassBehavior(Shop)
COUNTER = ClassBehavior(Counter)
AT = datetime(2024, 1, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "payload", "arguments"),
    [
        ("none", b"", ()),
        ("none", b"null", ()),
        ("two", b'{"a": 1}', (1, "x")),
        ("two", b'{"b": "y", "a": 1}', (1, "y")),
        ("all_default", b"", (1, ["x"])),
        ("all_default", b"null", (1, ["x"])),
        ("all_default", b"{}", (1, ["x"])),
        ("maybe", b"", (5,)),
        ("maybe", b"null", (None,)),
        ("maybe", b"7", (7,)),
        ("some", b"", (5,)),
        ("some", b"null", (5,)),
        (
            "fly",
            b'{"number": "UA1", "at": "2024-01-01T05:00:00-05:00", "stops": []}',
            (Flight("UA1", AT, []),),
        ),
    ],
)
def test_input_that_fits(name: str, payload: bytes, arguments: tuple[Any, ...]) -> None:
    """One parameter is the body, several an object by name, none nothing; times become UTC."""
    assert SHOP.decode_arguments(name, payload) == arguments


@pytest.mark.parametrize(
    ("name", "payload", "text"),
    [
        ("none", b"5", "Shop.none has no parameters, got 5"),
        ("two", b"5", "Shop.two: the body must be an object, got 5"),
        ("two", b"{}", "Shop.two: `a` is missing"),
        ("two", b'{"a": 1, "c": 2}', "Shop.two: there is no parameter `c`"),
        ("two", b'{"a": "1"}', 'Shop.two: `a` must be an integer, got "1"'),
        ("two", b"", "Shop.two: `a` is missing"),
        ("maybe", b"[]", "Shop.maybe: `n` must be an integer or null, got []"),
        ("some", b"1.0", "Shop.some: `n` must be an integer, got 1.0"),
        ("some", b"1" * 5000, "Shop.some: `n` must be an integer that is not as long"),
        ("fly", b"{}", "Shop.fly: `flight` lacks the field `number`"),
        ("fly", b'{"number": 5}', "Shop.fly: `flight.number` must be a string, got 5"),
        (
            "fly",
            b'{"number": "UA1", "at": "2024-01-01T05:00:00Z", "stops": [1, "x"]}',
            'Shop.fly: `flight.stops[1]` must be an integer, got "x"',
        ),
        (
            "fly",
            b'{"number": "UA1", "at": "noon"}',
            'Shop.fly: `flight.at` must be a date and time (RFC 3339), got "noon"',
        ),
        (
            "fly",
            b'{"number": "UA1", "at": "2024-01-01T05:00:00", "stops": []}',
            "Shop.fly: `flight`: 2024-01-01T05:00:00 has no time zone: write a Z",
        ),
        (
            "fly",
            b'{"number": "", "at": "2024-01-01T05:00:00Z", "stops": []}',
            "Shop.fly: `flight`: a flight has a number",
        ),
        (
            "fly",
            b'{"number": "boom", "at": "2024-01-01T05:00:00Z", "stops": []}',
            "Shop.fly: 'boom'",
        ),
        ("odd", b'{"who": "x"}', 'Shop.odd: `who` must be a UUID, got "x"'),
        (
            "odd",
            b'{"who": "00000000-0000-0000-0000-000000000000", "color": "blue"}',
            'Shop.odd: `color` can\'t be "blue"; it is one of "red"',
        ),
        (
            "odd",
            b'{"pair": [1]}',
            "Shop.odd: `pair` must be an array of length 2, got [1]",
        ),
        ("odd", b'{"x": 1e999}', "Shop.odd: `x` must be a number within the range of a float"),
    ],
)
def test_input_that_does_not_fit(name: str, payload: bytes, text: str) -> None:
    """The text names action, field, what is wanted and what came."""
    with pytest.raises(BodyMismatch) as caught:
        SHOP.decode_arguments(name, payload)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"five", "Counter.add: the body is not JSON: input data was truncated"),
        (b'"five', "Counter.add: the body is not JSON: input data was truncated"),
        (b'"five" x', "Counter.add: the body is not JSON: trailing characters"),
        (b"NaN", "Counter.add: the body is not JSON: invalid character"),
        (b'"\xff"', "Counter.add: the body is not JSON: 'utf-8' codec can't decode"),
        (b"[" * 100_000, "Counter.add: the body is "),
        (b'{"a":' * 100_000, "Counter.add: the body is nested too deeply"),
    ],
)
def test_what_is_not_json(payload: bytes, text: str) -> None:
    """Also where the first value would have been a mismatch, and in a nesting bomb."""
    with pytest.raises(InvalidJson) as caught:
        COUNTER.decode_arguments("add", payload)
    assert str(caught.value).startswith(text)


def test_text_and_hint_are_those_of_the_documentation() -> None:
    """`experience.md`, section 4."""
    with pytest.raises(CallError) as caught:
        COUNTER.decode_arguments("add", b'"five"')
    assert caught.value.code == "body-mismatch"
    assert str(caught.value) == 'Counter.add: `n` must be an integer, got "five"'
    assert caught.value.hint == (
        "Counter.add(n: int): one parameter, so the input is its JSON, integer, e.g. 5"
    )
    with pytest.raises(CallError) as caught:
        SHOP.decode_arguments("two", b"5")
    assert caught.value.hint == (
        'Shop.two(a: int, b: str = "x"): several parameters, so the input is an object '
        '{"a": integer, "b": string}'
    )


def test_a_long_value_is_shortened() -> None:
    """It goes into logs."""
    with pytest.raises(BodyMismatch) as caught:
        COUNTER.decode_arguments("add", b'"' + b"x" * 10_000 + b'"')
    assert len(str(caught.value)) < 120


def test_a_default_that_can_be_changed_is_made_anew_each_time() -> None:
    """Unlike in plain Python, no call sees what another one did to it."""
    first, again = (SHOP.decode_arguments("all_default", b"")[1] for _ in range(2))
    assert first == again
    assert first is not again


@dataclass(frozen=True)
class Trip:
    """Holds times at several depths."""

    flights: list[Flight]
    stops: dict[str, tuple[datetime | None, int]]
    back: "Trip | None" = None


class Travels(Actor[Empty]):
    """Takes trips."""

    @action
    def plan(self, trip: Trip) -> None: ...


def test_times_become_utc_at_every_depth() -> None:
    """So that they can go into events as they are."""
    flight = b'{"number": "UA1", "at": "2024-01-01T05:00:00-05:00", "stops": []}'
    inner = b'{"flights": [' + flight + b'], "stops": {"x": ["2024-01-01T11:00:00+01:00", 1]}}'
    outer = b'{"flights": [], "stops": {"y": [null, 2]}, "back": ' + inner + b"}"
    (trip,) = ClassBehavior(Travels).decode_arguments("plan", outer)
    back = Trip([Flight("UA1", AT, [])], {"x": (AT, 1)})
    assert trip == Trip([], {"y": (None, 2)}, back)
    assert trip.back.flights[0].at.tzinfo is UTC
    assert trip.back.stops["x"][0].tzinfo is UTC
