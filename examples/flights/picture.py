"""The picture of a run: how the feeding went, and what the year looked like.

matplotlib is imported here only, and this module only once a picture is wanted: it takes a second.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from zoneinfo import ZoneInfo

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from examples.flights.census import ActorState
from examples.flights.data import ScheduledFlight
from examples.flights.feeder import Feeder

__all__ = ["save_picture"]

BIN_S = 0.25
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
NEW_YORK = ZoneInfo("America/New_York")
NEW_YEAR, DAY = datetime(2013, 1, 1, tzinfo=UTC), timedelta(days=1)
HOURS = range(5, 24)
"""Of scheduled departures; the single flight at 1 in the morning is left out."""
LINES = 8
INK, BLUE, RED, GREY = "#222222", "#2f6db3", "#c8382d", "#b9bec6"


def save_picture(
    path: Path,
    feeder: Feeder,
    pause: tuple[float, float] | None,
    flights: Sequence[ScheduledFlight],
    states: Mapping[str, ActorState],
) -> None:
    """Draw the three parts and save them; `pause` is from the kill to the next answer."""
    plt.rcParams.update(
        {
            "font.size": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlelocation": "left",
            "axes.titlesize": 12,
            "axes.titleweight": "bold",
            "text.color": INK,
        }
    )
    figure, parts = plt.subplot_mosaic(
        [["rate", "rate"], ["delays", "heat"]], figsize=(13, 9), height_ratios=[2, 3]
    )
    draw_rate(parts["rate"], feeder, pause)
    draw_delays(parts["delays"], flights, states)
    draw_heat(parts["heat"], flights)
    figure.tight_layout(pad=1.5)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_rate(axes: Axes, feeder: Feeder, pause: tuple[float, float] | None) -> None:
    """Draw flights answered per second over the run, and the time without a node."""
    times = np.array(feeder.answered_at)
    start = times[0]
    bins = np.arange(0, times[-1] - start + 2 * BIN_S, BIN_S)
    counts, _ = np.histogram(times - start, bins)
    axes.fill_between(bins[:-1], counts / BIN_S, step="post", color=BLUE, alpha=0.35, linewidth=0)
    axes.step(bins[:-1], counts / BIN_S, where="post", color=BLUE, linewidth=1.2)
    axes.set_xlim(0, bins[-1])
    axes.set_ylim(0, 1.25 * counts.max() / BIN_S)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("seconds since the first answer")
    axes.set_title("Flights recorded per second")
    if pause is not None:
        killed, back = pause[0] - start, pause[1] - start
        axes.axvspan(killed, back, color=RED, alpha=0.12, linewidth=0)
        axes.axvline(killed, color=RED, linestyle="--", linewidth=1.5)
        axes.annotate(
            f"node killed with SIGKILL; {back - killed:.1f} s until the next answer",
            (back, 0.97),
            xycoords=("data", "axes fraction"),
            xytext=(8, 0),
            textcoords="offset points",
            color=RED,
            va="top",
        )


def draw_delays(
    axes: Axes, flights: Sequence[ScheduledFlight], states: Mapping[str, ActorState]
) -> None:
    """Draw how the delay of the latest aircraft grew over the year, the others in grey behind."""
    ranked = sorted(states, key=lambda tail: states[tail].state.delay_min, reverse=True)
    shown = set(ranked[: 15 * LINES])
    days: dict[str, list[float]] = defaultdict(list)
    delays: dict[str, list[int]] = defaultdict(list)
    for scheduled in flights:
        if scheduled.aircraft in shown and scheduled.flight.delay_min is not None:
            days[scheduled.aircraft].append((scheduled.flight.scheduled - NEW_YEAR) / DAY)
            delays[scheduled.aircraft].append(scheduled.flight.delay_min)
    colours = plt.get_cmap("viridis")(np.linspace(0.0, 0.85, LINES))
    for rank in reversed(range(len(shown))):
        tail = ranked[rank]
        hours = [minutes / 60 for minutes in accumulate(delays[tail])]
        front = rank < LINES
        axes.step(
            days[tail],
            hours,
            where="post",
            color=colours[rank] if front else GREY,
            linewidth=1.6 if front else 0.5,
            alpha=1.0 if front else 0.5,
            label=f"{tail}  {states[tail].state.delay_min / 60:,.0f} h"
            if front
            else f"the next {len(shown) - LINES}"
            if rank == LINES
            else None,
        )
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], frameon=False, loc="upper left")
    firsts = [datetime(2013, month, 1, tzinfo=UTC) for month in range(1, 13)]
    axes.set_xticks([(first - NEW_YEAR) / DAY for first in firsts], MONTHS)
    axes.set_ylabel("hours")
    axes.set_title("Hours of delay, added up: the aircraft that came latest")


def draw_heat(axes: Axes, flights: Sequence[ScheduledFlight]) -> None:
    """Draw the mean delay by hour of departure and month."""
    total = np.zeros((12, 24))
    count = np.zeros((12, 24))
    for _, _, flight in flights:
        if flight.delay_min is not None:
            local = flight.scheduled.astimezone(NEW_YORK)
            total[local.month - 1, local.hour] += flight.delay_min
            count[local.month - 1, local.hour] += 1
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    shown = mean[:, HOURS.start : HOURS.stop]
    limit = float(np.nanmax(np.abs(shown)))
    image = axes.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    axes.set_xticks(range(0, len(HOURS), 2), [f"{hour}" for hour in HOURS[::2]])
    axes.set_yticks(range(12), MONTHS)
    axes.set_xlabel("hour of departure (New York)")
    axes.set_title("Mean delay at arrival, minutes")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.figure.colorbar(image, ax=axes, shrink=0.8, label="minutes late (red) or early (blue)")
