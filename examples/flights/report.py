"""What the demo says about a run in words and tables."""

from __future__ import annotations

from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.table import Table

from examples.flights.census import ActorState
from examples.flights.feeder import Feeder

__all__ = ["aircraft_tables", "feed_lines", "longest_pause"]

SHARES = (0.5, 0.9, 0.99, 0.999)
TOP = 10


def feed_lines(feeder: Feeder) -> list[str]:
    """Return how the feeding went: rate, latencies, repetitions."""
    seconds = feeder.answered_at[-1] - feeder.answered_at[0]
    latencies = sorted(feeder.latencies_s)
    percentiles = "  ".join(
        f"p{share * 100:g} {latencies[int(share * (len(latencies) - 1))] * 1000:,.1f} ms"
        for share in SHARES
    )
    repeated = ", ".join(f"{reason} {count:,}" for reason, count in feeder.repeated.most_common())
    return [
        f"{feeder.answered:,} flights in {seconds:.1f} s, {feeder.answered / seconds:,.0f}/s",
        f"latency  {percentiles}  max {latencies[-1]:.1f} s",
        f"repeated requests  {repeated or 'none'}",
    ]


def longest_pause(feeder: Feeder, after: float) -> tuple[float, float]:
    """Return between which two answers after a moment the longest time passed."""
    times = feeder.answered_at
    pairs = [(before, at) for before, at in zip(times, times[1:], strict=False) if at > after]
    return max(pairs, key=lambda pair: pair[1] - pair[0])


def aircraft_tables(states: Mapping[str, ActorState]) -> Columns:
    """Return who flew farthest and who was latest, as the actors say it."""
    farthest = _table("flew farthest", "miles")
    latest = _table("came latest", "hours late")
    by_distance = sorted(states.values(), key=lambda a: (-a.state.distance_miles, a.id))
    by_delay = sorted(states.values(), key=lambda a: (-a.state.delay_min, a.id))
    for actor in by_distance[:TOP]:
        farthest.add_row(*_cells(actor, f"{actor.state.distance_miles:,}"))
    for actor in by_delay[:TOP]:
        latest.add_row(*_cells(actor, f"{actor.state.delay_min / 60:,.0f}"))
    return Columns([farthest, latest], padding=(0, 4))


def _table(title: str, measure: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("aircraft", style="bold")
    for name in (measure, "flights", "cancelled"):
        table.add_column(name, justify="right")
    table.add_column("last seen at")
    return table


def _cells(actor: ActorState, measure: str) -> tuple[str, ...]:
    state = actor.state
    return (
        actor.id,
        measure,
        f"{state.flights:,}",
        f"{state.cancelled:,}",
        state.last_airport or "-",
    )
