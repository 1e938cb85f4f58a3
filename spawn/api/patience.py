"""How long a connection waits for its client: for what it sends, and that it takes its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from spawn.api.limits import HttpLimits

__all__ = ["Patience"]


class Patience:
    """The times of one connection; `late` is called when a head or body did not come in its own.

    Nothing is scheduled for what comes whole at once, and a timer that became needless is left
    alone and used again: a client that sends head and body apart costs one in some seconds.
    """

    __slots__ = ("_late", "_limits", "_loop", "_stall", "_timer", "due")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limits: HttpLimits, late: Callable[[], None]
    ) -> None:
        self.due = 0.0
        """When what is coming must be whole, on the loop's clock; 0: nothing is expected."""
        self._loop = loop
        self._limits = limits
        self._late = late
        self._timer: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    def expect_head(self) -> None:
        """A head has begun; its time runs from the first call of this."""
        if not self.due:
            self._expect(self._limits.head_s)

    def expect_body(self, size_bytes: int) -> None:
        """A head was whole, and a body of this size follows it."""
        self._expect(self._limits.body_within_s(size_bytes))

    def _expect(self, seconds: float) -> None:
        self.due = due = self._loop.time() + seconds
        timer = self._timer
        if timer is not None and timer.when() > due:
            timer.cancel()
            timer = None
        if timer is None:
            self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self.due:
            return
        if self._loop.time() < self.due:
            self._timer = self._loop.call_at(self.due, self._look)
            return
        self.due = 0.0
        self._late()

    def watch_taking(self, transport: asyncio.Transport) -> None:
        """Answers pile up: cut the client off if it takes nothing of them."""
        left = transport.get_write_buffer_size()

        def look() -> None:
            self._stall = None
            if transport.get_write_buffer_size() < left:
                self.watch_taking(transport)
            else:
                transport.abort()

        self._stall = self._loop.call_later(self._limits.stalled_s, look)

    def end_taking(self) -> None:
        """The answers were taken."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def end(self) -> None:
        """The connection has ended."""
        self.end_taking()
        self.due = 0.0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._late = (
            _nothing  # the connection's: it is freed when it is let go, not some time later
        )


def _nothing() -> None:
    pass
