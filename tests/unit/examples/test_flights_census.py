"""What the check finds, and how the demo shows long outputs."""

from dataclasses import replace

import pytest

from examples.flights.aircraft import Logbook
from examples.flights.census import ActorState, differences
from examples.flights.expected import Totals, expected_totals
from examples.flights.report import excerpt

TOTALS = Totals(flights=2, cancelled=1, delay_min=-3, distance_miles=431, last_airport="RDU")

RIGHT = Logbook(**TOTALS)


def actor(revision: int, state: Logbook) -> ActorState:
    """An actor as the node answers it."""
    return ActorState(id="N1", revision=revision, state=state)


def test_an_aircraft_as_expected_has_no_difference() -> None:
    """Values that are not expected of it, as the last scheduled time, do not count."""
    assert list(differences({"N1": actor(2, RIGHT)}, {"N1": TOTALS})) == []


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (replace(RIGHT, flights=3), "N1: flights is 3, expected 2"),
        (replace(RIGHT, cancelled=0), "N1: cancelled is 0, expected 1"),
        (replace(RIGHT, delay_min=3), "N1: delay_min is 3, expected -3"),
        (replace(RIGHT, distance_miles=0), "N1: distance_miles is 0, expected 431"),
        (replace(RIGHT, last_airport=None), "N1: last_airport is None, expected 'RDU'"),
    ],
)
def test_each_value_is_compared(state: Logbook, line: str) -> None:
    """A difference names aircraft, value and both sides."""
    assert list(differences({"N1": actor(2, state)}, {"N1": TOTALS})) == [line]


def test_a_flight_that_took_effect_twice_shows_in_the_revision() -> None:
    """Even if the totals happened to be right."""
    wrong = {"N1": actor(3, RIGHT)}
    assert list(differences(wrong, {"N1": TOTALS})) == ["N1: revision is 3, expected 2"]


def test_an_aircraft_that_only_one_side_knows_is_a_difference() -> None:
    """In both directions."""
    found = {"N2": actor(2, RIGHT)}
    assert list(differences(found, {"N1": TOTALS})) == ["N1: only expected", "N2: only stored"]


def test_expected_totals_of_the_first_rows() -> None:
    """`rows_max` counts rows of the file, as it does for the feeder."""
    assert expected_totals(1) == {
        "N14228": {
            "flights": 1,
            "cancelled": 0,
            "delay_min": 11,
            "distance_miles": 1400,
            "last_airport": "IAH",
        }
    }


def test_a_long_output_is_shown_by_its_ends() -> None:
    """What is hidden is counted; a short one is shown whole."""
    lines = [f"line {number}" for number in range(100)]
    shown = excerpt("\n".join(lines) + "\n")
    assert shown == [*lines[:6], "  ... 91 lines", *lines[-3:]]
    assert excerpt("one\ntwo\n") == ["one", "two"]
