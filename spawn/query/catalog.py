"""What a system has in its log: its topics, its actor types, and where a type's actors are."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from eventstore.codec import SchemaEntry
from eventstore.errors import TopicMissing
from eventstore.log import EventLog, LogAdmin
from eventstore.schema_topic import read_schemas
from spawn.core.ids import NAME_PATTERN, schemas_topic, topic_of
from spawn.errors import UnknownType

__all__ = ["Catalog", "nearest_type"]


class Catalog:
    """Looks into the log anew with each call."""

    def __init__(self, log: EventLog, admin: LogAdmin, system: str) -> None:
        self._log = log
        self._admin = admin
        self._system = system

    async def topics(self) -> Mapping[str, int]:
        """Return the system's event topics with their partitions, by name."""
        names = await self._admin.topics(topic_of(self._system, ""))
        ours = [name for name in names if not name.startswith(topic_of(self._system, "_"))]
        return await self._partitions(ours)

    async def schemas(self) -> Sequence[SchemaEntry]:
        """Return all that the schema topic holds; nothing if there is none."""
        try:
            return await read_schemas(self._log, schemas_topic(self._system))
        except TopicMissing:
            return []

    async def topics_of(self, actor_type: str) -> Mapping[str, int]:
        """Return the topics that may hold a type's actors: its own, else those shared by types.

        Raises: UnknownType, with the nearest one.
        """
        if not NAME_PATTERN.fullmatch(actor_type):  # the log would refuse such a topic
            shown = actor_type if len(actor_type) <= 80 else f"{actor_type[:80]}..."
            raise UnknownType(
                f"`{shown}` is no name of an actor type",
                hint=f"the type alone: {actor_type.partition('/')[0]}" if "/" in actor_type else "",
            )
        own = topic_of(self._system, actor_type)
        if found := await self._partitions([own]):
            return found
        types = {entry.type for entry in await self.schemas() if entry.type}
        if actor_type in types:
            named = {topic_of(self._system, each) for each in types}
            shared = {n: count for n, count in (await self.topics()).items() if n not in named}
            if shared:
                return shared
        raise UnknownType(
            f"the log has no actors of type {actor_type} (topic {own})",
            hint=nearest_type(actor_type, types)
            or "check the type's name and the system (--system, SPAWN_SYSTEM)",
        )

    async def _partitions(self, topics: Sequence[str]) -> Mapping[str, int]:
        found = await self._admin.describe(topics)
        return {name: found[name].partitions for name in sorted(found)}


def nearest_type(name: str, names: set[str]) -> str:
    """Return the hint that proposes the nearest type; empty: none is near."""
    # Case is what is mistyped most.
    by_lower = {each.lower(): each for each in names}
    nearest = difflib.get_close_matches(name.lower(), by_lower, 1)
    return f"did you mean `{by_lower[nearest[0]]}`?" if nearest else ""
