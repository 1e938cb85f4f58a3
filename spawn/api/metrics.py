"""What a node is doing, in Prometheus' format: `GET /metrics`.

All values are read from `Ingress.statistics()` when asked for; only HTTP requests are counted
here, in plain dicts, so that the hot path pays a few additions and no labels. What each metric
means stands in `metric_catalogue`.
"""

from __future__ import annotations

import asyncio
import platform
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from typing import Final, Protocol

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    ProcessCollector,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from spawn.api.metric_catalogue import CATALOGUE
from spawn.core.ingress import (
    COMMIT_BUCKETS_S,
    DISTRIBUTIONS,
    Distribution,
    NodeStatistics,
    PartitionStatistics,
    TypeStatistics,
)
from spawn.core.system_view import NO_LINKS, SystemCounts, SystemView

__all__ = ["CONTENT_TYPE", "HttpCounts", "NodeCollector", "Observed", "new_registry", "render"]

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_OF_PARTITION: Final = {
    "spawn_commits": "commits",
    "spawn_batches": "batches",
    "spawn_appended_bytes": "appended_bytes",
    "spawn_barriers": "barriers",
    "spawn_recoveries": "recoveries",
    "spawn_uncommitted_commands": "uncommitted",
    "spawn_fences": "fences",
    "spawn_takeovers": "takeovers",
    "spawn_epoch": "epoch",
    "spawn_position": "position",
    "spawn_waiting_calls": "waiting",
    "spawn_actors": "actors",
    "spawn_loads": "loads",
    "spawn_passivations": "passivations",
    "spawn_parked_actors": "parked",
    "spawn_checkpoint_position": "checkpoint",
    "spawn_unflushed_seconds": "unflushed_s",
    "spawn_dirty_actors": "dirty",
    "spawn_flushes": "flushes",
    "spawn_flush_failures": "flush_failures",
    "spawn_flushed_actors": "flushed_actors",
}
"""Metrics with topic and partition, and their field of `PartitionStatistics`."""
_OF_TYPE: Final = {
    "spawn_active_actors": "actors",
    "spawn_mailbox_calls": "mailbox_calls",
    "spawn_mailbox_depth_max": "mailbox_calls_max",
    "spawn_mailbox_limit": "mailbox_size_max",
}
"""Metrics with a type, and their field of `TypeStatistics`."""
_OF_NODE: Final = {
    "spawn_ready": "ready",
    "spawn_calls": "calls",
    "spawn_calls_max": "calls_max",
    "spawn_log_failures": "log_failures",
    "spawn_database_failures": "store_failures",
    "spawn_loop_lag_seconds": "loop_lag_s",
    "spawn_loop_lag_max_seconds": "loop_lag_max_s",
    "spawn_loop_stalls": "loop_stalls",
    "spawn_loop_blocks": "loop_blocks",
    "spawn_loop_block_max_seconds": "loop_block_max_s",
    "spawn_clock_ahead_seconds": "clock_ahead_s",
    "spawn_threads_max": "threads",
    "spawn_thread_jobs": "thread_jobs",
}
"""Metrics without labels, and their field of `NodeStatistics`."""

_ALONE: Final = SystemCounts(
    standings={},
    generation=0,
    is_leader=False,
    heartbeat_age_s=None,
    is_unfit=False,
    parked=0,
    forwarded=0,
    redirected=0,
    received=0,
    handovers_asked=0,
    handovers_given=0,
    links=NO_LINKS,
)

_Labelled = Iterable[tuple[Sequence[str], float]]


class Observed(Protocol):
    """What metrics are made of: any `Ingress`."""

    def statistics(self) -> NodeStatistics: ...


class HttpCounts:
    """Requests by route and status, how long they took, how many are being answered now."""

    def __init__(self) -> None:
        self.answered: Counter[tuple[str, int]] = Counter()
        self.in_progress = 0
        self.seconds: dict[str, tuple[list[int], list[float]]] = {}
        """By route: counts per bucket of `COMMIT_BUCKETS_S`, then the rest; and the sum."""

    def observe(self, route: str, seconds: float) -> None:
        """Count how long a request took."""
        found = self.seconds.get(route)
        if found is None:
            found = self.seconds[route] = [0] * (len(COMMIT_BUCKETS_S) + 1), [0.0]
        counts, total = found
        counts[bisect_left(COMMIT_BUCKETS_S, seconds)] += 1
        total[0] += seconds


class NodeCollector(Collector):
    """Makes metrics of a node's statistics, anew for each scrape."""

    def __init__(
        self, ingress: Observed, counts: HttpCounts, view: SystemView | None = None
    ) -> None:
        self._ingress = ingress
        self._counts = counts
        self._view = view

    def describe(self) -> Iterator[Metric]:
        """Name the metrics without asking the node, which may not have started yet."""
        yield from _node_metrics(NodeStatistics("", "", False, (), ()))
        yield from _http_metrics(HttpCounts())
        yield from _system_metrics(_ALONE)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of the node at this instant."""
        yield from _node_metrics(self._ingress.statistics())
        yield from _http_metrics(self._counts)
        if self._view is not None:
            yield from _system_metrics(self._view.counts())


def new_registry(
    ingress: Observed, counts: HttpCounts, view: SystemView | None = None
) -> CollectorRegistry:
    """Return a registry of the node's metrics and its process's (memory, CPU, files, garbage)."""
    registry = CollectorRegistry()
    registry.register(NodeCollector(ingress, counts, view))
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def render(registry: CollectorRegistry) -> bytes:
    """Return the page that a scrape gets."""
    return generate_latest(registry)


def _metric(name: str, values: _Labelled) -> Metric:
    """Return a counter or gauge with its samples."""
    described = CATALOGUE[name]
    family = CounterMetricFamily if described.kind == "counter" else GaugeMetricFamily
    made = family(name, described.help, labels=described.labels)
    for labels, value in values:
        made.add_metric(labels, value)
    return made


def _info(name: str, value: Mapping[str, str]) -> Metric:
    return InfoMetricFamily(name, CATALOGUE[name].help, value=dict(value))


def _histogram(name: str, values: Iterable[tuple[Sequence[str], Distribution]]) -> Metric:
    described = CATALOGUE[name]
    made = HistogramMetricFamily(name, described.help, labels=described.labels)
    for labels, value in values:
        bounds = [str(bound) for bound in value.bounds] + ["+Inf"]
        buckets = list(zip(bounds, accumulate(value.counts), strict=True))
        made.add_metric(labels, buckets, value.total)
    return made


def _node_metrics(statistics: NodeStatistics) -> Iterator[Metric]:
    yield _info("spawn_build", _build())
    yield _info("spawn_node", {"system": statistics.system, "owner": statistics.owner})
    for name, field in _OF_NODE.items():
        yield _metric(name, [((), float(getattr(statistics, field)))])
    for key, bounds in DISTRIBUTIONS.items():
        # A node that has not committed yet may leave the counts out.
        nothing = Distribution(bounds, (0,) * (len(bounds) + 1), 0.0)
        yield _histogram(f"spawn_{key}", [((), statistics.distributions.get(key, nothing))])
    refusals = sorted(statistics.refusals.items())
    yield _metric("spawn_refusals", [((code,), number) for code, number in refusals])
    yield _metric("spawn_actions_refused", sorted(statistics.outcomes.items()))
    yield from _partition_metrics(statistics.partitions)
    yield from _type_metrics(statistics.types)


def _partition_metrics(partitions: Sequence[PartitionStatistics]) -> Iterator[Metric]:
    names = [((p.topic, str(p.partition)), p) for p in partitions]
    for metric, field in _OF_PARTITION.items():
        yield _metric(metric, [(name, getattr(p, field)) for name, p in names])
    yield _metric(
        "spawn_checkpoint_lag_records",
        [(name, max(0, p.position - p.checkpoint)) for name, p in names],
    )
    yield _metric("spawn_partition_serving", [(name, p.phase == "active") for name, p in names])
    yield _metric("spawn_partition_phase", [((*name, p.phase), 1) for name, p in names])


def _type_metrics(types: Sequence[TypeStatistics]) -> Iterator[Metric]:
    for metric, field in _OF_TYPE.items():
        yield _metric(metric, [((each.type,), getattr(each, field)) for each in types])


def _http_metrics(counts: HttpCounts) -> Iterator[Metric]:
    answered = sorted(counts.answered.items())
    yield _metric(
        "spawn_http_requests",
        [((route, str(status)), number) for (route, status), number in answered],
    )
    yield _histogram(
        "spawn_http_request_seconds",
        [
            ((route,), Distribution(COMMIT_BUCKETS_S, numbers, total[0]))
            for route, (numbers, total) in sorted(counts.seconds.items())
        ],
    )
    yield _metric("spawn_http_requests_in_progress", [((), counts.in_progress)])


def _system_metrics(counts: SystemCounts) -> Iterator[Metric]:
    yield _metric("spawn_nodes", [((each,), n) for each, n in counts.standings.items()])
    age_s = counts.heartbeat_age_s
    values = {
        "spawn_unfit": counts.is_unfit,
        "spawn_group_generation": counts.generation,
        "spawn_group_leader": counts.is_leader,
        "spawn_group_heartbeat_age_seconds": -1.0 if age_s is None else age_s,
        "spawn_parked_commands": counts.parked,
        "spawn_forwarded_commands": counts.forwarded,
        "spawn_redirects": counts.redirected,
        "spawn_received_commands": counts.received,
        "spawn_mesh_links_opened": counts.links.opened,
        "spawn_mesh_overflows": counts.links.overflows,
    }
    for name, value in values.items():
        yield _metric(name, [((), float(value))])
    handovers = {"asked": counts.handovers_asked, "given": counts.handovers_given}
    yield _metric("spawn_handovers", [((each,), n) for each, n in handovers.items()])
    links = counts.links
    for name, sent, received in (
        ("spawn_mesh_frames", links.frames_sent, links.frames_received),
        ("spawn_mesh_messages", links.messages_sent, links.messages_received),
        ("spawn_mesh_bytes", links.bytes_sent, links.bytes_received),
    ):
        yield _metric(name, [(("sent",), sent), (("received",), received)])
    yield _metric("spawn_mesh_refusals", [((why,), n) for why, n in sorted(links.refusals.items())])
    yield _metric("spawn_mesh_endings", [((how,), n) for how, n in sorted(links.endings.items())])


def _build() -> Mapping[str, str]:
    try:
        ours = version("spawn-actors")
    except PackageNotFoundError:
        ours = "unknown"  # a source tree that was never installed
    try:
        in_use = type(asyncio.get_running_loop()).__module__.startswith("uvloop")
    except RuntimeError:
        in_use = False
    uvloop = getattr(sys.modules.get("uvloop"), "__version__", "unknown") if in_use else "none"
    return {"version": ours, "python": platform.python_version(), "uvloop": uvloop}
