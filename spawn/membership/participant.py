"""This node in the group: what it says of itself, what it leads, what it is given (design 3.3)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from eventstore.group import GroupGeneration
from eventstore.log import TopicPartition
from spawn.cluster.assignor import lead
from spawn.cluster.members import (
    Member,
    UnreadableAssignment,
    UnreadableMember,
    decode_assignment,
    decode_member,
    encode_member,
    held_ranges,
)

__all__ = ["Participant"]

_logger = logging.getLogger("spawn.membership")


class Participant:
    """Implements `eventstore.group.GroupParticipant`."""

    def __init__(
        self,
        me: Member,
        held: Callable[[], Iterable[tuple[TopicPartition, int]]],
        assigned: Callable[[Iterable[TopicPartition]], None],
        unassigned: Callable[[], None],
    ) -> None:
        """`held` gives the partitions served, each with its claim's epoch.

        `unassigned` is told that others may have been given what was this node's.
        """
        self._me, self._held = me, held
        self._assigned, self._unassigned = assigned, unassigned
        self.grouped: frozenset[bytes] = frozenset()
        """Node ids of the last generation that this node led."""

    def metadata(self) -> bytes:
        held: dict[str, dict[int, int]] = {}
        for at, epoch in self._held():
            held.setdefault(at.topic, {})[at.partition] = epoch
        ranges = {topic: held_ranges(epochs) for topic, epochs in held.items()}
        return encode_member(replace(self._me, held=ranges))

    def assign(self, members: Mapping[str, bytes]) -> Mapping[str, bytes]:
        led = lead(members)
        for problem in led.problems:
            _logger.warning("%s", problem)
        self.grouped = frozenset(_node_ids(members.values()))
        return led.assignments

    def began(self, generation: GroupGeneration) -> None:
        try:
            assignment = decode_assignment(generation.assignment, self._me.topics)
        except UnreadableAssignment as error:
            _logger.warning("the group's assignment is left aside: %s", error)
            return
        places = [
            TopicPartition(topic, partition)
            for topic, partitions in assignment.items()
            for partition in partitions
        ]
        text = "generation %d of the group: %d partitions are this node's"
        _logger.info(text, generation.generation, len(places))
        self._assigned(places)

    def lost(self, reason: str) -> None:
        _logger.warning("%s; what is served here goes on", reason)
        self._unassigned()


def _node_ids(metadata: Iterable[bytes]) -> Iterable[bytes]:
    for data in metadata:
        try:
            yield decode_member(data).node_id
        except UnreadableMember:
            continue
