"""docs/reference/metrics.md, made of the catalogue of metrics."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

from spawn.api.metric_catalogue import FOREIGN, SECTIONS, Described

__all__ = ["metrics_page", "shown_name"]

_INTRODUCTION: Final = """\
# Metrics

Made by `spawn.api.metrics_reference`; a test keeps it current. `GET /metrics` has them in
Prometheus' text format; the [guide](../guides/observability.md) says how to scrape and what to
alert on.

Counters count from the start of the process. A metric with the labels `topic` and `partition` is of
one partition as this node sees it. A histogram has the series `_bucket`, `_sum` and `_count`. No
label holds what a caller chose: codes, routes, types and actions are a node's own.
"""


def shown_name(name: str, described: Described) -> str:
    """Return the name under which Prometheus has a metric."""
    suffix = {"counter": "_total", "info": "_info"}.get(described.kind, "")
    return name + suffix


def metrics_page() -> str:
    """Return the page."""
    parts = [_INTRODUCTION]
    parts += [_section(title, metrics) for title, metrics in SECTIONS.items()]
    parts.append(_section("The process", FOREIGN))
    return "\n".join(parts)


def _section(title: str, metrics: Mapping[str, Described]) -> str:
    rows = [f"## {title}", "", "| metric | kind | meaning | when to worry |", "|---|---|---|---|"]
    for name, described in metrics.items():
        labels = ", ".join(described.labels)
        shown = f"`{shown_name(name, described)}`" + (f" by {labels}" if labels else "")
        rows.append(f"| {shown} | {described.kind} | {described.help} | {described.worry} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(metrics_page())
