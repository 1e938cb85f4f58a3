"""How late the event loop is, and what it may have been that held it.

What a plain action holds is measured where it runs (`blocking`), which names it; a stall that was
seen there, or by the watchdog's thread, is counted here and not told a second time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from spawn.core.behavior import Behavior
from spawn.core.commands import Command
from spawn.runtime.blocking import Blocking
from spawn.runtime.debugger import Debugger

__all__ = ["LoopWatch"]

STALL_S: Final = 0.1
"""A loop that is later than this stood still: all other calls waited so long, too."""
_WINDOW_S: Final = 30.0
"""The maximum is of one to two windows: a scrape every 30 s misses none."""
_START_S: Final = 1.0
"""So long after a start what stands still is mostly the start itself: modules that are loaded."""
_FADING: Final = 0.95
"""Of the current lag, with each observation."""

_logger = logging.getLogger("spawn.loop")


class _Served(Protocol):
    @property
    def behavior(self) -> Behavior: ...


class LoopWatch:
    """Takes what the deadline sweeper sees of the loop's delay, fifty times a second."""

    def __init__(self, blocking: Blocking, debugger: Debugger) -> None:
        self.lag_s = 0.0
        self.stalls = 0
        self._blocking = blocking
        self._debugger = debugger
        self._beat = blocking.beat
        self._held = 0
        self._named = 0
        self._since = 0.0
        self._window_since = 0.0
        self._max_s = 0.0
        self._max_before_s = 0.0
        self._said: set[str] = set()

    @property
    def lag_max_s(self) -> float:
        """The largest delay of the window that runs and the one before it."""
        return max(self._max_s, self._max_before_s)

    def observe(
        self,
        lag_s: float,
        now: float,
        outstanding: Iterable[Command],
        served: Mapping[str, _Served],
    ) -> None:
        """Take one measurement; a stall is told in the log, once for each place."""
        self._beat.touch(now, lag_s, is_debugged=self._debugger.is_attached)
        self.lag_s = max(lag_s, self.lag_s * _FADING)
        self._since = self._since or now
        if now - self._window_since > _WINDOW_S:
            self._window_since = now
            self._max_before_s, self._max_s = self._max_s, 0.0
        if lag_s > self._max_s:
            self._max_s = lag_s
        if lag_s <= STALL_S:
            return
        self.stalls += 1
        held, named = self._blocking.times_held, self._beat.named
        told = (self._held, self._named) != (held, named)
        self._held, self._named = held, named
        starting = now - self._since < _START_S
        if not told and not starting and not self._debugger.is_attached:
            self._tell(lag_s, outstanding, served)

    def _tell(
        self, lag_s: float, outstanding: Iterable[Command], served: Mapping[str, _Served]
    ) -> None:
        last = max(outstanding, key=lambda command: command.begun, default=None)
        name, place, fields = "", "", {}
        if last is not None and last.begun and last.type in served:
            name = f"{last.type}.{last.action}"
            info = served[last.type].behavior.actions.get(last.action)
            place = info.place if info is not None else ""
            fields = {"actor": f"{last.type}/{last.id.decode()}", "action": last.action}
        if name in self._said:
            return
        self._said.add(name)
        started = f"{name} ({place})" if place else name
        _logger.warning(
            "the event loop stood still for %.0f ms: every call waited; %s; code that blocks "
            "belongs into @action(blocking=True) or a thread",
            lag_s * 1000,
            f"started last: {started}" if started else "no action was under way",
            extra=fields,
        )
