"""What every aircraft must come to: a plain loop over the file's text, without actors or events.

On purpose another way than the one it checks: nothing of `data.py` but the place of the archive,
no sorting (the last airport is that of the latest departure), none of the actor's types.
"""

from __future__ import annotations

import csv
import io
import zipfile
from itertools import islice
from typing import TypedDict

from examples.flights.data import find_archive

__all__ = ["Totals", "expected_totals"]


class Totals(TypedDict):
    """Totals of one aircraft, under the names that its state has."""

    flights: int
    cancelled: int
    delay_min: int
    distance_miles: int
    last_airport: str | None


def expected_totals(rows_max: int | None = None) -> dict[str, Totals]:
    """Return the totals of each tail number in the file, or in its first `rows_max` rows."""
    totals: dict[str, Totals] = {}
    latest: dict[str, tuple[str, int, int]] = {}
    with zipfile.ZipFile(find_archive()) as archive, archive.open("flights.csv") as stream:
        rows = csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8", newline=""))
        for number, row in enumerate(islice(rows, rows_max)):
            tail = row["tailnum"]
            if tail == "NA":
                continue
            if tail not in totals:
                totals[tail] = Totals(
                    flights=0, cancelled=0, delay_min=0, distance_miles=0, last_airport=None
                )
            aircraft = totals[tail]
            aircraft["flights"] += 1
            if row["dep_time"] == "NA":
                aircraft["cancelled"] += 1
                continue
            if row["arr_delay"] != "NA":
                aircraft["delay_min"] += int(row["arr_delay"])
            aircraft["distance_miles"] += int(row["distance"])
            departure = (row["time_hour"], int(row["sched_dep_time"]), number)
            if tail not in latest or departure > latest[tail]:
                latest[tail] = departure
                aircraft["last_airport"] = row["dest"]
    return totals
