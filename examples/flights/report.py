"""What the demo says about a run in words and tables."""

from __future__ import annotations

from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.table import Table

from examples.flights.census import ActorState

__all__ = ["aircraft_tables", "excerpt"]

TOP = 10
HEAD, TAIL = 6, 3


def excerpt(text: str) -> list[str]:
    """Return the first and last lines of a text, with a line between that counts the others."""
    lines = text.rstrip().splitlines()
    hidden = len(lines) - HEAD - TAIL
    if hidden <= 1:
        return lines
    return [*lines[:HEAD], f"  ... {hidden} lines", *lines[-TAIL:]]


def aircraft_tables(states: Mapping[str, ActorState]) -> Columns:
    """Return who flew farthest and who was latest, as the actors say it."""
    farthest = _table("Flew farthest", "miles")
    latest = _table("Came latest", "hours late")
    by_distance = sorted(states.values(), key=lambda a: (-a.state.distance_miles, a.id))
    by_delay = sorted(states.values(), key=lambda a: (-a.state.delay_min, a.id))
    for actor in by_distance[:TOP]:
        farthest.add_row(*_cells(actor, f"{actor.state.distance_miles:,}"))
    for actor in by_delay[:TOP]:
        latest.add_row(*_cells(actor, f"{actor.state.delay_min / 60:,.0f}"))
    return Columns([farthest, latest], padding=(0, 2))


def _table(title: str, measure: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("aircraft", style="bold")
    for name in (measure, "flights", "cancelled"):
        table.add_column(name, justify="right")
    table.add_column("at")
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
