"""The schedule: one flight per aircraft at a time, each in its order, none forgotten."""

from datetime import UTC, datetime
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from examples.flights.aircraft import Flight
from examples.flights.data import ScheduledFlight
from examples.flights.schedule import Schedule

FLIGHT = Flight(
    number="UA1",
    scheduled=datetime(2013, 1, 1, tzinfo=UTC),
    origin="JFK",
    destination="LAX",
    distance_miles=2475,
    departed=True,
)


def flights(tails: str) -> list[ScheduledFlight]:
    """One flight for each letter, which names its aircraft."""
    return [ScheduledFlight(row, tail, FLIGHT) for row, tail in enumerate(tails, start=1)]


def test_a_flight_waits_for_the_one_before_of_its_aircraft() -> None:
    """Others overtake it meanwhile; afterwards it is the first to go."""
    first, second, other, last = flights("AABC")
    schedule = Schedule([first, second, other, last])
    assert schedule.take(1) == [first]
    assert schedule.take(1) == [other]
    schedule.done(first)
    assert schedule.take(1) == [second]
    assert schedule.take(1) == [last]
    assert schedule.take(1) == []


def test_what_was_passed_over_comes_to_whoever_ends_the_flight_before() -> None:
    """So a taker may leave when there is nothing for it, and nothing is left behind."""
    first, second, third = flights("AAA")
    schedule = Schedule([first, second, third])
    assert schedule.take(1) == [first]
    assert schedule.take(1) == []
    schedule.done(first)
    assert schedule.take(1) == [second]
    assert schedule.take(1) == []
    schedule.done(second)
    assert schedule.take(1) == [third]


@given(
    st.text("ABCD", max_size=40),
    st.integers(1, 8),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_any_order_of_answers_keeps_the_order_of_each_aircraft(
    tails: str, takers: int, count: int, dice: Random
) -> None:
    """Whoever is answered first: all flights go, in order per aircraft, one of each at a time."""
    schedule = Schedule(flights(tails))
    on_their_way: list[list[ScheduledFlight]] = []
    taken: list[ScheduledFlight] = []

    def take() -> None:
        if batch := schedule.take(count):
            assert len(batch) <= count
            on_their_way.append(batch)
            taken.extend(batch)
            aircraft = [flight.aircraft for batch in on_their_way for flight in batch]
            assert len(aircraft) == len(set(aircraft))

    for _ in range(takers):
        take()
    while on_their_way:
        for flight in on_their_way.pop(dice.randrange(len(on_their_way))):
            schedule.done(flight)
        take()
    assert sorted(flight.row for flight in taken) == list(range(1, len(tails) + 1))
    for tail in set(tails):
        rows = [flight.row for flight in taken if flight.aircraft == tail]
        assert rows == sorted(rows)
