"""What all kits of one actor type share: its code, made ready once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from spawn.core.decision import EventData
from spawn.sdk.actor import Actor, definition_of
from spawn.sdk.behavior import ClassBehavior
from spawn.sdk.history import History
from spawn.sdk.run import EventKind
from spawn.sdk.system import System

__all__ = ["SYSTEM", "Cast", "cast_of"]

SYSTEM = "test"


class Cast:
    """One actor type, ready to be run, given a past and read again; see `cast_of`."""

    def __init__(self, cls: type[Actor[Any, Any]]) -> None:
        """Raises: InvalidTarget."""
        self.system = System(SYSTEM, actors=[cls])
        self.behavior: ClassBehavior
        (self.behavior,) = self.system.behaviors
        self.author = copy.copy(self.behavior)
        """Writes what is given: a past that was lived elsewhere, so nothing is activated."""
        self.author.has_on_activate = False
        definition = definition_of(cls)
        self._read: list[Any] = []
        self._reader = History(self.behavior.type, definition._replace(evolve=self._take))
        self.kinds: Mapping[type, EventKind] = {
            cls: (name, fingerprint, write, definition.evolve, check)
            for cls, (name, fingerprint, write, _, check) in self._reader.kinds.items()
        }
        """Of the events; empty: state style."""

    def read_events(self, actor_id: str, events: Sequence[EventData]) -> list[Any]:
        """Return the objects that stored events stand for. Raises: UnreadableBody."""
        self._read = []
        self._reader.fold(actor_id, self.behavior.initial(actor_id), events)
        return self._read

    def _take(self, state: Any, event: Any) -> Any:
        """Stand in for `evolve`: the one place that is given events as objects."""
        self._read.append(event)
        return state


cast_of: Final[Callable[[Any], Cast]] = lru_cache(maxsize=256)(Cast)
"""Returns the cast of an actor class, made with its first kit: most of what a kit costs."""
