"""The roll: every node of a system writes itself down in a compacted topic (design 4).

`spawn.<system>._nodes` has one partition; the key is the node's id, the value its metadata as in
the group (`spawn.cluster.members`), without what it holds. A node that starts writes itself down
first and reads then, so of two that start at once at least one sees the other. One that leaves is
erased; one that died stays until the group's leader erases it. So the roll says where nodes may be
found, not that they live.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final

from eventstore.log import EventLog, LogRecord, TopicPartition
from eventstore.records import StoredRecord
from spawn.cluster.members import Member, UnreadableMember, decode_member, encode_member
from spawn.core.ids import nodes_topic

__all__ = ["ERASED", "Roll", "newest"]

_logger = logging.getLogger("spawn.membership")

ERASED: Final = b"\0"
"""The value that erases an entry. (A port of appends has no values that are missing.)"""


class Roll:
    """One reader and writer of the roll."""

    def __init__(self, log: EventLog, system: str) -> None:
        self._log = log
        self._at = TopicPartition(nodes_topic(system), 0)
        self._position = 0
        self._members: dict[bytes, Member] = {}

    async def write(self, member: Member, time_ms: int) -> None:
        """Write a node down. Raises: LogUnavailable, LogForbidden, LogRefused, TopicMissing."""
        record = LogRecord(member.node_id, encode_member(member))
        await self._log.append(self._at, [record], time_ms)

    async def erase(self, node_ids: Iterable[bytes], time_ms: int) -> None:
        """Erase nodes. Raises: as `write`."""
        records = [LogRecord(node_id, ERASED) for node_id in node_ids]
        if records:
            await self._log.append(self._at, records, time_ms)

    async def read(self) -> Mapping[bytes, Member]:
        """Read on to the end; return all who stand there, by node id, the oldest entry first.

        Raises: LogUnavailable, TopicMissing.
        """
        start, end = await self._log.bounds(self._at)
        if end < self._position:  # a log in memory that began anew
            self._position, self._members = 0, {}
        first = max(self._position, start)
        if first < end:
            async for chunk in self._log.read(self._at, first, end):
                for stored in chunk:
                    self._take(stored)
        self._position = end
        return dict(self._members)

    def _take(self, stored: StoredRecord) -> None:
        if stored.key is None or stored.value is None:
            return
        if stored.value == ERASED:
            self._members.pop(stored.key, None)
            return
        try:
            member = decode_member(stored.value)
        except UnreadableMember as error:
            _logger.warning("%s@%d is no node's entry: %s", self._at, stored.offset, error)
            return
        if member.node_id != stored.key:
            _logger.warning("%s@%d is another node's entry", self._at, stored.offset)
            return
        self._members.pop(stored.key, None)
        self._members[stored.key] = member


def newest(members: Mapping[bytes, Member]) -> Mapping[bytes, Member]:
    """Return the last entry of each endpoint: a process that was there before has ended."""
    last = {member.mesh: node_id for node_id, member in members.items()}
    return {node_id: each for node_id, each in members.items() if last[each.mesh] == node_id}
