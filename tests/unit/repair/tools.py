"""What repairs need, over a log and a store in memory."""

from __future__ import annotations

import itertools

from eventstore.log import EventLog, LogAdmin
from eventstore.memory_log import MemoryLog
from eventstore.memory_snapshots import MemorySnapshots
from spawn.repair.plan import Tools

__all__ = ["CUT_SHORT", "make_tools"]

CUT_SHORT = b"\xe5S\x01\x02"
_ids = itertools.count(1)


def make_tools(log: MemoryLog, store: MemorySnapshots | None, system: str = "shop") -> Tools:
    """Return tools with a clock that stands still and ids that count."""
    events: EventLog = log
    admin: LogAdmin = log
    return Tools(
        events,
        admin,
        store,
        system,
        lambda: 1_800_000_000_000_000,
        lambda: b"repair id %6d" % next(_ids),
        b"o" * 16,
    )
