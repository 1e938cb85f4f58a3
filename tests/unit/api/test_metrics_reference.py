"""The catalogue of metrics, what a node scrapes as, and the page of both."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.metrics_core import Metric

from spawn.api.metric_catalogue import CATALOGUE, FOREIGN
from spawn.api.metrics import HttpCounts, new_registry
from spawn.api.metrics_reference import metrics_page
from tests.integration.api.fake_ingress import FakeIngress
from tests.integration.api.fake_view import FakeView

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"


def scraped() -> dict[str, Metric]:
    """Return the metrics of a node that has answered something."""
    counts = HttpCounts()
    counts.answered["invoke", 200] += 1
    counts.observe("invoke", 0.003)
    registry = new_registry(FakeIngress(), counts, FakeView())
    return {metric.name: metric for metric in registry.collect()}


def test_the_page_is_current() -> None:
    """To write it again: `python -m spawn.api.metrics_reference > docs/reference/metrics.md`."""
    assert PAGE.read_text(encoding="utf-8") == metrics_page()


def test_the_catalogue_holds_what_is_scraped() -> None:
    """Every metric, of its kind, with its labels and text."""
    found = scraped()
    ours = {name: metric for name, metric in found.items() if name.startswith("spawn_")}
    assert set(ours) == set(CATALOGUE)
    assert set(found) - set(ours) == set(FOREIGN)
    for name, metric in ours.items():
        described = CATALOGUE[name]
        assert (metric.type, metric.documentation) == (described.kind, described.help)
        for sample in metric.samples:
            assert set(sample.labels) - {"le"} == set(described.labels), name


def test_names_follow_prometheus() -> None:
    """Base units, no unit twice; counters get their suffix by themselves."""
    for name, described in CATALOGUE.items():
        assert not name.endswith(("_total", "_ms", "_count", "_sum", "_bucket")), name
        assert described.help[0].isupper() or described.help[0].isdigit(), name
        assert not described.help.endswith("."), name
        assert described.worry, name


def test_latencies_over_http_are_a_histogram_by_route() -> None:
    """The bound is included, as Prometheus says `le`."""
    counts = HttpCounts()
    for seconds in (0.001, 0.002, 99.0):
        counts.observe("invoke", seconds)
    metrics = {m.name: m for m in new_registry(FakeIngress(), counts).collect()}
    samples = metrics["spawn_http_request_seconds"].samples
    by_bound = {s.labels["le"]: s.value for s in samples if s.name.endswith("_bucket")}
    assert (by_bound["0.001"], by_bound["0.0025"], by_bound["+Inf"]) == (1, 2, 3)
    assert [s.value for s in samples if s.name.endswith("_sum")] == [99.003]
