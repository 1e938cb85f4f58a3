"""Who owns which partition, as far as this node was told (pure).

Every claim has an epoch, one more than that of the claim before it, so the higher one is newer; a
claim that proved void has the same epoch as its rival and was never announced.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from eventstore.log import TopicPartition

__all__ = ["OwnerTable", "Ownership"]


class Ownership(NamedTuple):
    """Who owns a partition."""

    epoch: int
    endpoint: str
    """Of the owner's mesh; empty: it was released, and nobody is known to have taken it."""


class OwnerTable:
    """One entry for each partition that was heard of."""

    def __init__(self) -> None:
        self._owners: dict[TopicPartition, Ownership] = {}

    def learn(self, at: TopicPartition, epoch: int, endpoint: str) -> bool:
        """Take what somebody says; tell whether it is news."""
        known = self._owners.get(at)
        if known is not None and (known.epoch, known.endpoint != "") >= (epoch, endpoint != ""):
            return False
        self._owners[at] = Ownership(epoch, endpoint)
        return True

    def released(self, at: TopicPartition, endpoint: str) -> None:
        """An owner has let the partition go; what is known of another one stands."""
        known = self._owners.get(at)
        if known is not None and known.endpoint == endpoint:
            self._owners[at] = Ownership(known.epoch, "")

    def of(self, at: TopicPartition) -> Ownership:
        """Return what is known; epoch 0 and no endpoint: nothing."""
        return self._owners.get(at, _UNKNOWN)

    def owned_by(self, endpoint: str) -> Iterator[tuple[TopicPartition, Ownership]]:
        """Yield what is known to be an endpoint's."""
        for at, known in self._owners.items():
            if known.endpoint == endpoint:
                yield at, known


_UNKNOWN = Ownership(0, "")
