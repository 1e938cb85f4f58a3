"""A refused login is tried again at longer and longer intervals, by one caller at a time."""

from __future__ import annotations

import pytest

from eventstore.door import Door
from eventstore.errors import LogNotAdmitted


def _refusal(concerns: str = "login") -> LogNotAdmitted:
    return LogNotAdmitted("no", concerns)  # type: ignore[arg-type]


def _closed(door: Door[LogNotAdmitted], now: float) -> bool:
    try:
        door.enter(now)
    except LogNotAdmitted:
        return True
    return False


def test_each_refusal_doubles_the_pause_up_to_half_a_minute() -> None:
    """1, 2, 4, 8, 16, 30, 30 seconds."""
    door: Door[LogNotAdmitted] = Door()
    now = 100.0
    for pause in (1, 2, 4, 8, 16, 30, 30):
        assert not _closed(door, now)
        door.refused(_refusal(), now)
        assert _closed(door, now)
        assert _closed(door, now + pause - 0.01)
        now += pause


def test_refusals_of_one_moment_count_once() -> None:
    """Eight connections that begin together are one attempt."""
    door: Door[LogNotAdmitted] = Door()
    for _ in range(8):
        assert not _closed(door, 0.0)
    for _ in range(8):
        door.refused(_refusal(), 0.1)
    assert _closed(door, 1.0)
    assert not _closed(door, 1.2)


def test_after_a_pause_one_caller_tries() -> None:
    """The others are refused until that one knows, and all come in when it was let in."""
    door: Door[LogNotAdmitted] = Door()
    door.refused(_refusal(), 0.0)
    assert not _closed(door, 1.1)
    assert _closed(door, 1.1)
    door.opened()
    assert not _closed(door, 1.2)


@pytest.mark.parametrize("concerns", ["protocol", "trust", "host", "client-certificate"])
def test_what_is_no_login_makes_no_pause(concerns: str) -> None:
    """Nobody locks an account for it, and a broker that restarts may look like it."""
    door: Door[LogNotAdmitted] = Door()
    door.refused(_refusal(concerns), 0.0)
    assert not _closed(door, 0.0)
