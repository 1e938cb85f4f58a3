"""What a node is doing, in Prometheus' format: `GET /metrics`.

All values are read from `Ingress.statistics()` when asked for; only HTTP requests are counted
here, in a plain dict, so that the hot path pays one addition and no labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from spawn.core.ingress import COMMIT_BUCKETS_S, Ingress, NodeStatistics, PartitionStatistics

__all__ = ["CONTENT_TYPE", "HttpCounts", "NodeCollector", "new_registry", "render"]

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_COUNTERS: Final = (
    ("commits", "Commits acknowledged by the log since this node took the partition over"),
    ("batches", "Appends of commits acknowledged since this node took the partition over"),
    ("barriers", "Barrier records appended for strict reads and takeovers"),
    ("fences", "Times that another owner's claim was found"),
)
"""Fields of `PartitionStatistics` that only grow (until the next takeover)."""
_GAUGES: Final = (
    ("actors", "actors", "Actors in memory"),
    ("dirty", "dirty_actors", "Actors changed since the last checkpoint"),
    ("uncommitted", "uncommitted_commands", "Commands run but not acknowledged by the log yet"),
    ("waiting", "waiting_calls", "Calls waiting for the partition or for an actor to be loaded"),
    ("epoch", "epoch", "Epoch of the claim that the node holds or saw last"),
    ("position", "position", "Offset of the next record; all below it is folded"),
    ("checkpoint", "checkpoint_position", "X of the last checkpoint known to be stored"),
)
"""Fields of `PartitionStatistics`, the metric's name and its help."""


class HttpCounts:
    """Requests by route and status, and how many are being answered now."""

    def __init__(self) -> None:
        self.answered: Counter[tuple[str, int]] = Counter()
        self.in_progress = 0


class NodeCollector(Collector):
    """Makes metrics of a node's statistics, anew for each scrape."""

    def __init__(self, ingress: Ingress, counts: HttpCounts) -> None:
        self._ingress = ingress
        self._counts = counts

    def describe(self) -> Iterator[Metric]:
        """Name the metrics without asking the node, which may not have started yet."""
        yield from _node_metrics(NodeStatistics("", "", False, (), ()))
        yield from _http_metrics(HttpCounts())

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of the node at this instant."""
        yield from _node_metrics(self._ingress.statistics())
        yield from _http_metrics(self._counts)


def new_registry(ingress: Ingress, counts: HttpCounts) -> CollectorRegistry:
    """Return a registry of the node's metrics and its process's (memory, CPU, open files)."""
    registry = CollectorRegistry()
    registry.register(NodeCollector(ingress, counts))
    ProcessCollector(registry=registry)
    return registry


def render(registry: CollectorRegistry) -> bytes:
    """Return the page that a scrape gets."""
    return generate_latest(registry)


def _node_metrics(statistics: NodeStatistics) -> Iterator[Metric]:
    yield InfoMetricFamily(
        "spawn_node",
        "The system, and the random id of this process's start",
        value={"system": statistics.system, "owner": statistics.owner},
    )
    yield GaugeMetricFamily(
        "spawn_ready", "1 when the node serves all its partitions", value=float(statistics.ready)
    )
    yield GaugeMetricFamily(
        "spawn_loop_lag_seconds",
        "Largest delay of the event loop within the last seconds",
        value=statistics.loop_lag_s,
    )
    yield _commit_seconds(statistics)
    yield from _partition_metrics(statistics.partitions)


def _commit_seconds(statistics: NodeStatistics) -> Metric:
    # A node that has not committed yet may leave the counts out.
    counts = statistics.commit_seconds or (0,) * (len(COMMIT_BUCKETS_S) + 1)
    bounds = [str(bound) for bound in COMMIT_BUCKETS_S] + ["+Inf"]
    return HistogramMetricFamily(
        "spawn_commit_seconds",
        "From a command's start until the log has acknowledged its commit",
        buckets=list(zip(bounds, accumulate(counts), strict=True)),
        sum_value=statistics.commit_seconds_sum,
    )


def _partition_metrics(partitions: Sequence[PartitionStatistics]) -> Iterator[Metric]:
    labels = ("topic", "partition")
    names = [(partition.topic, str(partition.partition)) for partition in partitions]
    for field, help_text in _COUNTERS:
        counter = CounterMetricFamily(f"spawn_{field}", help_text, labels=labels)
        for name, partition in zip(names, partitions, strict=True):
            counter.add_metric(name, getattr(partition, field))
        yield counter
    for field, metric, help_text in _GAUGES:
        gauge = GaugeMetricFamily(f"spawn_{metric}", help_text, labels=labels)
        for name, partition in zip(names, partitions, strict=True):
            gauge.add_metric(name, getattr(partition, field))
        yield gauge
    lag = GaugeMetricFamily(
        "spawn_checkpoint_lag_records",
        "Offsets between position and checkpoint: what a takeover would have to read",
        labels=labels,
    )
    phase = GaugeMetricFamily(
        "spawn_partition_phase", "1 for the partition's phase", labels=(*labels, "phase")
    )
    for name, partition in zip(names, partitions, strict=True):
        lag.add_metric(name, max(0, partition.position - partition.checkpoint))
        phase.add_metric((*name, partition.phase), 1)
    yield lag
    yield phase


def _http_metrics(counts: HttpCounts) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "spawn_http_requests",
        "HTTP requests answered; route `none` is what leads nowhere or is no HTTP",
        labels=("route", "status"),
    )
    for (route, status), number in sorted(counts.answered.items()):
        requests.add_metric((route, str(status)), number)
    yield requests
    yield GaugeMetricFamily(
        "spawn_http_requests_in_progress",
        "HTTP requests that are being answered",
        value=counts.in_progress,
    )
