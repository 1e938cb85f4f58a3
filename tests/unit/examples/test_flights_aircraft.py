"""The aircraft's decisions and its fold, and the whole year through them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from examples.flights.aircraft import Aircraft, Cancelled, Flight, Flown, Logbook
from examples.flights.census import ActorState, differences
from examples.flights.data import Year
from examples.flights.expected import Totals
from spawn import Rejected

FLIGHT = Flight(
    number="MQ4521",
    scheduled=datetime(2013, 1, 1, 12, tzinfo=UTC),
    origin="LGA",
    destination="RDU",
    distance_miles=431,
    departed=True,
    delay_min=-7,
)


class Notebook:
    """Stands for an aircraft within one action: its state, and what it emits."""

    def __init__(self, state: Logbook) -> None:
        self.state = state
        self.emitted: list[Flown | Cancelled] = []

    def emit(self, event: Flown | Cancelled) -> None:
        self.emitted.append(event)
        self.state = Aircraft.evolve(self.state, event)


def act(action: Any, state: Logbook, *arguments: object) -> tuple[Any, Notebook]:
    """Run an action's code on a state; return its reply and the notebook."""
    notebook = Notebook(state)
    return action.function(notebook, *arguments), notebook


def test_a_departed_flight_is_flown() -> None:
    """It counts, adds distance and delay, and moves the aircraft."""
    reply, notebook = act(Aircraft.record, Logbook(), FLIGHT)
    assert notebook.emitted == [
        Flown(
            number="MQ4521",
            scheduled=FLIGHT.scheduled,
            origin="LGA",
            destination="RDU",
            distance_miles=431,
            delay_min=-7,
        )
    ]
    assert reply == 1
    assert notebook.state == Logbook(
        flights=1,
        delay_min=-7,
        distance_miles=431,
        last_airport="RDU",
        last_scheduled=FLIGHT.scheduled,
    )


def test_a_flight_that_never_left_is_cancelled() -> None:
    """It counts, and neither distance nor place change."""
    state = Logbook(flights=4, distance_miles=100, delay_min=3, last_airport="BNA")
    never_left = replace(FLIGHT, departed=False, delay_min=None)
    reply, notebook = act(Aircraft.record, state, never_left)
    assert notebook.emitted == [Cancelled(number="MQ4521", scheduled=FLIGHT.scheduled)]
    assert reply == 5
    assert notebook.state == replace(state, flights=5, cancelled=1, last_scheduled=FLIGHT.scheduled)


def test_a_flight_that_landed_elsewhere_has_no_delay() -> None:
    """It flew, as far as the file says, to its destination."""
    _, notebook = act(Aircraft.record, Logbook(), replace(FLIGHT, delay_min=None))
    assert notebook.state.delay_min == 0
    assert notebook.state.last_airport == "RDU"


def test_an_earlier_flight_is_refused() -> None:
    """Whoever mixes the order up hears of it; the same minute again is in order."""
    _, notebook = act(Aircraft.record, Logbook(), FLIGHT)
    act(Aircraft.record, notebook.state, FLIGHT)
    earlier = replace(FLIGHT, scheduled=FLIGHT.scheduled - timedelta(minutes=1))
    with pytest.raises(Rejected, match="MQ4521") as caught:
        act(Aircraft.record, notebook.state, earlier)
    assert caught.value.code == "out-of-order"


def test_the_mean_delay_leaves_cancelled_flights_out() -> None:
    """And is 0 while none has left."""
    assert act(Aircraft.mean_delay_min, Logbook(flights=4, cancelled=1, delay_min=6))[0] == 2.0
    assert act(Aircraft.mean_delay_min, Logbook(flights=1, cancelled=1))[0] == 0.0


@pytest.mark.timeout(60)
def test_the_year_through_the_actor_equals_the_plain_computation(
    year: Year, expected: Mapping[str, Totals]
) -> None:
    """Every flight as a command, every event folded: all 4,043 aircraft are as expected."""
    record = cast(Any, Aircraft.record).function
    states: dict[str, Logbook] = {}
    for _, tail, flight in year.flights:
        notebook = Notebook(states.get(tail) or Logbook())
        record(notebook, flight)
        states[tail] = notebook.state
    actors = {t: ActorState(id=t, revision=s.flights, state=s) for t, s in states.items()}
    assert len(actors) == 4_043
    assert list(differences(actors, expected)) == []
    assert expected["N725MQ"] == {
        "flights": 575,
        "cancelled": 29,
        "delay_min": 2542,
        "distance_miles": 306_006,
        "last_airport": "CMH",
    }
