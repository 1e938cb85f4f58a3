"""What a way out does and loses, told before it is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from eventstore.log import EventLog, LogAdmin
from eventstore.snapshots import SnapshotStore

__all__ = ["Finding", "Plan", "Tools", "Way"]


class Tools(NamedTuple):
    """The system that is repaired, and what repairing it needs."""

    log: EventLog
    admin: LogAdmin
    store: SnapshotStore | None
    """None: no database was named."""
    system: str
    time_us: Callable[[], int]
    new_id: Callable[[], bytes]
    owner: bytes
    """Of this process, in the claims that it makes."""


class Way(NamedTuple):
    """One way out of a finding."""

    command: str
    """What does it; empty: nothing of ours, `loses` says what to do."""
    loses: str
    """What is lost by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that only an operator can decide about."""

    kind: str
    """`stopped`: nobody may read on. `lost`: log and database don't fit. `parked`: an actor's state
    can't be rebuilt. `suspect`: it has no stored state, and its code was not tried. `foreign`: the
    topic is another system's."""
    position: str
    """`topic/partition@offset`."""
    actor: str = ""
    """TYPE/ID of a parked one."""
    what: str
    """What happened."""
    ways: Sequence[Way]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a way out will do."""

    title: str
    what: Sequence[str]
    """What is there now."""
    steps: Sequence[str]
    """What will be done, in this order. Empty: there is nothing to do."""
    loses: Sequence[str]
    """What is lost by it."""
    apply: Callable[[], Awaitable[Sequence[str]]]
    """Does it; returns what was done, and what is left to do.

    Raises: OutcomeUnknown - an append was not answered; LogUnavailable, SnapshotError.
    """
    confirm_name: str = ""
    """What has to be typed to confirm it; empty: yes will do."""


async def nothing() -> Sequence[str]:
    """Apply a plan that has nothing to do."""
    return ()
