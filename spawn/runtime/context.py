"""What every partition worker of a node shares (the node fills it in)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from eventstore.log import EventLog
from eventstore.snapshots import SnapshotStore
from spawn.core.ids import schemas_topic
from spawn.core.partition import Limits
from spawn.runtime.blocking import Blocking
from spawn.runtime.clock import Clock, stopwatch_s
from spawn.runtime.counts import Outstanding
from spawn.runtime.debugger import Debugger
from spawn.runtime.runs import Runs
from spawn.runtime.schema_book import SchemaBook
from spawn.runtime.topic_watch import TopicStops

__all__ = ["NodeContext", "RuntimeSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """Settings of the runtime; the node takes them from its configuration."""

    limits: Limits = field(default_factory=Limits)
    sweep_s: float = 0.02
    """How late a deadline is noticed at most."""
    calls_max: int = 20_000
    """Calls that a node holds at once, waiting, running or uncommitted; one more is refused."""
    flush_interval_s: float = 5.0
    """The longest that a change stays out of the store while that is reachable."""
    flush_actors: int = 10_000
    """Changed actors of one partition that start a flush at once."""
    state_bytes_max: int = 4 * 1024 * 1024
    """Of one encoded state; a larger one is not kept as a snapshot and refolded each time."""
    actor_memory_bytes: int = 1024**3
    """Above it the least recently used actors leave memory (estimated, see `passivation`)."""
    threads: int | None = None
    """Threads for actions that block; None: four more than there are processors, at most 32."""
    clock_limit_s: float = 5.0
    """How far clocks may be apart before it is told (see `clock_check`)."""
    discard_stale_snapshots: bool = False
    """Development: snapshots of a log that is gone are deleted instead of refused."""


@dataclass(slots=True, kw_only=True)
class NodeContext:
    """Ports, identity and settings."""

    system: str
    owner: bytes
    """Random id of this process's start."""
    endpoint: str
    """Where this node answers; stands in its claims."""
    log: EventLog
    store: SnapshotStore
    clock: Clock
    settings: RuntimeSettings
    say: Callable[[str], None]
    """Tells people what happened, once."""
    debugger: Debugger
    new_id: Callable[[], bytes]
    """Makes a random 16-byte id: of a claim, of a log."""
    stopwatch: Callable[[], float] = stopwatch_s
    """Seconds that user code takes; decides nothing but where it runs."""
    discarded: set[str] = field(default_factory=set)
    """Topics whose stale snapshots were discarded; it is said once for each."""
    topic_stops: TopicStops = field(default_factory=TopicStops)
    """Topics that may not be served any more."""
    clock_ahead_s: float = 0.0
    """How far our clock was ahead of the database's when they were compared last."""
    future_told: bool = False
    """It was said that the log has records of our future."""
    takeovers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(4))
    """Tails read at once, each into memory in large pieces; leases are waited for side by side."""
    serving: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once every partition was taken over that the node was to own first."""
    outstanding: Outstanding = field(default_factory=Outstanding)
    """Every command and read that has no outcome yet; the deadline sweeper looks here."""
    runs: Runs = field(default_factory=Runs)
    """Actions that run beside the event loop's own steps."""
    blocking: Blocking = field(init=False)
    """Which actions run in threads, and the threads."""
    schemas: SchemaBook = field(init=False)
    """What newer nodes write with; the types were told the rest at the start."""

    def __post_init__(self) -> None:
        self.schemas = SchemaBook(self.log, schemas_topic(self.system))
        self.blocking = Blocking(self.debugger, self.settings.threads)
