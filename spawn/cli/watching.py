"""Going on showing what changes: redrawn on a terminal, else a line for each change."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from spawn.cli import console, exit_codes, render
from spawn.errors import NodeUnreachable
from spawn.runtime.clock import SystemClock

__all__ = ["Change", "Changed", "Look", "fitting", "node_changes", "partition_changes", "watch"]

_AGAIN_S: Final = 0.5
_SHOWN_S: Final = 5.0
"""A change is marked for so long where the whole is redrawn."""
_MARK: Final = "> "
_LEAST_LINES: Final = 5

Items = Mapping[str, Mapping[str, Any]]


class Look(NamedTuple):
    """What was seen at one moment."""

    items: Items
    """By key, in the order of `rows`."""
    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    """One for each item."""
    right: Sequence[int] = ()
    """Columns of numbers."""


class Change(NamedTuple):
    """A difference between two looks."""

    key: str
    text: str
    value: Mapping[str, Any]
    """For programs."""


Changed = Callable[[Items, Items], Iterable[Change]]


def node_changes(before: Items, after: Items) -> Iterable[Change]:
    """Yield which nodes came, went, or stand otherwise; whatever else changes is no event."""
    for key in before.keys() - after.keys():
        node = before[key]
        yield Change(key, f"{_node(node)} is gone", {**node, "standing": "gone"})
    for key, node in after.items():
        former = before.get(key)
        if former is None:
            yield Change(key, f"{_node(node)} is new, {node['standing']}", node)
        elif former["standing"] != node["standing"]:
            yield Change(key, f"{_node(node)} is {node['standing']}", node)


def _node(node: Mapping[str, Any]) -> str:
    return f"node {node['id'][:8]} at {node['http'] or node['mesh']}"


def partition_changes(before: Items, after: Items) -> Iterable[Change]:
    """Yield which partitions have another owner, or were claimed again by the same one."""
    for key, line in after.items():
        former = before.get(key)
        if former is None or (former["owner"], former["mesh"], former["epoch"]) == (
            line["owner"], line["mesh"], line["epoch"],
        ):  # fmt: skip
            continue
        old, new = (each["http"] or each["mesh"] or "nobody" for each in (former, line))
        moved = f"{old} -> {new}" if old != new else f"{new} again"
        yield Change(key, f"{key}  {moved}  epoch {line['epoch']}", line)


def watch(look: Callable[[], Awaitable[Look]], changes: Changed, *, as_json: bool) -> int:
    """Look again and again until Ctrl-C; return the exit code.

    Raises: NodeUnreachable - none answers at the first look; later it is said and tried again.
    """
    redraws = not as_json and sys.stdout.isatty()
    try:
        if redraws:
            asyncio.run(_redraw(look, changes))
        else:
            asyncio.run(_print(look, changes, as_json=as_json))
    except KeyboardInterrupt:
        pass  # the way to end it
    return exit_codes.DONE


async def _print(look: Callable[[], Awaitable[Look]], changes: Changed, *, as_json: bool) -> None:
    seen = await look()
    if as_json:
        for item in seen.items.values():
            console.data(render.json_line(item))
    else:
        console.data("\n".join(render.table([seen.titles, *seen.rows], right=seen.right)))
    clock, is_away = SystemClock(), False
    while True:
        await asyncio.sleep(_AGAIN_S)
        try:
            now = await look()
        except NodeUnreachable as error:
            if not is_away:
                console.warning(f"{error}; asked again until one answers")
            is_away = True
            continue
        is_away = False
        time_us = clock.time_us()
        for change in changes(seen.items, now.items):
            if as_json:
                value = {"time": render.iso_time(time_us), **change.value}
                console.data(render.json_line(value))
            else:
                console.data(f"{render.clock(time_us)}  {change.text}")
        seen = now


async def _redraw(look: Callable[[], Awaitable[Look]], changes: Changed) -> None:
    from rich.live import Live
    from rich.text import Text

    seen, now_s = await look(), asyncio.get_running_loop().time
    marked: dict[str, tuple[float, str]] = {}
    problem = ""
    with Live(auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            marked = {key: each for key, each in marked.items() if now_s() - each[0] < _SHOWN_S}
            shown = Text(no_wrap=True, overflow="ellipsis")
            lines = fitting(seen, marked, max(live.console.height - 3, _LEAST_LINES))
            for line, is_marked in lines:
                shown.append(line + "\n", style="bold yellow" if is_marked else "")
            newest = max(marked.values(), default=(0.0, ""))[1]
            shown.append(problem or newest or "Ctrl-C ends it", style="dim")
            live.update(shown, refresh=True)
            await asyncio.sleep(_AGAIN_S)
            try:
                now = await look()
            except NodeUnreachable as error:
                problem = f"{render.visible(str(error))}; asked again until one answers"
                continue
            problem = ""
            for change in changes(seen.items, now.items):
                marked[change.key] = now_s(), render.visible(change.text)
            seen = now


def fitting(look: Look, marked: Mapping[str, object], lines_max: int) -> Sequence[tuple[str, bool]]:
    """Return the lines of a table that fit, and which of them are marked; marked rows come first.

    A mark is a sign too, not a colour alone.
    """
    head, *lines = render.table([look.titles, *look.rows], right=look.right)
    rows = [
        (f"{_MARK if key in marked else '  '}{line}", key in marked)
        for key, line in zip(look.items, lines, strict=True)
    ]
    if len(rows) >= lines_max:
        kept = sorted(range(len(rows)), key=lambda n: not rows[n][1])[: lines_max - 2]
        more = f"  ... and {len(rows) - len(kept)} more"
        if len(marked.keys() & look.items.keys()) <= len(kept):
            more += ", of which nothing is new"
        rows = [*(rows[n] for n in sorted(kept)), (more, False)]
    return [(f"  {head}", False), *rows]
