"""The consumer group of a simulated system: its coordinator counts sessions in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from eventstore.memory_group import MemoryGroups

__all__ = ["TimedGroups"]

_LOOK_S: Final = 0.5


class TimedGroups(MemoryGroups):
    """Expels members that were silent for a session's length; call `watch` once."""

    def __init__(
        self,
        group: str,
        now: Callable[[], float],
        later: Callable[[float, Callable[[], None]], None],
        *,
        session_timeout_s: float = 6.0,
    ) -> None:
        super().__init__(session_timeout_s=session_timeout_s)
        self._name, self._now, self._later = group, now, later
        self._heard: dict[str, float] = {}
        self.slow_s = 0.0
        """How much longer each answer takes, at most."""
        self.dice = random.Random(1)

    async def reach(self, member_id: str) -> None:
        """As every request does; the member was heard of."""
        if self.slow_s:
            await asyncio.sleep(self.dice.uniform(0.0, self.slow_s))
        await super().reach(member_id)
        self._heard[member_id] = self._now()

    def watch(self) -> None:
        """Look for members whose session has run out, again and again."""
        self._later(_LOOK_S, self.watch)
        if self.is_down:
            # A coordinator that comes back gives everybody a whole session.
            self._heard = dict.fromkeys(self._heard, self._now())
            return
        for member_id, member in list(self._group(self._name).members.items()):
            heard = self._heard.setdefault(member_id, self._now())
            waits = [each for each in (member.joining, member.syncing) if each is not None]
            if any(not each.done() for each in waits):
                continue  # it waits for an answer, which counts as being heard of
            if self._now() - heard > self.session_timeout_s:
                self.expire(self._name, member_id)

    def names(self) -> list[str]:
        """Return the member ids, the oldest first."""
        return list(self._group(self._name).members)

    def expel(self, member_id: str) -> None:
        """Let a member's session run out."""
        self.expire(self._name, member_id)
