"""Gaps, failures and latencies, as callers had to bear them."""

from __future__ import annotations

import math

import pytest

from tests.faults.figures import Measure, Operation, Watch, operations_of, percentile, value_of
from tests.faults.history import NEVER, Attempt, Outcome

TIMEOUT_S = 1.0


def attempt(
    number: int, sent: float, answered: float, outcome: Outcome = Outcome.DONE, place: int = 0
) -> Attempt:
    """One request of an operation that was planned just before it was sent."""
    return Attempt(number, f"k{place}", place, True, sent, sent, answered, "n1", outcome)


def watch(measure: Measure, began: float, ended: float, *partitions: int) -> Watch:
    """A span of some partitions, or of all."""
    return Watch(
        name="",
        measure=measure,
        began=began,
        ended=ended,
        limit=None,
        partitions=partitions or None,
    )


def every_second(place: int, *missing: int) -> list[Operation]:
    """Successes of a partition each second, from 0 to 10, but for some."""
    return [
        Operation(at, at, NEVER if at in missing else at + 0.1, f"k{place}", place)
        for at in range(11)
    ]


def test_several_attempts_are_one_operation() -> None:
    """It succeeded with the first answer in time, and its caller waited from its plan on."""
    silent = attempt(1, 0.0, NEVER, Outcome.UNKNOWN)
    late = attempt(1, 1.0, 2.5)
    good = attempt(1, 2.0, 2.75)
    (found,) = operations_of([silent, good, late], TIMEOUT_S)
    assert (found.intended, found.sent, found.succeeded) == (0.0, 0.0, 2.75)
    assert found.latency_s == 2.75


def test_an_answer_after_its_caller_left_is_no_success() -> None:
    """A frozen node answers when it wakes up: right, and of no use."""
    (found,) = operations_of([attempt(1, 0.0, 5.0)], TIMEOUT_S)
    assert found.succeeded == NEVER


def test_the_longest_gap_is_that_of_the_worst_partition() -> None:
    """Others that were served do not shorten it."""
    operations = [*every_second(0), *every_second(1, 4, 5, 6)]
    assert value_of(watch(Measure.GAP, 0, 11), operations) == pytest.approx(4.0)
    assert value_of(watch(Measure.GAP, 0, 11, 0), operations) == pytest.approx(1.0)
    assert value_of(watch(Measure.KEY_GAP, 0, 11), operations) == pytest.approx(4.0)


def test_a_gap_that_has_not_ended_counts() -> None:
    """Up to the end of the span, and from its beginning."""
    operations = every_second(0, 0, 1, 2, 8, 9, 10)
    assert value_of(watch(Measure.GAP, 0, 20), operations) == pytest.approx(20 - 7.1)
    assert value_of(watch(Measure.GAP, 0, 8), operations) == pytest.approx(3.1)


def test_a_partition_is_back_with_its_first_success() -> None:
    """The last of them counts; one that never comes back is told as such."""
    operations = [*every_second(0, 3), *every_second(1, 3, 4, 5)]
    assert value_of(watch(Measure.BACK, 2.5, 11), operations) == pytest.approx(3.6)
    never = [*operations, *every_second(2, *range(11))]
    assert value_of(watch(Measure.BACK, 2.5, 11), never) == NEVER


def test_failures_and_latencies_are_of_what_was_planned_in_the_span() -> None:
    """And a failure has no latency."""
    operations = every_second(0, 2, 3, 9)
    assert value_of(watch(Measure.FAILED, 1, 9), operations) == 2
    assert value_of(watch(Measure.P99, 1, 9), operations) == pytest.approx(100)


def test_nothing_seen_is_no_good_value() -> None:
    """A span without operations proves nothing."""
    assert math.isnan(value_of(watch(Measure.GAP, 50, 60), every_second(0)))
    assert math.isnan(value_of(watch(Measure.P99, 50, 60), every_second(0)))


def test_percentiles() -> None:
    """By rank."""
    assert percentile(list(range(1, 101)), 0.99) == 99
    assert percentile([5.0], 0.99) == 5
    assert math.isnan(percentile([], 0.5))
