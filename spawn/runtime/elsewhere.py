"""Where commands go whose partition is not served by this node: the port to routing (design 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from eventstore.log import TopicPartition
from spawn.core.commands import Command
from spawn.core.ingress import ActorCommit, CommitsAsked, Follower

__all__ = ["Elsewhere"]


class Elsewhere(Protocol):
    """Other nodes, for one that does not own everything."""

    def send(self, command: Command, at: TopicPartition) -> None:
        """Take a command or read: its waiter gets the outcome, or its deadline passes.

        The partition is not served here.
        """
        ...

    def time_us(self, at: TopicPartition) -> int:
        """Return the newest time of a partition that its owners told; 0: none has."""
        ...

    def place_of(self, actor_type: str, key: bytes) -> TopicPartition | None:
        """Return the partition of an actor whose type other nodes host; None: nobody does."""
        ...

    def types(self) -> Mapping[str, tuple[str, int]]:
        """Return the types that other nodes host, with their topics and those' partitions."""
        ...

    def follow(
        self, at: TopicPartition, actor_type: str, key: bytes, after: int | None
    ) -> Follower:
        """Follow an actor, whoever owns its partition, across all moves of it."""
        ...

    async def commits(
        self, at: TopicPartition, actor_type: str, key: bytes, asked: CommitsAsked, timeout_s: float
    ) -> Sequence[ActorCommit]:
        """Have an actor's owner list past commits."""
        ...

    async def run(self) -> None:
        """Serve what other nodes follow here. Never returns."""
        ...

    def owned(self, at: TopicPartition, epoch: int) -> None:
        """This node serves the partition from now on; others are told."""
        ...

    def released(self, at: TopicPartition) -> None:
        """This node serves it no longer, and does not know who will."""
        ...

    def learn(self, at: TopicPartition, epoch: int, endpoint: str) -> None:
        """Another node was seen to own the partition."""
        ...
