"""How often a login that was refused is tried again (pure)."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from eventstore.errors import LogNotAdmitted, SnapshotsNotAdmitted

__all__ = ["Door"]

_E = TypeVar("_E", LogNotAdmitted, SnapshotsNotAdmitted)

_PAUSE_FIRST_S: Final = 1.0
_PAUSE_MAX_S: Final = 30.0
"""A password that was mended takes effect within this time."""


class Door(Generic[_E]):
    """Keeps a refused login from being tried again at once: servers lock accounts, and log each.

    After a refusal everybody gets the same error without asking, for 1 s, then 2, 4 and so on;
    after each pause one caller tries again.
    """

    def __init__(self) -> None:
        self._error: _E | None = None
        self._closed_until = 0.0
        self._pause_s = _PAUSE_FIRST_S
        self._is_tried = False

    def enter(self, now: float) -> None:
        """Say that somebody is about to log in. Raises: the error of the last one, in a pause."""
        if self._error is None:
            return
        if now < self._closed_until:
            raise self._error.again()
        self._closed_until = now + self._pause_s  # for all others, until this one knows
        self._is_tried = True

    def refused(self, error: _E, now: float) -> None:
        """Take note that a server refused a login; what else it may have against us passes."""
        if error.concerns != "login":
            return
        if self._error is not None:
            if not self._is_tried:
                return  # begun before the first one was refused
            self._pause_s = min(self._pause_s * 2, _PAUSE_MAX_S)
            self._is_tried = False
        self._error, self._closed_until = error, now + self._pause_s

    def opened(self) -> None:
        """Take note that a login succeeded."""
        self._error, self._pause_s = None, _PAUSE_FIRST_S
