"""An actor's commits on their way between nodes (pure)."""

from __future__ import annotations

from eventstore.log import TopicPartition
from spawn.core.ids import Position
from spawn.core.ingress import ActorCommit
from spawn.mesh.wire import ToldCommit

__all__ = ["commit_of", "size_of", "told_of"]


def told_of(commit: ActorCommit) -> ToldCommit:
    """Return a commit as links carry it."""
    return ToldCommit(
        commit.revision,
        commit.time_us,
        commit.position.offset,
        commit.action,
        commit.caller,
        list(commit.events),
        commit.state,
        commit.deleted,
    )


def commit_of(told: ToldCommit, at: TopicPartition) -> ActorCommit:
    """Return the commit that a node told, of an actor in a partition."""
    return ActorCommit(
        told.revision,
        told.time_us,
        Position(*at, told.offset),
        told.action,
        told.caller,
        told.events,
        told.state,
        told.deleted,
    )


def size_of(told: ToldCommit) -> int:
    """Return what a commit counts for, at both ends of a link."""
    return len(told.state or b"") + sum(len(fields) for _, fields in told.events) + _COMMIT_BYTES


_COMMIT_BYTES = 64
