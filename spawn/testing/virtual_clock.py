"""The clock of a test: it stands still until the test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["VirtualClock"]

_START: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Before every moment that a test is likely to name: the clock never goes back."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class VirtualClock:
    """Implements `spawn.runtime.clock.Clock`. It begins on 1 January 2000, 00:00 UTC."""

    def __init__(self) -> None:
        self._now = _START

    @property
    def now(self) -> datetime:
        """The time, in UTC: what `self.time` says in an action."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass. Raises: ValueError - it would go back."""
        if not seconds >= 0:
            raise ValueError(f"time can't go back, so {seconds!r} s can't pass")
        self._now += timedelta(seconds=seconds)

    def move_to(self, moment: datetime) -> None:
        """Let time pass up to a moment. Raises: ValueError - it has no time zone, or is past."""
        if moment.tzinfo is None:
            raise ValueError(f"{moment!r} has no time zone: write datetime(..., tzinfo=UTC)")
        if moment < self._now:
            raise ValueError(f"time can't go back: it is {self._now}, so not {moment} any more")
        self._now = moment.astimezone(UTC)

    def monotonic(self) -> float:
        return (self._now - _START).total_seconds()

    def time_us(self) -> int:
        return (self._now - _EPOCH) // _MICROSECOND

    def __repr__(self) -> str:
        return f"<virtual clock at {self._now.isoformat()}>"
