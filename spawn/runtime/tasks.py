"""What a group of tasks ended with."""

from __future__ import annotations

from eventstore.errors import EventStoreError
from spawn.errors import SpawnError
from spawn.runtime.takeover import PartitionLost

__all__ = ["first_error"]


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first of our own errors in a group, however deep; else the group itself."""
    told = group.subgroup((PartitionLost, SpawnError, EventStoreError))
    while told is not None:
        first = told.exceptions[0]
        if not isinstance(first, BaseExceptionGroup):
            return first
        told = first
    return group
