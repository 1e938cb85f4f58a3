"""A point in an actor's past, as a command line names it (pure)."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, NamedTuple

from spawn.cli.subjects import UsageError

__all__ = ["Moment", "parse_moment"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Moment(NamedTuple):
    """Either of them."""

    revision: int | None
    time_us: int
    """Microseconds since 1970 UTC."""


def parse_moment(text: str, today: date, zone: tzinfo | None = None) -> Moment:
    """Read a revision, or a time of ISO 8601; one without a day is of `today`.

    A time without its zone is in `zone`, None: the local one. Tables show whole seconds, so a time
    without a fraction means the end of its second. Raises: UsageError.
    """
    if text.isascii() and text.isdecimal() and len(text) <= 19:
        return Moment(int(text), 0)
    try:
        try:
            moment = datetime.combine(today, time.fromisoformat(text))
        except ValueError:
            moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone) if zone else moment.astimezone()
        if "." not in text:
            moment += timedelta(seconds=1) - _MICROSECOND
        return Moment(None, (moment - _EPOCH) // _MICROSECOND)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--at takes a revision or a time, got `{text}`",
            hint="e.g. --at 3, --at 10:02:11, --at 2026-11-24T10:02:11Z; `spawn events` shows both",
        ) from None
