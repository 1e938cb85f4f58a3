"""Names, ids and positions, and their limits (pure; design 3.1)."""

from __future__ import annotations

import functools
import re
from typing import Final, NamedTuple

from murmurhash2 import murmurhash2

__all__ = [
    "ID_BYTES_MAX",
    "NAME_PATTERN",
    "Position",
    "group_of",
    "nodes_topic",
    "partition_of",
    "schemas_topic",
    "topic_of",
]

NAME_PATTERN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
"""Systems and actor types: a topic's name is made of both, and Kafka allows 249 characters."""
ID_BYTES_MAX: Final = 255
"""Of an actor id in UTF-8; it is a record key, an index column and a part of URLs."""

_KAFKA_SEED: Final = 0x9747B28C


class Position(NamedTuple):
    """Where a record stands; printed as `topic/partition@offset`."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.offset}"


@functools.lru_cache(maxsize=65_536)
def partition_of(actor_id: bytes, partitions: int) -> int:
    """Return the partition of an actor's topic that holds it, as Kafka's own partitioner does.

    Other producers that key by id with the default partitioner agree (murmur2 of the key).
    """
    hashed: int = murmurhash2(actor_id, _KAFKA_SEED)
    return (hashed & 0x7FFFFFFF) % partitions


def topic_of(system: str, topic: str) -> str:
    """Return the topic of an actor type, or of a topic name that several types share."""
    return f"spawn.{system}.{topic}"


def schemas_topic(system: str) -> str:
    """Return the compacted topic that holds the system's Avro schemas by fingerprint."""
    return f"spawn.{system}._schemas"


def group_of(system: str) -> str:
    """Return the consumer group of the system's nodes."""
    return f"spawn.{system}"


def nodes_topic(system: str) -> str:
    """Return the compacted topic in which the system's nodes stand by id."""
    return f"spawn.{system}._nodes"
