"""This machine's clock against the database's, before anything is claimed and while a node runs.

No clock decides who may write. What the wall clock is used for: the times of commits (never before
the partition's T), `issued` of requests and with it the 15 minutes of sessions, the 24 hours of
idempotency keys (log protocol 7), and timers (9). One node far ahead raises T for everybody, and T
never goes back: so such a node does not start. One that runs is only told, since the database may
be the one that is wrong (a standby that took over), and a node that refused to take partitions over
would make an outage of it.

A partition whose newest commit is of our future was written by a node whose clock was ahead (or
ours is behind, which the comparison with the database tells). That does no harm to what is right:
new commits get that time until it has passed. It is told once, and refused never: it would stay
refused until then, and nobody could mend it.

What a node needs: `check_clock` before it claims, and a task that runs `ClockWatch.run`.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from eventstore.errors import SnapshotError
from eventstore.log import TopicPartition
from eventstore.snapshots import SnapshotStore
from spawn.errors import ClockWrong
from spawn.runtime.context import NodeContext
from spawn.runtime.partition_log import PartitionLogger

__all__ = ["ClockGap", "ClockWatch", "check_clock", "measure_gap", "tell_of_future"]

CLOSE_S: Final = 1.0
"""Unsaid below; people who read times on two machines are not led astray by less."""
_ASKS: Final = 3
_SHORT_US: Final = 50_000
"""An answer within this time tells the gap well enough; else it is asked for again."""
_LOOK_S: Final = 60.0
_MEND: Final = (
    "set the clocks of this machine and of the database's by NTP; `spawn doctor` shows both"
)

_logger = logging.getLogger("spawn.node")


class ClockGap(NamedTuple):
    """By how much our clock is ahead of the database's (negative: behind), at the least.

    The answer was under way for `trip_us`, and the database's clock was read at some moment of it;
    a difference within that is none that can be known.
    """

    ahead_us: int
    trip_us: int
    theirs_us: int


async def measure_gap(store: SnapshotStore, time_us: Callable[[], int]) -> ClockGap | None:
    """Compare the clocks; the shortest of a few answers counts. None: the store has no clock.

    Raises: SnapshotsUnavailable.
    """
    best: ClockGap | None = None
    for _ in range(_ASKS):
        before = time_us()
        theirs = await store.time_us()
        after = time_us()
        if theirs is None:
            return None
        # A clock that was set back meanwhile tells nothing of this answer.
        if after >= before and (best is None or after - before < best.trip_us):
            ahead = max(before - theirs, 0) or min(after - theirs, 0)
            best = ClockGap(ahead, after - before, theirs)
            if best.trip_us <= _SHORT_US:
                break
    return best


async def check_clock(
    store: SnapshotStore, time_us: Callable[[], int], limit_s: float, say: Callable[[str], None]
) -> None:
    """Refuse a start with a clock that is far from the database's; say if it is not near.

    Raises: ClockWrong, SnapshotsUnavailable.
    """
    gap = await measure_gap(store, time_us)
    if gap is None:
        return
    if abs(gap.ahead_us) > limit_s * 1e6:
        raise ClockWrong(
            f"{_describe(gap)}: more than node.clock_limit ({limit_s:g} s)", hint=_MEND
        )
    if abs(gap.ahead_us) > CLOSE_S * 1e6:
        say(f"warning: {_describe(gap)}; {_MEND}")


class ClockWatch:
    """Compares the clocks while a node runs, and tells when they drift apart."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._is_told = False

    async def run(self) -> None:
        """Compare once a minute; never returns."""
        while True:
            try:
                gap = await measure_gap(self._context.store, self._context.clock.time_us)
            except SnapshotError:
                gap = None  # whoever needs the database tells that it is away
            if gap is not None:
                self._judge(gap)
            await asyncio.sleep(_LOOK_S)

    def _judge(self, gap: ClockGap) -> None:
        context, ahead_s = self._context, gap.ahead_us / 1e6
        context.clock_ahead_s = ahead_s
        limit_s = context.settings.clock_limit_s
        if abs(ahead_s) <= min(CLOSE_S, limit_s):
            self._is_told = False
        elif not self._is_told:
            self._is_told = True
            is_far = abs(ahead_s) > limit_s
            _logger.log(
                logging.ERROR if is_far else logging.WARNING,
                "%s%s; %s",
                _describe(gap),
                ": a node that starts with it is refused" if is_far else "",
                _MEND,
            )


def tell_of_future(context: NodeContext, at: TopicPartition, log_time_us: int) -> None:
    """Tell once if a partition's newest commit is of our future."""
    ahead_s = (log_time_us - context.clock.time_us()) / 1e6
    if ahead_s <= context.settings.clock_limit_s or context.future_told:
        return
    context.future_told = True
    PartitionLogger("spawn.partition", at).warning(
        "%s: its newest commit is %.0f s in the future (%s): the clock of the node that wrote it "
        "was ahead, or ours is behind; until then new commits bear that time; %s",
        *(at, ahead_s, _shown(log_time_us), _MEND),
    )


def _describe(gap: ClockGap) -> str:
    seconds, way = abs(gap.ahead_us) / 1e6, "ahead of" if gap.ahead_us > 0 else "behind"
    return (
        f"this machine's clock is {seconds:.1f} s {way} the database's, which says "
        f"{_shown(gap.theirs_us)}"
    )


def _shown(time_us: int) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(time_us // 1_000_000, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time_us} us since 1970"
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"
