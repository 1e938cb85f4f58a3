"""Who owns which partition, as far as this node was told (pure).

Every claim has an epoch, one more than that of the claim before it, so the higher one is newer; a
claim that proved void has the same epoch as its rival and was never announced.

Every node of a system knows all of it, so the table is kept in arrays: some 12 bytes a partition,
and no object that the garbage collector would have to look at (`bench.scale` measures it). What is
told comes from other processes: a partition, epoch or topic beyond all bounds is passed over.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple

from eventstore.log import TopicPartition

__all__ = ["PARTITIONS_MAX", "TOPICS_MAX", "OwnerTable", "Ownership"]

PARTITIONS_MAX: Final = 1_000_000
"""Of one topic; a hundred times what settings allow."""
TOPICS_MAX: Final = 10_000
"""As many as one node may host (`spawn.cluster.members`)."""

_EPOCH_MAX: Final = 2**63 - 1
_EPOCH, _NUMBER = "q", "I"


class Ownership(NamedTuple):
    """Who owns a partition."""

    epoch: int
    endpoint: str
    """Of the owner's mesh; empty: it was released, and nobody is known to have taken it."""


class _Topic:
    """For each partition the epoch of the newest claim, 0 for none, and its owner's number."""

    __slots__ = ("epochs", "owners")

    def __init__(self) -> None:
        self.epochs = array(_EPOCH)
        self.owners = array(_NUMBER)

    def reach(self, partition: int) -> None:
        """Make room for a partition; what is new is nobody's."""
        if (lack := partition + 1 - len(self.epochs)) > 0:
            self.epochs.frombytes(bytes(lack * self.epochs.itemsize))
            self.owners.frombytes(bytes(lack * self.owners.itemsize))


class _Endpoints:
    """Endpoints by number, and how many partitions each has; 0 is the empty one, nobody's.

    Nodes come and go for as long as a process lives: the number of one that owns nothing any more
    is given to the next.
    """

    def __init__(self) -> None:
        self.names = [""]
        self.counts = [0]
        self._numbers = {"": 0}
        self._free: list[int] = []

    def number(self, endpoint: str) -> int | None:
        return self._numbers.get(endpoint)

    def take(self, endpoint: str) -> int:
        """Return an endpoint's number, for one partition more."""
        number = self._numbers.get(endpoint)
        if number is None:
            if self._free:
                number = self._free.pop()
                self.names[number] = endpoint
            else:
                number = len(self.names)
                self.names.append(endpoint)
                self.counts.append(0)
            self._numbers[endpoint] = number
        self.counts[number] += 1
        return number

    def leave(self, number: int) -> None:
        """Note that a partition less is its own."""
        self.counts[number] -= 1
        if number and not self.counts[number]:
            del self._numbers[self.names[number]]
            self.names[number] = ""
            self._free.append(number)


class OwnerTable:
    """One entry for each partition that was heard of."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}
        self._endpoints = _Endpoints()

    def learn(self, at: TopicPartition, epoch: int, endpoint: str) -> bool:
        """Take what somebody says; tell whether it is news."""
        known = self.of(at)
        if (known.epoch, known.endpoint != "") >= (epoch, endpoint != ""):
            return False
        if not (0 <= at.partition < PARTITIONS_MAX and epoch <= _EPOCH_MAX):
            return False
        topic = self._topics.get(at.topic)
        if topic is None:
            if len(self._topics) >= TOPICS_MAX:
                return False
            topic = self._topics[at.topic] = _Topic()
        topic.reach(at.partition)
        self._set(topic, at.partition, epoch, endpoint)
        return True

    def released(self, at: TopicPartition, endpoint: str) -> None:
        """An owner has let the partition go; what is known of another one stands."""
        known = self.of(at)
        if endpoint and known.endpoint == endpoint:
            self._set(self._topics[at.topic], at.partition, known.epoch, "")

    def nobody(self, at: TopicPartition, epoch: int) -> None:
        """Whoever made the claim of that epoch does not serve; what is known of a newer one stands.

        A claim that was given up on its way, or of a process that ended, may stand in the log.
        """
        if self.of(at).epoch < epoch:
            self.learn(at, epoch, "")

    def of(self, at: TopicPartition) -> Ownership:
        """Return what is known; epoch 0 and no endpoint: nothing."""
        topic, partition = self._topics.get(at.topic), at.partition
        if topic is None or not 0 <= partition < len(topic.epochs):
            return _UNKNOWN
        return Ownership(topic.epochs[partition], self._endpoints.names[topic.owners[partition]])

    def count_of(self, endpoint: str) -> int:
        """Return how many partitions are known to be an endpoint's."""
        number = self._endpoints.number(endpoint)
        return self._endpoints.counts[number] if number else 0

    def owned_by(self, endpoint: str) -> Iterator[tuple[TopicPartition, Ownership]]:
        """Yield what is known to be an endpoint's; it looks at all partitions."""
        number = self._endpoints.number(endpoint)
        if not number:
            return
        left = self._endpoints.counts[number]
        for name, topic in list(self._topics.items()):
            partition = -1
            while left and (partition := _next(topic.owners, number, partition + 1)) >= 0:
                left -= 1
                yield TopicPartition(name, partition), Ownership(topic.epochs[partition], endpoint)

    def _set(self, topic: _Topic, partition: int, epoch: int, endpoint: str) -> None:
        number = self._endpoints.take(endpoint)
        self._endpoints.leave(topic.owners[partition])
        topic.epochs[partition], topic.owners[partition] = epoch, number


def _next(owners: array[int], number: int, start: int) -> int:
    try:
        return owners.index(number, start)
    except ValueError:
        return -1


_UNKNOWN: Final = Ownership(0, "")
