"""The schema topic, read again while a node runs: for what newer nodes write.

Whoever writes a schema has put it there before, acknowledged. So when a record is met whose schema
is unknown, one look that begins after that finds it; core and codec say which one they lack
(`UnknownSchema`), and `SchemaBook.reading` looks and lets them try again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from eventstore.codec import SHIPPED, SchemaEntry, Writers
from eventstore.errors import TopicMissing, UnknownSchema, UnreadableBody
from eventstore.log import EventLog
from eventstore.schema_topic import body_writers, read_schemas
from spawn.core.behavior import Behavior
from spawn.core.schema_entries import schema_uses

__all__ = ["ABSENT_S", "SchemaBook"]

_LOGGER: Final = logging.getLogger("spawn.schemas")
_T = TypeVar("_T")

ABSENT_S: Final = 30.0
"""So long is a schema that was not found not looked for again: garbled records would have the topic
read at each load."""
_ABSENT_MAX: Final = 10_000
_LOOKS: Final = 3
"""A log's leader that was deposed while it was frozen tells an old end (log protocol 6)."""
_LOOK_AGAIN_S: Final = 0.2
_TRIES: Final = 100
"""Different schemas that one reading may lack; a look brings all of them, so two are rare."""


class SchemaBook:
    """What a node knows of the schemas in its system's log."""

    def __init__(self, log: EventLog, topic: str) -> None:
        self._log = log
        self._topic = topic
        self.writers: Writers = SHIPPED
        """What bodies of records can be read with, so far."""
        self._entries: Sequence[SchemaEntry] = ()
        self._looks = 0
        self._looking = asyncio.Lock()
        self._absent: dict[tuple[str, bytes], float] = {}
        """(type, fingerprint) -> until when it counts as absent (event loop time)."""

    async def reading(self, behavior: Behavior | None, read: Callable[[], Awaitable[_T]]) -> _T:
        """Return what `read` does; where it lacks a schema that the topic has, it is run again.

        `behavior` is taught what its type is written with; None: only bodies are read.

        Raises: LogError - the topic can't be read now; UnknownSchema - it lacks the schema too; and
        what `read` raises.
        """
        for _ in range(_TRIES):
            try:
                return await read()
            except UnknownSchema as error:
                if not await self._find(error.fingerprint, behavior):
                    raise
        return await read()

    async def _find(self, fingerprint: bytes, behavior: Behavior | None) -> bool:
        """Look for a schema in the topic; tell whether it is known now."""
        loop = asyncio.get_running_loop()
        name = (behavior.type if behavior is not None else "", fingerprint)
        if loop.time() < self._absent.get(name, 0.0):
            return False
        for look in range(_LOOKS):
            if look:
                await asyncio.sleep(_LOOK_AGAIN_S)
            if not await self._look():
                break
            if behavior is not None:
                self._teach(behavior)
            if self._has(*name):
                return True
        if len(self._absent) >= _ABSENT_MAX:
            self._absent.clear()
        self._absent[name] = loop.time() + ABSENT_S
        text = "schema %s, which a record names, is not in %s"
        _LOGGER.warning(text, fingerprint.hex(), self._topic)
        return False

    async def _look(self) -> bool:
        """Read the topic, beginning after the call; who asks meanwhile shares the next reading."""
        seen = self._looks
        async with self._looking:
            if self._looks > seen + 1:
                return True  # one was begun, and ended, since
            try:
                entries = await read_schemas(self._log, self._topic)
                self.writers = body_writers(entries)
            except TopicMissing:
                return False
            except UnreadableBody as error:
                _LOGGER.warning("the schema topic can't be read: %s", error)
                return False
            self._entries = entries
            self._looks += 1
            return True

    def _has(self, actor_type: str, fingerprint: bytes) -> bool:
        if fingerprint in self.writers:
            return True
        return any(
            entry.fingerprint == fingerprint
            for entry in self._entries
            if actor_type and entry.type == actor_type
        )

    def _teach(self, behavior: Behavior) -> None:
        for text in behavior.meet(schema_uses(self._entries, behavior.type)):
            _LOGGER.warning("a node with newer code of %s writes what this one can't read: %s",
                            behavior.type, text)  # fmt: skip
