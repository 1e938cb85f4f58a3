"""Points in the past as a command line names them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from spawn.cli.moments import Moment, parse_moment
from spawn.cli.subjects import UsageError

_TODAY = date(2026, 11, 24)
_T0_US = int(datetime(2026, 11, 24, 10, 2, 11, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("0", Moment(0, 0)),
        ("12", Moment(12, 0)),
        ("2026-11-24T10:02:11Z", Moment(None, _T0_US + 999_999)),
        ("2026-11-24 11:02:11+01:00", Moment(None, _T0_US + 999_999)),
        ("2026-11-24T10:02:11.000001Z", Moment(None, _T0_US + 1)),
        ("11:02:11", Moment(None, _T0_US + 999_999)),
        ("2026-11-24 11:02:11", Moment(None, _T0_US + 999_999)),
        ("10:02:11Z", Moment(None, _T0_US + 999_999)),
    ],
)
def test_revisions_and_times_are_read(text: str, moment: Moment) -> None:
    """A time that tables show means the end of its second; without a zone it is a local one."""
    assert parse_moment(text, _TODAY, timezone(timedelta(hours=1))) == moment


@pytest.mark.parametrize("text", ["-1", "x", "", "25:00", "2026-13-01", "1.5"])
def test_what_is_neither_is_refused(text: str) -> None:
    """With an example of both."""
    with pytest.raises(UsageError, match="a revision or a time"):
        parse_moment(text, _TODAY)
