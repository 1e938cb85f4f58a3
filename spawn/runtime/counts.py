"""What a node counts while it runs; `statistics()` makes frozen values of it.

Plain fields of plain objects, since some are counted for every command. The counts of a partition
are its worker's and so outlive a loss and a retake: Prometheus would see a smaller sum as a restart
of everything.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from spawn.core.commands import Command
from spawn.core.ingress import DISTRIBUTIONS, Distribution
from spawn.core.partition import Partition

__all__ = [
    "BATCH_BUCKETS",
    "Histogram",
    "Outstanding",
    "PartitionCounts",
    "keep_arrivals",
    "merged",
]


_COMMITS_MAX: Final = 4096
"""Of one append (`Limits.batch_records_max`)."""
BATCH_BUCKETS: Final = bytes(
    bisect_left(DISTRIBUTIONS["batch_commits"], size) for size in range(_COMMITS_MAX + 1)
)
"""By the commits of an append: its bucket in `batch_commits`."""


class Histogram:
    """Counts values by size."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, name: str) -> None:
        """`name` is one of `DISTRIBUTIONS`."""
        self.bounds: Sequence[float] = DISTRIBUTIONS[name]
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


def merged(histograms: Sequence[Histogram]) -> Distribution:
    """Return the sum of histograms with the same bounds, of which there is one at least."""
    counts = [sum(bucket) for bucket in zip(*(each.counts for each in histograms), strict=True)]
    return Distribution(histograms[0].bounds, counts, sum(each.total for each in histograms))


def keep_arrivals(commands: Iterable[Command]) -> None:
    """These will be begun again: remember when they were begun first."""
    for command in commands:
        command.arrived = command.arrived or command.begun


class PartitionCounts:
    """What happened to one partition since the node's start."""

    def __init__(self) -> None:
        self.commit_seconds = Histogram("commit_seconds")
        self.flush_seconds = Histogram("flush_seconds")
        self.takeover_seconds = Histogram("takeover_seconds")
        self.batch_buckets = [0] * (len(DISTRIBUTIONS["batch_commits"]) + 1)
        """Appends of commits by size (`BATCH_BUCKETS`)."""
        self.commits = 0
        """This and the next two: of the machines before the present one."""
        self.batches = 0
        self.barriers = 0
        self.appended_bytes = 0
        self.fences = 0
        self.recoveries = 0
        self.flush_failures = 0
        self.flushed_actors = 0
        self.loads = 0
        self.parked = 0
        self.passivations = 0
        self.changed_at = 0.0
        """Event loop time of the first change that no flush has captured; 0: there is none."""
        self.captured_at = 0.0
        """The same of the changes that are being flushed."""

    def keep(self, machine: Partition) -> None:
        """Take over the counts of a machine that another one follows."""
        self.commits += machine.commits
        self.batches += machine.batches
        self.barriers += machine.barriers

    def capture(self) -> None:
        """A flush takes all changes so far."""
        self.captured_at, self.changed_at = self.changed_at, 0.0

    def flushed(self, stands: bool) -> None:
        """The flush is over; without a checkpoint its changes are still to be written."""
        if not stands:
            self.changed_at = self.captured_at or self.changed_at
        self.captured_at = 0.0

    def unflushed_s(self, now: float) -> float:
        """Return the age of the oldest change that is in no checkpoint."""
        since = self.captured_at or self.changed_at
        return max(0.0, now - since) if since else 0.0


class Outstanding(dict[Command, None]):
    """The commands and reads of a node that have no outcome yet, and what became of the others.

    A dict: its order is that in which they came, so that a simulation can be repeated.
    """

    def __init__(self) -> None:
        super().__init__()
        self.call_seconds = Histogram("call_seconds")
        """Of commands: from their arrival until their record is in the log."""
        self.turn = 0
        """Times that commands were measured."""
        self.refusals: Counter[str] = Counter()
        """Calls that ended without a record, by code."""
        self.outcomes: Counter[tuple[str, str, str]] = Counter()
        """Records that are no success: (type, action, `rejected` or `failed`)."""
        self.log_failures = 0
        """Times that the log did not answer."""
        self.store_failures = 0
