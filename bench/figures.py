"""What a scenario returns: figures with their runs, and how they are shown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Figure", "Target", "percentiles", "table"]

Run = Mapping[str, float]
"""One run. Of a load: `rate` (per second), `p50_ms`, `p90_ms`, `p99_ms`, `max_ms`, `cpu_us` (of
our process, per operation); of every run: `others` (cores that processes which are not ours used
meanwhile), `hop_us` and `work_ms` (the machine's speed just before, see `bench.machine`)."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure is to reach; judged by the median of its runs."""

    key: str
    limit: float
    at_most: bool = False

    def is_met(self, value: float) -> bool:
        """Tell whether a value reaches it."""
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        sign = "<=" if self.at_most else ">="
        return f"{self.key} {sign} {self.limit:,.10g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    scenario: str
    name: str
    runs: Sequence[Run]
    targets: Sequence[Target] = ()

    def median(self, key: str) -> float:
        """Return the median of one value over the runs."""
        return statistics.median(run[key] for run in self.runs)

    @property
    def verdict(self) -> str:
        """`met`, what is missed, or nothing where there is no target."""
        missed = [str(t) for t in self.targets if not t.is_met(self.median(t.key))]
        if missed:
            return "MISSED " + ", ".join(missed)
        return f"met ({', '.join(map(str, self.targets))})" if self.targets else ""

    def as_json(self) -> dict[str, Any]:
        """Return it with medians and verdict, for the JSON file."""
        medians = {key: round(self.median(key), 3) for key in self.runs[0]}
        runs = [{key: round(value, 3) for key, value in run.items()} for run in self.runs]
        return {**asdict(self), "runs": runs, "medians": medians, "verdict": self.verdict}


def percentiles(latencies_s: Sequence[float]) -> dict[str, float]:
    """Return p50, p90, p99 and the largest in milliseconds."""
    ordered = sorted(latencies_s)
    size = len(ordered)
    found = {
        f"p{percent}_ms": ordered[min(size * percent // 100, size - 1)] * 1e3
        for percent in (50, 90, 99)
    }
    return {**found, "max_ms": ordered[-1] * 1e3}


_LOAD = ("rate", "p50_ms", "p90_ms", "p99_ms", "max_ms", "cpu_us", "others", "hop_us", "work_ms")
_HEAD = (
    "figure",
    "per second (range)",
    "p50 ms",
    "p90",
    "p99",
    "max",
    "CPU us/op",
    "others",
    "hop us",
    "work ms",
)


def table(figures: Sequence[Figure]) -> str:
    """Return a Markdown table: medians of the runs, of `max` the largest."""
    lines = [_row(_HEAD), _row(["---"] * len(_HEAD))]
    notes = []
    for figure in figures:
        keys = figure.runs[0]
        cells = [figure.name, _range(figure, "rate") if "rate" in keys else ""]
        for key in _LOAD[1:]:
            if key not in keys:
                cells.append("")
            elif key == "max_ms":
                cells.append(f"{max(run[key] for run in figure.runs):.1f}")
            else:
                cells.append(f"{figure.median(key):.2f}")
        lines.append(_row(cells))
        rest = [f"{key} {_range(figure, key)}" for key in keys if key not in _LOAD]
        said = "; ".join(filter(None, [figure.verdict, ", ".join(rest)]))
        if said:
            notes.append(f"- {figure.name}: {said}")
    return "\n".join([*lines, "", *notes])


def _range(figure: Figure, key: str) -> str:
    values = [run[key] for run in figure.runs]
    text = _number(figure.median(key))
    if len(values) > 1:
        text += f" ({_number(min(values))}-{_number(max(values))})"
    return text


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
