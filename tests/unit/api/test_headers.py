"""Numbers of requests as they stand in a header."""

from __future__ import annotations

import pytest

from eventstore.records import RequestNumber
from spawn.api.headers import parse_request
from spawn.errors import InvalidHeader

SESSION = "00112233445566778899aabbccddeeff"
NOW_US = 1_795_558_931_000_000


def value(n: object = 8, low: object = 7, issued: object = NOW_US, session: str = SESSION) -> str:
    return f"session={session}, n={n}, low={low}, issued={issued}"


@pytest.mark.parametrize("text", [value(), value().replace(", ", ",")])
def test_a_number_is_read(text: str) -> None:
    """All four of its parts."""
    number = RequestNumber(bytes.fromhex(SESSION), 8, 7, NOW_US)
    assert parse_request([text]) == number


@pytest.mark.parametrize(
    "text",
    [
        value(1, 1), value(1, 0), value(10_006, 7), value(issued=0), value(2**63 - 1, 2**63 - 2),
        value(issued=2**63 - 1),
    ],
)  # fmt: skip
def test_the_bounds_are_valid(text: str) -> None:
    """The last ones on each side."""
    parse_request([text])


@pytest.mark.parametrize(
    "text",
    [
        "", "n=1", value(0, 0), value(7, 8), value(10_007, 7), value(2**63, 2**63 - 5),
        value(issued=2**63), value(-1), value("x"),
        value(session=SESSION[:-1]), value(session=SESSION.upper()), value() + ", x=1",
        " " + value(), value("1" * 5000), value().replace("low", "high"), value("٣"),
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    """Also numbers that would be remembered for long, or make memory grow."""
    with pytest.raises(InvalidHeader):
        parse_request([text])
    with pytest.raises(InvalidHeader, match="2 times"):
        parse_request([value(), value()])
