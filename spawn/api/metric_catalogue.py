"""Every metric of a node: its name, labels, meaning, and when to worry.

`metrics` makes the page that Prometheus scrapes of it, `metrics_reference` the one that people
read, and a test holds dashboards and alert rules against it.

Over 400 lines: all of it is one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = ["CATALOGUE", "FOREIGN", "SECTIONS", "Described"]


class Described(NamedTuple):
    """One metric."""

    kind: str
    """`counter`, `gauge`, `histogram` or `info`."""
    help: str
    """What it counts; without a full stop, as HELP texts are."""
    worry: str
    """When to worry, in a few words."""
    labels: tuple[str, ...] = ()


_PARTITION: Final = ("topic", "partition")

_NODE: Final = {
    "spawn_build": Described(
        "info",
        "Versions of spawn, Python and the event loop (`uvloop`: its version, or `none`)",
        "nodes of one system differ for longer than a roll-out",
        ("version", "python", "uvloop"),
    ),
    "spawn_node": Described(
        "info",
        "The system, and the random id of this process's start",
        "never; it tells restarts apart",
        ("system", "owner"),
    ),
    "spawn_ready": Described(
        "gauge",
        "1 when the node serves all its partitions, as /health/ready says",
        "0 for longer than a start takes",
    ),
    "spawn_calls": Described(
        "gauge",
        "Calls that the node holds: waiting, running, or not acknowledged by the log yet",
        "it nears spawn_calls_max",
    ),
    "spawn_calls_max": Described(
        "gauge",
        "As many calls the node may hold (setting node.calls_max)",
        "never",
    ),
    "spawn_call_seconds": Described(
        "histogram",
        "Commands from their arrival at the node until their record is in the log; of an append "
        "one stands for all",
        "p99 is far above spawn_commit_seconds: calls wait for their actor or for the processor",
    ),
    "spawn_refusals": Described(
        "counter",
        "Calls that ended without a record, by code of the error",
        "`mailbox-full`, `too-many-waiting`, `outcome-unknown`, `fenced` or `actor-parked` grow",
        ("code",),
    ),
    "spawn_actions_refused": Described(
        "counter",
        "Calls whose record is no success: `rejected` by the actor's code, or it `failed`",
        "`failed` grows: it is a mistake in the actor's code",
        ("type", "action", "outcome"),
    ),
    "spawn_log_failures": Described(
        "counter",
        "Times that the log did not answer: appends of unknown outcome, reads, take-overs",
        "it grows for a minute: nothing is committed meanwhile",
    ),
    "spawn_database_failures": Described(
        "counter",
        "Times that the database did not answer a load, a flush or a take-over",
        "it grows for minutes: actors that are not in memory can't be called",
    ),
    "spawn_clock_ahead_seconds": Described(
        "gauge",
        "How far the node's clock is ahead of the database's (negative: behind), once a minute",
        "above 1 either way: set both by NTP; above node.clock_limit no node starts",
    ),
}
_LOOP: Final = {
    "spawn_loop_lag_seconds": Described(
        "gauge",
        "Delay of the event loop a moment ago; a large one fades within a second",
        "see spawn_loop_lag_max_seconds, which misses none",
    ),
    "spawn_loop_lag_max_seconds": Described(
        "gauge",
        "Largest delay of the event loop within the last 30 to 60 seconds",
        "above 0.1: all calls of the node waited so long; above 0.25 reads lose their lease, too",
    ),
    "spawn_loop_stalls": Described(
        "counter",
        "Times that the event loop stood still for more than 100 ms",
        "it grows steadily: the log names the action that blocks",
    ),
    "spawn_loop_blocks": Described(
        "counter",
        "Times that the event loop stood still for more than 250 ms, so that read leases ran out",
        "it grows: the log names the line that blocks",
    ),
    "spawn_loop_block_max_seconds": Described(
        "gauge",
        "Longest time that the event loop stood still since the start",
        "above 1: other nodes may have taken partitions over; at node.stuck the process ends",
    ),
    "spawn_threads_max": Described(
        "gauge",
        "Threads that blocking actions may have (setting actors.threads)",
        "never",
    ),
    "spawn_thread_jobs": Described(
        "gauge",
        "Blocking actions that run in a thread or wait for one",
        "it stays above spawn_threads_max: they wait for each other",
    ),
}
_COMMITS: Final = {
    "spawn_commits": Described(
        "counter", "Commits acknowledged by the log", "it stops while calls come", _PARTITION
    ),
    "spawn_batches": Described(
        "counter", "Appends acknowledged by the log, barriers among them", "never", _PARTITION
    ),
    "spawn_batch_commits": Described(
        "histogram",
        "Commits of one append",
        "the usual one is 4096: the log can't keep up",
    ),
    "spawn_appended_bytes": Described(
        "counter",
        "Bytes of commits sent to the log (a record has some 100 more)",
        "it nears what the brokers take",
        _PARTITION,
    ),
    "spawn_commit_seconds": Described(
        "histogram",
        "Appends until the log has acknowledged them",
        "p99 above 0.25: reads lose their lease and wait for appends, too",
    ),
    "spawn_barriers": Described(
        "counter",
        "Barrier records appended so that reads are linearizable, or to look for other owners",
        "many more than commits: strict reads of idle partitions cost an append each",
        _PARTITION,
    ),
    "spawn_recoveries": Described(
        "counter",
        "Appends whose outcome was unknown, after which the partition was claimed again",
        "it grows: broker or network lose answers",
        _PARTITION,
    ),
    "spawn_uncommitted_commands": Described(
        "gauge",
        "Commands run but not acknowledged by the log yet",
        "it stays at 20,000: more are refused",
        _PARTITION,
    ),
}
_OWNERSHIP: Final = {
    "spawn_partition_serving": Described(
        "gauge",
        "1 while this node owns the partition and serves it",
        "no node has 1 for 10 seconds: its calls wait",
        _PARTITION,
    ),
    "spawn_partition_phase": Described(
        "gauge",
        "1 for the phase: `taking-over`, `active`, `recovering`, `released`, `fenced`, `stopped`",
        "`stopped`: the log lost or garbled records or takes no more, and an operator decides",
        (*_PARTITION, "phase"),
    ),
    "spawn_fences": Described(
        "counter",
        "Times that the partition was lost to another owner's claim",
        "it grows without a node that died: nodes guess differently who lives",
        _PARTITION,
    ),
    "spawn_takeovers": Described(
        "counter",
        "Times that this node took the partition over",
        "it grows without a restart",
        _PARTITION,
    ),
    "spawn_takeover_seconds": Described(
        "histogram",
        "Take-overs from their begin until the partition is served",
        "they take longer than callers wait: flush more often (snapshots.flush_interval)",
    ),
    "spawn_epoch": Described(
        "gauge", "Epoch of the claim that the node holds or saw last", "it grows fast", _PARTITION
    ),
    "spawn_position": Described(
        "gauge", "Offset of the next record; all below it is folded", "never", _PARTITION
    ),
    "spawn_waiting_calls": Described(
        "gauge",
        "Calls that wait for the partition to be served",
        "above 0 for seconds",
        _PARTITION,
    ),
}
_SYSTEM: Final = {
    "spawn_nodes": Described(
        "gauge",
        "Nodes that this one reckons with, itself included, by how they stand: `serving`, `unfit`, "
        "`leaving`, `unreachable`, or `unmet` (on the roll, never reached)",
        "`unreachable` or `unmet` stays above 0 for a minute; nodes differ in what they count",
        ("standing",),
    ),
    "spawn_unfit": Described(
        "gauge",
        "1 while this node does not reach log or database, so that others take its partitions",
        "any: the log says which of them",
    ),
    "spawn_group_generation": Described(
        "gauge",
        "Generation of the group `spawn.<system>`; 0: this node is no member now",
        "0 for half a minute; it grows all the time: members come and go",
    ),
    "spawn_group_leader": Described(
        "gauge", "1 on the node that shares the partitions out", "the sum over nodes is not 1"
    ),
    "spawn_group_heartbeat_age_seconds": Described(
        "gauge",
        "Time since the group's coordinator was last heard of; -1: never",
        "above 6: the group counts the node as gone",
    ),
    "spawn_parked_commands": Described(
        "gauge",
        "Commands that wait here for an owner of their partition to be known and reached",
        "above 0 for seconds",
    ),
    "spawn_forwarded_commands": Described(
        "counter",
        "Copies of commands sent to other nodes",
        "as many as calls, with `spawn.Client`: it does not reach the owners itself",
    ),
    "spawn_redirects": Described(
        "counter",
        "Of those, answered that another node owns the partition",
        "it grows while nothing moves",
    ),
    "spawn_received_commands": Described(
        "counter", "Commands of other nodes that this one took", "never"
    ),
    "spawn_handovers": Described(
        "counter",
        "Planned moves of partitions: `asked`, this node was given one; `given`, it gave one",
        "it grows without nodes that come or go",
        ("direction",),
    ),
}
_MESH: Final = {
    "spawn_mesh_links_opened": Described(
        "counter",
        "Links to other nodes that came about, whoever began",
        "it grows without nodes that come or go",
    ),
    "spawn_mesh_frames": Described(
        "counter", "Frames over links, `sent` and `received`", "never", ("direction",)
    ),
    "spawn_mesh_messages": Described(
        "counter",
        "Messages in those frames: a call forwarded is one, its answer another",
        "never",
        ("direction",),
    ),
    "spawn_mesh_bytes": Described(
        "counter", "Bytes of those frames", "it nears what the network takes", ("direction",)
    ),
    "spawn_mesh_overflows": Described(
        "counter",
        "Messages refused since too many waited for a peer",
        "any: a peer is slower than what is sent to it",
    ),
    "spawn_mesh_refusals": Described(
        "counter",
        "Peers that this node refused: `version`, `system`, `itself`, `no-hello`, `unreadable`, "
        "`over-limit`, `unknown-kind`, `too-many-links`",
        "any: the log names the peer",
        ("reason",),
    ),
    "spawn_mesh_endings": Described(
        "counter",
        "Links that ended: `closed` in order, `refused`, `reset`, `timed-out`, `protocol`, "
        "`denied` or `slow`",
        "all but `closed` grow without nodes that come or go",
        ("ending",),
    ),
}
_ACTORS: Final = {
    "spawn_actors": Described(
        "gauge", "Actors in memory", "memory grows with it to the limit", _PARTITION
    ),
    "spawn_active_actors": Described("gauge", "Actors in memory, by type", "never", ("type",)),
    "spawn_mailbox_calls": Described(
        "gauge",
        "Commands in mailboxes, not started yet, by type",
        "it grows: the type's actions are slower than their callers",
        ("type",),
    ),
    "spawn_mailbox_depth_max": Described(
        "gauge",
        "Commands waiting or uncommitted of the actor of the type that has most",
        "it nears spawn_mailbox_limit: one actor is hot, spread its work",
        ("type",),
    ),
    "spawn_mailbox_limit": Described(
        "gauge", "As many an actor of the type may have (mailbox_size_max)", "never", ("type",)
    ),
    "spawn_loads": Described(
        "counter",
        "Actors loaded from database and log",
        "as many as calls: memory is too small (actors.memory_limit)",
        _PARTITION,
    ),
    "spawn_passivations": Described(
        "counter",
        "Actors that left memory: idle, or too many",
        "as many as loads, all the time: the same",
        _PARTITION,
    ),
    "spawn_parked_actors": Described(
        "counter",
        "Actors met whose state could not be rebuilt; each call of them fails (`actor-parked`)",
        "any: the log names actor, offset and reason",
        _PARTITION,
    ),
}
_CHECKPOINTS: Final = {
    "spawn_checkpoint_position": Described(
        "gauge", "Offset up to which the database holds everything", "it stands still", _PARTITION
    ),
    "spawn_checkpoint_lag_records": Described(
        "gauge",
        "Records between position and checkpoint: what a take-over would have to read",
        "above 1,000,000: a take-over reads for more than 5 seconds",
        _PARTITION,
    ),
    "spawn_unflushed_seconds": Described(
        "gauge",
        "Age of the oldest change that is in the log and not in the database yet",
        "a few times snapshots.flush_interval: flushes fail or are too slow",
        _PARTITION,
    ),
    "spawn_dirty_actors": Described(
        "gauge", "Actors changed since the last checkpoint", "it only grows", _PARTITION
    ),
    "spawn_flushes": Described(
        "counter", "Checkpoints written to the database", "it stops while commits go on", _PARTITION
    ),
    "spawn_flush_failures": Described(
        "counter",
        "Flushes after which no checkpoint stood",
        "any: the log says why",
        _PARTITION,
    ),
    "spawn_flushed_actors": Described(
        "counter", "Rows of actors written to the database", "never", _PARTITION
    ),
    "spawn_flush_seconds": Described(
        "histogram",
        "Flushes until their checkpoint stands",
        "near snapshots.flush_interval: the database can't keep up",
    ),
}
_HTTP: Final = {
    "spawn_http_requests": Described(
        "counter",
        "HTTP requests answered; route `none` is what leads nowhere or is no HTTP",
        "status 5xx grows",
        ("route", "status"),
    ),
    "spawn_http_request_seconds": Described(
        "histogram",
        "HTTP requests from their head until their answer is made",
        "p99 of route `invoke` is above what callers allow",
        ("route",),
    ),
    "spawn_http_requests_in_progress": Described(
        "gauge", "HTTP requests that are being answered", "it only grows"
    ),
}

SECTIONS: Final[Mapping[str, Mapping[str, Described]]] = {
    "The node": _NODE,
    "The event loop and threads": _LOOP,
    "Commits": _COMMITS,
    "Partitions and their owner": _OWNERSHIP,
    "Nodes of the system": _SYSTEM,
    "Links between nodes": _MESH,
    "Actors": _ACTORS,
    "Snapshots": _CHECKPOINTS,
    "HTTP": _HTTP,
}
CATALOGUE: Final = {name: each for section in SECTIONS.values() for name, each in section.items()}
"""By name without the suffixes that Prometheus gives (`_total`, `_info`, `_bucket`)."""

FOREIGN: Final = {
    "process_resident_memory_bytes": Described(
        "gauge", "Memory of the process", "it nears the container's limit"
    ),
    "process_virtual_memory_bytes": Described("gauge", "Address space of the process", "never"),
    "process_cpu_seconds": Described(
        "counter", "CPU time of the process", "its rate stays at 1: one core is all a node has"
    ),
    "process_open_fds": Described("gauge", "Open files", "it nears process_max_fds"),
    "process_max_fds": Described("gauge", "As many may be open", "below 1,000"),
    "process_start_time_seconds": Described(
        "gauge", "When the process was started", "it changes and nobody restarted it"
    ),
    "python_gc_collections": Described(
        "counter", "Collections of the garbage collector", "never", ("generation",)
    ),
    "python_gc_objects_collected": Described(
        "counter", "Objects that it freed", "never", ("generation",)
    ),
    "python_gc_objects_uncollectable": Described(
        "counter", "Objects that it could not free", "any", ("generation",)
    ),
}
"""Metrics that the client library makes, which every Python exporter has."""
