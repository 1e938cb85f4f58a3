"""`spawn partitions [TYPE]`: from log and database alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from cyclopts import Parameter

from spawn.cli import console, exit_codes, render
from spawn.cli.common_flags import Authority, ConfigFile
from spawn.cli.live import LiveSystem, roll_of
from spawn.cli.node_client import find_node
from spawn.cli.settings_flags import AddressFlags
from spawn.cli.sources import opened, reading_settings
from spawn.cli.subjects import UsageError, nearest
from spawn.cli.watching import Look, partition_changes
from spawn.cli.watching import watch as go_on
from spawn.config import Settings
from spawn.errors import UnknownType

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
        bool,
        Parameter(
            help="One line of JSON for each partition; with --watch for each change.", negative=""
        ),
    ] = False,
    watch: Annotated[
        bool,
        Parameter(help="Show who owns what and go on, until Ctrl-C; asks a node.", negative=""),
    ] = False,
    url: Annotated[
        str | None, Parameter(help="With --watch: any node; also SPAWN_URL.", metavar="URL")
    ] = None,
    ca: Authority = None,
    config: ConfigFile = None,
    flags: Annotated[AddressFlags, Parameter(name="*")] = AddressFlags(),  # noqa: B008 - frozen
) -> int:
    """Show who owns each partition, and how far the database is behind the log."""
    if watch:
        return _watch(LiveSystem(find_node(url, ca)), actor_type, as_json=json)
    if url or ca:
        raise UsageError(
            f"{'--url' if url else '--ca'} goes with --watch",
            hint="without it log and database are read: --kafka-bootstrap-servers, --postgres-dsn",
        )
    settings = reading_settings(flags, config)
    lines = asyncio.run(_read(settings, actor_type))
    if json:
        for line in lines:
            console.data(render.json_line(_value(line)))
        return exit_codes.DONE
    if not lines:
        console.note(f"system {settings.system} has no topics in this log")
        return exit_codes.DONE
    titles = [
        "topic", "part", "owner", "claim", "epoch", "start", "end", "checkpoint", "lag", "state",
    ]  # fmt: skip
    console.data("\n".join(render.table([titles, *map(_row, lines)], right=(1, 4, 5, 6, 7, 8))))
    for problem in sorted({each.told.problem for each in lines if each.told.problem}):
        console.warning(problem)
    if not settings.postgres.dsn:
        console.note("no database is named (SPAWN_POSTGRES_DSN), so no checkpoint is shown")
    return exit_codes.DONE


async def _read(settings: Settings, actor_type: str | None) -> Sequence[_Line]:
    from eventstore.schema_topic import body_writers
    from spawn.membership.roll import Roll
    from spawn.query.catalog import Catalog
    from spawn.query.partition_list import list_partitions

    async with opened(settings) as (log, admin, store):
        catalog = Catalog(log, admin, settings.system)
        topics = await (catalog.topics_of(actor_type) if actor_type else catalog.topics())
        writers = body_writers(await catalog.schemas())
        lines = await list_partitions(log, store, topics, writers)
        members, former = await roll_of(Roll(log, settings.system, keeps_former=True))
    urls = {node_id.hex(): member.http for node_id, member in {**former, **members}.items()}
    return [_Line(line, urls.get(line.owner_id) or line.owner) for line in lines]


class _Line(NamedTuple):
    """A partition, and its owner as people know it."""

    told: PartitionLine
    owner: str
    """URL where the roll has it, else the mesh endpoint."""


def _row(shown: _Line) -> list[str]:
    line = shown.told
    return [
        line.topic,
        str(line.partition),
        shown.owner or "-",
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


def _value(shown: _Line) -> dict[str, Any]:
    line = shown.told
    return {
        "topic": line.topic,
        "partition": line.partition,
        "owner": shown.owner or None,
        "node": line.owner_id or None,
        "mesh": line.owner or None,
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


# --- watching -------------------------------------------------------------------------------------

_TITLES: Final = ("topic", "part", "owner", "epoch")
_RIGHT: Final = (1, 3)


def _watch(system: LiveSystem, actor_type: str | None, *, as_json: bool) -> int:
    topic: str | None = None

    async def look() -> Look:
        nonlocal topic
        if actor_type is not None and topic is None:
            topic = await _topic_of(system, actor_type)
        await system.nodes()  # so that another one is known if this one ends
        lines: Sequence[Mapping[str, Any]] = (await system.read("/v1/partitions"))["partitions"]
        items = {
            f"{line['topic']}/{line['partition']}": line
            for line in lines
            if topic is None or line["topic"] == topic
        }
        return Look(items, _TITLES, list(map(_live_row, items.values())), _RIGHT)

    return go_on(look, partition_changes, as_json=as_json)


def _live_row(line: Mapping[str, Any]) -> Sequence[str]:
    return [
        line["topic"],
        str(line["partition"]),
        line["http"] or line["mesh"] or "-",
        str(line["epoch"]) if line["epoch"] else "-",
    ]


async def _topic_of(system: LiveSystem, actor_type: str) -> str:
    told = await system.read("/v1/types")
    types = {each["type"]: each["topic"] for each in (*told["types"], *told.get("elsewhere", ()))}
    if actor_type not in types:
        raise UnknownType(
            f"{system.node.url} has no actors of type {actor_type}",
            hint=nearest(actor_type, types),
        )
    return str(types[actor_type])
