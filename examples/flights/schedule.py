"""Which flight may be sent next (pure).

Many flights are on their way at once, but never two of one aircraft: whatever happens to a request
(a lost connection, a refusal for the moment, a killed node), it can be repeated before the next
flight of that aircraft is sent, so no aircraft ever sees its flights in another order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from examples.flights.data import ScheduledFlight

__all__ = ["Schedule"]


class Schedule:
    """Hands flights out in their order, passing over those whose aircraft is on its way.

    Whoever takes flights says when they are done and then takes again, until there is none to take:
    a flight that was passed over is handed to whoever ends the one that it waited for.
    """

    def __init__(self, flights: Iterable[ScheduledFlight]) -> None:
        self._rest = iter(flights)
        self._waiting: dict[str, deque[ScheduledFlight]] = {}
        """For each aircraft on its way the flights that were passed over."""
        self._ready: deque[ScheduledFlight] = deque()
        """Flights that were passed over and may go now; their aircraft counts as on its way."""

    def take(self, count: int) -> list[ScheduledFlight]:
        """Return the next flights, at most so many; none: all left wait for one on its way."""
        taken: list[ScheduledFlight] = []
        while len(taken) < count and (flight := self._take_one()) is not None:
            taken.append(flight)
        return taken

    def _take_one(self) -> ScheduledFlight | None:
        if self._ready:
            return self._ready.popleft()
        for flight in self._rest:
            waiting = self._waiting.get(flight.aircraft)
            if waiting is None:
                self._waiting[flight.aircraft] = deque()
                return flight
            waiting.append(flight)
        return None

    def done(self, flight: ScheduledFlight) -> None:
        """Let the next flight of this aircraft go."""
        waiting = self._waiting[flight.aircraft]
        if waiting:
            self._ready.append(waiting.popleft())
        else:
            del self._waiting[flight.aircraft]
