"""The actor of this example: an aircraft, whose logbook is a sequence of events.

Serve it with `spawn dev examples/flights/aircraft.py`, then from another terminal

    curl -d '{"number": "UA1545", "scheduled": "2013-01-01T10:15:00Z", "origin": "EWR",
              "destination": "IAH", "distance_miles": 1400, "departed": true, "delay_min": 11}' \
        localhost:9001/v1/actors/Aircraft/N14228/record
    spawn state Aircraft/N14228
    spawn events Aircraft/N14228 --state
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from spawn import Actor, Rejected, action, actor

__all__ = ["Aircraft", "Cancelled", "Flight", "Flown", "Logbook"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """A flight as its airline reports it: what `record` is told."""

    number: str
    scheduled: datetime
    origin: str
    destination: str
    distance_miles: int
    departed: bool
    delay_min: int | None = None
    """At arrival, early ones negative; None: it never arrived there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flown:
    """Event: the aircraft took off for its destination."""

    number: str
    scheduled: datetime
    origin: str
    destination: str
    distance_miles: int
    delay_min: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """Event: the flight stood in the timetable, the aircraft stayed where it was."""

    number: str
    scheduled: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Logbook:
    """State: what all events of one aircraft add up to."""

    flights: int = 0
    cancelled: int = 0
    delay_min: int = 0
    distance_miles: int = 0
    last_airport: str | None = None
    last_scheduled: datetime | None = None


@actor(partitions=4)
class Aircraft(Actor[Logbook, Flown | Cancelled]):
    """One aircraft; its id is the tail number."""

    @action
    def record(self, flight: Flight) -> int:
        """Enter a flight into the logbook; returns how many stand there now."""
        last = self.state.last_scheduled
        if last is not None and flight.scheduled < last:
            raise Rejected("out-of-order", f"{flight.number} was scheduled before {last}")
        if flight.departed:
            self.emit(
                Flown(
                    number=flight.number,
                    scheduled=flight.scheduled,
                    origin=flight.origin,
                    destination=flight.destination,
                    distance_miles=flight.distance_miles,
                    delay_min=flight.delay_min,
                )
            )
        else:
            self.emit(Cancelled(number=flight.number, scheduled=flight.scheduled))
        return self.state.flights

    @action.read
    def mean_delay_min(self) -> float:
        """Minutes late (negative: early) per flight that took off."""
        departed = self.state.flights - self.state.cancelled
        return self.state.delay_min / departed if departed else 0.0

    @staticmethod
    def evolve(state: Logbook, event: Flown | Cancelled) -> Logbook:
        """Add one event to the logbook. Pure: it runs live and in every replay."""
        match event:
            case Flown():
                return replace(
                    state,
                    flights=state.flights + 1,
                    delay_min=state.delay_min + (event.delay_min or 0),
                    distance_miles=state.distance_miles + event.distance_miles,
                    last_airport=event.destination,
                    last_scheduled=event.scheduled,
                )
            case Cancelled():
                return replace(
                    state,
                    flights=state.flights + 1,
                    cancelled=state.cancelled + 1,
                    last_scheduled=event.scheduled,
                )
            case _:
                assert_never(event)
