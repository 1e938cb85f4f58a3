"""The numbers of a client's requests (pure; log protocol 7).

A number is drawn, `low` computed and the number put among the outstanding in one step. `low` is the
lowest number whose outcome the client still waits for or may send again: an owner forgets what is
below it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from eventstore.records import RequestNumber

__all__ = ["WINDOW", "Drawn", "Numbers"]

WINDOW: Final = 10_000
"""How far a session's numbers may run ahead of its `low`: it bounds what an owner remembers of one.
A client that comes to it opens another session; a number beyond it is refused."""


class _Session:
    """The requests of one session to one partition."""

    __slots__ = ("id", "next", "outstanding")

    def __init__(self, session_id: bytes) -> None:
        self.id = session_id
        self.next = 1
        self.outstanding: OrderedDict[int, None] = OrderedDict()

    @property
    def low(self) -> int:
        return next(iter(self.outstanding), self.next)


class Drawn:
    """One number; `settle` it when no copy will be sent any more."""

    __slots__ = ("_session", "number")

    def __init__(self, session: _Session, number: RequestNumber) -> None:
        self._session = session
        self.number = number

    @property
    def low(self) -> int:
        """The session's low now; a later copy may carry an older one."""
        return self._session.low

    def settle(self) -> None:
        """Its outcome is known, or nobody waits for it: `low` may pass it."""
        self._session.outstanding.pop(self.number.n, None)


class Numbers:
    """Draws the numbers of one client to one partition."""

    def __init__(self, session_id: bytes, new_id: Callable[[], bytes]) -> None:
        self._session = _Session(session_id)
        self._new_id = new_id
        self.newest_us = 0
        """The newest time of the partition that was told."""

    def draw(self, now_us: int) -> Drawn:
        """Return the number of a new request."""
        session = self._session
        n = session.next
        low = next(iter(session.outstanding), n)
        if n >= low + WINDOW:
            # One slow request holds the window up. It keeps its session; others go on in another.
            session = self._session = _Session(self._new_id())
            n = low = session.next
        session.next = n + 1
        session.outstanding[n] = None
        newest_us = self.newest_us
        issued_us = now_us if now_us > newest_us else newest_us
        return Drawn(session, RequestNumber(session.id, n, low, issued_us))

    def learn(self, time_us: int) -> None:
        """Take over the partition's time, which an answer told."""
        if time_us > self.newest_us:
            self.newest_us = time_us
