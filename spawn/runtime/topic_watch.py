"""Topics whose number of partitions was changed behind our back: their partitions stop.

An actor's partition is its id's hash modulo that number, so a node that started with another number
would not find the actor's history. What a topic was made with stands in the schema topic
(`eventstore.schema_topic`); a node that starts compares (`spawn.provision`), one that runs looks
every two seconds and stops what belongs to the topic, within seconds; other types go on.

What a node needs: a task that runs `TopicWatch.run`. Partition workers hear of it by themselves
(`TopicStops`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, NoReturn

from eventstore.errors import LogError
from eventstore.log import EventLog
from spawn.errors import PartitionsChanged

__all__ = ["TopicStops", "TopicWatch", "partitions_changed"]

_LOOK_S: Final = 2.0
_AGAIN_S: Final = 0.5
"""A change is believed when it is told twice: brokers learn of topics one after the other."""


class TopicStops:
    """Why topics may not be served any more; partition workers wait here for theirs."""

    def __init__(self) -> None:
        self._reasons: dict[str, PartitionsChanged] = {}
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    def stop(self, topic: str, reason: PartitionsChanged) -> None:
        """End what is served of a topic, and let nothing of it begin again."""
        self._reasons.setdefault(topic, reason)
        for waiter in self._waiting.pop(topic, ()):
            if not waiter.done():
                waiter.set_result(None)

    def is_stopped(self, topic: str) -> bool:
        """Tell whether the topic may not be served."""
        return topic in self._reasons

    def check(self, topic: str) -> None:
        """Return if the topic may be served. Raises: PartitionsChanged."""
        if (reason := self._reasons.get(topic)) is not None:
            raise PartitionsChanged(reason.message, at=reason.at, hint=reason.hint)

    async def wait(self, topic: str) -> NoReturn:
        """Wait until the topic may not be served. Raises: PartitionsChanged, nothing else."""
        if topic not in self._reasons:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(topic, []).append(waiter)
            try:
                await waiter
            finally:
                if waiter in (waiting := self._waiting.get(topic, [])):
                    waiting.remove(waiter)
        self.check(topic)
        raise AssertionError("it waits until there is a reason")


class TopicWatch:
    """Looks whether topics still have the partitions that they had at the start."""

    def __init__(self, log: EventLog, topics: Mapping[str, int], stops: TopicStops) -> None:
        """`topics`: event topics with the partitions that they are served with."""
        self._log = log
        self._topics = dict(topics)
        self._stops = stops

    async def run(self) -> None:
        """Look every two seconds; never returns."""
        suspects: dict[str, int] = {}
        while True:
            await asyncio.sleep(_AGAIN_S if suspects else _LOOK_S)
            changed = await self._changed()
            for topic, has in changed.items():
                if suspects.get(topic) == has:
                    self._stops.stop(topic, partitions_changed(topic, self._topics.pop(topic), has))
            suspects = {topic: has for topic, has in changed.items() if topic in self._topics}

    async def _changed(self) -> Mapping[str, int]:
        try:
            found = await self._log.partitions(list(self._topics))
        except LogError:
            return {}  # whoever needs the log tells that it is away
        return {topic: has for topic, has in found.items() if has != self._topics[topic]}


def partitions_changed(topic: str, made_with: int, has: int) -> PartitionsChanged:
    """Return the error that says so."""
    return PartitionsChanged(
        f"topic {topic} has {has} partitions, it was made with {made_with}: every actor would be "
        "looked for in another one, so its types are not served",
        at=topic,
        hint="put the topic back with its old number of partitions; `spawn explain "
        "partitions-changed` says how",
    )
