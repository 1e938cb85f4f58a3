"""What callers had to bear: gaps, failures, latencies, worked out from their history."""

from __future__ import annotations

import enum
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.faults.history import NEVER, Attempt, Outcome

__all__ = ["Measure", "Operation", "Watch", "operations_of", "percentile", "value_of"]


class Operation(NamedTuple):
    """An operation as its caller saw it."""

    intended: float
    sent: float
    """The first time."""
    succeeded: float
    """When its first answer in time came; `NEVER`: none did."""
    actor: str
    partition: int

    @property
    def latency_s(self) -> float:
        """How long its caller waited."""
        return self.succeeded - self.intended


def operations_of(attempts: Iterable[Attempt], timeout_s: float) -> list[Operation]:
    """Return the operations in the order in which they were planned.

    An answer that came after its caller had given up is no success, although it has to be right.
    """
    by_number: defaultdict[int, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        by_number[attempt.operation].append(attempt)
    found = []
    for tries in by_number.values():
        successes = [
            each.answered
            for each in tries
            if each.outcome is Outcome.DONE and each.answered - each.sent <= timeout_s
        ]
        first = min(tries, key=lambda each: each.sent)
        found.append(
            Operation(
                first.intended,
                first.sent,
                min(successes, default=NEVER),
                first.actor,
                first.partition,
            )
        )
    return sorted(found)


class Measure(enum.Enum):
    """What is looked at."""

    GAP = "s"
    """The longest time in which a partition had no success."""
    KEY_GAP = "s "
    """The longest time in which an actor had no success."""
    BACK = " s"
    """Until each partition has had a success again."""
    P99 = "ms"
    """Of the latencies of what succeeded."""
    FAILED = ""
    """Operations without success."""

    @property
    def unit(self) -> str:
        """Of the value, for the report."""
        return self.value.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A span of time in which something is expected of some partitions."""

    name: str
    measure: Measure
    began: float
    ended: float
    limit: float | None
    """None: it is only told."""
    partitions: Collection[int] | None = None
    """None: all."""


def value_of(watch: Watch, operations: Sequence[Operation]) -> float:
    """Return what was seen in a span; NaN: there was nothing to see."""
    chosen = [
        each
        for each in operations
        if watch.partitions is None or each.partition in watch.partitions
    ]
    began, ended = watch.began, watch.ended
    match watch.measure:
        case Measure.GAP:
            return _longest_gap([(str(each.partition), each) for each in chosen], began, ended)
        case Measure.KEY_GAP:
            return _longest_gap([(each.actor, each) for each in chosen], began, ended)
        case Measure.BACK:
            first: dict[int, float] = {}
            for each in chosen:
                if each.succeeded > began:
                    known = first.get(each.partition, NEVER)
                    first[each.partition] = min(known, each.succeeded)
            wanted = set(first) | {each.partition for each in chosen}
            return max((first.get(place, NEVER) - began for place in wanted), default=math.nan)
        case Measure.P99:
            latencies = [
                each.latency_s * 1000
                for each in chosen
                if began <= each.intended < ended and each.succeeded < NEVER
            ]
            return percentile(latencies, 0.99)
        case Measure.FAILED:
            inside = [each for each in chosen if began <= each.intended < ended]
            return sum(each.succeeded == NEVER for each in inside)


def _longest_gap(named: Sequence[tuple[str, Operation]], began: float, ended: float) -> float:
    """Return the longest time without success of anybody; the span's ends count as successes."""
    times: defaultdict[str, list[float]] = defaultdict(list)
    for name, each in named:
        if began <= each.intended < ended or began < each.succeeded < ended:
            times[name].append(each.succeeded)
    longest = math.nan if not times else 0.0
    for successes in times.values():
        inside = sorted(each for each in successes if began < each < ended)
        for before, after in zip([began, *inside], [*inside, ended], strict=True):
            longest = max(longest, after - before)
    return longest


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of the values lies; NaN of none."""
    if not values:
        return math.nan
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)]
