"""Whether this node can do its work: whether it reaches log and database (design 3.4).

A node that is cut off from them answers its peers' pings all the same, so it has to say so itself.
Then others take its partitions; it forwards what comes to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from eventstore.errors import LogError, LogUnavailable, SnapshotError, SnapshotsUnavailable

__all__ = ["Fitness"]

_LOOK_S: Final = 0.25
_ANSWER_S: Final = 0.6
_FAILURES: Final = 2
"""So many in a row: found within 2 * _ANSWER_S + _LOOK_S."""
_LATE_S: Final = 0.2
"""An event loop that late says nothing of anybody else."""


class Fitness:
    """Asks for a life sign again and again."""

    def __init__(
        self,
        probes: Mapping[str, Callable[[], Awaitable[object]]],
        changed: Callable[[str], None],
    ) -> None:
        """`probes` by what they reach; `changed` is told what is not reached, or an empty text."""
        self._probes = probes
        self._changed = changed
        self.missing = ""
        """What is not reached; empty: all is."""

    async def run(self) -> None:
        """Look. Never returns."""
        failures = 0
        while True:
            await asyncio.sleep(_LOOK_S)
            missing = await self._look()
            if missing is None:
                continue
            failures = failures + 1 if missing else 0
            found = missing if failures >= _FAILURES else "" if not missing else self.missing
            if found != self.missing:
                self.missing = found
                self._changed(found)

    async def _look(self) -> str | None:
        """Return what is not reached now; None: this process stood still meanwhile."""
        loop = asyncio.get_running_loop()
        due = loop.time() + _ANSWER_S
        answers = await asyncio.gather(*(self._answers(probe) for probe in self._probes.values()))
        if loop.time() > due + _LATE_S:
            return None
        return ", ".join(
            name for name, answered in zip(self._probes, answers, strict=True) if not answered
        )

    async def _answers(self, probe: Callable[[], Awaitable[object]]) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_S):
                await probe()
        except (LogUnavailable, SnapshotsUnavailable, TimeoutError):
            return False
        except (LogError, SnapshotError):
            pass  # a "no" is an answer too, and all others get it
        return True
