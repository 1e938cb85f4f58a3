"""`spawn partitions [TYPE]`: from log and database alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from spawn.cli import console, render
from spawn.cli.settings_flags import AddressFlags
from spawn.cli.sources import opened, reading_settings
from spawn.config import Settings

if TYPE_CHECKING:
    from spawn.query.partition_list import PartitionLine

__all__ = ["partitions"]


def partitions(
    actor_type: Annotated[
        str | None, Parameter(name="TYPE", help="Of this actor type only.")
    ] = None,
    /,
    *,
    json: Annotated[
        bool, Parameter(help="One line of JSON for each partition.", negative="")
    ] = False,
    config: Annotated[
        Path | None,
        Parameter(help="File with settings, instead of ./spawn.toml.", metavar="FILE"),
    ] = None,
    flags: Annotated[AddressFlags, Parameter(name="*")] = AddressFlags(),  # noqa: B008 - frozen
) -> None:
    """Show who owns each partition, and how far the database is behind the log."""
    settings = reading_settings(flags, config)
    lines = asyncio.run(_read(settings, actor_type))
    if json:
        for line in lines:
            console.data(render.json_line(_value(line)))
        return
    if not lines:
        console.note(f"system {settings.system} has no topics in this log")
        return
    titles = [
        "topic", "part", "owner", "claim", "epoch", "start", "end", "checkpoint", "lag", "state",
    ]  # fmt: skip
    console.data("\n".join(render.table([titles, *map(_row, lines)], right=(1, 4, 5, 6, 7, 8))))
    for problem in sorted({line.problem for line in lines if line.problem}):
        console.warning(problem)
    if not settings.postgres.dsn:
        console.note("no database is named (SPAWN_POSTGRES_DSN), so no checkpoint is shown")


async def _read(settings: Settings, actor_type: str | None) -> Sequence[PartitionLine]:
    from eventstore.schema_topic import body_writers
    from spawn.query.catalog import Catalog
    from spawn.query.partition_list import list_partitions

    async with opened(settings) as (log, admin, store):
        catalog = Catalog(log, admin, settings.system)
        topics = await (catalog.topics_of(actor_type) if actor_type else catalog.topics())
        writers = body_writers(await catalog.schemas())
        return await list_partitions(log, store, topics, writers)


def _row(line: PartitionLine) -> list[str]:
    return [
        line.topic,
        str(line.partition),
        line.owner or "-",
        line.claim[:8] or "-",
        str(line.epoch) if line.claim else "-",
        render.number(line.start),
        render.number(line.end),
        "-" if line.checkpoint is None else render.number(line.checkpoint),
        render.number(line.lag),
        _state(line),
    ]


def _state(line: PartitionLine) -> str:
    if line.problem.startswith("stopped"):
        return "stopped"
    if not line.claim:
        return "never claimed"
    return "released" if line.released else "claimed"


def _value(line: PartitionLine) -> dict[str, Any]:
    return {
        "topic": line.topic,
        "partition": line.partition,
        "owner": line.owner or None,
        "claim": line.claim or None,
        "epoch": line.epoch,
        "released": line.released,
        "start": line.start,
        "end": line.end,
        "checkpoint": line.checkpoint,
        "lag": line.lag,
        "state": _state(line),
        "problem": line.problem or None,
    }
